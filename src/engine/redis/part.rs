//! One partition, as this node has it: its lease there, and its sessions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    domain::{ConnectionId, Epoch, Limits, Reason, Refusal, SessionId},
    engine::{Node, lock},
};

use super::{
    Done, Partitions, Push, Store, Trouble,
    counts::Counts,
    keys, reply,
    sends::Sends,
    slot::Slot,
    watching::Ears,
    wire::{Hears, Wire},
};

/// The highest clock that this node was told in a partition: a process that knows less
/// lacks something that was told.
#[derive(Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    /// It was told, which counts before anything else that comes of what was told: who
    /// finds that there is no lease any more finds this, too.
    pub(super) fn told(&self, clock: u64) {
        self.0.fetch_max(clock, Ordering::SeqCst);
    }

    /// The highest.
    pub(super) fn highest(&self) -> u64 {
        self.0.fetch_max(0, Ordering::SeqCst)
    }
}

/// How long callers wait for Redis to be there again before they are refused.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// After which refused callers should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all partitions of a node share.
pub(super) struct Home {
    pub(super) node: Arc<dyn Node>,
    pub(super) limits: Arc<Limits>,
    pub(super) counts: Counts,
    pub(super) partitions: Partitions,
    /// Where what nobody waits for is done, unless whoever asks for it has a place.
    pub(super) runtime: Handle,
}

impl Home {
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        match Handle::try_current() {
            Ok(here) => here.spawn(work),
            Err(_) => self.runtime.spawn(work),
        };
    }
}

/// A lease that this node has, over the connection that it was got by.
pub(super) struct Live {
    pub(super) store: Store,
    pub(super) wire: Arc<Wire>,
    pub(super) sends: Sends,
    clock: Arc<Clock>,
    began: Instant,
    /// Until when, in microseconds since then: by this node's clock, and sooner than by
    /// the server's.
    until: AtomicU64,
}

impl Live {
    pub(super) fn new(store: Store, wire: Arc<Wire>, clock: Arc<Clock>, until: Instant) -> Arc<Self> {
        let (began, sends) = (Instant::now(), Sends::default());
        let live = Self { store, wire, sends, clock, began, until: AtomicU64::new(0) };
        live.extend(until);
        Arc::new(live)
    }

    pub(super) fn extend(&self, until: Instant) {
        let micros = until.saturating_duration_since(self.began).as_micros();
        self.until.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How long it still lasts.
    pub(super) fn left(&self) -> Duration {
        (self.began + Duration::from_micros(self.until.load(Ordering::Acquire)))
            .saturating_duration_since(Instant::now())
    }

    /// Whether what Redis says is for this node to do.
    pub(super) fn is_good(&self) -> bool {
        !self.wire.is_closed() && !self.left().is_zero()
    }

    /// What came of a call, if what came is to be trusted: looked at once, and after it
    /// came.
    pub(super) fn sound<T>(&self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        // A refusal may be another's, too.
        if self.wire.is_closed() { Err(Trouble::Nonsense("the connection is not to be trusted")) } else { result }
    }

    /// The same, where the clock was told: this node has heard it, if what came is trusted.
    pub(super) fn heard<T>(&self, result: Result<Done<T>, Trouble>) -> Result<Done<T>, Trouble> {
        let done = self.sound(result)?;
        self.clock.told(done.clock);
        self.sound(Ok(done))
    }

    pub(super) fn redis(&self) -> MultiplexedConnection {
        self.wire.redis()
    }
}

/// One partition.
pub(super) struct Part {
    pub(super) number: u16,
    /// None while there is no lease, or Redis doesn't answer.
    live: watch::Sender<Option<Arc<Live>>>,
    slots: Mutex<BTreeMap<SessionId, Arc<Slot>>>,
    /// Somebody has reason to think that there is no lease, or no Redis.
    doubted: Notify,
    /// When the next window may be over.
    due: Mutex<Option<Instant>>,
    sooner: Notify,
    watchers: Mutex<Vec<Weak<Ears>>>,
    pub(super) clock: Arc<Clock>,
    era: AtomicU64,
    /// The last slot was forgotten.
    emptied: Notify,
    pub(super) home: Arc<Home>,
}

impl Part {
    pub(super) fn new(number: u16, home: &Arc<Home>) -> Arc<Self> {
        Arc::new(Self {
            number,
            live: watch::Sender::new(None),
            slots: Mutex::default(),
            doubted: Notify::new(),
            due: Mutex::default(),
            sooner: Notify::new(),
            watchers: Mutex::default(),
            clock: Arc::default(),
            era: AtomicU64::new(0),
            emptied: Notify::new(),
            home: Arc::clone(home),
        })
    }

    /// The lease, if there is one and Redis answers.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone().filter(|live| live.is_good())
    }

    /// The same, once there is one.
    pub(super) async fn when_live(&self) -> Arc<Live> {
        let mut changes = self.live.subscribe();
        loop {
            if let Some(live) = changes.borrow_and_update().clone().filter(|live| live.is_good()) {
                return live;
            }
            // Never an error: the sender is this part's.
            let _ = changes.changed().await;
        }
    }

    /// There is a lease, and Redis answers.
    pub(super) fn is_live(&self, live: &Arc<Live>) {
        self.live.send_replace(Some(Arc::clone(live)));
    }

    pub(super) fn is_away(&self) {
        self.live.send_replace(None);
        self.lost();
    }

    /// Nothing is asked until the lease has been renewed, which is tried at once.
    pub(super) fn doubt(&self, live: &Arc<Live>) {
        self.live.send_if_modified(|current| {
            let is_current = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, live));
            if is_current {
                *current = None;
            }
            is_current
        });
        self.lost();
        self.doubted.notify_one();
    }

    /// Redis is in this era; whether it was in another when it was asked last.
    pub(super) fn is_in(&self, era: Epoch) -> bool {
        self.era.swap(era, Ordering::AcqRel) != era
    }

    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// A window may be over at this time.
    pub(super) fn is_due(&self, at: Instant) {
        let mut due = lock(&self.due);
        if due.is_none_or(|due| at < due) {
            *due = Some(at);
            self.sooner.notify_one();
        }
    }

    /// Waits until a window may be over.
    pub(super) async fn due(&self) {
        loop {
            let sooner = self.sooner.notified();
            let due = *lock(&self.due);
            match due {
                None => sooner.await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {
                        *lock(&self.due) = None;
                        return;
                    }
                    () = sooner => {}
                },
            }
        }
    }

    pub(super) fn find(&self, session: &SessionId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(session).cloned()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    /// Whether a session is in this partition.
    pub(super) fn has(&self, session: &SessionId) -> bool {
        self.home.partitions.of(session) == self.number
    }

    /// Whether somebody wants to know who comes and goes.
    pub(super) fn watches(&self) -> bool {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        !watchers.is_empty()
    }

    /// Somebody does.
    pub(super) fn is_watched(&self, ears: &Arc<Ears>) {
        lock(&self.watchers).push(Arc::downgrade(ears));
    }

    /// Something may have happened that nobody heard of.
    fn lost(&self) {
        lock(&self.watchers).drain(..).filter_map(|ears| ears.upgrade()).for_each(|ears| ears.lost());
    }

    /// How many sessions have somebody here.
    pub(super) fn len(&self) -> usize {
        lock(&self.slots).len()
    }

    /// Some slots after this one, in turn.
    pub(super) fn slots_after(&self, after: Option<&SessionId>, most: usize) -> Vec<Arc<Slot>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        lock(&self.slots).range((from, Unbounded)).take(most).map(|(_, slot)| Arc::clone(slot)).collect()
    }

    /// The slot of a session, made unless it is there, and entered by a join as this
    /// connection: it stays until it is left again.
    pub(super) fn enter(self: &Arc<Self>, session: &SessionId, connection: ConnectionId) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(session.clone()).or_insert_with(|| Slot::new(session.clone(), self));
        slot.entered(connection);
        Arc::clone(slot)
    }

    /// Does here what a script brought about; what it answered.
    pub(super) fn done<T>(&self, session: &SessionId, done: Done<T>) -> T {
        match self.find(session) {
            Some(slot) => slot.done(done),
            None => done.answer,
        }
    }

    /// Forgets a slot that nothing is left of.
    pub(super) fn tidy(&self, slot: &Slot) {
        let mut slots = lock(&self.slots);
        if slot.is_empty() && slots.get(&slot.id).is_some_and(|kept| std::ptr::eq(&**kept, slot)) {
            slots.remove(&slot.id);
            if slots.is_empty() {
                self.emptied.notify_waiters();
            }
        }
    }

    /// Waits until nobody is here.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if lock(&self.slots).is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Attempts to ask Redis something.
pub(super) struct Attempts<'a> {
    part: &'a Part,
    until: Instant,
    /// Why the last one failed.
    why: Option<Trouble>,
}

impl<'a> Attempts<'a> {
    /// Until it is given up, after a while.
    pub(super) fn new(part: &'a Part) -> Self {
        Self { part, until: Instant::now() + PATIENCE, why: None }
    }

    /// What to ask it by.
    pub(super) async fn next(&mut self) -> Result<Arc<Live>, Refusal> {
        match tokio::time::timeout_at(self.until, self.part.when_live()).await {
            Ok(live) => Ok(live),
            Err(_) => Err(self.why.take().map_or_else(|| away("it can't be reached"), |why| away(&why.to_string()))),
        }
    }

    /// What came of it, if that is known; of a sound result.
    pub(super) fn done<T>(
        &mut self,
        live: &Arc<Live>,
        result: Result<T, Trouble>,
        is_safe: bool,
    ) -> Result<Option<T>, Refusal> {
        let trouble = match result {
            Ok(done) => return Ok(Some(done)),
            Err(trouble) => trouble,
        };
        self.part.trouble(live, &trouble);
        if trouble.is_final() {
            return Err(away(&trouble.to_string()));
        }
        if !is_safe && !trouble.changed_nothing() {
            return Err(unsure(&trouble));
        }
        self.why = Some(trouble);
        Ok(None)
    }
}

impl Part {
    /// Something was asked in vain.
    pub(super) fn trouble(&self, live: &Arc<Live>, trouble: &Trouble) {
        self.home.counts.trouble(trouble);
        tracing::debug!(partition = self.number, %trouble, "Redis was asked in vain");
        if !trouble.is_final() {
            self.doubt(live);
        }
    }
}

/// Refuses what didn't happen.
pub(super) fn away(why: &str) -> Refusal {
    let message = format!("the engine is unavailable, and nothing was done ({why}); try again");
    Refusal::new(Reason::EngineUnavailable, message).retry_after(RETRY_AFTER)
}

/// Refuses what may have happened.
pub(super) fn unsure(trouble: &Trouble) -> Refusal {
    let message = format!("the engine became unavailable ({trouble}); it may have been done");
    Refusal::new(Reason::EngineUnavailable, message).retry_after(RETRY_AFTER)
}

impl Hears for Part {
    fn hear(&self, channel: &str, message: &[u8]) {
        // What comes while there is no lease is found out when there is one again. It is
        // not heard, then; what is heard counts at once.
        let is_heard = |clock| {
            let is_live = || self.live().is_some();
            is_live() && {
                self.clock.told(clock);
                is_live()
            }
        };
        if channel == keys::watch(self.number) {
            match reply::news(message, &self.home.limits) {
                Ok((clock, told)) if is_heard(clock) => {
                    lock(&self.watchers).iter().filter_map(Weak::upgrade).for_each(|ears| ears.hear(&told));
                }
                Ok(_) => {}
                Err(trouble) => tracing::warn!(partition = self.number, %trouble, "a message is none"),
            }
            return;
        }
        match Push::read(message, &self.home.limits) {
            Ok((clock, _)) if !is_heard(clock) => {}
            Ok((_, Push::Events(session, epoch, entries))) => {
                if let Some(slot) = self.find(&session) {
                    slot.pushed(epoch, entries);
                }
            }
            Ok((_, Push::Release(session, handle, ending))) => {
                if let Some(slot) = self.find(&session) {
                    slot.thrown(handle, ending);
                }
            }
            Ok((_, Push::Echo)) => {}
            Err(trouble) => tracing::warn!(partition = self.number, %trouble, "a message is none"),
        }
    }
}
