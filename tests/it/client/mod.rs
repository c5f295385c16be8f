//! The Rust client: over a real port, through a network that breaks, and with
//! a server's side that a test plays.

mod app;
mod closing;
mod fake;
mod leaving;
mod lost;
mod outcomes;
mod queue;
mod reading;
mod refused;
mod tokens;
mod view;

use app::App;
