//! One session's streams on this node: where a broadcast fans out.
//!
//! This is the fast path. A broadcast is encoded once and appended once to the
//! chain of those who see the same; per receiver it costs two loads and one
//! atomic operation, neither a lock nor an allocation. Signals that came in
//! one read leave as one block.

use std::{
    borrow::Borrow,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use bytes::{Bytes, BytesMut};

use crate::{
    domain::{Audience, Budget, Charge, ConnectionId, ConnectionMap, Entry, Event, Sequence, SessionId, Spent},
    engine::{OutletId, Room},
    session::{Effect, Farewell, Handle, SendResult, View},
    telemetry::SignalSource,
};

use super::{
    Bell, Inner, Outbox,
    chain::{Cause, Chain},
    outbox::{Feed, Following},
};

/// How many receivers make a crowd, whose turns may wait for the others'.
const CROWD: usize = 128;

struct Seat {
    handle: Handle,
    suppress_own_signals: bool,
    outbox: Arc<Outbox>,
}

impl Seat {
    /// Whether it is spared what this one caused.
    fn is_spared(&self, cause: Cause) -> bool {
        let me = Some(self.handle.connection);
        cause.about == me || (self.suppress_own_signals && cause.from == me)
    }
}

/// The streams that see the same broadcasts (but for their own), and the chain
/// that they share.
struct Group {
    view: View,
    /// Dense, because a broadcast walks all of it.
    seats: Vec<Seat>,
    chain: Chain,
    feed: Arc<Feed>,
}

impl Group {
    fn new(session: &SessionId, view: View, latest: Sequence, budget: &Arc<Budget>) -> Self {
        let feed = Arc::new(Feed { session: Some(session.clone()), ..Feed::default() });
        feed.latest.store(latest, Ordering::Release);
        Self { view, seats: Vec::new(), chain: Chain::new(budget), feed }
    }

    /// Whether its streams see a broadcast. What one stream alone is spared
    /// is passed over when it is read.
    fn admits(&self, event: &Event) -> bool {
        match event {
            Event::Signal { signal, .. } => self.view.signal_types.admit(signal.kind()),
            _ => !self.view.suppress_connection_events,
        }
    }

    /// Hands a block to all.
    fn append(&mut self, block: Encoded, cause: Cause, overflowed: &mut Vec<Handle>) {
        let before = self.chain.carried();
        self.chain.append(block.bytes, block.events as u64, block.ends, cause);
        let after = self.chain.carried();
        self.feed.events.store(after.events, Ordering::Release);
        self.feed.bytes.store(after.bytes, Ordering::Release);
        let share = self.chain.budget().share();
        fence(Ordering::SeqCst);
        let crowd = if self.seats.len() > CROWD { Bell::CROWD } else { 0 };
        let is_over = |seat: &&Seat| !seat.outbox.appended(before, after, share, crowd);
        overflowed.extend(self.seats.iter().filter(is_over).map(|seat| seat.handle));
    }
}

/// Events, encoded.
#[derive(Clone)]
struct Encoded {
    bytes: Bytes,
    events: usize,
    ends: Box<[usize]>,
}

/// The outcome of a send, after so many broadcasts of those handed on with it.
struct Answer<'a> {
    handle: Handle,
    result: &'a SendResult,
    after: usize,
}

fn is_broadcast(event: &Event) -> bool {
    !matches!(event, Event::Signal { audience: Audience::Only(_), .. })
}

/// Where a connection sits.
#[derive(Clone, Copy)]
struct Place {
    group: usize,
    seat: usize,
}

/// A room of the hub's.
pub(super) struct HubRoom {
    hub: Arc<Inner>,
    session: SessionId,
    groups: Vec<Group>,
    index: ConnectionMap<Place>,
    latest: Sequence,
}

impl HubRoom {
    pub(super) fn new(hub: Arc<Inner>, session: SessionId) -> Self {
        Self { hub, session, groups: Vec::new(), index: ConnectionMap::default(), latest: 0 }
    }

    fn seat(&self, connection: ConnectionId) -> Option<(&Group, &Seat)> {
        let place = self.index.get(&connection)?;
        let group = self.groups.get(place.group)?;
        Some((group, group.seats.get(place.seat)?))
    }

    fn remove(&mut self, handle: Handle) -> Option<Seat> {
        let (_, seat) = self.seat(handle.connection)?;
        if seat.handle != handle {
            return None;
        }
        let place = self.index.remove(&handle.connection)?;
        let group = &mut self.groups[place.group];
        let seat = group.seats.swap_remove(place.seat);
        if let Some(moved) = group.seats.get(place.seat) {
            self.index.insert(moved.handle.connection, place);
        }
        if group.seats.is_empty() {
            self.groups.swap_remove(place.group);
            if let Some(moved) = self.groups.get(place.group) {
                for (at, seat) in moved.seats.iter().enumerate() {
                    self.index.insert(seat.handle.connection, Place { group: place.group, seat: at });
                }
            }
        }
        Some(seat)
    }

    /// Everything up to here was handed on.
    fn is_at(&mut self, sequence: Sequence) {
        self.latest = sequence;
        for group in &self.groups {
            group.feed.latest.store(sequence, Ordering::Release);
        }
    }

    /// Hands on broadcasts that one connection is the cause of, and outcomes
    /// between them.
    fn broadcast<E: Borrow<Entry>>(&mut self, entries: &[E], answers: &[Answer<'_>], overflowed: &mut Vec<Handle>) {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return };
        let (cause, last) = (Cause::of(&first.borrow().event), last.borrow().sequence);
        if !self.counts(&first.borrow().event, entries.len()) {
            return;
        }
        let causing = cause.from.or(cause.about).and_then(|id| self.index.get(&id)).copied();
        // Encoded for the first group that sees all of it, shared by the others.
        let mut whole: Option<Encoded> = None;
        for (at, group) in self.groups.iter_mut().enumerate() {
            let admitted = entries.iter().filter(|entry| group.admits(&(*entry).borrow().event)).count();
            if admitted == 0 {
                continue;
            }
            let with_ends = !answers.is_empty();
            let block = if admitted == entries.len() {
                whole.get_or_insert_with(|| self.hub.encode(entries.iter(), with_ends)).clone()
            } else {
                self.hub.encode(entries.iter().filter(|entry| group.admits(&(*entry).borrow().event)), with_ends)
            };
            group.append(block, cause, overflowed);
            let causing = causing.filter(|place| place.group == at).and_then(|place| group.seats.get(place.seat));
            let receivers = group.seats.len() - usize::from(causing.is_some_and(|seat| seat.is_spared(cause)));
            self.hub.metrics.deliveries.increment((receivers * admitted) as u64);
        }
        self.is_at(last);
    }

    /// Tells outcomes: each once those of `entries` before it have been told.
    fn tell<E: Borrow<Entry>>(&self, entries: &[E], answers: &[Answer<'_>], overflowed: &mut Vec<Handle>) {
        let mut bytes = BytesMut::new();
        for answer in answers {
            if let Err(refusal) = &answer.result.outcome {
                self.hub.metrics.refused(refusal.reason);
            }
            let Some((group, seat)) = self.seat(answer.handle.connection) else { continue };
            if seat.handle != answer.handle {
                continue;
            }
            if let Some(span) = seat.outbox.span() {
                let outcome = &answer.result.outcome;
                let outcome = outcome.as_ref().map(|accepted| accepted.sequence).map_err(|refusal| refusal.reason);
                span.decided(answer.result.send_id, outcome);
            }
            let before = entries[..answer.after].iter().filter(|entry| group.admits(&(*entry).borrow().event)).count();
            let carried = group.chain.carried();
            (self.hub.encoding.append_outcome)(answer.result, &mut bytes);
            let frame = if answers.len() == 1 { std::mem::take(&mut bytes) } else { bytes.split() }.freeze();
            if !seat.outbox.push_outcomes(frame, 1, carried, carried.events + before as u64) {
                overflowed.push(answer.handle);
            }
        }
    }

    /// Counts signals. Whether they are delivered.
    fn counts(&self, event: &Event, count: usize) -> bool {
        if let Event::Signal { from, .. } = event {
            let source = if from.is_some() { SignalSource::Client } else { SignalSource::Server };
            self.hub.metrics.signals(source, count);
        }
        // A drain ends streams one by one, and each end is an event for all the
        // others: without this it would be quadratic.
        !self.hub.quiet.load(Ordering::Acquire)
    }

    fn address(&mut self, ids: &[ConnectionId], entry: &Entry, overflowed: &mut Vec<Handle>) {
        if !self.counts(&entry.event, 1) {
            return;
        }
        let cause = Cause::of(&entry.event);
        let mut receivers = ids
            .iter()
            .filter_map(|id| self.seat(*id))
            .filter(|(group, seat)| group.admits(&entry.event) && !seat.is_spared(cause))
            .peekable();
        let mut frame = if receivers.peek().is_some() { (self.hub.encoding.entry)(entry) } else { Bytes::new() };
        let mut deliveries = 0;
        while let Some((group, seat)) = receivers.next() {
            // The last one's is not shared: a signal is mostly for one.
            let its = if receivers.peek().is_some() { frame.clone() } else { std::mem::take(&mut frame) };
            deliveries += 1;
            if !seat.outbox.push(its, group.chain.carried()) {
                overflowed.push(seat.handle);
            }
        }
        self.hub.metrics.deliveries.increment(deliveries);
        self.is_at(entry.sequence);
    }
}

/// Bytes, and what they take of the node's budget.
struct Counted {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Inner {
    fn encode<'a, E: Borrow<Entry> + 'a>(&self, entries: impl Iterator<Item = &'a E>, with_ends: bool) -> Encoded {
        let mut bytes = BytesMut::new();
        let mut ends = Vec::new();
        let mut events = 0;
        for entry in entries {
            (self.encoding.append_entry)(entry.borrow(), &mut bytes);
            events += 1;
            if with_ends {
                ends.push(bytes.len());
            }
        }
        Encoded { bytes: self.counted(bytes.freeze()), events, ends: ends.into() }
    }

    /// Counts bytes that wait for as long as anybody holds some of them.
    fn counted(&self, bytes: Bytes) -> Bytes {
        let charge = Charge::of(&self.budget, Spent::Waiting, bytes.len());
        Bytes::from_owner(Counted { bytes, _charge: charge })
    }
}

impl Room for HubRoom {
    fn attach(&mut self, handle: Handle, view: View, outlet: OutletId) {
        // Gone already when its client hung up while the join was under way.
        let Some(outbox) = self.hub.outbox(outlet) else { return };
        let View { suppress_own_signals, .. } = view;
        let view = View { suppress_own_signals: false, ..view };
        let at = self.groups.iter().position(|group| group.view == view).unwrap_or_else(|| {
            self.groups.push(Group::new(&self.session, view, self.latest, &self.hub.budget));
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        let feed = Arc::clone(&group.feed);
        outbox.follow(Following { at: group.chain.end(), feed, me: handle.connection, suppress_own_signals });
        self.index.insert(handle.connection, Place { group: at, seat: group.seats.len() });
        group.seats.push(Seat { handle, suppress_own_signals, outbox });
    }

    fn reached(&mut self, sequence: Sequence) {
        self.is_at(sequence);
    }

    fn release(&mut self, handle: Handle, farewell: Farewell) {
        if let Some(seat) = self.remove(handle) {
            seat.outbox.release(farewell);
        }
    }

    fn abandon(&mut self, farewell: Farewell) {
        for seat in self.groups.drain(..).flat_map(|group| group.seats) {
            seat.outbox.release(farewell);
        }
        self.index = ConnectionMap::default();
    }

    fn deliver(&mut self, entry: &Entry, overflowed: &mut Vec<Handle>) {
        match &entry.event {
            Event::Signal { audience: Audience::Only(ids), .. } => self.address(ids, entry, overflowed),
            _ => self.broadcast(&[entry], &[], overflowed),
        }
    }

    fn answer(&mut self, handle: Handle, result: &SendResult, overflowed: &mut Vec<Handle>) {
        self.tell::<&Entry>(&[], &[Answer { handle, result, after: 0 }], overflowed);
    }

    fn hand_on(&mut self, effects: &[Effect], overflowed: &mut Vec<Handle>) {
        let mut entries: Vec<&Entry> = Vec::new();
        let mut answers: Vec<Answer<'_>> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Answer(handle, result) => {
                    answers.push(Answer { handle: *handle, result, after: entries.len() });
                }
                Effect::Entry(entry) => {
                    let goes_on = is_broadcast(&entry.event)
                        && entries.last().is_some_and(|last| Cause::of(&last.event) == Cause::of(&entry.event));
                    if !goes_on {
                        self.tell(&entries, &answers, overflowed);
                        self.broadcast(&entries, &answers, overflowed);
                        entries.clear();
                        answers.clear();
                    }
                    if is_broadcast(&entry.event) {
                        entries.push(entry);
                    } else {
                        self.deliver(entry, overflowed);
                    }
                }
                _ => {}
            }
        }
        // Outcomes first: they wait for their place among the events.
        self.tell(&entries, &answers, overflowed);
        self.broadcast(&entries, &answers, overflowed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::mpsc,
        thread,
        time::{Duration, SystemTime},
    };

    use bytes::{BufMut as _, Bytes};

    use super::*;
    use crate::{
        domain::{ConnectionId, Ending, Limits, Reason, Relief, Signal},
        engine::{Node as _, lock},
        hub::{Capacity, Encoding, Hub, Next, Outlet, Reading},
        telemetry::Registry,
    };

    thread_local! {
        static ENCODED: Cell<usize> = const { Cell::new(0) };
    }

    fn counted(entry: &Entry, into: &mut BytesMut) {
        ENCODED.with(|count| count.set(count.get() + 1));
        into.extend_from_slice(format!("event {}", entry.sequence).as_bytes());
    }

    const ENCODING: Encoding = Encoding { entry: |_| Bytes::new(), append_entry: counted, append_outcome: |_, _| {} };

    fn join(hub: &Hub, room: &mut dyn Room, name: u8) -> Outlet {
        let outlet = hub.admit(None, Arc::default(), 1).expect("a place");
        let handle = Handle { connection: ConnectionId::from_random([name; 16]), generation: 1 };
        room.attach(handle, View::default(), outlet.id());
        outlet.outbox().open(Box::new(std::iter::empty()), 0, true);
        outlet
    }

    fn next(outlet: &Outlet) -> Bytes {
        match Reading::new(Arc::clone(outlet.outbox())).take() {
            Next::Frames(frames) => frames,
            other => panic!("{other:?}"),
        }
    }

    fn hub() -> (Hub, Box<dyn Room>) {
        let hub = Hub::new(&Limits::default(), Capacity::default(), ENCODING, Arc::new(Registry::new().metrics()));
        let room = hub.open_room(&SessionId::parse("s", &Limits::default(), "session_id").expect("an id"));
        (hub, room)
    }

    fn broadcast() -> Entry {
        let signal = Signal::parse(String::new(), "hello".into()).expect("a signal");
        let event = Event::Signal { from: None, audience: Audience::Everyone, signal };
        Entry { sequence: 1, at: SystemTime::UNIX_EPOCH, event }
    }

    #[test]
    fn a_broadcast_is_encoded_once_and_shared_by_its_receivers() {
        let (hub, mut room) = hub();
        let outlets: Vec<_> = (0..100).map(|name| join(&hub, &mut *room, name)).collect();
        let before = ENCODED.with(Cell::get);
        room.deliver(&broadcast(), &mut Vec::new());
        let frames: Vec<_> = outlets.iter().map(next).collect();
        assert_eq!(ENCODED.with(Cell::get) - before, 1);
        assert!(frames.iter().all(|frame| *frame == "event 1" && frame.as_ptr() == frames[0].as_ptr()));
    }

    #[test]
    fn who_is_told_that_it_is_in_before_it_is_attached_gets_what_comes_after() {
        let (hub, mut room) = hub();
        let outlet = hub.admit(None, Arc::default(), 1).expect("a place");
        outlet.outbox().open(Box::new(std::iter::once(Bytes::from_static(b"joined"))), 0, true);
        let mut reading = Reading::new(Arc::clone(outlet.outbox()));
        assert_eq!(reading.take(), Next::Frames(Bytes::from_static(b"joined")));
        assert_eq!(reading.take(), Next::Idle(0));
        outlet.outbox().bell().take();
        let handle = Handle { connection: ConnectionId::from_random([1; 16]), generation: 1 };
        room.attach(handle, View::default(), outlet.id());
        assert_eq!(outlet.outbox().bell().take(), 1, "it looks for it");
        room.deliver(&broadcast(), &mut Vec::new());
        assert_eq!(reading.take(), Next::Frames(Bytes::from_static(b"event 1")));
    }

    #[test]
    fn a_crowd_is_told_that_it_is_one() {
        for (count, is_crowd) in [(CROWD, false), (CROWD + 1, true)] {
            let (hub, mut room) = hub();
            let outlets: Vec<_> = (0..count).map(|name| join(&hub, &mut *room, name as u8)).collect();
            for outlet in &outlets {
                // Who left things behind isn't rung.
                outlet.outbox().set_behind(false);
                outlet.outbox().bell().take();
            }
            room.deliver(&broadcast(), &mut Vec::new());
            assert!(outlets.iter().all(|outlet| outlet.outbox().bell().is_for_a_crowd() == is_crowd), "{count}");
        }
    }

    #[test]
    fn a_broadcast_is_counted_until_the_last_of_its_bytes_is_let_go() {
        let (hub, mut room) = hub();
        let outlet = join(&hub, &mut *room, 1);
        let spent = || hub.memory().spent(Spent::Waiting);
        room.deliver(&broadcast(), &mut Vec::new());
        let frames = next(&outlet);
        let one = spent();
        assert!(one > "event 1".len(), "{one}");
        room.deliver(&broadcast(), &mut Vec::new());
        // Its link is let go, its bytes are not.
        assert_eq!(spent(), one + "event 1".len());
        drop((outlet, room));
        assert_eq!(spent(), "event 1".len());
        drop(frames);
        assert_eq!(spent(), 0);
    }

    #[test]
    fn an_abandoned_rooms_streams_are_told_after_what_they_had() {
        let (hub, mut room) = hub();
        let outlets: Vec<_> = (0..3).map(|name| join(&hub, &mut *room, name)).collect();
        room.deliver(&broadcast(), &mut Vec::new());
        let ending = Ending::Refused(Reason::EngineUnavailable);
        room.abandon(Farewell { ending, resumable: false, retry_after: None });
        for outlet in &outlets {
            let mut reading = Reading::new(Arc::clone(outlet.outbox()));
            assert_eq!(reading.take(), Next::Frames(Bytes::from_static(b"event 1")));
            assert!(matches!(reading.take(), Next::End(goodbye) if goodbye.farewell.ending == ending));
        }
    }

    #[test]
    fn when_too_much_waits_those_who_have_the_most_make_place() {
        let encoding = Encoding { append_entry: |_, into| into.put_bytes(0, 1_024), ..ENCODING };
        let limits = Limits { memory_for_signals: 128 * 1_024, outbox_bytes: 0, ..Limits::default() };
        let hub = Hub::new(&limits, Capacity::default(), encoding, Arc::new(Registry::new().metrics()));
        let fill = |name, kibibytes: usize| {
            let id = SessionId::parse(&format!("s{name}"), &Limits::default(), "session_id").expect("an id");
            let mut room = hub.open_room(&id);
            let outlet = join(&hub, &mut *room, name);
            let mut overflowed = Vec::new();
            (0..kibibytes).for_each(|_| room.deliver(&broadcast(), &mut overflowed));
            assert_eq!(overflowed, []);
            (room, outlet, kibibytes)
        };
        let mut seats = vec![fill(1, 20), fill(2, 30)];
        hub.relieve();
        assert_eq!(hub.memory().relieved(Relief::Readers), 0);
        seats.push(fill(3, 8));
        hub.relieve();
        assert_eq!(hub.memory().relieved(Relief::Readers), 1, "{}", hub.memory().spent(Spent::Waiting));
        let ends = seats.iter().map(|(_, outlet, kibibytes)| {
            let mut reading = Reading::new(Arc::clone(outlet.outbox()));
            let frames = std::iter::from_fn(|| Some(reading.take()).filter(|next| matches!(next, Next::Frames(_))));
            let count = frames.count();
            let is_closed = outlet.outbox().ending() == Some(Ending::SlowConsumer);
            assert_eq!(count, if is_closed { 0 } else { *kibibytes });
            is_closed
        });
        assert_eq!(ends.collect::<Vec<_>>(), [false, true, false]);
    }

    /// One lock a fan-out: the session's, which the caller holds.
    #[test]
    fn a_broadcast_waits_for_no_lock_of_the_hubs() {
        let (hub, mut room) = hub();
        let outlets: Vec<_> = (0..100).map(|name| join(&hub, &mut *room, name)).collect();
        // They have read all there was, and sleep: the fan-out wakes them.
        let mut readings: Vec<_> = outlets.iter().map(|outlet| Reading::new(Arc::clone(outlet.outbox()))).collect();
        assert!(readings.iter_mut().all(|reading| reading.take() == Next::Idle(0)));
        thread::scope(|scope| {
            let registry = lock(&hub.0.registry);
            let outboxes: Vec<_> = outlets.iter().map(|outlet| outlet.outbox().hold()).collect();
            let (done, is_done) = mpsc::channel();
            let readings = &mut readings;
            scope.spawn(move || {
                room.deliver(&broadcast(), &mut Vec::new());
                // Nor does taking it wait.
                for reading in readings {
                    assert_eq!(reading.take(), Next::Frames(Bytes::from_static(b"event 1")));
                    assert_eq!(reading.take(), Next::Idle(1));
                }
                done.send(())
            });
            is_done.recv_timeout(Duration::from_secs(10)).expect("a fan-out that waits for nobody");
            drop((registry, outboxes));
        });
    }
}
