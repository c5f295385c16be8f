//! The slow lanes: whose turn may wait for the others'.
//!
//! A thread takes its tasks in turn, so that a member's signal waits for all that
//! came to be runnable before it. Thousands of connections that begin or end at the
//! same moment, or a thousand readers of a large session's signals, are tens of
//! milliseconds of that. So there are two lanes: one for strangers, on whose
//! connection nobody has been let in yet, and for connections that are over; one for
//! those that move much data or have what many others have, too. Each has a slice of
//! every round, and what doesn't fit waits for the next. A slice is as long as all
//! the others take: who waits has his share. Where they take little, it is a fraction
//! of a millisecond.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::engine::lock;

use super::Transport;

/// A slice, at the least and at the most.
const SLICE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(5));
/// Who moves more than this in one turn, or has more than fits one, is for a while one
/// that moves much.
pub(super) const HEAVY_BYTES: usize = 32 * 1_024;
const HEAVY: Duration = Duration::from_millis(100);
/// How many streams of a connection that is over end at once.
const ENDED_AT_ONCE: usize = 2;
/// What it takes to close a connection without streams.
const CLOSING: Duration = Duration::from_micros(10);
/// How many more are called in a round than had a turn in the last.
const MORE: usize = 8;

/// One thread's.
#[derive(Debug)]
struct Lane {
    slice: Duration,
    /// What this round's turns took.
    spent: Duration,
    turns: usize,
    /// When this round began, if anyone waits for the next.
    begun: Option<Instant>,
    waiting: VecDeque<Waker>,
    /// How many have been called, ever.
    called: u64,
    /// A task calls them.
    is_kept: bool,
    /// It waits until there is anyone to call.
    keeper: Option<Waker>,
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Nobody was let in, or it is over.
    Strangers,
    /// It moves much data, or has what many have.
    Many,
}

thread_local! {
    /// Whether a lane has been used since the thread had nothing to do.
    static IS_USED: Cell<bool> = const { Cell::new(false) };
    static LANES: [Arc<Mutex<Lane>>; 2] = std::array::from_fn(|_| Arc::new(Mutex::new(Lane::new())));
}

/// The place of one that waits: in which lane, and after how many others.
#[derive(Debug, Default)]
pub(super) struct Ticket(Option<(Arc<Mutex<Lane>>, u64)>);

impl Ticket {
    /// Whether it has one, and was called.
    fn is_called(&self) -> Option<bool> {
        let (lane, number) = self.0.as_ref()?;
        Some(lock(lane).called >= *number)
    }
}

/// A turn, which takes its time from the slice.
pub(super) struct Turn {
    lane: Arc<Mutex<Lane>>,
    begun: Instant,
    /// What it takes beyond its end.
    beyond: Duration,
}

impl Turn {
    /// What it has begun will take so much after it.
    pub(super) fn goes_on_for(mut self, beyond: Duration) {
        self.beyond = beyond;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = self.begun.elapsed() + self.beyond;
        lock(&self.lane).spent += took;
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            slice: SLICE.0,
            spent: Duration::ZERO,
            turns: 0,
            begun: None,
            waiting: VecDeque::new(),
            called: 0,
            is_kept: false,
            keeper: None,
        }
    }

    /// Whether there is a turn for one of these, called or not.
    fn has_room(&mut self, is_called: bool) -> bool {
        let has_room = self.spent < self.slice && (is_called || self.waiting.is_empty());
        self.turns += usize::from(has_room);
        has_room
    }

    /// A round is over: the next has a slice as long as the others took.
    fn turn_over(&mut self, now: Instant) {
        let others = self.begun.map_or(Duration::ZERO, |begun| (now - begun).saturating_sub(self.spent));
        self.slice = others.clamp(SLICE.0, SLICE.1);
        self.spent = Duration::ZERO;
        let called = (std::mem::take(&mut self.turns) + MORE).min(self.waiting.len());
        self.called += called as u64;
        self.waiting.drain(..called).for_each(Waker::wake);
        self.begun = (called > 0 || !self.waiting.is_empty()).then_some(now);
    }
}

/// A turn, if there is room for one in this round. None: it is woken for a later one.
pub(super) fn enter(which: Which, ticket: &mut Ticket, context: &Context<'_>) -> Option<Turn> {
    let is_called = match ticket.is_called() {
        Some(false) => return None,
        called => called.is_some(),
    };
    IS_USED.set(true);
    let lane = LANES.with(|lanes| Arc::clone(&lanes[which as usize]));
    let begun = Instant::now();
    let mut it = lock(&lane);
    if it.has_room(is_called) {
        drop(it);
        ticket.0 = None;
        return Some(Turn { lane, begun, beyond: Duration::ZERO });
    }
    it.waiting.push_back(context.waker().clone());
    let number = it.called + it.waiting.len() as u64;
    let is_first = it.begun.is_none();
    it.begun.get_or_insert(begun);
    let has_keeper = std::mem::replace(&mut it.is_kept, true);
    let keeper = if is_first { it.keeper.take() } else { None };
    // A runtime that ends drops what is spawned, which takes the lock.
    drop(it);
    if !has_keeper {
        tokio::spawn(keep(Keeper(Arc::clone(&lane))));
    }
    if let Some(keeper) = keeper {
        keeper.wake();
    }
    ticket.0 = Some((lane, number));
    None
}

/// Whoever keeps a lane, until its runtime ends.
struct Keeper(Arc<Mutex<Lane>>);

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut lane = lock(&self.0);
        (lane.is_kept, lane.keeper, lane.begun) = (false, None, None);
    }
}

/// Calls those that wait, round after round.
async fn keep(keeper: Keeper) {
    loop {
        // Until somebody waits.
        poll_fn(|context| {
            let mut lane = lock(&keeper.0);
            if lane.begun.is_some() {
                return Poll::Ready(());
            }
            lane.keeper = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        // Until the others have had their turn, and news of the sockets has come.
        tokio::task::yield_now().await;
        lock(&keeper.0).turn_over(Instant::now());
    }
}

/// The thread has nothing to do: to be called before it parks.
pub(super) fn rest() {
    if !IS_USED.replace(false) {
        return;
    }
    LANES.with(|lanes| {
        for lane in lanes {
            let mut lane = lock(lane);
            if lane.begun.is_none() {
                (lane.spent, lane.turns) = (Duration::ZERO, 0);
            }
        }
    });
}

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    /// In which slow lane its turn is taken, if in one.
    #[inline]
    pub(super) fn lane(&mut self) -> Option<Which> {
        if self.heavy_until.is_some_and(|until| Instant::now() >= until) {
            self.heavy_until = None;
        }
        if !self.is_known {
            return Some(Which::Strangers);
        }
        (self.heavy_until.is_some() || self.bell.is_for_a_crowd()).then_some(Which::Many)
    }

    /// It moves much, for a while.
    pub(super) fn moves_much(&mut self, now: Instant) {
        self.heavy_until = Some(now + HEAVY);
    }

    /// Forgets its streams, a few at a time: to end thousands at once would keep the
    /// others waiting.
    pub(super) fn end_slowly(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(turn) = enter(Which::Strangers, &mut self.ticket, context) else { return Poll::Pending };
            for _ in 0..ENDED_AT_ONCE {
                if self.http.forget_newest().is_none() {
                    turn.goes_on_for(CLOSING);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Runs a stranger's future in the slow lane.
pub struct InSlowLane<F> {
    future: Pin<Box<F>>,
    ticket: Ticket,
}

impl<F> InSlowLane<F> {
    /// This one's.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), ticket: Ticket::default() }
    }
}

impl<F: Future> Future for InSlowLane<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(_turn) = enter(Which::Strangers, &mut self.ticket, context) else { return Poll::Pending };
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const WORK: Duration = Duration::from_micros(100);

    /// Work in the slow lane, `count` times by as many tasks.
    fn strangers(count: usize, done: &Arc<AtomicUsize>) {
        for _ in 0..count {
            let (done, mut ticket) = (Arc::clone(done), Ticket::default());
            tokio::spawn(poll_fn(move |context| {
                let Some(turn) = enter(Which::Many, &mut ticket, context) else { return Poll::Pending };
                turn.goes_on_for(WORK);
                done.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(())
            }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_waits_for_a_slice_and_not_for_all_strangers() {
        let done = Arc::<AtomicUsize>::default();
        strangers(1_000, &done);
        let fit = (SLICE.0.as_micros() / WORK.as_micros()) as usize;
        for _ in 0..100 {
            let before = done.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            assert!(done.load(Ordering::Relaxed) - before <= 2 * fit, "one round's");
        }
        while done.load(Ordering::Relaxed) < 1_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lane_takes_half_of_the_time_when_the_others_take_much() {
        let mut lane = Lane::new();
        let begun = Instant::now();
        for (others, slice) in [(0, 200), (2_000, 2_000), (60_000, 5_000), (10, 200)] {
            lane.begun = Some(begun);
            lane.spent = WORK;
            lane.turn_over(begun + WORK + Duration::from_micros(others));
            assert_eq!(lane.slice, Duration::from_micros(slice));
            assert_eq!(lane.begun, None, "nobody waits");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_first_and_nobody_is_forgotten() {
        let done = Arc::<AtomicUsize>::default();
        strangers(20, &done);
        tokio::task::yield_now().await;
        let mut late = Ticket::default();
        poll_fn(|context| {
            assert!(enter(Which::Many, &mut late, context).is_none(), "those before it still wait");
            assert!(late.0.is_some());
            Poll::Ready(())
        })
        .await;
        while done.load(Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(late.is_called(), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_with_nothing_to_do_begins_anew() {
        let turn = || {
            poll_fn(|context| {
                let turn = enter(Which::Strangers, &mut Ticket::default(), context);
                Poll::Ready(turn.map(|turn| turn.goes_on_for(SLICE.0)).is_some())
            })
        };
        assert!(turn().await);
        rest();
        assert!(turn().await);
        assert!(!turn().await, "the slice is spent");
    }
}
