//! What is counted. Everything that a client would do is made before.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use signalbox::{
    clock::Now,
    domain::{Audience, ConnectionId, Entry, Event, Limits, ResumeToken, Role, Signal},
    grpc::ENCODING,
    http2::{Connection, Event as Http2, Settings, hpack},
    proto::{self, SendFromServerRequest},
    session::{Command, Join, OUTCOMES_KEPT, Session, View},
};

use super::{
    wire,
    world::{Peer, SESSION, World},
};

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Makes a round, to be run so often.
    pub(crate) prepare: fn(u32) -> Box<dyn FnMut()>,
    /// Rounds before counting begins: what is kept of each has filled by then.
    pub(crate) warm_up: u32,
    pub(crate) rounds: u32,
    /// What a round does.
    pub(crate) operations: u32,
}

/// More sends than a session keeps the outcomes of.
const FILL: u32 = OUTCOMES_KEPT as u32 + 76;
const BATCH: u32 = 64;
const DATA: &str = "sixty-four bytes, about what a call's setup sends in one signal.";

pub(crate) const SCENARIOS: &[Scenario] = &[
    // A signal from a socket to 100 sockets.
    Scenario { name: "fanout-100", prepare: fanout, warm_up: FILL, rounds: 100, operations: 1 },
    // The same, of those that come in one read: for each.
    Scenario {
        name: "fanout-100-batch",
        prepare: fanout_batch,
        warm_up: FILL / BATCH + 1,
        rounds: 5,
        operations: BATCH,
    },
    // A signal from a socket to one socket, of 100 in the session.
    Scenario { name: "addressed", prepare: addressed, warm_up: FILL, rounds: 1_000, operations: 1 },
    // `SendFromServer` from its headers to its trailers, one receiver.
    Scenario { name: "unary-call", prepare: unary, warm_up: 500, rounds: 2_000, operations: 1 },
    // `Join` from its headers to its trailers, nobody else in the session.
    Scenario { name: "join-and-leave", prepare: join_and_leave, warm_up: 200, rounds: 1_000, operations: 1 },
    // A transport that is woken for nothing.
    Scenario { name: "idle-wake", prepare: idle_wake, warm_up: 100, rounds: 1_000, operations: 1 },
    // A send, decided by a session.
    Scenario { name: "session-send", prepare: session_send, warm_up: FILL, rounds: 1_000, operations: 1 },
    // A signal, encoded.
    Scenario { name: "encode-signal", prepare: encode_signal, warm_up: 10, rounds: 1_000, operations: 1 },
    // A DATA frame with a message, read.
    Scenario { name: "http2-data-in", prepare: http2_data_in, warm_up: 10, rounds: 1_000, operations: 1 },
    // A request with an empty message, read and answered.
    Scenario { name: "http2-request", prepare: http2_request, warm_up: 100, rounds: 1_000, operations: 1 },
];

/// Hands out one after the other.
fn in_turn<T: 'static>(items: Vec<T>) -> impl FnMut() -> T {
    let mut items = items.into_iter();
    move || items.next().expect("as many as there are rounds")
}

fn fanout(rounds: u32) -> Box<dyn FnMut()> {
    fanout_of(rounds, 1)
}

fn fanout_batch(rounds: u32) -> Box<dyn FnMut()> {
    fanout_of(rounds, BATCH)
}

fn fanout_of(rounds: u32, batch: u32) -> Box<dyn FnMut()> {
    let world = World::new();
    let mut receivers = world.join_many(100);
    let (mut sender, _) = world.join();
    let sends = |round| (1..=batch).flat_map(move |at| wire::send(1, u64::from(round * batch + at), DATA, &[]));
    let mut next = in_turn((0..rounds).map(|round| sends(round).collect::<Vec<_>>()).collect());
    Box::new(move || {
        let _ = &world;
        sender.ask(&next());
        assert!(sender.take() > 0);
        for (receiver, _) in &mut receivers {
            assert!(receiver.turn_if_woken() && receiver.take() > DATA.len());
        }
    })
}

fn addressed(rounds: u32) -> Box<dyn FnMut()> {
    let world = World::new();
    let mut receivers = world.join_many(99);
    let (mut receiver, id) = receivers.swap_remove(50);
    let (mut sender, _) = world.join();
    let to = [id];
    let mut next = in_turn((1..=rounds).map(|id| wire::send(1, u64::from(id), DATA, &to)).collect());
    Box::new(move || {
        let _ = (&world, &receivers);
        sender.ask(&next());
        assert!(sender.take() > 0);
        assert!(receiver.turn_if_woken() && receiver.take() > DATA.len());
    })
}

fn unary(rounds: u32) -> Box<dyn FnMut()> {
    let world = World::new();
    let (mut receiver, _) = world.join();
    let mut caller = world.connect();
    let request = SendFromServerRequest {
        session_id: SESSION.to_owned(),
        signal: Some(proto::Signal { r#type: "chat".to_owned(), data: DATA.to_owned() }),
        ..SendFromServerRequest::default()
    };
    let call = |stream| {
        let mut bytes = wire::call(stream, "/signalbox.v1.SignalingService/SendFromServer");
        bytes.extend(wire::message(stream, &request, true));
        bytes
    };
    let mut next = in_turn((0..rounds).map(|round| call(1 + 2 * round)).collect());
    Box::new(move || {
        let _ = &world;
        caller.ask(&next());
        assert!(caller.take() > 0);
        assert!(receiver.turn_if_woken() && receiver.take() > DATA.len());
    })
}

fn join_and_leave(rounds: u32) -> Box<dyn FnMut()> {
    let world = World::new();
    let mut peer = world.connect();
    let calls = |round| {
        let stream = 1 + 2 * round;
        let leave = proto::JoinRequest { frame: Some(proto::join_request::Frame::Leave(proto::Leave {})) };
        (wire::join(stream, SESSION), wire::message(stream, &leave, true))
    };
    let mut next = in_turn((0..rounds).map(calls).collect());
    Box::new(move || {
        let _ = &world;
        let (join, leave) = next();
        peer.ask(&join);
        assert!(peer.take() > 0);
        peer.ask(&leave);
        assert!(peer.take() > 0);
    })
}

fn idle_wake(_: u32) -> Box<dyn FnMut()> {
    let world = World::new();
    let (mut peer, _) = world.join();
    Box::new(move || {
        let _ = &world;
        Peer::turn(&mut peer);
    })
}

fn session_send(rounds: u32) -> Box<dyn FnMut()> {
    let now = Now { monotonic: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH };
    let limits = Limits { signals_per_second: 0, log_events: 64, ..Limits::default() };
    let mut session = Session::new(Arc::new(limits));
    let mut effects = Vec::new();
    let join = Join {
        data: String::new(),
        role: Role::Moderator,
        window: Duration::ZERO,
        view: View::default(),
        resume: None,
        fresh_id: ConnectionId::from_random([1; 16]),
        fresh_token: ResumeToken::from_random([1; _]),
    };
    let handle = session.join(now, 1, join, &mut effects).expect("a place").handle;
    let send = |id| Command::Send(id, Ok((signal(), None)));
    let mut next = in_turn((1..=u64::from(rounds)).map(send).collect());
    Box::new(move || {
        effects.clear();
        session.command(now, handle, next(), &mut effects);
        assert_eq!(effects.len(), 2);
    })
}

fn signal() -> Signal {
    Signal::parse("chat".to_owned(), DATA.to_owned()).expect("a signal")
}

fn encode_signal(_: u32) -> Box<dyn FnMut()> {
    let from = Some(ConnectionId::from_random([7; 16]));
    let event = Event::Signal { from, audience: Audience::Everyone, signal: signal() };
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let entry = Entry { sequence: 1_000, at, event };
    let mut bytes = BytesMut::with_capacity(1_024);
    Box::new(move || {
        bytes.clear();
        (ENCODING.append_entry)(black_box(&entry), &mut bytes);
        black_box(&bytes);
    })
}

fn http2_data_in(_: u32) -> Box<dyn FnMut()> {
    let mut http = Connection::<()>::new(Settings::default());
    let mut begin = wire::hello();
    begin.extend(wire::call(1, "/"));
    let mut input = &begin[..];
    while let Some(event) = http.next(&mut input).expect("a good peer") {
        if let Http2::Request { stream, .. } = event {
            http.accept(stream, ());
        }
    }
    let frame = wire::send(1, 1, DATA, &[]);
    Box::new(move || {
        let mut input = &frame[..];
        while let Some(event) = http.next(&mut input).expect("a good peer") {
            if let Http2::Data { stream, data, .. } = black_box(event) {
                http.consumed(stream, data.len());
            }
        }
        let waits = http.output().len();
        http.output().advance(waits);
    })
}

fn http2_request(rounds: u32) -> Box<dyn FnMut()> {
    let mut http = Connection::<()>::new(Settings::default());
    let mut block = Vec::new();
    hpack::encode(":status", b"200", &mut block);
    let request = |round| {
        let mut bytes = if round == 0 { wire::hello() } else { Vec::new() };
        bytes.extend(wire::call(1 + 2 * round, "/signalbox.v1.SignalingService/SendFromServer"));
        bytes.extend(wire::message(1 + 2 * round, &(), true));
        bytes
    };
    let mut next = in_turn((0..rounds).map(request).collect());
    Box::new(move || {
        let bytes = next();
        let mut input = &bytes[..];
        while let Some(event) = http.next(&mut input).expect("a good peer") {
            match black_box(event) {
                Http2::Request { stream, .. } => http.accept(stream, ()),
                Http2::Data { stream, end: true, .. } => {
                    http.send_headers(stream, &block, true);
                    http.finish(stream);
                }
                _ => {}
            }
        }
        let waits = http.output().len();
        http.output().advance(waits);
    })
}
