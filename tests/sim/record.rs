//! What a run leaves behind: what really happened, what everyone saw and was
//! told, and a trace of it all.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use signalbox::{
    clock::{Clock, Now},
    domain::{ConnectionId, Entry},
    proto::{self, join_request::Frame, join_response::Event, send_result::Outcome},
};
use tokio::time::Instant;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of a session, as the server decided it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) session: String,
    /// Which run of the server it was in.
    pub(crate) house: usize,
    /// Its whole order: the entry at `n` has the sequence `n + 1`.
    pub(crate) order: Vec<Entry>,
}

/// What a client asked to see.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) types: Vec<String>,
    pub(crate) suppress_connection_events: bool,
    pub(crate) suppress_own_signals: bool,
}

/// One stream, as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) view: View,
    pub(crate) claim: Option<proto::Resume>,
    /// Once it was let in; the snapshot's pages are put together.
    pub(crate) joined: Option<proto::Joined>,
    /// The sequenced events, in the order they came.
    pub(crate) events: Vec<Event>,
    /// The newest sequence heard of.
    pub(crate) complete_to: u64,
}

/// One send, or disconnect, and everything its sender was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) connection: ConnectionId,
    pub(crate) frame: Frame,
    pub(crate) answers: Vec<Outcome>,
}

/// What one client asked for and saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) name: String,
    pub(crate) session: String,
    pub(crate) streams: Vec<Stream>,
    pub(crate) asks: Vec<Ask>,
    /// Whether the client was in, and up to date, when nothing happened any
    /// more; the newest sequence then.
    pub(crate) rest: Option<u64>,
}

/// One server signal, and what its backend was told of it: once, or again for
/// the same key.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) request: proto::SendFromServerRequest,
    pub(crate) answers: Vec<Result<proto::SendFromServerResponse, String>>,
    /// How often it was called.
    pub(crate) calls: usize,
}

/// Everything that a run leaves behind.
pub(crate) struct Record {
    started: Instant,
    pub(crate) lives: Mutex<Vec<Life>>,
    trace: Mutex<Vec<String>>,
    met: Mutex<BTreeMap<&'static str, usize>>,
    violations: Mutex<Vec<String>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            lives: Mutex::default(),
            trace: Mutex::default(),
            met: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn trace(&self, who: &str, what: fmt::Arguments<'_>) {
        let at = self.started.elapsed();
        lock(&self.trace).push(format!("{:>7}.{:03} {who} {what}", at.as_secs(), at.subsec_millis()));
    }

    /// Counts something worth meeting.
    pub(crate) fn met(&self, what: &'static str) {
        *lock(&self.met).entry(what).or_default() += 1;
    }

    /// A promise was broken.
    pub(crate) fn violation(&self, what: String) {
        lock(&self.violations).push(what);
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.trace))
    }

    pub(crate) fn take_met(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut lock(&self.met))
    }

    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.violations))
    }
}

/// Virtual time: the runtime's.
pub(crate) struct VirtualClock(pub(crate) Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let monotonic = self.0.elapsed();
        // Any day will do; a run knows no other.
        Now { monotonic, wall: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000) + monotonic }
    }
}
