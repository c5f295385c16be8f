//! What waits for one stream's client: bounded by count and bytes, so that a
//! slow reader harms only itself.
//!
//! Two things wait: what the session broadcasts, in a [`Chain`](super::chain)
//! that all its receivers share and that this outbox only counts; and the
//! stream's own (its beginning, signals addressed to it, outcomes of its sends,
//! its end), under a lock. Each of its own things knows its place in the chain,
//! so that the two come out in one order.
//!
//! The writing side never waits. The reading side is [`Reading`](super::Reading).

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    domain::{Budget, Charge, ConnectionId, Ending, Limits, Refusal, SessionId, Spent},
    engine::lock,
    session::Farewell,
    telemetry::CallSpan,
};

use super::{
    bell::{Bell, Bits},
    chain::{Carried, Link},
};

/// How many times the bounds may wait for this server to send it.
const UNSENT_TIMES: usize = 8;

/// How long a queue may stay in memory when nothing waits in it.
const QUEUE_KEPT: usize = 8;

/// Outcomes of so many bytes are few: some dozens.
const FEW_BYTES: usize = 1_024;

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
    /// Whose it is, for operators.
    pub(super) session: Option<SessionId>,
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

/// In this order: what every message needs lies together.
#[repr(C)]
struct State {
    /// Nothing is taken before the stream joined, or was refused.
    open: bool,
    /// Something that waited is gone.
    overflowed: bool,
    /// Whether the connection has a window.
    resumable: bool,
    queue: VecDeque<Own>,
    outcomes: usize,
    /// And the place in the chain after which it comes.
    goodbye: Option<Box<(Goodbye, u64)>>,
    preamble: Option<Preamble>,
    /// How many bytes of memory the preamble takes.
    preamble_held: usize,
    /// In a box, because it is here only until it is taken.
    following: Option<Box<Following>>,
    feed: Option<Arc<Feed>>,
    /// Who receives here, for operators.
    me: Option<ConnectionId>,
    /// Of the node's budget, for what waits of its own.
    charge: Charge,
}

impl State {
    fn new(budget: &Arc<Budget>) -> Self {
        Self {
            open: false,
            overflowed: false,
            resumable: false,
            queue: VecDeque::new(),
            outcomes: 0,
            goodbye: None,
            preamble: None,
            preamble_held: 0,
            following: None,
            feed: None,
            me: None,
            charge: Charge::new(budget, Spent::Waiting),
        }
    }

    /// Counts what it holds, when its frames have so many bytes.
    fn account(&mut self, bytes: usize) {
        self.charge.set(bytes + self.queue.len() * mem::size_of::<Own>() + self.preamble_held);
    }

    /// Whether nothing waits, nor will without a change.
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.goodbye.is_none() && self.following.is_none() && self.preamble.is_none()
    }
}

/// What the reading side finds under the lock.
pub(super) enum Found {
    /// Nothing for the client, whatever the chain has.
    NotOpen,
    Frames(Bytes),
    Begin(Following),
    End(Goodbye),
    /// Nothing until this many of the chain's events have come.
    After(u64),
    /// Nothing.
    Nothing,
}

/// One stream's outbox. In this order: what every message needs lies together.
#[repr(C)]
pub struct Outbox {
    bell: Arc<Bell>,
    bit: Bits,
    /// There may be something under the lock.
    look: AtomicBool,
    /// It takes nothing more: it overflowed, or ends.
    shut: AtomicBool,
    ending: AtomicBool,
    /// Its client has left things behind, as far as is known.
    behind: AtomicBool,
    /// How much of the chain the client has taken.
    passed: (AtomicU64, AtomicU64),
    /// How many of the stream's own events, and bytes, wait.
    own: (AtomicUsize, AtomicUsize),
    /// Sends read and not yet answered into the client's hands.
    unresolved: AtomicUsize,
    bounds: Bounds,
    state: Mutex<State>,
    since: Instant,
    /// Told of sends and their outcomes, when the stream is traced.
    span: OnceLock<Arc<CallSpan>>,
}

impl Outbox {
    /// An empty one, closed to its reader until it is opened; it rings this bit
    /// of this bell.
    #[must_use]
    pub fn new(bounds: Bounds, budget: &Arc<Budget>, bell: Arc<Bell>, bit: Bits) -> Self {
        Self {
            bounds,
            bell,
            bit,
            look: AtomicBool::new(true),
            shut: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            behind: AtomicBool::new(true),
            passed: Default::default(),
            own: Default::default(),
            unresolved: AtomicUsize::new(0),
            state: Mutex::new(State::new(budget)),
            since: Instant::now(),
            span: OnceLock::new(),
        }
    }

    /// The stream is traced: its span is told of sends and their outcomes. The first
    /// stands.
    pub fn trace(&self, span: Arc<CallSpan>) {
        // A stream has one.
        let _ = self.span.set(span);
    }

    /// The stream's span, when it is traced.
    #[must_use]
    pub fn span(&self) -> Option<&Arc<CallSpan>> {
        self.span.get()
    }

    /// The stream joined: `preamble`, which holds so many bytes of memory, goes
    /// before everything pushed so far.
    pub fn open(&self, preamble: Preamble, held: usize, resumable: bool) {
        self.change(|state| {
            state.open = true;
            state.preamble = Some(preamble);
            state.preamble_held = held;
            state.resumable = resumable;
            state.account(self.own.1.load(Ordering::Relaxed));
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

    /// How the stream ends, if it is about to and not at its client's wish.
    #[must_use]
    pub fn goodbye(&self) -> Option<Goodbye> {
        self.is_ending().then(|| lock(&self.state).goodbye.as_ref().map(|goodbye| goodbye.0.clone())).flatten()
    }

    /// The same, in short.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.goodbye().map(|goodbye| goodbye.farewell.ending)
    }

    /// Whether the client takes all there is, or leaves things behind: the
    /// bounds are for those that do. Of one that takes all, what waits beyond
    /// them waits for this server's own threads; it is sent, not closed. Who leaves
    /// things behind isn't rung for more of what the session broadcasts.
    ///
    /// Whether that has changed: one that has just taken all there was must look once
    /// more, because it may not have been rung for what came meanwhile.
    pub fn set_behind(&self, behind: bool) -> bool {
        if self.behind.load(Ordering::Relaxed) == behind {
            return false;
        }
        self.behind.store(behind, Ordering::Relaxed);
        // Either the fan-out, which has a fence too, sees this, or the next look sees
        // what the fan-out has appended.
        fence(Ordering::SeqCst);
        true
    }

    /// What was said last by [`Outbox::set_behind`]; true before.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
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

    /// The stream receives from here on. Its client may have been told already that it is
    /// in: an engine that waits for earlier events lets it in before.
    pub(super) fn follow(&self, following: Following) {
        let carried = following.at.block.carried;
        self.pass(carried);
        self.change(|state| {
            state.feed = Some(Arc::clone(&following.feed));
            state.me = Some(following.me);
            state.following = Some(Box::new(following));
        });
    }

    /// The session's side ends the stream; its client is told once it was told
    /// that it is in.
    pub(super) fn release(&self, farewell: Farewell) {
        self.change(|state| self.finish(state, Goodbye { farewell, refusal: None }));
    }

    /// Events were appended to the chain, `before` being what it had carried.
    /// False when that overflows the outbox, or its `share` of what may wait: what
    /// waited is gone, and nothing more is taken in. Takes no lock unless it does.
    /// `crowd` is [`Bell::CROWD`] when many have this.
    /// A fence must stand between the appending and this: see [`Outbox::set_behind`].
    #[must_use]
    pub(super) fn appended(&self, before: Carried, after: Carried, share: usize, crowd: Bits) -> bool {
        if self.shut.load(Ordering::Acquire) {
            return true;
        }
        if self.fits(after, after.events > before.events, 0, share) {
            // Who has left things behind looks when its client takes them.
            if !self.behind.load(Ordering::Relaxed) {
                self.bell.ring(self.bit | crowd);
            }
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
        let share = state.charge.budget().share();
        if too_many || !self.fits(carried, is_event, frames.len(), share) {
            self.overflow(&mut state);
            return false;
        }
        let bytes = self.own.1.fetch_add(frames.len(), Ordering::Relaxed) + frames.len();
        state.outcomes += outcomes;
        state.queue.push_back(Own { frames, outcomes, after });
        state.account(bytes);
        self.look.store(true, Ordering::Release);
        drop(state);
        self.bell.ring(self.bit);
        true
    }

    /// Whether what waits is within the bounds, `more` bytes of its own with it.
    fn fits(&self, carried: Carried, is_event: bool, more: usize, share: usize) -> bool {
        let times = if self.behind.load(Ordering::Relaxed) { 1 } else { UNSENT_TIMES };
        let over = |waiting: usize, bound: usize| bound != 0 && waiting > bound.saturating_mul(times);
        let (events, bytes) = self.lag(carried);
        let bytes = bytes + more;
        !(is_event && over(events, self.bounds.events) || over(bytes, self.bounds.bytes) || bytes > share)
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

    /// Something that waited is gone: nothing that came after it may reach the client,
    /// however long the session's side takes to end the stream.
    fn overflow(&self, state: &mut State) {
        self.shut.store(true, Ordering::Release);
        state.overflowed = true;
        self.clear(state);
        self.look.store(true, Ordering::Release);
    }

    fn clear(&self, state: &mut State) {
        state.queue.clear();
        state.outcomes = 0;
        self.own.0.store(0, Ordering::Relaxed);
        self.own.1.store(0, Ordering::Relaxed);
        state.account(0);
    }

    fn finish(&self, state: &mut State, goodbye: Goodbye) {
        if state.goodbye.is_some() {
            return;
        }
        let mut after = state.feed.as_ref().map_or(0, |feed| feed.events.load(Ordering::Acquire));
        // The stream that took over replays what waits here; after an overflow
        // something of it is missing already.
        if state.overflowed || matches!(goodbye.farewell.ending, Ending::TakenOver | Ending::SlowConsumer) {
            state.preamble = None;
            state.preamble_held = 0;
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

    /// Whose it is: nobody's before it follows.
    pub(super) fn owner(&self) -> Option<(SessionId, ConnectionId)> {
        let state = lock(&self.state);
        Some((state.feed.as_ref()?.session.clone()?, state.me?))
    }

    /// When it was made.
    pub(super) fn since(&self) -> Instant {
        self.since
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

    /// As [`Reading::has_few_outcomes_only`](super::Reading::has_few_outcomes_only), but for the chain.
    pub(super) fn has_few_outcomes_only(&self) -> bool {
        let (events, bytes) = (self.own.0.load(Ordering::Relaxed), self.own.1.load(Ordering::Relaxed));
        events == 0 && (1..=FEW_BYTES).contains(&bytes) && !self.is_ending()
    }

    /// What comes next of its own, when `passed` events of the chain have.
    pub(super) fn take_own(&self, passed: u64) -> Found {
        let mut state = lock(&self.state);
        if !state.open {
            return Found::NotOpen;
        }
        if let Some(preamble) = &mut state.preamble {
            if let Some(frame) = preamble.next() {
                return Found::Frames(frame);
            }
            state.preamble = None;
            state.preamble_held = 0;
            state.account(self.own.1.load(Ordering::Relaxed));
        }
        if let Some(following) = state.following.take() {
            return Found::Begin(*following);
        }
        if state.overflowed && state.goodbye.is_none() {
            return Found::NotOpen;
        }
        match state.queue.front() {
            Some(own) if own.after > passed => return Found::After(own.after),
            Some(_) => {}
            None => match &state.goodbye {
                Some(goodbye) if goodbye.1 <= passed => return Found::End(goodbye.0.clone()),
                Some(goodbye) => return Found::After(goodbye.1),
                None => {
                    self.rest(&mut state);
                    return Found::Nothing;
                }
            },
        }
        let Some(own) = state.queue.pop_front() else { return Found::Nothing };
        let bytes = self.own.1.fetch_sub(own.frames.len(), Ordering::Relaxed) - own.frames.len();
        state.account(bytes);
        if own.outcomes == 0 {
            self.own.0.fetch_sub(1, Ordering::Relaxed);
        } else {
            state.outcomes -= own.outcomes;
            self.unresolved.fetch_sub(own.outcomes, Ordering::Relaxed);
        }
        if state.is_empty() {
            self.rest(&mut state);
        }
        Found::Frames(own.frames)
    }

    /// Nothing waits under the lock: until something does, it isn't taken.
    fn rest(&self, state: &mut State) {
        // An idle member needs no room for what was a burst.
        if state.queue.capacity() > QUEUE_KEPT {
            state.queue = VecDeque::new();
        }
        self.look.store(false, Ordering::Release);
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
mod tests;
