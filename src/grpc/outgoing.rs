//! What a `Join` stream sends, step by step: what waits in its outbox,
//! heartbeats in silence, and its end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    domain::{Ending, Limits},
    hub::{Goodbye, Next, Outbox, Outlet, Reading},
};

use super::wire;

/// Messages over this are handed on as they are, without copying; merging
/// smaller ones costs less than a piece each.
pub(super) const SHARED_OVER_BYTES: usize = 4 * 1_024;

/// The next thing to do for a stream.
pub(super) enum Step {
    /// Send these whole messages.
    Data(Bytes),
    /// Nothing, until the outbox rings, or until then.
    Wait(Option<Instant>),
    /// Send the trailers: the last step.
    Trailers(Box<Goodbye>),
}

/// One stream's side to its client.
pub(super) struct Outgoing {
    reading: Reading,
    /// None when the hub had no place: the outbox holds only the goodbye.
    outlet: Option<Outlet>,
    /// Everything is sent but the trailers.
    closing: Option<Box<Goodbye>>,
    ended: Option<Ending>,
    interval: Duration,
    patience: Duration,
    sent_at: Instant,
}

impl Outgoing {
    pub(super) fn new(outbox: Arc<Outbox>, outlet: Option<Outlet>, limits: &Limits, now: Instant) -> Self {
        let (interval, patience) = (limits.heartbeat_interval, limits.reader_timeout);
        Self { reading: Reading::new(outbox), outlet, closing: None, ended: None, interval, patience, sent_at: now }
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        self.reading.outbox()
    }

    /// What to do next.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if let Some(goodbye) = self.closing.take() {
            self.close(goodbye.farewell.ending);
            return Step::Trailers(goodbye);
        }
        if self.reading.is_idle()
            && let Some(due) = self.silent_until(now)
        {
            return Step::Wait(Some(due));
        }
        let data = match self.reading.take() {
            Next::Frames(frames) => frames,
            Next::NotOpen => return Step::Wait(None),
            Next::Idle(sequence) => match self.silent_until(now) {
                Some(due) => return Step::Wait(Some(due)),
                None => wire::heartbeat(sequence),
            },
            // The client that left asked for the end: it isn't on the server's
            // own account.
            Next::End(goodbye) if goodbye.farewell.ending.reason().is_none() => {
                self.close(goodbye.farewell.ending);
                return Step::Trailers(Box::new(goodbye));
            }
            Next::End(goodbye) => {
                let told = wire::closing(&goodbye.farewell);
                self.closing = Some(Box::new(goodbye));
                told
            }
        };
        self.sent_at = now;
        Step::Data(data)
    }

    /// How long it may stay silent; none when it has been for long enough.
    fn silent_until(&self, now: Instant) -> Option<Instant> {
        Some(self.sent_at + self.interval).filter(|due| now < *due)
    }

    /// Whether what there is to send may wait for something to go with.
    pub(super) fn may_wait(&self) -> bool {
        self.closing.is_none() && self.reading.has_few_outcomes_only()
    }

    /// Its client leaves things behind.
    pub(super) fn fall_behind(&self) {
        self.reading.outbox().set_behind(true);
    }

    /// The client reads nothing now: keeps no more than it must.
    pub(super) fn settle(&mut self) {
        self.reading.settle();
    }

    /// How it ended; broken, if nobody ended it.
    pub(super) fn ending(&self) -> Ending {
        self.ended.unwrap_or(Ending::Broken)
    }

    /// How long its client may take nothing of what waits.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.reading.is_empty()
    }

    /// It ends in this way, whatever waits.
    pub(super) fn close(&mut self, ending: Ending) {
        self.ended = Some(ending);
        if let Some(outlet) = self.outlet.take() {
            outlet.closed(ending);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(outlet) = self.outlet.take() {
            outlet.closed(self.ending());
        }
    }
}
