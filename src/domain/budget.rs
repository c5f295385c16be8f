//! One bound for the memory that a node spends on signals: what is kept for
//! those that resume, what waits for those that read, and what is remembered for
//! those that ask again.
//!
//! What is small is not counted: a [`Charge`] goes in steps of [`MEMORY_STEP`], so that
//! the fast path, where next to nothing waits, touches nothing that is shared.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{IdempotencyKey, Reason, Refusal};

/// The step in which memory is counted, in bytes; less than one is not counted.
pub const MEMORY_STEP: usize = 4 * 1_024;

/// When to try again: memory is freed by the second, or not soon.
const COME_BACK: Duration = Duration::from_secs(1);

/// What memory is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The sessions' logs: whatever the others leave.
    Logs,
    /// What waits to be read, and what came in part: at most half, and no more
    /// than the others leave.
    Waiting,
    /// What was decided, for those that ask again: outcomes of sends, responses to
    /// calls with an idempotency key. At most a quarter.
    Decisions,
    /// Streams, at rest: none is added when all but the logs take three quarters.
    Streams,
}

impl Spent {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Logs, Self::Waiting, Self::Decisions, Self::Streams];

    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Waiting => "waiting",
            Self::Decisions => "decisions",
            Self::Streams => "streams",
        }
    }
}

/// Who or what makes place when memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Joins refused.
    Joins,
    /// Events that logs forgot before their time.
    Events,
    /// Readers closed.
    Readers,
    /// Keyed calls refused.
    Calls,
}

impl Relief {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Joins, Self::Events, Self::Readers, Self::Calls];

    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joins => "joins",
            Self::Events => "events",
            Self::Readers => "readers",
            Self::Calls => "calls",
        }
    }
}

/// How much may be spent, and is. It is never exceeded, but for what is too small
/// to be counted. When it is used up, this makes place, in this order: logs forget
/// their oldest events, the largest first; from three quarters on, without the
/// logs, new connections are refused; readers that have more than their share
/// waiting are closed when more than half of it all waits; when decisions take more
/// than a quarter, only what is short is remembered of them, and keyed calls are
/// refused.
#[derive(Debug)]
pub struct Budget {
    /// In bytes; as much as there is when none is set.
    limit: usize,
    spent: [AtomicUsize; 4],
    readers: AtomicUsize,
    relieved: [AtomicU64; 4],
}

impl Budget {
    /// A budget of so many bytes; 0 is no limit.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { limit, spent: Default::default(), readers: AtomicUsize::new(0), relieved: Default::default() }
    }

    /// How many bytes are counted.
    #[must_use]
    pub fn spent(&self, on: Spent) -> usize {
        self.spent[on as usize].load(Ordering::Relaxed)
    }

    /// The limit in bytes, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        (self.limit != usize::MAX).then_some(self.limit)
    }

    /// How many bytes too many are in use: logs must make place for them.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.all().saturating_sub(self.limit)
    }

    /// Whether it is too full for newcomers.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.fixed() > self.limit / 4 * 3
    }

    /// Whether there is no place for a stream that isn't a member's.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fixed() > self.limit / 8 * 7
    }

    /// Why a stream that isn't a member's is refused when it is full.
    #[must_use]
    pub fn refuses_stream(&self) -> Refusal {
        self.relieve(Relief::Joins, 1);
        let (spent, limit) = (self.fixed(), self.limit / 8 * 7);
        let message = format!(
            "the server's memory for signals is used up: {spent} bytes, without the logs; the limit for streams is \
             {limit}"
        );
        Refusal::new(Reason::ServerFull, message).retry_after(COME_BACK)
    }

    /// Why the rest of a message of which so many bytes came isn't waited for.
    #[must_use]
    pub fn refuses_bytes(&self, bytes: usize, share: usize) -> Refusal {
        self.relieve(Relief::Readers, 1);
        let message = format!(
            "the server's memory for signals is used up: {bytes} bytes of a message are here without its end; the \
             limit is {share}"
        );
        Refusal::new(Reason::ServerFull, message).retry_after(COME_BACK)
    }

    /// Whether decisions take all that they may.
    #[must_use]
    pub fn is_frugal(&self) -> bool {
        self.spent(Spent::Decisions) > self.limit / 4
    }

    /// Whether there is place for a newcomer.
    ///
    /// # Errors
    /// `SERVER_FULL`.
    pub fn admits(&self) -> Result<(), Refusal> {
        if !self.is_tight() {
            return Ok(());
        }
        self.relieve(Relief::Joins, 1);
        let (spent, limit) = (self.fixed(), self.limit / 4 * 3);
        let message = format!(
            "the server's memory for signals is nearly used up: {spent} bytes, without the logs; the limit for those \
             that join is {limit}"
        );
        Err(Refusal::new(Reason::ServerFull, message).retry_after(COME_BACK))
    }

    /// Whether the response to a call with this key can be remembered.
    ///
    /// # Errors
    /// `SERVER_FULL`.
    pub fn remembers(&self, key: &IdempotencyKey) -> Result<(), Refusal> {
        if !self.is_frugal() {
            return Ok(());
        }
        self.relieve(Relief::Calls, 1);
        let (spent, most, given) = (self.spent(Spent::Decisions), self.limit / 4, key.size());
        let message = format!(
            "the server can't remember one more idempotency key, of {given} bytes: decisions take {spent} bytes; the \
             limit is {most}"
        );
        Err(Refusal::new(Reason::ServerFull, message).field("idempotency_key").retry_after(COME_BACK))
    }

    /// The most that may wait for one reader, in bytes: no bound while all
    /// together have no more waiting than may.
    #[must_use]
    pub fn share(&self) -> usize {
        let most = self.may_wait();
        if self.spent(Spent::Waiting) <= most {
            return usize::MAX;
        }
        (most / self.readers.load(Ordering::Relaxed).max(1)).max(MEMORY_STEP)
    }

    /// How many bytes too many wait, when an eighth of what may is to be left.
    #[must_use]
    pub fn too_much_waits(&self) -> usize {
        let most = self.may_wait();
        let waiting = self.spent(Spent::Waiting);
        if waiting <= most { 0 } else { waiting - most / 8 * 7 }
    }

    fn may_wait(&self) -> usize {
        (self.limit / 2).min(self.limit.saturating_sub(self.spent(Spent::Decisions) + self.spent(Spent::Streams)))
    }

    /// How many bytes the logs may have together, when an eighth is to be left;
    /// nothing when they need not make place.
    #[must_use]
    pub fn logs_within(&self) -> Option<usize> {
        let place = self.limit.saturating_sub(self.fixed());
        (self.spent(Spent::Logs) > place / 16 * 15).then_some(place / 8 * 7)
    }

    /// Somebody reads from now on.
    pub fn enter(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody reads no more.
    pub fn leave(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many made place.
    pub fn relieve(&self, by: Relief, count: usize) {
        if count > 0 {
            self.relieved[by as usize].fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// How many made place so far.
    #[must_use]
    pub fn relieved(&self, by: Relief) -> u64 {
        self.relieved[by as usize].load(Ordering::Relaxed)
    }

    fn all(&self) -> usize {
        self.fixed() + self.spent(Spent::Logs)
    }

    /// What no log can make place for.
    fn fixed(&self) -> usize {
        self.spent(Spent::Waiting) + self.spent(Spent::Decisions) + self.spent(Spent::Streams)
    }
}

/// No limit.
impl Default for Budget {
    fn default() -> Self {
        Self::new(0)
    }
}

/// What one thing has spent; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    on: Spent,
    charged: usize,
}

impl Charge {
    /// Nothing yet.
    #[must_use]
    pub fn new(budget: &Arc<Budget>, on: Spent) -> Self {
        Self { budget: Arc::clone(budget), on, charged: 0 }
    }

    /// So many bytes, to the byte.
    #[must_use]
    pub fn of(budget: &Arc<Budget>, on: Spent, bytes: usize) -> Self {
        let mut charge = Self::new(budget, on);
        charge.to(bytes);
        charge
    }

    /// It takes so many bytes now. Counted in steps.
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes - bytes % MEMORY_STEP;
        if bytes != self.charged {
            self.to(bytes);
        }
    }

    /// How many bytes are counted.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.charged
    }

    /// Where it is counted.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn to(&mut self, bytes: usize) {
        let spent = &self.budget.spent[self.on as usize];
        if bytes > self.charged {
            spent.fetch_add(bytes - self.charged, Ordering::Relaxed);
        } else {
            spent.fetch_sub(self.charged - bytes, Ordering::Relaxed);
        }
        self.charged = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.charged != 0 {
            self.to(0);
        }
    }
}

/// To how much each of these must shrink, so that together they are no more than
/// `most`: the small ones stay as they are.
#[must_use]
pub fn level(mut sizes: Vec<usize>, most: usize) -> usize {
    sizes.sort_unstable();
    let mut left = most;
    let mut count = sizes.len();
    for size in sizes {
        let each = left / count;
        if size > each {
            return each;
        }
        left -= size;
        count -= 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MEMORY_STEP as STEP, *};

    #[test]
    fn what_is_spent_is_counted_in_steps_and_given_back() {
        let budget = Arc::new(Budget::new(100 * STEP));
        let mut log = Charge::new(&budget, Spent::Logs);
        log.set(STEP - 1);
        assert_eq!(budget.spent(Spent::Logs), 0);
        log.set(3 * STEP + 5);
        let block = Charge::of(&budget, Spent::Waiting, 10);
        assert_eq!((budget.spent(Spent::Logs), budget.spent(Spent::Waiting)), (3 * STEP, 10));
        log.set(STEP);
        assert_eq!(budget.spent(Spent::Logs), STEP);
        drop((log, block));
        assert_eq!((budget.spent(Spent::Logs), budget.spent(Spent::Waiting)), (0, 0));
    }

    #[test]
    fn it_gives_way_in_the_order_stated() {
        let budget = Arc::new(Budget::new(16 * STEP));
        let charge = |spent| Charge::new(&budget, spent);
        let (mut logs, mut waiting) = (charge(Spent::Logs), charge(Spent::Waiting));
        let (mut decisions, mut streams) = (charge(Spent::Decisions), charge(Spent::Streams));
        logs.set(18 * STEP);
        assert_eq!((budget.excess(), budget.logs_within()), (2 * STEP, Some(14 * STEP)));
        assert!(!budget.is_tight(), "logs make place for those that join");
        logs.set(4 * STEP);
        assert_eq!((budget.excess(), budget.logs_within()), (0, None));
        waiting.set(8 * STEP);
        assert_eq!((budget.share(), budget.too_much_waits(), budget.logs_within()), (usize::MAX, 0, None));
        (0..4).for_each(|_| budget.enter());
        waiting.set(9 * STEP);
        assert_eq!((budget.share(), budget.too_much_waits()), (2 * STEP, 2 * STEP));
        (0..100).for_each(|_| budget.enter());
        assert_eq!(budget.share(), STEP, "what isn't counted is nobody's fault");
        decisions.set(4 * STEP);
        assert!(!budget.is_frugal() && budget.is_tight() && !budget.is_full());
        decisions.set(5 * STEP);
        assert!(budget.is_frugal());
        waiting.set(2 * STEP);
        assert!(!budget.is_tight());
        assert!(budget.admits().is_ok());
        streams.set(6 * STEP);
        assert!(budget.admits().is_err_and(|refusal| refusal.reason == Reason::ServerFull));
        streams.set(8 * STEP);
        assert!(budget.is_full());
        waiting.set(4 * STEP);
        assert_eq!(budget.share(), STEP, "others take what might wait");
    }

    #[test]
    fn without_a_limit_nothing_gives_way() {
        let budget = Arc::new(Budget::new(0));
        let _much = Charge::of(&budget, Spent::Waiting, usize::MAX / 4);
        assert_eq!((budget.limit(), budget.is_tight(), budget.excess(), budget.share()), (None, false, 0, usize::MAX));
        assert_eq!((budget.too_much_waits(), budget.logs_within(), budget.is_frugal()), (0, None, false));
    }

    proptest! {
        #[test]
        fn levelled_sizes_fit_and_use_what_they_may(
            sizes in prop::collection::vec(0_usize..1_000, 1..20),
            most in 0_usize..10_000,
        ) {
            let level = level(sizes.clone(), most);
            let levelled: usize = sizes.iter().map(|size| size.min(&level)).sum();
            prop_assert!(levelled <= most);
            prop_assert!(level == usize::MAX || most - levelled <= sizes.len());
        }
    }
}
