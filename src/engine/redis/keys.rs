//! What things are called in Redis.

use sha2::{Digest as _, Sha256};

use crate::domain::{ConnectionId, IdempotencyKey, SessionId};

/// Before every key and channel.
const PREFIX: &str = "signalbox";

/// How many partitions the sessions are divided into; the same on all nodes, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(u16);

impl Partitions {
    /// So many, at least one.
    #[must_use]
    pub const fn new(count: u16) -> Self {
        Self(if count == 0 { 1 } else { count })
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u16 {
        self.0
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        0..self.0
    }

    /// The one that a session is in: by the first eight bytes of its name's SHA-256, which
    /// no version and no platform changes.
    #[must_use]
    pub fn of(self, session: &SessionId) -> u16 {
        let hash: [u8; 32] = Sha256::digest(session.as_str().as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) % u64::from(self.0)) as u16
    }
}

/// The keys of one session. All of a partition's have its tag, and so are in one slot of a
/// cluster.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    partition: u16,
    session: &'a SessionId,
}

impl<'a> Keys<'a> {
    /// Of this session.
    #[must_use]
    pub fn of(session: &'a SessionId, partitions: Partitions) -> Self {
        Self { partition: partitions.of(session), session }
    }

    /// Those that every script is given, in its order.
    #[must_use]
    pub fn first(&self) -> [String; 4] {
        [leases(self.partition), clock(self.partition), self.session(), self.log()]
    }

    /// Those that come after them for scripts by which members come and go.
    #[must_use]
    pub fn more(&self) -> [String; 5] {
        [self.order(), self.of_session("windows"), due(self.partition), index(self.partition), streams(self.partition)]
    }

    /// What the session is.
    #[must_use]
    pub fn session(&self) -> String {
        self.of_session("session")
    }

    /// Its connections, in the order in which they joined.
    #[must_use]
    pub fn order(&self) -> String {
        self.of_session("order")
    }

    /// Its newest events.
    #[must_use]
    pub fn log(&self) -> String {
        self.of_session("log")
    }

    /// The outcomes of one connection's sends.
    #[must_use]
    pub fn outcomes(&self, connection: &ConnectionId) -> String {
        self.key(&format!("outcomes:{connection}:{}", self.session))
    }

    /// The first response to calls with this key. The session's length tells where its
    /// name ends.
    #[must_use]
    pub fn response(&self, key: &IdempotencyKey) -> String {
        let session = self.session.as_str();
        self.key(&format!("response:{}:{session}:{}", session.len(), key.as_str()))
    }

    fn of_session(&self, what: &str) -> String {
        self.key(&format!("{what}:{}", self.session))
    }

    fn key(&self, rest: &str) -> String {
        format!("{PREFIX}:{{{}}}:{rest}", self.partition)
    }
}

/// Where nodes have streams, in one partition.
pub(super) fn streams(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:streams")
}

/// The sessions of a partition that have windows, by the first one's end.
pub(super) fn due(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:due")
}

/// The sessions of a partition.
pub(super) fn index(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:index")
}

/// How many scripts brought something about, in one partition.
pub(super) fn clock(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:clock")
}

/// The server process that was asked last, in one partition.
pub(super) fn server(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:server")
}

/// How many partitions there are.
pub(super) fn partitions() -> String {
    format!("{PREFIX}:{{0}}:partitions")
}

/// Nobody's: to see what this user may do.
pub(super) fn doctor() -> String {
    format!("{PREFIX}:{{0}}:doctor")
}

/// The channel on which is told who comes and goes, in one partition.
pub(super) fn watch(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:watch")
}

/// The leases of the nodes, in one partition.
#[must_use]
pub fn leases(partition: u16) -> String {
    format!("{PREFIX}:{{{partition}}}:leases")
}

/// The channel on which a node gets what happens in one partition.
#[must_use]
pub fn channel(partition: u16, node: &str) -> String {
    format!("{PREFIX}:{{{partition}}}:node:{node}")
}
