//! What happened between this node and Redis, counted.

use std::{
    sync::atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Trouble;

/// Hands on how long Redis took.
pub type Observe = Box<dyn Fn(Duration) + Send + Sync>;

/// Counters that only grow, and how many streams there are.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) attached: AtomicIsize,
    pub(super) calls: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) fenced: AtomicU64,
    pub(super) catch_ups: AtomicU64,
    pub(super) resyncs: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) observe: std::sync::OnceLock<Observe>,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// A stream more, or less.
    pub(super) fn stream(&self, by: isize) {
        self.attached.fetch_add(by, Relaxed);
    }

    pub(super) fn trouble(&self, trouble: &Trouble) {
        Self::add(&self.failures);
        if matches!(trouble, Trouble::Fenced) {
            Self::add(&self.fenced);
        }
    }

    /// A call was answered.
    pub(super) fn took(&self, time: Duration) {
        Self::add(&self.calls);
        if let Some(observe) = self.observe.get() {
            observe(time);
        }
    }
}
