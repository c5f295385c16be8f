//! Load on a server, and what it costs there. Layer 5, beside the command.

pub mod wire;
