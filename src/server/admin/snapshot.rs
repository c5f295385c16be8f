//! What `/status.json` says. `docs/STATUS.md` describes it to those who read it.
//!
//! What a reader doesn't find is taken as nothing, so that one of another version reads
//! what it knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Grows when a field goes, or comes to mean something else; not when one is added.
pub(crate) const VERSION: u32 = 1;

/// A node, as it is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// The time of day, by RFC 3339.
    pub(crate) taken_at: String,
    pub(crate) node: NodeFacts,
    pub(crate) engine: EngineFacts,
    pub(crate) totals: Totals,
    pub(crate) outboxes: Outboxes,
    pub(crate) memory: Memory,
    /// None where the system doesn't tell.
    pub(crate) process: Option<Process>,
    pub(crate) sessions: Sessions,
    /// The streams for which the most waits, of those that leave things behind, the fullest
    /// first.
    pub(crate) readers: Vec<Reader>,
}

/// The node itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeFacts {
    /// Of this package.
    pub(crate) version: String,
    /// Its name among others, where there may be others.
    pub(crate) name: Option<String>,
    /// Where it serves gRPC.
    pub(crate) address: String,
    pub(crate) state: State,
    /// Why it isn't ready.
    pub(crate) why: Option<String>,
    /// Since it began to serve; never goes back, so that rates are of this.
    pub(crate) uptime_seconds: f64,
    /// The threads that serve connections.
    pub(crate) workers: usize,
}

/// Whether it takes joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It does.
    Ready,
    /// What it depends on is away.
    #[default]
    Unready,
    /// It is about to go away.
    Draining,
}

/// Where sessions live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EngineFacts {
    /// `memory` or `redis`.
    pub(crate) kind: String,
    /// What has been asked of it, and how long it took; none where nothing is asked.
    pub(crate) answers: Option<Answers>,
    /// The rest that it tells of itself, as in `/metrics` but without `signalbox_engine_`.
    pub(crate) figures: BTreeMap<String, f64>,
}

/// How long answers took, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answers {
    pub(crate) count: u64,
    /// All together.
    pub(crate) seconds: f64,
}

/// What there is on this node now, and what there has been since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) sessions: usize,
    /// Connections with a stream.
    pub(crate) connected: usize,
    /// Connections within their window, without one; 0 with Redis.
    pub(crate) interrupted: usize,
    pub(crate) streams: usize,
    /// Signals accepted, by `client` and `server`.
    pub(crate) signals: BTreeMap<String, u64>,
    /// Events handed to outboxes.
    pub(crate) deliveries: u64,
    /// By outcome.
    pub(crate) joins: BTreeMap<String, u64>,
    /// By reason; only those that there were.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Streams ended, by reason; only those that there were.
    pub(crate) closes: BTreeMap<String, u64>,
    /// By cap; only those that were hit.
    pub(crate) cap_hits: BTreeMap<String, u64>,
    /// Each is a bug.
    pub(crate) panics: u64,
}

/// What waits for all streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outboxes {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) most_events: usize,
}

/// The budget of memory for signals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// In bytes; none: no limit.
    pub(crate) limit: Option<usize>,
    /// In bytes, by what for.
    pub(crate) spent: BTreeMap<String, usize>,
    /// How often something made place, by what; only what did.
    pub(crate) relief: BTreeMap<String, u64>,
}

/// What the process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// CPU time, of all threads, ever.
    pub(crate) cpu_seconds: f64,
    /// Resident, in bytes.
    pub(crate) memory_bytes: u64,
    pub(crate) threads: u64,
}

/// Some of the sessions that somebody of this node is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sessions {
    pub(crate) rows: Vec<SessionRow>,
    /// How many the filter lets through; `rows` has the first of them.
    pub(crate) matching: usize,
    /// How many were looked at.
    pub(crate) looked_at: usize,
    /// How long the looking took, at them and at the streams.
    pub(crate) took_seconds: f64,
    /// Over which time the rates are; none: this was the first look for a while, and there
    /// are no rates.
    pub(crate) rates_over_seconds: Option<f64>,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionRow {
    pub(crate) id: String,
    /// Connections with a stream on this node.
    pub(crate) connected: usize,
    /// Connections within their window, without a stream; 0 with Redis.
    pub(crate) interrupted: usize,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// Its events, of all kinds: by how much `sequence` grew.
    pub(crate) events_per_second: Option<f64>,
    pub(crate) age_seconds: f64,
}

/// A stream that has left things behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reader {
    /// None before it is in.
    pub(crate) session: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// What that is of what may wait for it: at 1 it is closed.
    pub(crate) full: f64,
    /// For how long each look has found something waiting for it: 0 at the first.
    pub(crate) waiting_seconds: f64,
    /// The stream's.
    pub(crate) age_seconds: f64,
}
