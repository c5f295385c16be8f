//! A session's streams on this node, and what the node has seen of it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    domain::{ConnectionId, ConnectionMap, Ending, Entry, Epoch, Sequence, SessionId},
    engine::{OutletId, Room, Sight, lock},
    session::{Effect, Farewell, Generation, Handle, SendResult, View},
};

use super::{Deed, Done, Mirror, Placed, link::RedisLink, part::Part, recover};

/// A session, as long as it has somebody here.
pub(super) struct Slot {
    pub(super) id: SessionId,
    pub(super) part: Arc<Part>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A session that ended may have begun again before those of its last life were told.
    lives: BTreeMap<Epoch, Life>,
    /// Whom joins that are under way may bring in.
    joining: Vec<ConnectionId>,
    /// Streams to be released that nobody has been told of yet.
    early: Vec<(Handle, Ending)>,
    /// Streams that are gone, of which Redis wasn't told.
    gone: Vec<(Handle, Ending)>,
    /// Redis may have connections on this node that it knows nothing of.
    is_unsure: bool,
    is_catching_up: bool,
}

struct Life {
    mirror: Mirror,
    room: Box<dyn Room>,
    seats: HashMap<Handle, Seat>,
    /// The newest stream of each connection that the room has; it has no other of it.
    attached: ConnectionMap<Generation>,
}

struct Seat {
    /// None once it is attached.
    outlet: Option<OutletId>,
    link: Arc<RedisLink>,
    window: Duration,
}

/// A stream that a join brings in.
pub(super) struct Arrival {
    pub(super) outlet: OutletId,
    pub(super) link: Arc<RedisLink>,
    pub(super) window: Duration,
}

/// What a stream that was let in is to be told beside its admission.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Events that came after it.
    pub(super) entries: Vec<Arc<Entry>>,
    /// More of them, before these: after the one place, up to the other.
    pub(super) between: Option<(Sequence, Sequence)>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Slot {
    pub(super) fn new(id: SessionId, part: &Arc<Part>) -> Arc<Self> {
        Arc::new(Self { id, part: Arc::clone(part), state: Mutex::default() })
    }

    pub(super) fn entered(&self, connection: ConnectionId) {
        lock(&self.state).joining.push(connection);
    }

    /// A join is over that might have brought this one in.
    pub(super) fn left(&self, connection: ConnectionId) {
        let mut state = lock(&self.state);
        if let Some(at) = state.joining.iter().position(|joining| *joining == connection) {
            state.joining.swap_remove(at);
        }
        if state.joining.is_empty() {
            state.early.clear();
            state.lives.retain(|_, life| !life.seats.is_empty());
        }
        drop(state);
        self.part.tidy(self);
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).is_empty()
    }

    /// A script was answered.
    pub(super) fn answered(self: &Arc<Self>, epoch: Epoch, effects: Vec<Placed>, arrival: Option<Arrival>) -> Missed {
        let mut missed = Missed::default();
        self.with(|state, overflowed| {
            // What was before a new life is of nobody here: those with a stream were
            // destroyed in their place, not by what began the new one.
            let start = effects.iter().rposition(|(_, effect)| *effect == Effect::Started).map_or(0, |at| at + 1);
            let effects: Vec<_> = effects.into_iter().skip(start).collect();
            let is_awaited = !state.joining.is_empty();
            let life = match state.lives.get_mut(&epoch) {
                Some(life) => life,
                None if is_awaited => self.begin(state, epoch),
                None => return,
            };
            if let Some(arrival) = arrival {
                let handle = arrival.link.handle();
                life.seats
                    .insert(handle, Seat { outlet: Some(arrival.outlet), link: arrival.link, window: arrival.window });
                self.part.home.counts.stream(1);
            }
            if let Some(place) = life.mirror.begins(&effects) {
                life.room.reached(place);
            }
            let mut deeds = Vec::new();
            life.mirror.answered(epoch, effects, &mut deeds);
            missed = self.carry_out(life, deeds, overflowed);
            let early = std::mem::take(&mut state.early);
            for (handle, ending) in early {
                self.release(state, handle, ending, overflowed);
            }
        });
        missed
    }

    /// The same, where nobody is brought in.
    pub(super) fn done<T>(self: &Arc<Self>, done: Done<T>) -> T {
        self.answered(done.epoch, done.effects, None);
        done.answer
    }

    /// Events came on the channel.
    pub(super) fn pushed(self: &Arc<Self>, epoch: Epoch, entries: Vec<Arc<Entry>>) {
        self.with(|state, overflowed| {
            let is_awaited = !state.joining.is_empty();
            let life = match state.lives.get_mut(&epoch) {
                Some(life) => life,
                None if is_awaited => self.begin(state, epoch),
                None => return,
            };
            let mut deeds = Vec::new();
            life.mirror.pushed(epoch, entries, &mut deeds);
            self.carry_out(life, deeds, overflowed);
        });
    }

    /// A stream is to end: it is another node's now, or its connection was disconnected.
    pub(super) fn thrown(self: &Arc<Self>, handle: Handle, ending: Ending) {
        self.with(|state, overflowed| self.release(state, handle, ending, overflowed));
    }

    /// The session is in this place.
    pub(super) fn heard(self: &Arc<Self>, epoch: Epoch, newest: Sequence) {
        self.with(|state, _| {
            if let Some(life) = state.lives.get_mut(&epoch) {
                life.mirror.heard(epoch, newest);
            }
        });
    }

    /// Events were read from the log.
    pub(super) fn read(self: &Arc<Self>, epoch: Epoch, entries: Vec<Arc<Entry>>) {
        self.with(|state, overflowed| {
            if let Some(life) = state.lives.get_mut(&epoch) {
                let mut deeds = Vec::new();
                life.mirror.read(entries, &mut deeds);
                self.carry_out(life, deeds, overflowed);
            }
        });
    }

    /// Sends of a stream were decided here.
    pub(super) fn answer(self: &Arc<Self>, handle: Handle, results: &[SendResult]) {
        self.with(|state, overflowed| {
            let life = state.lives.values_mut().find(|life| life.seats.contains_key(&handle));
            if let Some(life) = life {
                results.iter().for_each(|result| life.room.answer(handle, result, overflowed));
            }
        });
    }

    /// A stream ends without Redis.
    pub(super) fn end(self: &Arc<Self>, handle: Handle, farewell: Farewell) {
        self.with(|state, _| {
            let life = state.lives.values_mut().find(|life| life.seats.contains_key(&handle));
            if let Some(life) = life {
                self.let_go(life, handle, farewell);
            }
        });
    }

    /// All streams of one life, or all there are, end without Redis.
    pub(super) fn end_all(self: &Arc<Self>, of: Option<Epoch>, ending: Ending) {
        self.with(|state, _| {
            for (_, life) in state.lives.iter_mut().filter(|(epoch, _)| of.is_none_or(|of| of == **epoch)) {
                for handle in life.seats.keys().copied().collect::<Vec<_>>() {
                    state.gone.push((handle, ending));
                    self.let_go(life, handle, Farewell { ending, resumable: true, retry_after: None });
                }
            }
        });
    }

    /// A stream is gone, of which Redis is to be told.
    pub(super) fn is_gone(&self, handle: Handle, ending: Ending) {
        lock(&self.state).gone.push((handle, ending));
    }

    /// The same, of one that may be here.
    pub(super) fn gone(self: &Arc<Self>, handle: Handle, ending: Ending) {
        self.is_gone(handle, ending);
        self.end(handle, Farewell { ending, resumable: true, retry_after: None });
    }

    /// The streams of which Redis is to be told that they are gone.
    pub(super) fn take_gone(&self) -> Vec<(Handle, Ending)> {
        std::mem::take(&mut lock(&self.state).gone)
    }

    /// Redis may have brought somebody in whom nobody here knows of, if a join was begun
    /// and nobody knows what came of it.
    pub(super) fn doubt(&self, is_begun: bool) {
        lock(&self.state).is_unsure |= is_begun;
    }

    /// It has brought in nobody of that kind.
    pub(super) fn is_sure(&self) {
        lock(&self.state).is_unsure = false;
    }

    /// Whether that is so.
    pub(super) fn doubts(&self) -> bool {
        lock(&self.state).is_unsure
    }

    /// Whether this stream is known here, or about to be.
    pub(super) fn knows(&self, handle: Handle) -> bool {
        let state = lock(&self.state);
        state.joining.contains(&handle.connection) || state.lives.values().any(|life| life.seats.contains_key(&handle))
    }

    /// The streams there are, by lives.
    pub(super) fn streams(&self) -> Vec<(Epoch, Vec<Handle>)> {
        let state = lock(&self.state);
        state.lives.iter().map(|(epoch, life)| (*epoch, life.seats.keys().copied().collect())).collect()
    }

    /// What is known of it: of its newest life, if anybody here is in that.
    pub(super) fn sight(&self) -> Option<Sight> {
        let state = lock(&self.state);
        let (epoch, life) = state.lives.iter().rev().find(|(_, life)| !life.seats.is_empty())?;
        Some(Sight {
            connected: life.seats.len(),
            interrupted: 0,
            epoch: *epoch,
            sequence: life.mirror.newest(),
            // An epoch is the microsecond of its beginning, or one soon after.
            created_at: SystemTime::UNIX_EPOCH + Duration::from_micros(*epoch),
        })
    }

    /// Where events are missing: in which life, after which place.
    pub(super) fn lacks(&self) -> Vec<(Epoch, Sequence)> {
        let state = lock(&self.state);
        state.lives.iter().filter_map(|(epoch, life)| Some((*epoch, life.mirror.lacks()?))).collect()
    }

    /// Nobody looks for what is missing any more.
    pub(super) fn has_caught_up(self: &Arc<Self>) {
        self.with(|state, _| state.is_catching_up = false);
    }

    fn begin<'s>(&self, state: &'s mut State, epoch: Epoch) -> &'s mut Life {
        let room = self.part.home.node.open_room(&self.id);
        state.lives.entry(epoch).or_insert(Life {
            mirror: Mirror::default(),
            room,
            seats: HashMap::new(),
            attached: ConnectionMap::default(),
        })
    }

    fn release(&self, state: &mut State, handle: Handle, ending: Ending, overflowed: &mut Vec<Handle>) {
        let life = state.lives.iter_mut().find(|(_, life)| life.seats.contains_key(&handle));
        match life {
            // After all that came before it.
            Some((epoch, life)) => {
                let mut deeds = Vec::new();
                let place = life.mirror.newest();
                let resumable = ending == Ending::TakenOver;
                life.mirror.answered(*epoch, vec![(place, Effect::Release(handle, ending, resumable))], &mut deeds);
                self.carry_out(life, deeds, overflowed);
            }
            None if !state.joining.is_empty() => state.early.push((handle, ending)),
            None => {}
        }
    }

    fn carry_out(&self, life: &mut Life, deeds: Vec<Deed>, overflowed: &mut Vec<Handle>) -> Missed {
        let mut missed = Missed::default();
        let mut run = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Do(effect @ (Effect::Entry(_) | Effect::Answer(..))) => {
                    run.push(effect);
                    continue;
                }
                _ => {
                    life.room.hand_on(&run, overflowed);
                    run.clear();
                }
            }
            match deed {
                Deed::Do(Effect::Release(handle, ending, resumable)) => {
                    self.let_go(life, handle, Farewell { ending, resumable, retry_after: None });
                }
                Deed::Attach(handle, view, entries) => {
                    let entries = entries.into_iter().filter(|entry| view.admits(entry, handle.connection));
                    missed.entries = entries.collect();
                    self.attach(life, handle, view);
                }
                Deed::AttachAfter(handle, view, after, up_to) => {
                    missed.between = Some((after, up_to));
                    self.attach(life, handle, view);
                }
                Deed::Do(_) => {}
            }
        }
        life.room.hand_on(&run, overflowed);
        missed
    }

    /// A stream receives from here on: if another of its connection does, that one ends,
    /// whatever it was that was told first.
    fn attach(&self, life: &mut Life, handle: Handle, view: View) {
        let other =
            life.attached.get(&handle.connection).map(|generation| Handle { generation: *generation, ..handle });
        let taken_over = Farewell { ending: Ending::TakenOver, resumable: true, retry_after: None };
        match other {
            Some(other) if other.generation > handle.generation => return self.let_go(life, handle, taken_over),
            Some(other) => self.let_go(life, other, taken_over),
            None => {}
        }
        if let Some(outlet) = life.seats.get_mut(&handle).and_then(|seat| seat.outlet.take()) {
            life.attached.insert(handle.connection, handle.generation);
            life.room.attach(handle, view, outlet);
        }
    }

    /// A stream ends.
    fn let_go(&self, life: &mut Life, handle: Handle, farewell: Farewell) {
        let Some(seat) = life.seats.remove(&handle) else { return };
        self.part.home.counts.stream(-1);
        seat.link.is_over();
        match seat.outlet {
            None => {
                life.attached.remove(&handle.connection);
                life.room.release(handle, farewell);
            }
            Some(outlet) => {
                // Who isn't in the room yet is told in one of its own.
                let mut room = self.part.home.node.open_room(&self.id);
                room.attach(handle, View::default(), outlet);
                room.release(handle, farewell);
            }
        }
        if farewell.resumable && !seat.window.is_zero() {
            self.part.is_due(Instant::now() + seat.window);
        }
    }

    /// Works on it under its lock, and does what follows from that.
    fn with(self: &Arc<Self>, work: impl FnOnce(&mut State, &mut Vec<Handle>)) {
        let mut overflowed = Vec::new();
        let mut state = lock(&self.state);
        work(&mut state, &mut overflowed);
        // They end here and now: of what waited for them something is missing, so nothing
        // that came after it may reach them.
        for handle in &overflowed {
            let state = &mut *state;
            let Some(life) = state.lives.values_mut().find(|life| life.seats.contains_key(handle)) else { continue };
            let resumable = life.seats.get(handle).is_some_and(|seat| !seat.window.is_zero());
            state.gone.push((*handle, Ending::SlowConsumer));
            self.let_go(life, *handle, Farewell { ending: Ending::SlowConsumer, resumable, retry_after: None });
        }
        let is_awaited = !state.joining.is_empty();
        state.lives.retain(|_, life| is_awaited || !life.seats.is_empty());
        let lacks = !state.is_catching_up && state.lives.values().any(|life| life.mirror.lacks().is_some());
        state.is_catching_up |= lacks;
        let is_empty = state.is_empty();
        drop(state);
        if !overflowed.is_empty() {
            self.part.home.spawn(recover::tell_soon(Arc::clone(self)));
        }
        if lacks {
            self.part.home.spawn(recover::catch_up(Arc::clone(self)));
        }
        if is_empty {
            self.part.tidy(self);
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.lives.is_empty() && self.joining.is_empty() && self.gone.is_empty() && !self.is_unsure
    }
}
