//! One session's streams on this node: where a broadcast fans out.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    domain::{Audience, ConnectionId, Entry, Event, Sequence},
    engine::{OutletId, Room},
    session::{Farewell, Handle, SendResult, View},
    telemetry::SignalSource,
};

use super::{Inner, Outbox};

struct Seat {
    handle: Handle,
    view: View,
    outbox: Arc<Outbox>,
}

/// A room of the hub's.
pub(super) struct HubRoom {
    hub: Arc<Inner>,
    /// Dense, because a broadcast walks all of it.
    seats: Vec<Seat>,
    index: HashMap<ConnectionId, usize>,
    /// The newest place delivered, for heartbeats.
    latest: Arc<AtomicU64>,
}

impl HubRoom {
    pub(super) fn new(hub: Arc<Inner>) -> Self {
        Self { hub, seats: Vec::new(), index: HashMap::new(), latest: Arc::default() }
    }

    fn seat(&self, handle: Handle) -> Option<&Seat> {
        self.seats.get(*self.index.get(&handle.connection)?).filter(|seat| seat.handle == handle)
    }

    fn remove(&mut self, handle: Handle) -> Option<Seat> {
        let at = *self.index.get(&handle.connection)?;
        if self.seats.get(at)?.handle != handle {
            return None;
        }
        self.index.remove(&handle.connection);
        let seat = self.seats.swap_remove(at);
        if let Some(moved) = self.seats.get(at) {
            self.index.insert(moved.handle.connection, at);
        }
        Some(seat)
    }

    fn reached(&self, sequence: Sequence) {
        self.latest.store(sequence, Ordering::Release);
    }
}

impl Room for HubRoom {
    fn attach(&mut self, handle: Handle, view: View, outlet: OutletId) {
        // Gone already when its client hung up while the join was under way.
        let Some(outbox) = self.hub.outbox(outlet) else { return };
        outbox.follow(Arc::clone(&self.latest));
        self.index.insert(handle.connection, self.seats.len());
        self.seats.push(Seat { handle, view, outbox });
    }

    fn release(&mut self, handle: Handle, farewell: Farewell) {
        if let Some(seat) = self.remove(handle) {
            seat.outbox.release(farewell);
        }
    }

    fn deliver(&mut self, entry: &Entry, overflowed: &mut Vec<Handle>) {
        if let Event::Signal { from, .. } = &entry.event {
            self.hub.metrics.signal(if from.is_some() { SignalSource::Client } else { SignalSource::Server });
        }
        // A drain ends streams one by one, and each end is an event for all the
        // others: without this it would be quadratic.
        if self.hub.quiet.load(Ordering::Acquire) {
            return;
        }
        // Encoded once, on the first receiver; all share the bytes.
        let mut frame = None;
        let mut deliveries = 0;
        let mut hand_to = |seat: &Seat| {
            if !seat.view.admits(entry, seat.handle.connection) {
                return;
            }
            let frame = frame.get_or_insert_with(|| (self.hub.encoding.entry)(entry));
            deliveries += 1;
            if !seat.outbox.push(frame.clone()) {
                overflowed.push(seat.handle);
            }
        };
        match &entry.event {
            Event::Signal { audience: Audience::Only(ids), .. } => {
                ids.iter().filter_map(|id| self.seats.get(*self.index.get(id)?)).for_each(&mut hand_to);
            }
            _ => self.seats.iter().for_each(&mut hand_to),
        }
        self.hub.metrics.deliveries.increment(deliveries);
        self.reached(entry.sequence);
    }

    fn answer(&mut self, handle: Handle, result: &SendResult, overflowed: &mut Vec<Handle>) {
        if let Err(refusal) = &result.outcome {
            self.hub.metrics.refused(refusal.reason);
        }
        if let Some(seat) = self.seat(handle)
            && !seat.outbox.push_outcome((self.hub.encoding.outcome)(result))
        {
            overflowed.push(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        task::{Context, Poll, Waker},
        time::SystemTime,
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::{ConnectionId, Limits, SessionId, Signal},
        engine::Node as _,
        hub::{Capacity, Encoding, Hub, Next, Outlet},
        telemetry::Registry,
    };

    static ENCODED: AtomicUsize = AtomicUsize::new(0);

    fn counted(entry: &Entry) -> Bytes {
        ENCODED.fetch_add(1, Ordering::SeqCst);
        Bytes::from(format!("event {}", entry.sequence))
    }

    fn join(hub: &Hub, room: &mut dyn Room, name: u8) -> Outlet {
        let outlet = hub.admit(None).expect("a place");
        let handle = Handle { connection: ConnectionId::from_random([name; 16]), generation: 1 };
        room.attach(handle, View::default(), outlet.id());
        outlet.outbox().open(Box::new(std::iter::empty()), true);
        outlet
    }

    fn next(outlet: &Outlet) -> Bytes {
        match outlet.outbox().poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Next::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_broadcast_is_encoded_once_and_shared_by_its_receivers() {
        let encoding = Encoding { entry: counted, outcome: |_| Bytes::new() };
        let hub = Hub::new(&Limits::default(), Capacity::default(), encoding, Arc::new(Registry::new().metrics()));
        let mut room = hub.open_room(&SessionId::parse("s", &Limits::default(), "session_id").expect("an id"));
        let outlets: Vec<_> = (0..100).map(|name| join(&hub, &mut *room, name)).collect();
        let signal = Signal::parse(String::new(), "hello".into()).expect("a signal");
        let event = Event::Signal { from: None, audience: Audience::Everyone, signal };
        room.deliver(&Entry { sequence: 1, at: SystemTime::UNIX_EPOCH, event }, &mut Vec::new());
        let frames: Vec<_> = outlets.iter().map(next).collect();
        assert_eq!(ENCODED.load(Ordering::SeqCst), 1);
        assert!(frames.iter().all(|frame| *frame == "event 1" && frame.as_ptr() == frames[0].as_ptr()));
    }
}
