//! The default engine: one process, everything in its memory.
//!
//! It wraps the pure [`Session`] in a lock each; what a session wants done is
//! done under that lock, so that a room sees its order. Locks are taken slot,
//! then map, then deadlines, and none is held while waiting for a slot.

#[cfg(test)]
mod tests;
mod watching;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicIsize, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

use crate::{
    clock::{Clock, Now},
    domain::{
        Budget, Charge, ConnectionId, Ending, Epoch, Event, Limits, Named, Reason, Refusal, Relief, ResumeToken,
        Sequence, SessionId, Spent, level,
    },
    session::{
        Command, ConnectionView, Effect, Facts, Farewell, Handle, Join, SendResult, ServerAccepted, ServerSend,
        Session, unknown_connection,
    },
};

use super::{
    BoxFuture, Change, Connections, Engine, Joined, Link, Node, OutletId, Page, Room, SURVEYED_AT_ONCE, Sight, Stats,
    Watch, lock, watch::Watchers,
};

use watching::Watching;

/// The engine of a single node. Cheap to clone.
#[derive(Clone)]
pub struct MemoryEngine(Arc<Inner>);

struct Inner {
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    node: Arc<dyn Node>,
    /// Ordered, so that listings page by id.
    slots: RwLock<BTreeMap<SessionId, Arc<Slot>>>,
    deadlines: Mutex<BTreeSet<(Duration, SessionId)>>,
    /// A deadline earlier than all others came up.
    sooner: Notify,
    watchers: Watchers,
    last_epoch: AtomicU64,
    counts: Counts,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct Counts {
    sessions: AtomicIsize,
    attached: AtomicIsize,
    detached: AtomicIsize,
}

struct Slot {
    id: SessionId,
    state: Mutex<SlotState>,
}

struct SlotState {
    session: Session,
    /// The session's streams; none while nobody is in it.
    room: Option<Box<dyn Room>>,
    /// The deadline that the session is filed under.
    filed: Option<Duration>,
    /// No longer in the map: look it up again.
    removed: bool,
    log: Charge,
    decisions: Charge,
}

impl MemoryEngine {
    /// An engine without sessions. [`MemoryEngine::run`] must be driven for
    /// windows to end.
    #[must_use]
    pub fn new(limits: Arc<Limits>, clock: Arc<dyn Clock>, node: Arc<dyn Node>) -> Self {
        Self(Arc::new(Inner {
            limits,
            clock,
            budget: node.budget(),
            node,
            slots: RwLock::default(),
            deadlines: Mutex::default(),
            sooner: Notify::new(),
            watchers: Watchers::default(),
            last_epoch: AtomicU64::new(0),
            counts: Counts::default(),
        }))
    }

    /// Ends windows and forgets old responses when their time comes, for ever.
    pub async fn run(&self) {
        loop {
            let sooner = self.0.sooner.notified();
            match self.next_deadline() {
                None => sooner.await,
                Some(at) => {
                    let wait = at.saturating_sub(self.0.clock.now().monotonic);
                    tokio::select! {
                        // Always in this order: simulations run it too.
                        biased;
                        () = sooner => {}
                        () = tokio::time::sleep(wait) => self.tick(),
                    }
                }
            }
        }
    }

    /// When [`MemoryEngine::tick`] has something to do next, on the monotonic
    /// clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        lock(&self.0.deadlines).first().map(|(at, _)| *at)
    }

    /// Makes place when the budget is nearly used up: those logs forget that hold
    /// the most. To be called now and then: without it nothing exceeds the budget,
    /// but newcomers get less of it than those who filled it.
    pub fn relieve(&self) {
        let Some(most) = self.0.budget.logs_within() else { return };
        let slots: Vec<_> = self.0.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let most = level(slots.iter().map(|slot| lock(&slot.state).log.charged()).collect(), most);
        for slot in slots {
            let mut state = lock(&slot.state);
            if state.log.charged() > most {
                self.0.shrink(&mut state, most);
            }
        }
    }

    /// Does what is due.
    pub fn tick(&self) {
        let now = self.0.clock.now();
        loop {
            let due = {
                let mut deadlines = lock(&self.0.deadlines);
                match deadlines.first() {
                    Some((at, _)) if *at <= now.monotonic => deadlines.pop_first(),
                    _ => None,
                }
            };
            let Some((at, id)) = due else { return };
            if let Some(slot) = self.0.find(&id) {
                self.0.enter(&slot, None, |state, now, effects| {
                    if state.filed == Some(at) {
                        state.filed = None;
                    }
                    state.session.tick(now, effects);
                });
            }
        }
    }
}

impl Inner {
    fn find(&self, id: &SessionId) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn find_or_make(&self, id: &SessionId) -> Arc<Slot> {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id.clone()).or_insert_with(|| {
            let session = Session::new(Arc::clone(&self.limits));
            let (log, decisions) = self.charges();
            let state = SlotState { session, room: None, filed: None, removed: false, log, decisions };
            Arc::new(Slot { id: id.clone(), state: Mutex::new(state) })
        }))
    }

    /// Works on a session under its lock and does what it wants done. Nothing
    /// when the slot has left the map.
    fn enter<T>(
        &self,
        slot: &Arc<Slot>,
        outlet: Option<OutletId>,
        work: impl FnOnce(&mut SlotState, Now, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        let mut state = lock(&slot.state);
        if state.removed {
            return None;
        }
        let before = state.session.facts();
        // Read under the lock, so that a session's times go with its order.
        let now = self.clock.now();
        let mut effects = Vec::new();
        state.session.set_frugal(self.budget.is_frugal());
        let lived = before.as_ref().map(|facts| facts.epoch);
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let done = work(&mut state, now, &mut effects);
            self.carry_out(slot, &mut state, now, effects, outlet, lived);
            done
        }));
        let done = worked.unwrap_or_else(|panic| {
            self.abandon(slot, &mut state, before.as_ref());
            resume_unwind(panic)
        });
        self.counts.update(before.as_ref(), state.session.facts().as_ref());
        self.account(&mut state);
        self.file(slot, &mut state);
        Some(done)
    }

    /// Ends a session that panicked half-way through a change: its promises hold no
    /// longer, and its members start anew. Every other session goes on.
    fn abandon(&self, slot: &Slot, state: &mut SlotState, before: Option<&Facts>) {
        let ending = Ending::Refused(Reason::EngineUnavailable);
        if let Some(mut room) = state.room.take() {
            room.abandon(Farewell { ending, resumable: false, retry_after: None });
        }
        if let Some(facts) = before {
            self.watchers.see(&slot.id, || Change::SessionEnded(slot.id.clone(), facts.epoch));
        }
        self.counts.update(before, None);
        if let Some(filed) = state.filed.take() {
            lock(&self.deadlines).remove(&(filed, slot.id.clone()));
        }
        state.removed = true;
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.id);
        (state.log, state.decisions) = self.charges();
        state.session = Session::new(Arc::clone(&self.limits));
    }

    fn charges(&self) -> (Charge, Charge) {
        [Spent::Logs, Spent::Decisions].map(|spent| Charge::new(&self.budget, spent)).into()
    }

    /// Counts what the session holds. Beyond the budget, its log takes no more
    /// than it took: the oldest events make place for the newest.
    fn account(&self, state: &mut SlotState) {
        let (held, before) = (state.session.held(), state.log.charged());
        state.log.set(held.log);
        state.decisions.set(held.decisions);
        let grown = state.log.charged().saturating_sub(before);
        if grown > 0 {
            let excess = self.budget.excess();
            if excess > 0 {
                self.shrink(state, held.log.saturating_sub(excess.min(grown)));
            }
        }
    }

    fn shrink(&self, state: &mut SlotState, most: usize) {
        self.budget.relieve(Relief::Events, state.session.shrink_log(most));
        state.log.set(state.session.held().log);
    }

    /// Does what the session wants done, and what follows from it: an outbox
    /// that overflows detaches its connection, which is an event for others.
    fn carry_out(
        &self,
        slot: &Slot,
        state: &mut SlotState,
        now: Now,
        effects: Vec<Effect>,
        outlet: Option<OutletId>,
        lived: Option<Epoch>,
    ) {
        let mut effects = effects;
        let mut overflowed = Vec::new();
        loop {
            for run in effects.chunk_by(|one, next| is_handed_on(one) && is_handed_on(next)) {
                run.iter().for_each(|effect| self.tell_watchers(slot, &state.session, lived, effect));
                match (&run[0], state.room.as_mut()) {
                    (Effect::Started, _) => state.room = Some(self.node.open_room(&slot.id)),
                    (Effect::Attach(handle, view), Some(room)) => {
                        if let Some(outlet) = outlet {
                            room.attach(*handle, view.clone(), outlet);
                        }
                    }
                    (Effect::Release(handle, ending, resumable), Some(room)) => {
                        let farewell = Farewell { ending: *ending, resumable: *resumable, retry_after: None };
                        room.release(*handle, farewell);
                    }
                    (Effect::Entry(_) | Effect::Answer(..), Some(room)) => room.hand_on(run, &mut overflowed),
                    // The room stays for the releases that may follow, until
                    // the session is left.
                    _ => {}
                }
            }
            if overflowed.is_empty() {
                break;
            }
            effects.clear();
            for handle in overflowed.drain(..) {
                state.session.detach(now, handle, Ending::SlowConsumer, &mut effects);
            }
        }
        if state.session.facts().is_none() {
            state.room = None;
        }
    }

    fn tell_watchers(&self, slot: &Slot, session: &Session, lived: Option<Epoch>, effect: &Effect) {
        let id = &slot.id;
        match effect {
            Effect::Started => {
                if let Some(facts) = session.facts() {
                    self.watchers.see(id, || Change::SessionStarted(id.clone(), facts.epoch, facts.created_at));
                }
            }
            Effect::Ended => {
                // A join may end one life and start the next.
                let ended = lived.unwrap_or_else(|| session.epoch());
                self.watchers.see(id, || Change::SessionEnded(id.clone(), ended));
            }
            Effect::Entry(entry) => match &entry.event {
                Event::Created(info) => self.watchers.see(id, || {
                    let view = ConnectionView { info: Arc::clone(info), interrupted: false };
                    Change::ConnectionCreated(id.clone(), entry.sequence, view)
                }),
                Event::Destroyed(connection, reason) => self
                    .watchers
                    .see(id, || Change::ConnectionDestroyed(id.clone(), entry.sequence, *connection, *reason)),
                Event::Signal { .. } | Event::Interrupted(_) | Event::Restored(_) => {}
            },
            Effect::Answer(..) | Effect::Attach(..) | Effect::Release(..) => {}
        }
    }

    /// Files the session under its next deadline, or forgets it.
    fn file(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        if state.session.is_forgettable() {
            state.removed = true;
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.id);
        }
        let next = if state.removed { None } else { state.session.next_deadline() };
        if next == state.filed {
            return;
        }
        let mut deadlines = lock(&self.deadlines);
        if let Some(filed) = state.filed {
            deadlines.remove(&(filed, slot.id.clone()));
        }
        if let Some(at) = next {
            deadlines.insert((at, slot.id.clone()));
            if deadlines.first().is_some_and(|(first, id)| *first == at && *id == slot.id) {
                self.sooner.notify_one();
            }
        }
        state.filed = next;
    }

    /// An epoch above every earlier one: the microseconds since 1970, so that
    /// it also grows from process to process.
    fn next_epoch(&self, wall: SystemTime) -> Epoch {
        let micros = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let bump = |last: u64| Some(micros.max(last + 1));
        let last = self.last_epoch.fetch_update(Ordering::SeqCst, Ordering::SeqCst, bump).unwrap_or_else(|last| last);
        micros.max(last + 1)
    }

    fn with_existing<T>(
        &self,
        id: &SessionId,
        work: impl FnOnce(&mut SlotState, Now, &mut Vec<Effect>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let found = self.find(id).and_then(|slot| self.enter(&slot, None, work));
        found.unwrap_or_else(|| Err(nobody_there()))
    }
}

/// Whether it is for the room to tell.
fn is_handed_on(effect: &Effect) -> bool {
    matches!(effect, Effect::Entry(_) | Effect::Answer(..))
}

fn nobody_there() -> Refusal {
    Refusal::new(Reason::SessionNotFound, "nobody is in the session").field("session_id")
}

impl Counts {
    fn update(&self, before: Option<&Facts>, after: Option<&Facts>) {
        let count = |facts: Option<&Facts>| {
            facts.map_or((0, 0, 0), |facts| (1, facts.connections - facts.interrupted, facts.interrupted))
        };
        let (before, after) = (count(before), count(after));
        let add = |to: &AtomicIsize, before: usize, after: usize| {
            if before != after {
                to.fetch_add(after.cast_signed() - before.cast_signed(), Ordering::Relaxed);
            }
        };
        add(&self.sessions, before.0, after.0);
        add(&self.attached, before.1, after.1);
        add(&self.detached, before.2, after.2);
    }
}

impl Engine for MemoryEngine {
    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::run(self))
    }

    fn relieve(&self) {
        Self::relieve(self);
    }

    fn join(&self, session: SessionId, outlet: OutletId, join: Join) -> BoxFuture<'_, Result<Joined, Refusal>> {
        Box::pin(async move {
            if join.resume.is_none() {
                self.0.budget.admits()?;
            }
            let mut join = Some(join);
            loop {
                let slot = self.0.find_or_make(&session);
                let admitted = self.0.enter(&slot, Some(outlet), |state, now, effects| {
                    let join = join.take()?;
                    Some(state.session.join(now, self.0.next_epoch(now.wall), join, effects))
                });
                // Nothing: the slot was removed between finding and locking it.
                if let Some(admitted) = admitted.flatten() {
                    return admitted.map(|admission| {
                        let handle = admission.handle;
                        let engine = Arc::clone(&self.0);
                        Joined { admission, link: Arc::new(MemoryLink { engine, slot, handle }) }
                    });
                }
            }
        })
    }

    fn command_beside(
        &self,
        session: SessionId,
        connection: ConnectionId,
        token: ResumeToken,
        commands: Vec<Command>,
    ) -> BoxFuture<'_, Result<Vec<SendResult>, Refusal>> {
        Box::pin(async move {
            let found = self.0.find(&session).and_then(|slot| {
                self.0.enter(&slot, None, |state, now, effects| {
                    let mut results = Vec::new();
                    for (at, command) in commands.into_iter().enumerate() {
                        match state.session.command_beside(now, connection, &token, command, effects) {
                            Ok(result) => results.extend(result),
                            Err(refusal) if at == 0 => return Err(refusal),
                            Err(_) => break,
                        }
                    }
                    Ok(results)
                })
            });
            found.unwrap_or_else(|| Err(unknown_connection()))
        })
    }

    fn send_from_server(&self, session: SessionId, send: ServerSend) -> BoxFuture<'_, Result<ServerAccepted, Refusal>> {
        Box::pin(async move {
            self.0.with_existing(&session, |state, now, effects| {
                if let Some(key) = send.key.as_ref().filter(|key| !state.session.remembers(key)) {
                    self.0.budget.remembers(key)?;
                }
                state.session.send_from_server(now, send, effects)
            })
        })
    }

    fn disconnect(&self, session: SessionId, connection: Named) -> BoxFuture<'_, Result<Sequence, Refusal>> {
        Box::pin(async move {
            self.0.with_existing(&session, |state, now, effects| {
                state.session.disconnect_from_server(now, &connection, effects)
            })
        })
    }

    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Facts, Refusal>> {
        Box::pin(
            async move { self.0.with_existing(&session, |state, _, _| state.session.facts().ok_or_else(nobody_there)) },
        )
    }

    fn sessions(
        &self,
        after: Option<SessionId>,
        most: usize,
    ) -> BoxFuture<'_, Result<Page<(SessionId, Facts)>, Refusal>> {
        Box::pin(async move {
            let mut after = after;
            let mut items = Vec::new();
            // Sessions that only remember responses fill slots but no page.
            loop {
                let slots = self.0.slots_after(after.as_ref(), most + 1 - items.len());
                let Some(last) = slots.last() else { return Ok(Page { items, more: false }) };
                after = Some(last.id.clone());
                for slot in slots {
                    let Some(facts) = lock(&slot.state).session.facts() else { continue };
                    if items.len() == most {
                        return Ok(Page { items, more: true });
                    }
                    items.push((slot.id.clone(), facts));
                }
            }
        })
    }

    fn connections(
        &self,
        session: SessionId,
        after: Sequence,
        most: usize,
    ) -> BoxFuture<'_, Result<Connections, Refusal>> {
        Box::pin(async move {
            self.0.with_existing(&session, |state, _, _| {
                let facts = state.session.facts().ok_or_else(nobody_there)?;
                let mut items: Vec<_> = state.session.connections(after).take(most + 1).collect();
                let more = items.len() > most;
                items.truncate(most);
                Ok(Connections { epoch: facts.epoch, page: Page { items, more } })
            })
        })
    }

    fn watch(&self, session: Option<SessionId>) -> BoxFuture<'_, Result<Watch, Refusal>> {
        Box::pin(async move { Ok(Box::pin(Watching::new(Arc::clone(&self.0), session)) as Watch) })
    }

    fn stats(&self) -> Stats {
        let read = |count: &AtomicIsize| usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(0);
        let counts = &self.0.counts;
        Stats { sessions: read(&counts.sessions), attached: read(&counts.attached), detached: read(&counts.detached) }
    }

    fn survey(&self, show: &mut dyn FnMut(&SessionId, Sight)) {
        let mut after = None;
        loop {
            let slots = self.0.slots_after(after.as_ref(), SURVEYED_AT_ONCE);
            let Some(last) = slots.last() else { return };
            after = Some(last.id.clone());
            for slot in slots {
                let facts = lock(&slot.state).session.facts();
                let Some(Facts { connections, interrupted, epoch, sequence, created_at }) = facts else { continue };
                let connected = connections - interrupted;
                show(&slot.id, Sight { connected, interrupted, epoch, sequence, created_at });
            }
        }
    }
}

impl Inner {
    fn slots_after(&self, after: Option<&SessionId>, most: usize) -> Vec<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        slots.range((from, Bound::Unbounded)).take(most).map(|(_, slot)| Arc::clone(slot)).collect()
    }
}

struct MemoryLink {
    engine: Arc<Inner>,
    slot: Arc<Slot>,
    handle: Handle,
}

impl Link for MemoryLink {
    fn submit(&self, command: Command) {
        self.engine.enter(&self.slot, None, |state, now, effects| {
            state.session.command(now, self.handle, command, effects);
        });
    }

    fn submit_all(&self, commands: &mut Vec<Command>) {
        self.engine.enter(&self.slot, None, |state, now, effects| {
            commands.drain(..).for_each(|command| state.session.command(now, self.handle, command, effects));
        });
        commands.clear();
    }

    fn detach(&self, ending: Ending) {
        self.engine.enter(&self.slot, None, |state, now, effects| {
            state.session.detach(now, self.handle, ending, effects);
        });
    }
}
