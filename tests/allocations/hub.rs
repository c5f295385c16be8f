//! The hub alone: a broadcast into a room, and every receiver's reading of it.

use std::{sync::Arc, time::SystemTime};

use signalbox::{
    domain::{Audience, ConnectionId, Entry, Event, Limits, SessionId, Signal},
    engine::{Node as _, Room},
    grpc::ENCODING,
    hub::{Bell, Capacity, Hub, Next, Outlet, Reading},
    session::{Handle, View},
    telemetry::Registry,
};

struct Receiver {
    /// Keeps its place.
    _outlet: Outlet,
    reading: Reading,
}

fn join(hub: &Hub, room: &mut dyn Room, name: u8) -> Receiver {
    let outlet = hub.admit(None, Arc::new(Bell::default()), Bell::bit(0)).expect("a place");
    let handle = Handle { connection: ConnectionId::from_random([name; 16]), generation: 1 };
    room.attach(handle, View::default(), outlet.id());
    outlet.outbox().open(Box::new(std::iter::empty()), 0, true);
    let mut reading = Reading::new(Arc::clone(outlet.outbox()));
    assert!(matches!(reading.take(), Next::Idle(_)));
    Receiver { _outlet: outlet, reading }
}

/// How many allocations the second of two broadcasts takes, reading included.
fn allocations(receivers: u8) -> u64 {
    let limits = Limits::default();
    let hub = Hub::new(&limits, Capacity::default(), ENCODING, Arc::new(Registry::new().metrics()));
    let mut room = hub.open_room(&SessionId::parse("s", &limits, "session_id").expect("an id"));
    let mut receivers: Vec<_> = (0..receivers).map(|name| join(&hub, &mut *room, name)).collect();
    let mut broadcast = |sequence| {
        let signal = Signal::parse("chat".into(), "hello".into()).expect("a signal");
        let event = Event::Signal { from: None, audience: Audience::Everyone, signal };
        let entry = Entry { sequence, at: SystemTime::UNIX_EPOCH, event };
        let mut overflowed = Vec::new();
        allocation_counter::measure(|| {
            room.deliver(&entry, &mut overflowed);
            for receiver in &mut receivers {
                assert!(matches!(receiver.reading.take(), Next::Frames(_)));
                assert_eq!(receiver.reading.take(), Next::Idle(sequence));
            }
        })
        .count_total
    };
    broadcast(1);
    broadcast(2)
}

#[test]
fn a_receiver_costs_the_hub_no_allocation() {
    let (few, many) = (allocations(10), allocations(200));
    assert!(few > 0, "allocations are counted");
    assert_eq!(few, many);
}
