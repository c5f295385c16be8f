//! What everyone in a run shares: where to go, when it gets calm, who is how
//! far, and what is written down.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use signalbox::client::Client;

use crate::history::{History, Recorder};

/// The session that everyone is in.
pub(crate) const SESSION: &str = "proof";

/// How many ids are remembered, to be addressed: some of them are gone.
const KNOWN: usize = 40;

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Does something, or waits for it.
    Busy(&'static str),
    /// Is in, in a calm world, and every send has its outcome.
    Settled,
    /// Has seen the fence of this number, and takes no event after it.
    Fenced(u64),
    /// Is out, and doesn't come back.
    Gone,
}

/// What comes after the storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scene {
    /// Everyone sees everything up to the fence of this number.
    UpTo(u64),
    /// Everyone is at rest where it is.
    Rest,
}

/// The stage of a run.
pub(crate) struct Stage {
    pub(crate) seed: u64,
    /// Everybody may be away for seconds, and stays.
    pub(crate) is_steady: bool,
    /// Through the faults.
    pub(crate) faulty: Client,
    /// Past them.
    pub(crate) clean: Client,
    pub(crate) calm: CancellationToken,
    pub(crate) scene: watch::Sender<Scene>,
    pub(crate) statuses: watch::Sender<BTreeMap<usize, Status>>,
    recorders: Mutex<Vec<Recorder>>,
    known: Mutex<VecDeque<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub(crate) fn new(seed: u64, is_steady: bool, faulty: Client, clean: Client) -> Self {
        Self {
            seed,
            is_steady,
            faulty,
            clean,
            calm: CancellationToken::new(),
            scene: watch::Sender::new(Scene::UpTo(0)),
            statuses: watch::Sender::default(),
            recorders: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// A history that the run will be judged by.
    pub(crate) fn recorder(&self, name: String) -> Recorder {
        let recorder = Recorder::new(name);
        lock(&self.recorders).push(recorder.clone());
        recorder
    }

    pub(crate) fn histories(&self) -> Vec<History> {
        lock(&self.recorders).iter().map(Recorder::history).collect()
    }

    pub(crate) fn is(&self, member: usize, status: Status) {
        self.statuses.send_if_modified(|all| all.insert(member, status) != Some(status));
    }

    /// A connection that others may address from now on.
    pub(crate) fn meet(&self, connection: &str) {
        let mut known = lock(&self.known);
        known.push_back(connection.to_owned());
        if known.len() > KNOWN {
            known.pop_front();
        }
    }

    /// Some connection that there was; it may be gone.
    pub(crate) fn somebody(&self, dice: &mut StdRng) -> String {
        let known = lock(&self.known);
        match known.len() {
            0 => "nobody".into(),
            count => known[dice.random_range(0..count)].clone(),
        }
    }
}

/// Some time up to `most` milliseconds.
pub(crate) fn pause(dice: &mut StdRng, most: u64) -> Duration {
    Duration::from_millis(dice.random_range(1..=most))
}

/// The data of a signal: its tag, and something to make it longer or shorter.
pub(crate) fn data(dice: &mut StdRng, tag: &str) -> String {
    let more = if dice.random_bool(0.02) { 4_000 } else { 200 };
    format!("{tag} {}", "-".repeat(dice.random_range(0..more)))
}

/// The tag in a signal's data.
pub(crate) fn tag(data: &str) -> &str {
    data.split(' ').next().unwrap_or_default()
}

/// The data of a fence.
pub(crate) fn fence(number: u64) -> String {
    format!("fence-{number}")
}

/// The number of a fence, if a tag is one's.
pub(crate) fn is_fence(tag: &str) -> Option<u64> {
    tag.strip_prefix("fence-")?.parse().ok()
}
