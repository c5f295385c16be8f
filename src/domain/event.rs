//! What has a place in a session's order.

use std::{sync::Arc, time::SystemTime};

use super::{ConnectionId, DisconnectReason, Role, Sequence, Signal};

/// What is the same for a connection's whole life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its name.
    pub id: ConnectionId,
    /// When it joined.
    pub created_at: SystemTime,
    /// What it said about itself.
    pub data: String,
    /// What it may do.
    pub role: Role,
}

/// Whom a signal is for, once decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every connection of the session.
    Everyone,
    /// These, all of them connected when it was decided. Sorted.
    Only(Vec<ConnectionId>),
}

impl Audience {
    /// These connections, in any order.
    #[must_use]
    pub fn only(mut ids: Vec<ConnectionId>) -> Self {
        ids.sort_unstable();
        Self::Only(ids)
    }

    /// Whether a connection is in it.
    #[must_use]
    pub fn contains(&self, id: ConnectionId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(ids) => ids.binary_search(&id).is_ok(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal was accepted; `from` is absent when a backend sent it.
    Signal {
        /// The sender.
        from: Option<ConnectionId>,
        /// Whom it is for.
        audience: Audience,
        /// What it says.
        signal: Signal,
    },
    /// Somebody joined.
    Created(Arc<ConnectionInfo>),
    /// Somebody is gone.
    Destroyed(ConnectionId, DisconnectReason),
    /// Somebody lost the stream, within the window.
    Interrupted(ConnectionId),
    /// Somebody came back.
    Restored(ConnectionId),
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The place.
    pub sequence: Sequence,
    /// When, by the server's clock.
    pub at: SystemTime,
    /// What.
    pub event: Event,
}

impl Entry {
    /// About how many bytes it takes: what the log's byte bound counts.
    #[must_use]
    pub fn size(&self) -> usize {
        let carried = match &self.event {
            Event::Signal { signal, audience, .. } => {
                let addressed = match audience {
                    Audience::Everyone => 0,
                    Audience::Only(ids) => std::mem::size_of_val(ids.as_slice()),
                };
                signal.data().len() + signal.kind().as_str().len() + addressed
            }
            Event::Created(info) => info.data.len(),
            Event::Destroyed(..) | Event::Interrupted(_) | Event::Restored(_) => 0,
        };
        std::mem::size_of::<Self>() + carried
    }
}
