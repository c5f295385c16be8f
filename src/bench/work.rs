//! The works: what a load can be.

use std::{io, time::Duration};

use super::{payload::MIN_SIZE, report::Setting, wire::Capability};

/// What to put on a peer. Everything is counted over the whole load.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Signals to everyone in a session.
    Fanout(Fanout),
    /// Sessions of two that signal to each other.
    Pairs(Pairs),
    /// Signals from a backend.
    Unary(Unary),
    /// Members that join.
    Join(Joins),
    /// Members that only are there.
    Idle(Idle),
    /// Good members with bad clients among them.
    Mixed(Mixed),
}

/// When the next is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: as soon as fewer than this are under way.
    InFlight(usize),
    /// Open loop: this many a second, whatever comes back. Times count from when
    /// each was due.
    Rate(f64),
}

/// Signals to everyone in a session, the sender included.
#[derive(Clone, Debug, PartialEq)]
pub struct Fanout {
    /// Sessions.
    pub sessions: usize,
    /// Members of each, on a connection of its own each.
    pub receivers: usize,
    /// How many of them take turns in sending.
    pub senders: usize,
    /// Bytes of each signal, from [`MIN_SIZE`] on.
    pub size: usize,
    /// In flight per session: not yet at all its members. A rate is of all
    /// sessions together.
    pub pace: Pace,
}

/// Sessions of two that signal to each other by address.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Sessions.
    pub pairs: usize,
    /// Bytes of each signal, from [`MIN_SIZE`] on.
    pub size: usize,
    /// Signals a second of all together, the members in turn; none: each pair
    /// plays ping-pong with one signal.
    pub rate: Option<f64>,
}

/// Signals from a backend to everyone in one session, each answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Members of the session, on a connection of its own each.
    pub members: usize,
    /// Connections of the backend.
    pub connections: usize,
    /// Bytes of each signal, from [`MIN_SIZE`] on.
    pub size: usize,
    /// In flight over all connections: not yet answered.
    pub pace: Pace,
}

/// Members that join over a new TCP connection each.
#[derive(Clone, Debug, PartialEq)]
pub struct Joins {
    /// How many join.
    pub joins: usize,
    /// How many of them at once.
    pub concurrency: usize,
    /// All into one session, where they stay; otherwise each into its own, and
    /// gone as soon as it is in.
    pub together: bool,
}

/// Members that are there and do nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// How many.
    pub members: usize,
    /// How many share a connection.
    pub per_connection: usize,
    /// How many are in a session.
    pub per_session: usize,
}

/// Good members that signal to everyone in their session, without bad clients
/// among them and with, in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Good members, on a connection of their own each.
    pub members: usize,
    /// How many of them are in a session.
    pub per_session: usize,
    /// Bytes of each good signal, from [`MIN_SIZE`] on.
    pub size: usize,
    /// Good signals a second of all sessions together, the members in turn.
    pub rate: f64,
    /// Bad clients, on top: slow readers, flooders and senders of oversize
    /// messages in turn, three to a session from the first on.
    pub bad: usize,
    /// Signals a second that each flooder sends.
    pub flood_rate: f64,
    /// Bytes of each.
    pub flood_size: usize,
    /// How long a bad client stays away when the server ended it.
    pub pause: Duration,
    /// How often it is measured: without the bad ones, with them, and without
    /// them again.
    pub rounds: usize,
}

impl Work {
    /// Its name, as the command has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fanout(_) => "fanout",
            Self::Pairs(_) => "pairs",
            Self::Unary(_) => "unary",
            Self::Join(_) => "join",
            Self::Idle(_) => "idle",
            Self::Mixed(_) => "mixed",
        }
    }

    /// Whether a peer must have this.
    #[must_use]
    pub fn needs(&self, capability: Capability) -> bool {
        match capability {
            Capability::Address => matches!(self, Self::Pairs(_)),
            Capability::Unary => matches!(self, Self::Unary(_)),
            Capability::SharedConnection => matches!(self, Self::Idle(idle) if idle.per_connection > 1),
            Capability::Limits => matches!(self, Self::Mixed(_)),
        }
    }

    /// How many connections there are at most at once.
    pub(super) fn connections(&self) -> usize {
        match self {
            Self::Fanout(work) => work.sessions.saturating_mul(work.receivers),
            Self::Pairs(work) => work.pairs.saturating_mul(2),
            Self::Unary(work) => work.members.saturating_add(work.connections),
            Self::Join(work) if work.together => work.joins,
            Self::Join(work) => work.concurrency,
            Self::Idle(work) => work.members.div_ceil(work.per_connection),
            Self::Mixed(work) => work.members.saturating_add(work.bad),
        }
    }

    /// How it is set, under the names that it has in JSON.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let count = |name, count: usize| (name, count as f64);
        let paced = |pace| match pace {
            Pace::InFlight(number) => count("in_flight", number),
            Pace::Rate(rate) => ("rate_per_second", rate),
        };
        match *self {
            Self::Fanout(Fanout { sessions, receivers, senders, size, pace }) => vec![
                count("sessions", sessions),
                count("receivers", receivers),
                count("senders", senders),
                count("size_bytes", size),
                paced(pace),
            ],
            Self::Pairs(Pairs { pairs, size, rate }) => {
                let pace = rate.map_or(Pace::InFlight(1), Pace::Rate);
                vec![count("pairs", pairs), count("size_bytes", size), paced(pace)]
            }
            Self::Unary(Unary { members, connections, size, pace }) => vec![
                count("members", members),
                count("connections", connections),
                count("size_bytes", size),
                paced(pace),
            ],
            Self::Join(Joins { joins, concurrency, together }) => vec![
                count("joins", joins),
                count("concurrency", concurrency),
                count("sessions", if together { 1 } else { joins }),
            ],
            Self::Idle(Idle { members, per_connection, per_session }) => vec![
                count("members", members),
                count("per_connection", per_connection),
                count("per_session", per_session),
            ],
            Self::Mixed(Mixed { members, per_session, size, rate, bad, flood_rate, flood_size, pause, rounds }) => {
                vec![
                    count("members", members),
                    count("per_session", per_session),
                    count("size_bytes", size),
                    paced(Pace::Rate(rate)),
                    count("bad", bad),
                    ("flood_rate_per_second", flood_rate),
                    count("flood_size_bytes", flood_size),
                    ("pause_ns", pause.as_nanos() as f64),
                    count("rounds", rounds),
                ]
            }
        }
    }

    /// Checks that there is something to do.
    pub(super) fn check(&self) -> io::Result<()> {
        let (counts, size, pace) = match self {
            Self::Fanout(work) => (vec![work.sessions, work.receivers, work.senders], work.size, work.pace),
            Self::Pairs(work) => (vec![work.pairs], work.size, work.rate.map_or(Pace::InFlight(1), Pace::Rate)),
            Self::Unary(work) => (vec![work.members, work.connections], work.size, work.pace),
            Self::Join(work) => (vec![work.joins], MIN_SIZE, Pace::InFlight(work.concurrency)),
            Self::Idle(work) => {
                (vec![work.members, work.per_connection, work.per_session], MIN_SIZE, Pace::InFlight(1))
            }
            Self::Mixed(work) => {
                let counts = vec![work.members, work.per_session, work.bad, work.flood_size, work.rounds];
                (counts, work.size, Pace::Rate(work.rate.min(work.flood_rate)))
            }
        };
        let paced = match pace {
            Pace::InFlight(count) => count > 0,
            Pace::Rate(rate) => rate.is_finite() && rate > 0.0,
        };
        let wrong = if counts.contains(&0) || !paced {
            "a load of nothing: every number of it must be above 0".to_owned()
        } else if size < MIN_SIZE {
            format!("a signal of a load has {MIN_SIZE} bytes at least, and not {size}: it tells when it was due")
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
    }
}
