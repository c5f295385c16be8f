//! Session signaling over gRPC.
//!
//! The library half of Signalbox; the binary is a thin caller of it. The rooms
//! are layered and imports point down only (`tests/it/layering.rs` checks it).
//!
//! # Features
//!
//! - `cli`, on by default: the command, in `cli`. Brings the other two.
//! - `client`: what calls a server, without anything of a server's: `client`,
//!   and the generated clients in [`proto`].
//! - `server`: what serves: `server` and all that it is made of.
//! - `otlp`: a server that can send traces. `cli` brings it.
//!
//! Without any there are the words ([`domain`]), the time ([`clock`]) and the
//! messages ([`proto`]).

#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod domain;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod http2;
#[cfg(feature = "server")]
pub mod hub;
pub mod proto;
#[cfg(feature = "server")]
pub mod random;
#[cfg(feature = "server")]
pub mod rest;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod session;
#[cfg(feature = "server")]
pub mod telemetry;

#[cfg(test)]
mod fuzz;
