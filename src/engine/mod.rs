//! The authority for order, membership, de-duplication, log and resume.
//!
//! An [`Engine`] decides; the [`Node`] that drives it only delivers. Layer 2:
//! imports the session and the domain, neither the hub (which implements
//! [`Node`]) nor its siblings `auth` and `telemetry`.

mod lock;
mod memory;
#[cfg(feature = "redis")]
pub mod redis;
mod watch;

use std::{pin::Pin, sync::Arc, time::SystemTime};

use futures_util::Stream;

use crate::{
    domain::{
        Budget, ConnectionId, DisconnectReason, Ending, Entry, Epoch, Named, Refusal, ResumeToken, Sequence, SessionId,
    },
    session::{
        Admission, Command, ConnectionView, Effect, Facts, Farewell, Handle, Join, SendResult, ServerAccepted,
        ServerSend, View,
    },
};

pub use lock::lock;
pub use memory::MemoryEngine;

/// How many sessions are taken from a map under its lock, to be looked at without it.
const SURVEYED_AT_ONCE: usize = 256;

/// A future that an engine returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an engine's contract stands. Every engine passes the same suite
/// (`tests/it/engine_contract/`).
///
/// **Order.** Every change of a session (a join, a departure, a signal, an
/// interruption) takes one place in its one total order. A [`Room`] is called
/// for one session by one caller at a time, in that order: if entry *n* was
/// delivered before entry *m*, then *n* < *m*.
///
/// **Nothing lost between join and delivery.** A join's [`Admission`] tells
/// everything up to its `sequence` (and `missed` what follows it, when
/// resumed); the room is told to [`Room::attach`] the stream at exactly that
/// point, so every later entry reaches it.
///
/// **Decided once.** A send with an id is decided once in a connection's life,
/// and a server signal with a key once in the time its response is kept; a
/// repeat gets the first decision and changes nothing.
///
/// **Late is ignored.** What an earlier stream of a resumed connection still
/// asks or reports has no effect.
///
/// **Errors.** `ENGINE_UNAVAILABLE` means that something may have happened;
/// sends and keys make a repeat safe. Every other refusal means that nothing
/// did.
pub trait Engine: Send + Sync + 'static {
    /// Lets a stream into a session, anew or by a resume. The node's outlet
    /// `outlet` is what [`Room::attach`] will name.
    ///
    /// # Errors
    /// `CONNECTION_DATA_TOO_LARGE`, unless a resume is honoured;
    /// `SESSION_FULL`, `ENGINE_UNAVAILABLE`.
    fn join(&self, session: SessionId, outlet: OutletId, join: Join) -> BoxFuture<'_, Result<Joined, Refusal>>;

    /// Does what a connection asks for beside its stream, by the secret that resumes it,
    /// in this order: on any node, and while it is interrupted, too. A leave is asked
    /// alone. The outcomes, which a leave has none of: its stream isn't told. Once it is
    /// gone by one of these, nothing more is done.
    ///
    /// # Errors
    /// `CONNECTION_NOT_FOUND`, where who asks isn't known; `ENGINE_UNAVAILABLE`, after
    /// which the same may be asked again if it has ids.
    fn command_beside(
        &self,
        session: SessionId,
        connection: ConnectionId,
        token: ResumeToken,
        commands: Vec<Command>,
    ) -> BoxFuture<'_, Result<Vec<SendResult>, Refusal>>;

    /// Takes a signal from a backend.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `CONNECTION_NOT_FOUND`, `ENGINE_UNAVAILABLE`.
    fn send_from_server(&self, session: SessionId, send: ServerSend) -> BoxFuture<'_, Result<ServerAccepted, Refusal>>;

    /// Disconnects a connection for a backend.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `CONNECTION_NOT_FOUND`, `ENGINE_UNAVAILABLE`.
    fn disconnect(&self, session: SessionId, connection: Named) -> BoxFuture<'_, Result<Sequence, Refusal>>;

    /// Looks at a session.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `ENGINE_UNAVAILABLE`.
    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Facts, Refusal>>;

    /// The sessions after `after`, in the order of their ids, at most `most`.
    ///
    /// # Errors
    /// `ENGINE_UNAVAILABLE`.
    fn sessions(
        &self,
        after: Option<SessionId>,
        most: usize,
    ) -> BoxFuture<'_, Result<Page<(SessionId, Facts)>, Refusal>>;

    /// A session's life, and its connections that joined after `after`, with
    /// the places of their joining, in that order, at most `most`.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `ENGINE_UNAVAILABLE`.
    fn connections(
        &self,
        session: SessionId,
        after: Sequence,
        most: usize,
    ) -> BoxFuture<'_, Result<Connections, Refusal>>;

    /// Watches one session, or all: what is there, then
    /// [`Change::SnapshotComplete`], then every change, nothing left out and
    /// nothing twice. A watcher that falls behind ends with `SLOW_CONSUMER`.
    ///
    /// # Errors
    /// `ENGINE_UNAVAILABLE`.
    fn watch(&self, session: Option<SessionId>) -> BoxFuture<'_, Result<Watch, Refusal>>;

    /// How much there is.
    fn stats(&self) -> Stats;

    /// Shows each session that somebody of this node is in, for operators: what the
    /// node knows by itself, so that nobody is asked and no lock is held for long. In no
    /// order, and each as it is when it is shown.
    fn survey(&self, show: &mut dyn FnMut(&SessionId, Sight));

    /// This node's name among others, where there may be others.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Does what is due without being asked, for ever.
    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Waits until what was asked is done, for those who end: an engine of many nodes
    /// gives up what is this one's.
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Makes place when memory is short. To be called now and then.
    fn relieve(&self) {}

    /// Whether it can be asked.
    ///
    /// # Errors
    /// Why not now, for operators.
    fn is_ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// What it has done, and how it is, for operators.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }
}

/// A number for operators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// As it is called in metrics.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// The number.
    pub value: FigureValue,
}

/// What kind of number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FigureValue {
    /// So many, ever; it only grows.
    Total(u64),
    /// So much, now.
    Now(f64),
}

/// A join that an engine let in.
pub struct Joined {
    /// What the client is told.
    pub admission: Admission,
    /// What it asks by.
    pub link: Arc<dyn Link>,
}

/// One stream's way to its session.
pub trait Link: Send + Sync {
    /// Asks for something, without waiting: outcomes come by [`Room::answer`],
    /// in the order asked.
    fn submit(&self, command: Command);

    /// Asks for several things in this order, and empties the list; cheaper
    /// than one by one, and the same.
    fn submit_all(&self, commands: &mut Vec<Command>) {
        commands.drain(..).for_each(|command| self.submit(command));
    }

    /// The stream is gone. What was submitted before is done before.
    fn detach(&self, ending: Ending);
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

/// A page of a session's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// The session's life.
    pub epoch: Epoch,
    /// The connections, with the places of their joining.
    pub page: Page<(Sequence, ConnectionView)>,
}

/// One thing that a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session exists.
    SessionStarted(SessionId, Epoch, SystemTime),
    /// A session's last connection is gone.
    SessionEnded(SessionId, Epoch),
    /// A connection is in a session, since this place.
    ConnectionCreated(SessionId, Sequence, ConnectionView),
    /// A connection is gone, at this place.
    ConnectionDestroyed(SessionId, Sequence, ConnectionId, DisconnectReason),
    /// What was there has been listed.
    SnapshotComplete,
}

/// What a watcher reads; an error is its last item.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Change, Refusal>> + Send>>;

/// How much an engine holds; where there are many nodes, of what is on this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions with somebody in them.
    pub sessions: usize,
    /// Connections with a stream.
    pub attached: usize,
    /// Connections within their window, without one; 0 where there are many nodes, and
    /// such a connection is on none of them.
    pub detached: usize,
}

/// What a node knows of a session by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its connections with a stream on this node.
    pub connected: usize,
    /// Those within their window, without a stream; 0 where there are many nodes, as in
    /// [`Stats::detached`].
    pub interrupted: usize,
    /// Its life.
    pub epoch: Epoch,
    /// The newest place that the node has heard of.
    pub sequence: Sequence,
    /// When its life began; about, where there are many nodes.
    pub created_at: SystemTime,
}

/// The name of a stream's outlet on its node; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutletId(pub u64);

/// The node that an engine delivers through.
pub trait Node: Send + Sync + 'static {
    /// A session got its first connection on this node.
    fn open_room(&self, session: &SessionId) -> Box<dyn Room>;

    /// What the node may spend on signals, what the engine keeps included.
    fn budget(&self) -> Arc<Budget> {
        Arc::default()
    }
}

/// A session's streams on this node. Called with the session locked: nothing
/// here may block or call back into the engine.
pub trait Room: Send {
    /// A stream receives from here on.
    fn attach(&mut self, handle: Handle, view: View, outlet: OutletId);

    /// What is delivered comes after this place, which is where the session is.
    fn reached(&mut self, _: Sequence) {}

    /// A stream receives no more, and ends.
    fn release(&mut self, handle: Handle, farewell: Farewell);

    /// The session is no more, because of a bug of its own: every stream ends.
    fn abandon(&mut self, farewell: Farewell);

    /// An event took its place: hand it to those attached that it is for. Those
    /// whose outbox overflows are told in `overflowed`, and get nothing more.
    fn deliver(&mut self, entry: &Entry, overflowed: &mut Vec<Handle>);

    /// A send was decided.
    fn answer(&mut self, handle: Handle, result: &SendResult, overflowed: &mut Vec<Handle>);

    /// [`Effect::Entry`] and [`Effect::Answer`], several in their order: what one
    /// command, or several submitted together, brought about. The same as one by
    /// one, and cheaper where a room can make it so.
    fn hand_on(&mut self, effects: &[Effect], overflowed: &mut Vec<Handle>) {
        for effect in effects {
            match effect {
                Effect::Entry(entry) => self.deliver(entry, overflowed),
                Effect::Answer(handle, result) => self.answer(*handle, result, overflowed),
                _ => {}
            }
        }
    }
}
