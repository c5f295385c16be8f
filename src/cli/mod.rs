//! The commands. Layer 5.

pub mod serve;
