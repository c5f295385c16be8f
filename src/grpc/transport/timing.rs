//! What a transport does because time has passed: it cuts peers that say
//! nothing, asks the others for signs of life, and gives its streams their turn.
//! One timer for all of it.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::http2::Error;

use super::{Over, PREFACE_TIMEOUT, Phase, Transport, stream::Kind};

/// The client preface and the header of the SETTINGS frame that must follow.
/// Source: RFC 9113, section 3.4.
const PREFACE_BYTES: usize = 24 + 9;
/// Pings find dead peers within 30 s. Source: the contract, the life of a
/// stream, 7.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// How long headers, or a frame that isn't DATA, may be on their way: of a peer on
/// whose connection nobody was let in yet, and of others, whose network may be away
/// for as long as signs of life may.
const MIDWAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    /// A stream has something to do at this time.
    pub(super) fn is_due(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return };
        if self.due.is_none_or(|due| at < due) {
            self.due = Some(at);
            self.is_set &= self.timer_at <= at;
        }
    }

    /// When something that comes in part must be whole.
    fn midway_until(&self) -> Option<Instant> {
        let (since, _) = self.midway?;
        Some(since + if self.is_known { MIDWAY.1 } else { MIDWAY.0 })
    }

    /// Looks whether anything comes in part.
    pub(super) fn note_midway(&mut self, now: Instant) {
        match (self.http.is_midway(), self.midway) {
            (None, None) => {}
            (None, Some(_)) => self.midway = None,
            // Still the same.
            (Some(block), Some((_, before)))
                if block == before && (block.is_some() || !self.http.has_begun_frames()) => {}
            (Some(block), _) => {
                self.midway = Some((now, block));
                // With streams there is a timer, for signs of life.
                self.is_set &= self.http.streams() > 0;
            }
        }
    }

    /// What is due by now.
    pub(super) fn on_time(&mut self, now: Instant) -> Result<(), Over> {
        self.is_set = false;
        if self.heard_bytes < PREFACE_BYTES && now >= self.opened_at + PREFACE_TIMEOUT {
            return Err(Over);
        }
        if let Phase::Lingering(until) = self.phase
            && now >= until
        {
            return Err(Over);
        }
        if self.phase == Phase::Serving && self.midway_until().is_some_and(|until| now >= until) {
            self.fail(&Error::too_slow());
        }
        if self.http.streams() > 0 && now >= self.heard_at + KEEPALIVE.0 {
            match self.pinged_at {
                None => {
                    self.http.ping();
                    self.pinged_at = Some(now);
                }
                Some(at) if now >= at + KEEPALIVE.1 => return Err(Over),
                Some(_) => {}
            }
        }
        if self.due.is_some_and(|due| now >= due) {
            let mut due = None;
            let mut given_up = Vec::new();
            let dirty = &mut self.dirty;
            self.http.for_each_mut(|id, stream| {
                let Kind::Join(join) = &mut stream.kind else { return };
                if join.due().is_some_and(|at| now >= at) {
                    join.on_time(now);
                    if let Some(goodbye) = join.give_up(now) {
                        given_up.push((id, goodbye));
                        return;
                    }
                    if !std::mem::replace(&mut stream.is_dirty, true) {
                        dirty.push(id);
                    }
                }
                due = [due, join.due()].into_iter().flatten().min();
            });
            self.due = due;
            // Trailers need no window, and are all that it is told.
            for (id, goodbye) in given_up {
                self.end(id, &goodbye);
            }
        }
        Ok(())
    }

    /// Sets the timer. Ready when something is due already.
    pub(super) fn sleep(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        if std::mem::replace(&mut self.is_set, true) {
            return Poll::Pending;
        }
        let preface = (self.heard_bytes < PREFACE_BYTES).then(|| self.opened_at + PREFACE_TIMEOUT);
        let linger = match self.phase {
            Phase::Lingering(until) => Some(until),
            Phase::Serving | Phase::Closing => None,
        };
        let keepalive = (self.http.streams() > 0)
            .then(|| self.pinged_at.map_or(self.heard_at + KEEPALIVE.0, |at| at + KEEPALIVE.1));
        let Some(next) =
            [preface, linger, keepalive, self.due, self.paced, self.midway_until()].into_iter().flatten().min()
        else {
            return Poll::Pending;
        };
        // Fires early rather than being set anew at every read.
        if next < self.timer_at || self.timer_at <= now {
            self.timer.as_mut().reset(next);
            self.timer_at = next;
        } else if self.is_timed {
            return Poll::Pending;
        }
        self.is_timed = true;
        self.timer.as_mut().poll(context)
    }
}
