//! Session signaling over gRPC.
//!
//! The library half of Signalbox; the binary is a thin caller of it. The rooms
//! are layered and imports point down only (`tests/it/layering.rs` checks it).

pub mod auth;
pub mod cli;
pub mod clock;
pub mod domain;
pub mod engine;
pub mod grpc;
pub mod hub;
pub mod proto;
pub mod random;
pub mod server;
pub mod session;
pub mod telemetry;
