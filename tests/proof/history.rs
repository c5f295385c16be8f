//! What one client asked for, was told and saw, as plain data: of whatever
//! client, over however many nodes. Every signal's data is a tag of its own.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A place in a session's order. Sequences compare only within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

impl Place {
    pub(crate) fn new(epoch: u64, sequence: u64) -> Self {
        Self { epoch, sequence }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.sequence)
    }
}

/// Whether a member has its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Connected,
    Interrupted,
}

/// Who is in a session, by connection id.
pub(crate) type Members = BTreeMap<String, State>;

/// What takes a place in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// Without a sender it is from the server.
    Signal {
        tag: String,
        from: Option<String>,
    },
    Created(String),
    Destroyed(String),
    Interrupted(String),
    Restored(String),
}

impl Thing {
    /// The connection that a connection event is about.
    pub(crate) fn subject(&self) -> Option<&str> {
        match self {
            Self::Signal { .. } => None,
            Self::Created(id) | Self::Destroyed(id) | Self::Interrupted(id) | Self::Restored(id) => Some(id),
        }
    }

    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Signal { tag, .. } => Some(tag),
            _ => None,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal { tag, from: Some(from) } => write!(f, "signal {tag} from {from}"),
            Self::Signal { tag, from: None } => write!(f, "signal {tag} from the server"),
            Self::Created(id) => write!(f, "creation of {id}"),
            Self::Destroyed(id) => write!(f, "destruction of {id}"),
            Self::Interrupted(id) => write!(f, "interruption of {id}"),
            Self::Restored(id) => write!(f, "restoration of {id}"),
        }
    }
}

/// What a sender was told of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted {
        /// Not every way to send tells it.
        epoch: Option<u64>,
        sequence: u64,
        not_connected: Vec<String>,
    },
    /// By the server: it had no effect.
    Refused { reason: String },
    /// It certainly never left the client.
    NotSent,
    /// It may have been sent.
    Unknown,
}

/// How a client got in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Everything that it sees from now on comes after this.
    pub(crate) place: Place,
    /// Its own connection.
    pub(crate) connection: String,
    /// Who was there at that place.
    pub(crate) members: Members,
}

/// One thing that happened to a client, or that it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Without recipients it is for everyone.
    Sent {
        tag: String,
        to: Option<Vec<String>>,
    },
    Decided {
        tag: String,
        outcome: Outcome,
    },
    Joined(Entry),
    /// It lost its stream, and is on its way back.
    Reconnecting,
    /// Back; with a gap, something may have been missed, and the connection may
    /// be a new one.
    Reconnected {
        gap: bool,
        entry: Entry,
    },
    Saw {
        place: Place,
        thing: Thing,
    },
    /// Its end.
    Disconnected {
        reason: String,
    },
    /// Nothing happens any more, and it has seen everything; whom it sees.
    AtRest {
        members: Members,
    },
}

/// Everything of one client, in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) name: String,
    pub(crate) records: Vec<Record>,
}

/// What the server says of a session when nothing happens any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) epoch: u64,
    pub(crate) members: Members,
}

/// All there is to judge a session by.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) histories: Vec<History>,
    /// Or why it never came to rest.
    pub(crate) rest: Result<Rest, String>,
}

/// A history while it is being written, by whoever has a clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(History { name: name.into(), records: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, record: Record) {
        self.lock().records.push(record);
    }

    pub(crate) fn history(&self) -> History {
        self.lock().clone()
    }
}
