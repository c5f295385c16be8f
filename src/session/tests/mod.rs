//! What a session promises: by example, and over random histories.

mod acts;
mod examples;
mod history;
mod model;
mod play;
pub(crate) mod properties;
pub(crate) mod subject;

use std::time::{Duration, SystemTime};

use crate::{
    clock::Now,
    domain::{ConnectionId, RESUME_TOKEN_BYTES, ResumeToken, Signal},
};

/// The moment `monotonic` after the start, on both clocks.
fn at(monotonic: Duration) -> Now {
    Now { monotonic, wall: SystemTime::UNIX_EPOCH + monotonic }
}

/// The `n`th connection's name. Names don't sort in the order of joining, as
/// random ones don't.
fn id(n: u64) -> ConnectionId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    ConnectionId::from_random(bytes)
}

/// The `n`th connection's secret.
fn token(n: u64) -> ResumeToken {
    let mut bytes = [0; RESUME_TOKEN_BYTES];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    ResumeToken::from_random(bytes)
}

fn signal(kind: &str, data: &str) -> Signal {
    Signal::parse(kind.into(), data.into()).expect("a valid signal")
}
