//! Ending every stream of this node, told and spread, before it goes away.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    domain::{Ending, Reason, Refusal},
    engine::lock,
};

use super::Hub;

/// How many clients may come back per second: what the jitter spreads to.
const RETURNS_PER_SECOND: usize = 500;
/// The jitter's bounds, in milliseconds. Half a minute at most, because a
/// client must be back within its window.
const SPREAD_MILLIS: (u64, u64) = (1_000, 30_000);

impl Hub {
    /// Refuses joins from now on, and tells every stream to end: `GOING_AWAY`
    /// with a jittered time to come back after.
    pub fn drain(&self) {
        let registry = lock(&self.0.registry);
        if self.0.going_away.swap(true, Ordering::AcqRel) {
            return;
        }
        let outlets: Vec<_> = registry.outlets.iter().map(|(id, outbox)| (*id, outbox.clone())).collect();
        drop(registry);
        let count = outlets.len();
        for (id, outbox) in outlets {
            let after = spread(id.0, count);
            outbox.end(Ending::GoingAway, Some(after), Some(going_away().retry_after(after)));
        }
        // Only now: a stream that isn't told yet must still get every event.
        self.0.quiet.store(true, Ordering::Release);
        self.0.draining.send_replace(true);
    }

    /// Whether signals are still taken from backends. From the moment of a drain
    /// there is nobody to deliver to, and none may be lost that was accepted.
    ///
    /// # Errors
    /// `GOING_AWAY`.
    pub fn takes_signals(&self) -> Result<(), Refusal> {
        self.takes(0, 0)
    }

    /// As [`Hub::takes_signals`]; a caller that is refused comes back when the
    /// stream with this number would, among `count` others.
    pub(super) fn takes(&self, number: u64, count: usize) -> Result<(), Refusal> {
        if self.0.going_away.load(Ordering::Acquire) {
            return Err(going_away().retry_after(spread(number, count)));
        }
        Ok(())
    }

    /// Comes back once the hub drains.
    pub async fn draining(&self) {
        let mut draining = self.0.draining.subscribe();
        // The sender lives as long as the hub that is borrowed here.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Comes back once no stream is left.
    pub async fn empty(&self) {
        let mut streams = self.0.streams.subscribe();
        let _ = streams.wait_for(|streams| *streams == 0).await;
    }
}

/// When the stream with this number shall come back, among `count` others.
fn spread(number: u64, count: usize) -> Duration {
    let wanted = u64::try_from(count / RETURNS_PER_SECOND).unwrap_or(u64::MAX).saturating_mul(1_000);
    let width = wanted.clamp(SPREAD_MILLIS.0, SPREAD_MILLIS.1);
    Duration::from_millis(100 + scramble(number) % width)
}

/// The refusal that goes with a drain.
fn going_away() -> Refusal {
    Refusal::new(Reason::GoingAway, "the server is going away; come back, here or elsewhere")
}

/// An even spread without a source of randomness: the finalizer of `SplitMix64`.
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
