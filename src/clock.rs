//! The time, as an argument. Layer 0.
//!
//! Nothing below the server asks the operating system for the time: it is
//! handed a [`Now`], so that simulations drive everything under virtual time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since an arbitrary start; never goes back. Deadlines use it.
    pub monotonic: Duration,
    /// The time of day. Only for showing: it may jump.
    pub wall: SystemTime,
}

impl Now {
    /// The moment `after` later on the monotonic clock; saturates.
    #[must_use]
    pub fn plus(&self, after: Duration) -> Duration {
        self.monotonic.saturating_add(after)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: SystemTime::now() }
    }
}
