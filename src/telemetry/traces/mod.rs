//! Traces: a span for each call, and one for each signal, where somebody wants
//! them.
//!
//! A call's span has the caller's `traceparent` for its parent; the signals of a
//! `Join` stream are its span's children. Whether a call is traced is decided
//! once, by its parent or else by the ratio, and holds for all of its signals.
//! What isn't traced has no span at all: it costs its signals one look each.
//!
//! Sessions and connections are named in spans, as they are in logs. A signal's
//! type and data, a connection's data and tokens never are.

#[cfg(not(feature = "otlp"))]
mod none;
#[cfg(feature = "otlp")]
mod sending;
#[cfg(feature = "otlp")]
mod span;
#[cfg(feature = "otlp")]
mod way;

use std::net::IpAddr;

use crate::domain::{ConnectionId, Sequence, SessionId};

#[cfg(not(feature = "otlp"))]
pub use none::{CallSpan, Tracer};
#[cfg(feature = "otlp")]
pub use span::{CallSpan, Tracer};

/// Where spans go, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// Where an OTLP receiver speaks gRPC, as `http://collector:4317`.
    pub endpoint: String,
    /// Which part of the calls without a parent is traced, from 0 to 1.
    pub ratio: f64,
}

/// What a call begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginning<'a> {
    /// As `signalbox.v1.SignalingService/Join`.
    pub method: &'static str,
    /// The caller's, in W3C's spelling.
    pub traceparent: Option<&'a [u8]>,
    /// And what belongs to it.
    pub tracestate: Option<&'a [u8]>,
    /// Where the caller looked for the server.
    pub authority: Option<&'a [u8]>,
    /// Where it called from.
    pub peer: Option<IpAddr>,
}

/// Something that a span tells.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// Which session it is about.
    Session(&'a SessionId),
    /// Which connection.
    Connection(ConnectionId),
    /// How a join went.
    Outcome(&'static str),
    /// The place that a signal got.
    Sequence(Sequence),
    /// How many it went to.
    Recipients(usize),
}

/// What a stream asks for, one outcome each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A signal.
    Signal,
    /// Another's end.
    Disconnect,
}

/// Counts of spans that were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Taken by the receiver.
    pub sent: u64,
    /// Dropped: too many waited already.
    pub overflowed: u64,
    /// Dropped: the receiver didn't take them.
    pub failed: u64,
}
