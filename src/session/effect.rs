//! What a session wants done, and the facts it answers with.

use std::{sync::Arc, time::Duration};

use crate::domain::{
    ClientAction, ConnectionId, ConnectionInfo, Ending, Entry, Epoch, Event, Named, Refusal, ResumeToken, SendId,
    Sequence, SignalTypes,
};

use super::log::Missed;

/// One life of a connection's stream: a resume starts the next. What an
/// earlier one still sends or reports is ignored.
pub type Generation = u64;

/// A connection, on one of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The connection.
    pub connection: ConnectionId,
    /// Its stream.
    pub generation: Generation,
}

/// Which events a connection is entitled to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The types of signals it wants.
    pub signal_types: SignalTypes,
    /// Spared the comings and goings of others.
    pub suppress_connection_events: bool,
    /// Spared its own signals.
    pub suppress_own_signals: bool,
}

impl View {
    /// Whether an event is for the connection `me`.
    #[must_use]
    pub fn admits(&self, entry: &Entry, me: ConnectionId) -> bool {
        match &entry.event {
            Event::Signal { from, audience, signal } => {
                audience.contains(me)
                    && self.signal_types.admit(signal.kind())
                    && !(self.suppress_own_signals && *from == Some(me))
            }
            Event::Created(info) => !self.suppress_connection_events && info.id != me,
            Event::Destroyed(id, _) | Event::Interrupted(id) | Event::Restored(id) => {
                !self.suppress_connection_events && *id != me
            }
        }
    }
}

/// A send, or a disconnect, that took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The place.
    pub sequence: Sequence,
    /// The recipients named that are not connected.
    pub not_connected: Vec<Named>,
}

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// Which send.
    pub send_id: SendId,
    /// Its outcome.
    pub outcome: Result<Accepted, Refusal>,
}

/// What became of a server signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAccepted {
    /// The place.
    pub sequence: Sequence,
    /// The recipients named that are not connected.
    pub not_connected: Vec<Named>,
    /// How many connections get it, interrupted ones included.
    pub recipient_count: usize,
}

/// Something for the engine to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The session began to exist.
    Started,
    /// An event took its place: deliver it to those attached whom it is for.
    Entry(Arc<Entry>),
    /// Tell a connection the outcome of its send.
    Answer(Handle, SendResult),
    /// A stream receives from here on.
    Attach(Handle, View),
    /// A stream receives no more and ends; the flag says whether the
    /// connection outlives it.
    Release(Handle, Ending, Resumable),
    /// The last connection is gone and the session with it.
    Ended,
}

/// Whether a connection outlives its stream.
pub type Resumable = bool;

/// How a join went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A new connection.
    New,
    /// Resumed, nothing lost.
    Resumed,
    /// Resumed, the log doesn't reach back.
    ResumedWithGap,
}

/// A connection and whether it has a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// The connection.
    pub info: Arc<ConnectionInfo>,
    /// Whether it is within its window without a stream.
    pub interrupted: bool,
}

/// Everything that a client is told when it is in, before any event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The connection, on this stream.
    pub handle: Handle,
    /// How it went.
    pub outcome: Outcome,
    /// The connection itself.
    pub info: Arc<ConnectionInfo>,
    /// Everyone, as of `sequence`, in the order of joining; empty on
    /// [`Outcome::Resumed`].
    pub snapshot: Vec<ConnectionView>,
    /// The session's life.
    pub epoch: Epoch,
    /// Everything delivered from here on, `missed` included, is after it.
    pub sequence: Sequence,
    /// The secret to resume with.
    pub token: ResumeToken,
    /// The window granted.
    pub window: Duration,
    /// The newest send decided.
    pub last_send_id: SendId,
    /// The outcomes that the client may not have.
    pub restated: Vec<SendResult>,
    /// The events that the client missed and is entitled to.
    pub missed: Missed,
}

/// What a session looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How many connections, interrupted ones included.
    pub connections: usize,
    /// How many of them are interrupted.
    pub interrupted: usize,
    /// Its life.
    pub epoch: Epoch,
    /// The newest place.
    pub sequence: Sequence,
    /// When its first connection joined.
    pub created_at: std::time::SystemTime,
}

/// What a client is told when its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Why.
    pub ending: Ending,
    /// Whether the connection outlives the stream.
    pub resumable: Resumable,
    /// How long to wait before the next join.
    pub retry_after: Option<Duration>,
}

impl Farewell {
    /// What the client should do next.
    #[must_use]
    pub fn action(&self) -> ClientAction {
        self.ending.action(self.resumable)
    }
}
