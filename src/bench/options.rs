//! How a load is put on, whatever it is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How a load is put on.
#[derive(Clone)]
pub struct Options {
    /// How long the load runs before it is measured; for idle members, how long
    /// the server settles. 1 s otherwise.
    pub warm_up: Duration,
    /// How long it is measured; for idle members, how long they are held. A work
    /// that counts joins ends with the last. 5 s otherwise.
    pub measured: Duration,
    /// How long nothing may come before it is given up; a closed loop that is
    /// measured may not even stand still for a quarter of its time, or a second
    /// when that is longer. 10 s otherwise.
    pub patience: Duration,
    /// The server's processes on this machine; none: what it uses isn't known.
    pub pids: Vec<u32>,
    /// Set by another thread to end it early.
    pub stop: Arc<AtomicBool>,
    /// Told ten times a second how far it is.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            pids: Vec::new(),
            stop: Arc::default(),
            progress: None,
        }
    }
}

impl Options {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, stage: &'static str, done: u64, of: u64) {
        if let Some(progress) = &self.progress {
            progress(Progress { stage, done: done.min(of), of });
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("warm_up", &self.warm_up)
            .field("measured", &self.measured)
            .field("patience", &self.patience)
            .field("pids", &self.pids)
            .finish_non_exhaustive()
    }
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which: `connecting`, `warming up`, `measuring`, …
    pub stage: &'static str,
    /// How much of it is done: members, joins or milliseconds.
    pub done: u64,
    /// How much there is.
    pub of: u64,
}
