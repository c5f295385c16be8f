//! What waits for one stream's client: bounded by count and bytes, so that a
//! slow reader harms only itself.
//!
//! The writing side never waits: a push takes the lock, appends and wakes. The
//! reading side is the stream's response body.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    domain::{Ending, Limits, Refusal, Sequence},
    engine::lock,
    session::Farewell,
};

/// The bounds of an outbox; 0 is no bound.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events waiting.
    pub events: usize,
    /// Bytes waiting, outcomes of sends included.
    pub bytes: usize,
    /// Sends whose outcome the client hasn't taken. Twice as many outcomes may
    /// wait, because the sends over this bound have an outcome too.
    pub unresolved: usize,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self { events: limits.outbox_events, bytes: limits.outbox_bytes, unresolved: limits.max_unresolved_sends }
    }
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// What the client is told.
    pub farewell: Farewell,
    /// The refusal behind it, if it is one.
    pub refusal: Option<Refusal>,
}

/// The frames that come before any event: made as they are taken, so that a
/// large snapshot is never in memory whole.
pub type Preamble = Box<dyn Iterator<Item = Bytes> + Send>;

/// What the reading side gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// One frame.
    Frame(Bytes),
    /// Nothing waits, and the stream is complete to this place of its session.
    Idle(Sequence),
    /// The last thing.
    End(Goodbye),
}

struct Waiting {
    frame: Bytes,
    is_outcome: bool,
}

#[derive(Default)]
struct State {
    /// Nothing is taken before the stream joined, or was refused.
    open: bool,
    preamble: Option<Preamble>,
    queue: VecDeque<Waiting>,
    bytes: usize,
    outcomes: usize,
    /// Sends read and not yet answered into the client's hands.
    unresolved: usize,
    overflowed: bool,
    /// Whether the connection has a window.
    resumable: bool,
    goodbye: Option<Goodbye>,
    latest: Option<Arc<AtomicU64>>,
    /// The session's newest place when the stream was released.
    final_place: Sequence,
    waker: Option<Waker>,
}

/// One stream's outbox.
pub struct Outbox {
    bounds: Bounds,
    state: Mutex<State>,
}

impl Outbox {
    /// An empty one, closed to its reader until it is opened.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default() }
    }

    /// The stream joined: `preamble` goes before everything pushed so far.
    pub fn open(&self, preamble: Preamble, resumable: bool) {
        self.change(|state| {
            state.open = true;
            state.preamble = Some(preamble);
            state.resumable = resumable;
        });
    }

    /// The stream ends, after what waits. The first ending stands.
    pub fn end(&self, ending: Ending, retry_after: Option<std::time::Duration>, refusal: Option<Refusal>) {
        self.change(|state| {
            state.open = true;
            let resumable = state.resumable;
            state.finish(Goodbye { farewell: Farewell { ending, resumable, retry_after }, refusal });
        });
    }

    /// Whether the stream is about to end: what it still asks for is not done,
    /// because its outcome would not be told.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        lock(&self.state).goodbye.is_some()
    }

    /// A send was read whose outcome the client will get.
    ///
    /// # Errors
    /// How many are unresolved, when that is more than the bound.
    pub fn begin_send(&self) -> Result<(), usize> {
        let mut state = lock(&self.state);
        state.unresolved += 1;
        let (count, most) = (state.unresolved, self.bounds.unresolved);
        if most != 0 && count > most { Err(count) } else { Ok(()) }
    }

    /// The session's newest place is read from here.
    pub(super) fn follow(&self, latest: Arc<AtomicU64>) {
        lock(&self.state).latest = Some(latest);
    }

    /// The session's side ends the stream; its client is told once it was told
    /// that it is in.
    pub(super) fn release(&self, farewell: Farewell) {
        self.change(|state| {
            if let Some(latest) = state.latest.take() {
                state.final_place = latest.load(Ordering::Acquire);
            }
            state.finish(Goodbye { farewell, refusal: None });
        });
    }

    /// Adds an event. False when that overflows the outbox: what waited is
    /// gone, and nothing more is taken in.
    #[must_use]
    pub(super) fn push(&self, frame: Bytes) -> bool {
        self.add(frame, false)
    }

    /// Adds the outcome of a send; as [`Outbox::push`].
    #[must_use]
    pub(super) fn push_outcome(&self, frame: Bytes) -> bool {
        self.add(frame, true)
    }

    fn add(&self, frame: Bytes, is_outcome: bool) -> bool {
        let mut state = lock(&self.state);
        if state.overflowed || state.goodbye.is_some() {
            return true;
        }
        let events = state.queue.len() - state.outcomes;
        let over = |count: usize, bound: usize| bound != 0 && count >= bound;
        let full = if is_outcome {
            over(state.outcomes, self.bounds.unresolved.saturating_mul(2))
        } else {
            over(events, self.bounds.events)
        };
        if full || (self.bounds.bytes != 0 && state.bytes + frame.len() > self.bounds.bytes) {
            state.overflowed = true;
            state.clear();
            return false;
        }
        state.bytes += frame.len();
        state.outcomes += usize::from(is_outcome);
        state.queue.push_back(Waiting { frame, is_outcome });
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        true
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The next thing for the client; registers for more on
    /// [`Next::Idle`]. Pending before the outbox is opened or ended.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        let mut state = lock(&self.state);
        let next = state.take();
        if matches!(next, None | Some(Next::Idle(_))) {
            state.waker = Some(context.waker().clone());
        }
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// How many events and bytes wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.queue.len(), state.bytes)
    }
}

impl State {
    fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.outcomes = 0;
    }

    fn finish(&mut self, goodbye: Goodbye) {
        if self.goodbye.is_some() {
            return;
        }
        // The stream that took over replays what waits here; after an overflow
        // something of it is missing already.
        if matches!(goodbye.farewell.ending, Ending::TakenOver | Ending::SlowConsumer) {
            self.preamble = None;
            self.clear();
        }
        self.goodbye = Some(goodbye);
    }

    fn take(&mut self) -> Option<Next> {
        if !self.open {
            return None;
        }
        if let Some(frame) = self.preamble.as_mut().and_then(Iterator::next) {
            return Some(Next::Frame(frame));
        }
        self.preamble = None;
        // Read before the queue: every event up to it was pushed before it was
        // set, so an empty queue means that the client has them all.
        let latest = self.latest.as_ref().map_or(self.final_place, |latest| latest.load(Ordering::Acquire));
        if let Some(waiting) = self.queue.pop_front() {
            self.bytes -= waiting.frame.len();
            if waiting.is_outcome {
                self.outcomes -= 1;
                self.unresolved = self.unresolved.saturating_sub(1);
            }
            return Some(Next::Frame(waiting.frame));
        }
        Some(self.goodbye.clone().map_or(Next::Idle(latest), Next::End))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outbox(events: usize, bytes: usize, unresolved: usize) -> Outbox {
        let outbox = Outbox::new(Bounds { events, bytes, unresolved });
        outbox.open(Box::new(std::iter::empty()), true);
        outbox
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn next(outbox: &Outbox) -> Poll<Next> {
        outbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn taken(outbox: &Outbox) -> Vec<Bytes> {
        std::iter::from_fn(|| match next(outbox) {
            Poll::Ready(Next::Frame(frame)) => Some(frame),
            _ => None,
        })
        .collect()
    }

    fn ending(outbox: &Outbox) -> Option<Ending> {
        match next(outbox) {
            Poll::Ready(Next::End(goodbye)) => Some(goodbye.farewell.ending),
            _ => None,
        }
    }

    fn farewell(ending: Ending) -> Farewell {
        Farewell { ending, resumable: true, retry_after: None }
    }

    #[test]
    fn the_preamble_goes_before_what_came_in_meanwhile() {
        let outbox = Outbox::new(Bounds { events: 10, bytes: 100, unresolved: 10 });
        assert!(outbox.push(frame("event")));
        assert_eq!(next(&outbox), Poll::Pending);
        outbox.open(Box::new([frame("joined"), frame("page")].into_iter()), false);
        assert_eq!(taken(&outbox), ["joined", "page", "event"]);
    }

    #[test]
    fn who_overflows_while_it_joins_is_told_that_it_is_in_first() {
        let outbox = Outbox::new(Bounds { events: 1, bytes: 0, unresolved: 0 });
        assert!(outbox.push(frame("a")) && !outbox.push(frame("b")));
        outbox.release(farewell(Ending::SlowConsumer));
        assert_eq!(next(&outbox), Poll::Pending);
        outbox.open(Box::new([frame("joined")].into_iter()), true);
        assert_eq!(taken(&outbox), ["joined"]);
        assert_eq!(ending(&outbox), Some(Ending::SlowConsumer));
    }

    #[test]
    fn one_event_too_many_overflows() {
        let outbox = outbox(2, 0, 0);
        assert!(outbox.push(frame("a")) && outbox.push(frame("b")));
        assert!(!outbox.push(frame("c")));
        assert!(outbox.push(frame("d")), "an overflow is told once");
        outbox.release(farewell(Ending::SlowConsumer));
        assert_eq!(taken(&outbox), Vec::<Bytes>::new());
        assert_eq!(ending(&outbox), Some(Ending::SlowConsumer));
    }

    #[test]
    fn one_byte_too_many_overflows() {
        let outbox = outbox(0, 4, 0);
        assert!(outbox.push(frame("abcd")));
        assert_eq!(taken(&outbox), ["abcd"]);
        assert!(outbox.push(frame("abcd")) && !outbox.push(frame("e")));
    }

    #[test]
    fn outcomes_wait_beside_a_full_queue_but_not_for_ever() {
        let outbox = outbox(1, 0, 2);
        assert!(outbox.push(frame("event")));
        for _ in 0..4 {
            assert!(outbox.push_outcome(frame("outcome")));
        }
        assert!(!outbox.push_outcome(frame("outcome")));
    }

    #[test]
    fn a_send_is_unresolved_until_its_outcome_is_taken() {
        let outbox = outbox(0, 0, 1);
        assert_eq!(outbox.begin_send(), Ok(()));
        assert_eq!(outbox.begin_send(), Err(2));
        assert!(outbox.push_outcome(frame("1")) && outbox.push_outcome(frame("2")));
        assert_eq!(outbox.begin_send(), Err(3));
        assert_eq!(taken(&outbox).len(), 2);
        assert!(outbox.push_outcome(frame("3")));
        assert_eq!(taken(&outbox).len(), 1);
        assert_eq!(outbox.begin_send(), Ok(()));
    }

    #[test]
    fn what_waits_goes_before_a_goodbye_unless_it_would_come_twice() {
        for (why, waits) in [(Ending::ForceDisconnected, 1), (Ending::GoingAway, 1), (Ending::TakenOver, 0)] {
            let outbox = outbox(0, 0, 0);
            assert!(outbox.push(frame("event")));
            outbox.release(farewell(why));
            assert_eq!(taken(&outbox).len(), waits, "{why:?}");
            assert_eq!(ending(&outbox), Some(why));
        }
    }

    #[test]
    fn the_first_ending_stands() {
        let outbox = outbox(0, 0, 0);
        outbox.end(Ending::GoingAway, Some(Duration::from_secs(1)), None);
        outbox.release(farewell(Ending::Left));
        assert_eq!(ending(&outbox), Some(Ending::GoingAway));
    }

    #[test]
    fn idle_tells_the_place_that_the_stream_is_complete_to() {
        let outbox = outbox(0, 0, 0);
        let latest = Arc::new(AtomicU64::new(7));
        outbox.follow(Arc::clone(&latest));
        assert_eq!(next(&outbox), Poll::Ready(Next::Idle(7)));
        assert!(outbox.push(frame("8")));
        latest.store(8, Ordering::Release);
        assert_eq!(taken(&outbox).len(), 1);
        assert_eq!(next(&outbox), Poll::Ready(Next::Idle(8)));
    }
}
