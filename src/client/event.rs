//! What an application is told.

use std::time::{Duration, SystemTime};

use crate::proto;

use super::Refusal;

pub use crate::proto::{ClientAction as Action, DisconnectReason, Role};

/// One client in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Made by the server, never reused.
    pub connection_id: String,
    /// When it joined, by the server's clock.
    pub created_at: Option<SystemTime>,
    /// What it says about itself.
    pub data: String,
    /// What it may do.
    pub role: Role,
    /// Whether it has lost its stream and may come back.
    pub interrupted: bool,
}

impl From<proto::Connection> for Connection {
    fn from(wire: proto::Connection) -> Self {
        Self {
            created_at: wire.created_at.and_then(|at| SystemTime::try_from(at).ok()),
            role: wire.role(),
            interrupted: wire.state() == proto::ConnectionState::Interrupted,
            connection_id: wire.connection_id,
            data: wire.data,
        }
    }
}

/// A signal that reached this client.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Its place in the session's order.
    pub sequence: u64,
    /// Who sent it; none: a backend.
    pub from: Option<String>,
    /// Its type; may be empty.
    pub kind: String,
    /// Its data; may be empty.
    pub data: String,
    /// When the server took it, by the server's clock.
    pub sent_at: Option<SystemTime>,
}

/// Never shows the data: signals may carry secrets, and `Debug` ends in logs.
impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("sequence", &self.sequence)
            .field("from", &self.from)
            .field("kind", &self.kind)
            .field("data", &format_args!("{} bytes", self.data.len()))
            .finish_non_exhaustive()
    }
}

/// What happened in the session, or to the connection to it.
///
/// Events come in the session's order: within an epoch each has a higher
/// `sequence` than those before. Unless a [`Reconnected`](Self::Reconnected)
/// reports a gap none is missing and none comes twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first event: in the session.
    Joined {
        /// This client.
        connection: Connection,
        /// Everyone in the session, this client too.
        connections: Vec<Connection>,
        /// Which life of the session this is: another epoch is another order.
        epoch: u64,
        /// The place in the order that `connections` is of.
        sequence: u64,
    },
    /// Somebody joined.
    ConnectionCreated {
        /// Its place in the order.
        sequence: u64,
        /// Who.
        connection: Connection,
    },
    /// Somebody is gone.
    ConnectionDestroyed {
        /// Its place in the order.
        sequence: u64,
        /// Who.
        connection_id: String,
        /// Why; `Unspecified` for a reason that this version doesn't know.
        reason: DisconnectReason,
    },
    /// Somebody lost the stream and may come back.
    ConnectionInterrupted {
        /// Its place in the order.
        sequence: u64,
        /// Who.
        connection_id: String,
    },
    /// Somebody came back.
    ConnectionRestored {
        /// Its place in the order.
        sequence: u64,
        /// Who.
        connection_id: String,
    },
    /// A signal.
    Signal(Received),
    /// This client lost its stream and tries to get back in. Sends are queued.
    Reconnecting {
        /// Why, as far as it is known.
        why: Lost,
    },
    /// This client is back in.
    Reconnected {
        /// Whether events were missed: then `connections` is a fresh view, and
        /// what happened between is not known.
        gap: bool,
        /// This client: another connection than before when the earlier one
        /// could not be resumed.
        connection: Connection,
        /// Everyone in the session as of `sequence`. What was missed follows.
        connections: Vec<Connection>,
        /// Which life of the session this is.
        epoch: u64,
        /// The place in the order that `connections` is of.
        sequence: u64,
    },
    /// The last event: out of the session, and not coming back by itself.
    Disconnected {
        /// Why.
        reason: Over,
        /// What the application can do: `Stop` don't come back, `Rejoin` join
        /// anew when it is worth it.
        action: Action,
    },
}

/// Why a stream was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The server ended it, with this reason; it may ask to wait.
    Closed {
        /// As `GOING_AWAY`, `SLOW_CONSUMER`, or one this version doesn't know.
        reason: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The network broke it.
    Broken(String),
    /// Nothing came for longer than heartbeats allow.
    Silent,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { reason, retry_after: None } => write!(f, "the server closed it: {reason}"),
            Self::Closed { reason, retry_after: Some(after) } => {
                write!(f, "the server closed it: {reason}, asking to wait {after:?}")
            }
            Self::Broken(why) => f.write_str(why),
            Self::Silent => f.write_str("nothing came for longer than heartbeats allow"),
        }
    }
}

/// Why a client is out of a session for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// It left.
    Left,
    /// The server told it to stop, or refuses it.
    Closed(Refusal),
    /// It could not get back in for as long as it was to try; the last error.
    GaveUp(String),
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("left"),
            Self::Closed(refusal) => write!(f, "{refusal}"),
            Self::GaveUp(last) => write!(f, "gave up reconnecting: {last}"),
        }
    }
}
