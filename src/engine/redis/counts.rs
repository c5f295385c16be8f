//! What happened between this node and Redis, counted.

use std::{
    sync::atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::engine::{Figure, FigureValue};

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

    /// All that only grow.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let total =
            |name, help, counter: &AtomicU64| Figure { name, help, value: FigureValue::Total(counter.load(Relaxed)) };
        vec![
            total("signalbox_engine_calls_total", "Scripts that Redis answered", &self.calls),
            total("signalbox_engine_failures_total", "Scripts that it did not, or refused", &self.failures),
            total("signalbox_engine_retries_total", "Commands of streams that were asked again", &self.retries),
            total("signalbox_engine_fenced_total", "Times that this node's lease was over", &self.fenced),
            total(
                "signalbox_engine_catch_ups_total",
                "Times that events were read from a session's log",
                &self.catch_ups,
            ),
            total(
                "signalbox_engine_resyncs_total",
                "Times that it was looked what a session had become",
                &self.resyncs,
            ),
            total("signalbox_engine_evictions_total", "Connections of dead nodes found by this one", &self.evictions),
            total(
                "signalbox_engine_gaps_total",
                "Times that streams had to resume because events were lost",
                &self.gaps,
            ),
        ]
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
