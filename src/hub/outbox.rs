//! What waits for one stream's client: bounded by count and bytes, so that a
//! slow reader harms only itself.
//!
//! Two things wait: what the session broadcasts, in a [`Chain`](super::chain)
//! that all its receivers share and that this outbox only counts; and the
//! stream's own (its beginning, signals addressed to it, outcomes of its sends,
//! its end), under a lock. Each of its own things knows its place in the chain,
//! so that the two come out in one order.
//!
//! The writing side never waits. The reading side is [`Reading`].

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    domain::{ConnectionId, Ending, Limits, Refusal},
    engine::lock,
    session::Farewell,
};

use super::{
    bell::{Bell, Bits},
    chain::{Carried, Link},
};

/// How long a queue may stay in memory when nothing waits in it.
const QUEUE_KEPT: usize = 8;

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

/// How far the streams that share a chain have been told.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// The session's newest place.
    pub(super) latest: AtomicU64,
    /// What the chain has carried.
    pub(super) events: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// Where a stream begins to receive, and what it is spared.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) at: Arc<Link>,
    pub(super) feed: Arc<Feed>,
    pub(super) me: ConnectionId,
    pub(super) suppress_own_signals: bool,
}

/// Something of the stream's own that waits.
struct Own {
    frames: Bytes,
    /// How many outcomes of sends it holds; an event when none.
    outcomes: usize,
    /// Comes once this many of the chain's events have.
    after: u64,
}

#[derive(Default)]
struct State {
    /// Nothing is taken before the stream joined, or was refused.
    open: bool,
    preamble: Option<Preamble>,
    following: Option<Following>,
    feed: Option<Arc<Feed>>,
    queue: VecDeque<Own>,
    outcomes: usize,
    /// Whether the connection has a window.
    resumable: bool,
    /// And the place in the chain after which it comes.
    goodbye: Option<Box<(Goodbye, u64)>>,
}

/// What the reading side finds under the lock.
pub(super) enum Found {
    /// Not for the client yet.
    NotOpen,
    Frames(Bytes),
    Begin(Following),
    End(Goodbye),
    /// Nothing until this many of the chain's events have come.
    After(u64),
    /// Nothing.
    Nothing,
}

/// One stream's outbox.
pub struct Outbox {
    bounds: Bounds,
    bell: Arc<Bell>,
    bit: Bits,
    /// There may be something under the lock.
    look: AtomicBool,
    /// It takes nothing more: it overflowed, or ends.
    shut: AtomicBool,
    ending: AtomicBool,
    /// How much of the chain the client has taken.
    passed: (AtomicU64, AtomicU64),
    /// How many of the stream's own events, and bytes, wait.
    own: (AtomicUsize, AtomicUsize),
    /// Sends read and not yet answered into the client's hands.
    unresolved: AtomicUsize,
    state: Mutex<State>,
}

impl Outbox {
    /// An empty one, closed to its reader until it is opened; it rings this bit
    /// of this bell.
    #[must_use]
    pub fn new(bounds: Bounds, bell: Arc<Bell>, bit: Bits) -> Self {
        Self {
            bounds,
            bell,
            bit,
            look: AtomicBool::new(true),
            shut: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            passed: Default::default(),
            own: Default::default(),
            unresolved: AtomicUsize::new(0),
            state: Mutex::default(),
        }
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
            self.finish(state, Goodbye { farewell: Farewell { ending, resumable, retry_after }, refusal });
        });
    }

    /// Whether the stream is about to end: what it still asks for is not done,
    /// because its outcome would not be told.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// A send was read whose outcome the client will get.
    ///
    /// # Errors
    /// How many are unresolved, when that is more than the bound.
    pub fn begin_send(&self) -> Result<(), usize> {
        let count = self.unresolved.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.bounds.unresolved;
        if most != 0 && count > most { Err(count) } else { Ok(()) }
    }

    /// The stream receives from here on.
    pub(super) fn follow(&self, following: Following) {
        let carried = following.at.block.carried;
        self.pass(carried);
        let mut state = lock(&self.state);
        state.feed = Some(Arc::clone(&following.feed));
        state.following = Some(following);
    }

    /// The session's side ends the stream; its client is told once it was told
    /// that it is in.
    pub(super) fn release(&self, farewell: Farewell) {
        self.change(|state| self.finish(state, Goodbye { farewell, refusal: None }));
    }

    /// Events were appended to the chain, `before` being what it had carried.
    /// False when that overflows the outbox: what waited is gone, and nothing
    /// more is taken in. Takes no lock unless it does.
    #[must_use]
    pub(super) fn appended(&self, before: Carried, after: Carried) -> bool {
        if self.shut.load(Ordering::Acquire) {
            return true;
        }
        if self.fits(after, after.events > before.events, 0) {
            self.bell.ring(self.bit);
            return true;
        }
        self.overflow(&mut lock(&self.state));
        false
    }

    /// Adds an event of its own. False when that overflows the outbox.
    #[must_use]
    pub(super) fn push(&self, frame: Bytes, carried: Carried) -> bool {
        self.add(frame, 0, carried, carried.events)
    }

    /// Adds the outcomes of this many sends, to be told once `after` of the
    /// chain's events have; as [`Outbox::push`].
    #[must_use]
    pub(super) fn push_outcomes(&self, frames: Bytes, outcomes: usize, carried: Carried, after: u64) -> bool {
        self.add(frames, outcomes, carried, after)
    }

    fn add(&self, frames: Bytes, outcomes: usize, carried: Carried, after: u64) -> bool {
        let mut state = lock(&self.state);
        if self.shut.load(Ordering::Acquire) {
            return true;
        }
        let is_event = outcomes == 0;
        let most_outcomes = self.bounds.unresolved.saturating_mul(2);
        let too_many = most_outcomes != 0 && state.outcomes + outcomes > most_outcomes;
        if is_event {
            self.own.0.fetch_add(1, Ordering::Relaxed);
        }
        if too_many || !self.fits(carried, is_event, frames.len()) {
            self.overflow(&mut state);
            return false;
        }
        self.own.1.fetch_add(frames.len(), Ordering::Relaxed);
        state.outcomes += outcomes;
        state.queue.push_back(Own { frames, outcomes, after });
        self.look.store(true, Ordering::Release);
        drop(state);
        self.bell.ring(self.bit);
        true
    }

    /// Whether what waits is within the bounds, `more` bytes of its own with it.
    fn fits(&self, carried: Carried, is_event: bool, more: usize) -> bool {
        let over = |waiting: usize, bound: usize| bound != 0 && waiting > bound;
        let (events, bytes) = self.lag(carried);
        !(is_event && over(events, self.bounds.events) || over(bytes + more, self.bounds.bytes))
    }

    /// How many events and bytes wait, when the chain has carried so much.
    fn lag(&self, carried: Carried) -> (usize, usize) {
        let of_chain = |carried: u64, passed: &AtomicU64| {
            usize::try_from(carried.saturating_sub(passed.load(Ordering::Acquire))).unwrap_or(usize::MAX)
        };
        let events = of_chain(carried.events, &self.passed.0) + self.own.0.load(Ordering::Relaxed);
        let bytes = of_chain(carried.bytes, &self.passed.1) + self.own.1.load(Ordering::Relaxed);
        (events, bytes)
    }

    fn overflow(&self, state: &mut State) {
        self.shut.store(true, Ordering::Release);
        self.clear(state);
    }

    fn clear(&self, state: &mut State) {
        state.queue.clear();
        state.outcomes = 0;
        self.own.0.store(0, Ordering::Relaxed);
        self.own.1.store(0, Ordering::Relaxed);
    }

    fn finish(&self, state: &mut State, goodbye: Goodbye) {
        if state.goodbye.is_some() {
            return;
        }
        let mut after = state.feed.as_ref().map_or(0, |feed| feed.events.load(Ordering::Acquire));
        // The stream that took over replays what waits here; after an overflow
        // something of it is missing already.
        if matches!(goodbye.farewell.ending, Ending::TakenOver | Ending::SlowConsumer) {
            state.preamble = None;
            self.clear(state);
            after = 0;
        }
        self.shut.store(true, Ordering::Release);
        self.ending.store(true, Ordering::Release);
        state.goodbye = Some(Box::new((goodbye, after)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.look.store(true, Ordering::Release);
        self.bell.ring(self.bit);
    }

    /// How many events and bytes wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = lock(&self.state);
        if self.shut.load(Ordering::Acquire) && state.queue.is_empty() {
            return (0, 0);
        }
        let carried = state.feed.as_ref().map_or_else(Carried::default, |feed| Carried {
            events: feed.events.load(Ordering::Acquire),
            bytes: feed.bytes.load(Ordering::Acquire),
        });
        let (events, bytes) = self.lag(carried);
        (events + state.outcomes, bytes)
    }

    /// The client has taken so much of the chain.
    pub(super) fn pass(&self, carried: Carried) {
        self.passed.0.store(carried.events, Ordering::Release);
        self.passed.1.store(carried.bytes, Ordering::Release);
    }

    /// Whether there may be something under the lock. Asked after looking at
    /// the chain: what precedes a block of it was put here before.
    pub(super) fn has_own(&self) -> bool {
        self.look.load(Ordering::Acquire)
    }

    /// What comes next of its own, when `passed` events of the chain have.
    pub(super) fn take_own(&self, passed: u64) -> Found {
        let mut state = lock(&self.state);
        if !state.open {
            return Found::NotOpen;
        }
        if let Some(frame) = state.preamble.as_mut().and_then(Iterator::next) {
            return Found::Frames(frame);
        }
        state.preamble = None;
        if let Some(following) = state.following.take() {
            return Found::Begin(following);
        }
        match state.queue.front() {
            Some(own) if own.after > passed => return Found::After(own.after),
            Some(_) => {}
            None => match &state.goodbye {
                Some(goodbye) if goodbye.1 <= passed => return Found::End(goodbye.0.clone()),
                Some(goodbye) => return Found::After(goodbye.1),
                None => {
                    // An idle member needs no room for what was a burst.
                    if state.queue.capacity() > QUEUE_KEPT {
                        state.queue = VecDeque::new();
                    }
                    self.look.store(false, Ordering::Release);
                    return Found::Nothing;
                }
            },
        }
        let Some(own) = state.queue.pop_front() else { return Found::Nothing };
        self.own.1.fetch_sub(own.frames.len(), Ordering::Relaxed);
        if own.outcomes == 0 {
            self.own.0.fetch_sub(1, Ordering::Relaxed);
        } else {
            state.outcomes -= own.outcomes;
            self.unresolved.fetch_sub(own.outcomes, Ordering::Relaxed);
        }
        Found::Frames(own.frames)
    }

    /// The bell that it rings.
    #[must_use]
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// The bit that it rings.
    #[must_use]
    pub fn bit(&self) -> Bits {
        self.bit
    }

    /// Its lock, held.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::{Next, Reading};

    use crate::hub::chain::{Cause, Chain};

    /// An outbox, its reading side, and the chain that it follows.
    struct Bed {
        outbox: Arc<Outbox>,
        reading: Reading,
        chain: Chain,
        feed: Arc<Feed>,
    }

    impl Bed {
        fn closed(events: usize, bytes: usize, unresolved: usize) -> Self {
            let outbox = Arc::new(Outbox::new(Bounds { events, bytes, unresolved }, Arc::default(), 1));
            let (chain, feed) = (Chain::default(), Arc::<Feed>::default());
            let me = ConnectionId::from_random([1; 16]);
            outbox.follow(Following { at: chain.end(), feed: feed.clone(), me, suppress_own_signals: true });
            Self { reading: Reading::new(Arc::clone(&outbox)), outbox, chain, feed }
        }

        fn new(events: usize, bytes: usize, unresolved: usize) -> Self {
            let bed = Self::closed(events, bytes, unresolved);
            bed.outbox.open(Box::new(std::iter::empty()), true);
            bed
        }

        fn broadcast_of(&mut self, text: &'static str, from: Option<ConnectionId>) -> bool {
            let before = self.chain.carried();
            self.chain.append(frame(text), 1, Box::default(), Cause { from, about: None });
            let after = self.chain.carried();
            self.feed.events.store(after.events, Ordering::Release);
            self.feed.bytes.store(after.bytes, Ordering::Release);
            self.feed.latest.store(after.events, Ordering::Release);
            self.outbox.appended(before, after)
        }

        fn broadcast(&mut self, text: &'static str) -> bool {
            self.broadcast_of(text, None)
        }

        fn push(&mut self, text: &'static str) -> bool {
            self.outbox.push(frame(text), self.chain.carried())
        }

        fn outcome(&mut self, text: &'static str) -> bool {
            let carried = self.chain.carried();
            self.outbox.push_outcomes(frame(text), 1, carried, carried.events)
        }

        fn taken(&mut self) -> Vec<Bytes> {
            std::iter::from_fn(|| match self.reading.take() {
                Next::Frames(frames) => Some(frames),
                _ => None,
            })
            .collect()
        }

        fn ending(&mut self) -> Option<Ending> {
            match self.reading.take() {
                Next::End(goodbye) => Some(goodbye.farewell.ending),
                _ => None,
            }
        }
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn farewell(ending: Ending) -> Farewell {
        Farewell { ending, resumable: true, retry_after: None }
    }

    #[test]
    fn the_preamble_goes_before_what_came_in_meanwhile() {
        let mut bed = Bed::closed(10, 100, 10);
        assert!(bed.push("event") && bed.broadcast("another"));
        assert_eq!(bed.reading.take(), Next::NotOpen);
        bed.outbox.open(Box::new([frame("joined"), frame("page")].into_iter()), false);
        assert_eq!(bed.taken(), ["joined", "page", "event", "another"]);
    }

    #[test]
    fn broadcasts_and_its_own_come_out_in_one_order() {
        let mut bed = Bed::new(0, 0, 0);
        let order = ["0", "1", "2", "3", "4", "5", "6", "7"];
        for (at, text) in order.iter().enumerate() {
            assert!(match at % 3 {
                0 => bed.broadcast(text),
                1 => bed.push(text),
                _ => bed.outcome(text),
            });
        }
        assert_eq!(bed.taken(), order);
    }

    #[test]
    fn an_outcome_may_come_between_the_events_of_a_block() {
        let mut bed = Bed::new(0, 0, 0);
        let before = bed.chain.carried();
        for after in [0, 1, 3] {
            assert!(bed.outbox.push_outcomes(frame("ok"), 1, before, after));
        }
        bed.chain.append(frame("abbccc"), 3, Box::new([1, 3, 6]), Cause::default());
        assert!(bed.outbox.appended(before, bed.chain.carried()));
        assert_eq!(bed.taken(), ["ok", "a", "ok", "bbccc", "ok"]);
        assert!(bed.broadcast("d"));
        assert_eq!(bed.taken(), ["d"]);
    }

    #[test]
    fn its_own_signals_are_passed_over() {
        let mut bed = Bed::new(2, 0, 0);
        let me = ConnectionId::from_random([1; 16]);
        assert!(bed.broadcast("theirs") && bed.broadcast_of("mine", Some(me)));
        assert_eq!(bed.taken(), ["theirs"]);
        assert!(bed.broadcast("a") && bed.broadcast("b"), "what was passed over waits no more");
    }

    #[test]
    fn who_overflows_while_it_joins_is_told_that_it_is_in_first() {
        let mut bed = Bed::closed(1, 0, 0);
        assert!(bed.broadcast("a") && !bed.broadcast("b"));
        bed.outbox.release(farewell(Ending::SlowConsumer));
        assert_eq!(bed.reading.take(), Next::NotOpen);
        bed.outbox.open(Box::new([frame("joined")].into_iter()), true);
        assert_eq!(bed.taken(), ["joined"]);
        assert_eq!(bed.ending(), Some(Ending::SlowConsumer));
    }

    #[test]
    fn one_event_too_many_overflows() {
        type Add = fn(&mut Bed, &'static str) -> bool;
        let ways: [(Add, Add); 4] = [
            (Bed::push, Bed::push),
            (Bed::broadcast, Bed::broadcast),
            (Bed::push, Bed::broadcast),
            (Bed::broadcast, Bed::push),
        ];
        for (one, other) in ways {
            let mut bed = Bed::new(2, 0, 0);
            assert!(one(&mut bed, "a") && other(&mut bed, "b"));
            assert!(!one(&mut bed, "c"));
            assert!(other(&mut bed, "d"), "an overflow is told once");
            bed.outbox.release(farewell(Ending::SlowConsumer));
            assert_eq!(bed.taken(), Vec::<Bytes>::new());
            assert_eq!(bed.ending(), Some(Ending::SlowConsumer));
        }
    }

    #[test]
    fn one_byte_too_many_overflows() {
        let mut bed = Bed::new(0, 4, 0);
        assert!(bed.push("ab") && bed.broadcast("cd"));
        assert_eq!(bed.taken(), ["ab", "cd"]);
        assert!(bed.broadcast("abcd") && !bed.push("e"));
    }

    #[test]
    fn outcomes_wait_beside_a_full_queue_but_not_for_ever() {
        let mut bed = Bed::new(1, 0, 2);
        assert!(bed.push("event"));
        for _ in 0..4 {
            assert!(bed.outcome("outcome"));
        }
        assert!(!bed.outcome("outcome"));
    }

    #[test]
    fn a_send_is_unresolved_until_its_outcome_is_taken() {
        let mut bed = Bed::new(0, 0, 1);
        assert_eq!(bed.outbox.begin_send(), Ok(()));
        assert_eq!(bed.outbox.begin_send(), Err(2));
        assert!(bed.outcome("1") && bed.outcome("2"));
        assert_eq!(bed.outbox.begin_send(), Err(3));
        assert_eq!(bed.taken().len(), 2);
        assert!(bed.outcome("3"));
        assert_eq!(bed.taken().len(), 1);
        assert_eq!(bed.outbox.begin_send(), Ok(()));
    }

    #[test]
    fn what_waits_goes_before_a_goodbye_unless_it_would_come_twice() {
        for (why, waits) in [(Ending::ForceDisconnected, 2), (Ending::GoingAway, 2), (Ending::TakenOver, 0)] {
            for settles in [false, true] {
                let mut bed = Bed::new(0, 0, 0);
                assert!(bed.push("event") && bed.broadcast("event"));
                assert_eq!(bed.reading.take(), Next::Frames(frame("event")));
                assert!(bed.push("event"));
                bed.outbox.release(farewell(why));
                let held = bed.chain.end();
                assert!(bed.broadcast("later"));
                let later = Arc::downgrade(&bed.chain.end());
                if settles {
                    bed.reading.settle();
                    // The test itself holds on to two ends.
                    bed.chain = Chain::default();
                    drop(held);
                    assert!(later.upgrade().is_none(), "the chain is let go");
                }
                assert_eq!(bed.taken().len(), waits, "{why:?}");
                assert_eq!(bed.ending(), Some(why));
            }
        }
    }

    #[test]
    fn the_first_ending_stands() {
        let mut bed = Bed::new(0, 0, 0);
        bed.outbox.end(Ending::GoingAway, Some(Duration::from_secs(1)), None);
        bed.outbox.release(farewell(Ending::Left));
        assert_eq!(bed.ending(), Some(Ending::GoingAway));
    }

    #[test]
    fn idle_tells_the_place_that_the_stream_is_complete_to() {
        let mut bed = Bed::new(0, 0, 0);
        assert_eq!(bed.reading.take(), Next::Idle(0));
        assert!(bed.broadcast("1"));
        assert_eq!(bed.taken().len(), 1);
        assert_eq!(bed.reading.take(), Next::Idle(1));
    }

    #[test]
    fn what_waits_is_counted() {
        let mut bed = Bed::new(0, 0, 0);
        assert!(bed.push("own") && bed.broadcast("shared") && bed.outcome("ok"));
        assert_eq!(bed.outbox.waiting(), (3, 11));
        bed.taken();
        assert_eq!(bed.outbox.waiting(), (0, 0));
    }
}
