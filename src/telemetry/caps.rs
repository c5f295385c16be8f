//! What happens when a cap is hit: it is counted, and said in the log, at most
//! once in ten seconds for each cap, because peers decide how often it happens.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use tokio::time::Instant;

/// The time from one line about a cap to the next.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A bound of the server's on what peers may take from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// TCP connections in all.
    Transports,
    /// TCP connections from one address.
    TransportsPerAddress,
    /// Open files, the system's own bound.
    OpenFiles,
    /// TCP connections for REST.
    Rest,
    /// `Join` streams in all.
    Streams,
    /// `Join` streams from one address.
    StreamsPerAddress,
    /// Connections in one session.
    Session,
    /// Memory for signals.
    Memory,
    /// The time that a worker has.
    Workers,
    /// What one TCP connection may send in a second.
    Pace,
    /// What may wait for one reader, or for how long.
    Reader,
}

impl Cap {
    const ALL: [Self; 11] = [
        Self::Transports,
        Self::TransportsPerAddress,
        Self::OpenFiles,
        Self::Rest,
        Self::Streams,
        Self::StreamsPerAddress,
        Self::Session,
        Self::Memory,
        Self::Workers,
        Self::Pace,
        Self::Reader,
    ];

    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transports => "transports",
            Self::TransportsPerAddress => "transports_per_address",
            Self::OpenFiles => "open_files",
            Self::Rest => "rest_transports",
            Self::Streams => "connections",
            Self::StreamsPerAddress => "connections_per_address",
            Self::Session => "connections_per_session",
            Self::Memory => "memory_for_signals",
            Self::Workers => "overload",
            Self::Pace => "transport_pace",
            Self::Reader => "slow_reader",
        }
    }
}

/// Counts, and says, that caps are hit.
pub struct Caps {
    hits: [Counter; Cap::ALL.len()],
    said: [Mutex<Said>; Cap::ALL.len()],
}

#[derive(Default)]
struct Said {
    at: Option<Instant>,
    /// Hits since then that were not said.
    since: u64,
}

impl Said {
    /// Whether to say it; with how many there were in silence before.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.at.is_some_and(|at| now - at < LINE_INTERVAL) {
            self.since += 1;
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Caps {
    pub(super) fn register() -> Self {
        describe_counter!("signalbox_cap_hits_total", "How often a cap of the server's was hit, by cap");
        Self {
            hits: Cap::ALL.map(|cap| counter!("signalbox_cap_hits_total", "cap" => cap.name())),
            said: Default::default(),
        }
    }

    /// A cap was hit; `what` says how, with the numbers, and is asked for only
    /// when it is said.
    pub fn hit(&self, cap: Cap, what: impl fmt::Display) {
        self.hits[cap as usize].increment(1);
        let said = self.said[cap as usize].lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if let Some(unsaid) = said {
            tracing::warn!(cap = cap.name(), unsaid, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cap_is_said_once_in_ten_seconds_with_what_was_not_said() {
        let mut said = Said::default();
        assert_eq!(said.take(Instant::now()), Some(0));
        assert!((0..9).all(|_| said.take(Instant::now()).is_none()));
        tokio::time::advance(LINE_INTERVAL).await;
        assert_eq!(said.take(Instant::now()), Some(9));
        assert_eq!(said.take(Instant::now()), None);
    }

    #[test]
    fn every_cap_has_its_place() {
        assert!(Cap::ALL.iter().enumerate().all(|(at, cap)| *cap as usize == at));
    }
}
