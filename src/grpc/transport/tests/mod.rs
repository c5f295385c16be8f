//! A whole transport, from the bytes of a TCP connection to those of its answers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::service::Routes;

use crate::{
    clock::SystemClock,
    domain::{Limits, Spent},
    engine::MemoryEngine,
    fuzz,
    grpc::{ENCODING, Gate, SignalingService},
    http2::hpack,
    hub::{Capacity, Hub},
    proto::{self, join_request::Frame, join_response::Event},
    random::SystemRandom,
    telemetry::{Registry, Tracer},
};

use super::{Control, JOIN, Rates, SEND_FROM_SERVER, Services, Transport, TransportSettings, before_park};

thread_local! {
    /// How many times something to send is found before one comes upon a bug.
    static BUG_AFTER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Panics, when a test wants it.
pub(super) fn come_upon_a_bug() {
    let left = BUG_AFTER.get();
    BUG_AFTER.set(left.and_then(|left| left.checked_sub(1)));
    assert_ne!(left, Some(0), "a bug that a test put there");
}

#[derive(Default)]
struct Buffers {
    sent: Vec<u8>,
    came: Vec<u8>,
    is_shut: bool,
}

/// The server's end of a connection.
struct Wire(Rc<RefCell<Buffers>>);

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.borrow_mut();
        if buffers.sent.is_empty() {
            return if buffers.is_shut { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let length = buffers.sent.len().min(into.remaining());
        into.put_slice(&buffers.sent[..length]);
        buffers.sent.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().came.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn call(stream: u32, path: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", &b"POST"[..]),
        (":scheme", b"http"),
        (":path", path),
        ("content-type", b"application/grpc"),
        ("te", b"trailers"),
    ] {
        hpack::encode(name, value, &mut block);
    }
    frame(1, 4, stream, &block)
}

fn message(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
}

fn asks(asked: Frame) -> Vec<u8> {
    message(&proto::JoinRequest { frame: Some(asked) })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client that means little good may send next, out of some bytes.
fn step(what: u8, stream: u32, rest: &[u8], ids: &[String]) -> Vec<u8> {
    let id = |nth: u8| ids.get(usize::from(nth) % ids.len().max(1)).cloned().unwrap_or_default();
    let (first, more) = fuzz::split(rest);
    let signal = || Some(proto::Signal { r#type: "t".repeat(usize::from(first % 4)), data: text(more) });
    let data = |bytes: &[u8]| frame(0, first & 1, stream, bytes);
    match what % 12 {
        0 => call(stream, JOIN),
        1 => call(stream, SEND_FROM_SERVER),
        2 => data(&asks(Frame::Join(proto::Join {
            session_id: "s".repeat(1 + usize::from(first % 2)),
            connection_data: text(more),
            resume_window: (first & 4 != 0).then_some(prost_types::Duration { seconds: i64::from(first), nanos: 0 }),
            suppress_connection_events: first & 8 != 0,
            suppress_own_signals: first & 16 != 0,
            ..proto::Join::default()
        }))),
        3..=5 => data(&asks(Frame::Send(proto::SendSignal {
            send_id: u64::from(first),
            signal: signal(),
            to: (first & 2 != 0).then(|| proto::Recipients { connection_ids: vec![id(first), text(more)] }),
        }))),
        6 => data(&asks(Frame::Leave(proto::Leave {}))),
        7 => data(&asks(Frame::Disconnect(proto::DisconnectConnection {
            send_id: u64::from(first),
            connection_id: id(first),
        }))),
        8 => data(&message(&proto::SendFromServerRequest {
            session_id: "s".into(),
            signal: signal(),
            to: None,
            idempotency_key: text(&more[..more.len().min(4)]),
        })),
        9 => data(rest),
        10 => frame(3 + first % 7, 0, stream * u32::from(first & 1), more),
        _ => rest.to_vec(),
    }
}

/// Frames of the answers: their kinds, streams and payloads.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, &[u8])> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, rest) = rest.split_at(length);
        all.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a frame was cut");
    all
}

/// The events that each stream was sent.
fn events(bytes: &[u8]) -> BTreeMap<u32, Vec<Event>> {
    let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
    for (_, stream, payload) in frames(bytes).into_iter().filter(|(kind, ..)| *kind == 0) {
        bodies.entry(stream).or_default().extend_from_slice(payload);
    }
    let mut all = BTreeMap::new();
    for (stream, body) in bodies {
        let (mut rest, mut events) = (&body[..], Vec::new());
        while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            let Some((message, after)) = after.split_at_checked(length) else { break };
            // Answers to unary calls are shorter messages of other fields.
            if let Ok(response) = proto::JoinResponse::decode(message) {
                events.extend(response.event);
            }
            rest = after;
        }
        all.insert(stream, events);
    }
    all
}

struct World {
    settings: Arc<TransportSettings>,
    control: Arc<Control>,
    hub: Hub,
}

impl World {
    fn new() -> Self {
        let limits = Arc::new(Limits::default());
        let hub = Hub::new(&limits, Capacity::default(), ENCODING, Arc::new(Registry::new().metrics()));
        let engine = MemoryEngine::new(Arc::clone(&limits), Arc::new(SystemClock::new()), Arc::new(hub.clone()));
        let services = Services {
            engine: Arc::new(engine),
            hub: hub.clone(),
            gate: Gate::Open,
            limits,
            random: Arc::new(SystemRandom),
        };
        let settings = Arc::new(TransportSettings {
            routes: Routes::new(SignalingService::new(services.clone())).prepare(),
            services: Arc::new(services),
            web: None,
            max_streams: 100,
            rates: Rates::default(),
            tracer: Tracer::default(),
        });
        Self { settings, control: Arc::default(), hub }
    }
}

/// Plays these bytes. What the server said.
fn play(input: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let world = World::new();
    let buffers = Rc::<RefCell<Buffers>>::default();
    let mut transport = Transport::new(Wire(Rc::clone(&buffers)), None, Arc::clone(&world.settings), &world.control);
    let mut turn = || {
        // Enough for all that a step brings about.
        (0..4).any(|_| {
            before_park();
            pin!(&mut transport).poll(&mut Context::from_waker(Waker::noop())).is_ready()
        })
    };
    buffers.borrow_mut().sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let mut ids = Vec::new();
    let mut rest = input;
    let mut is_over = turn();
    while let [what, stream, length, more @ ..] = rest
        && !is_over
    {
        let (bytes, after) = more.split_at(usize::from(*length).min(more.len()));
        let stream = 1 + 2 * u32::from(stream % 8);
        buffers.borrow_mut().sent.extend(step(*what, stream, bytes, &ids));
        is_over = turn();
        if ids.is_empty() {
            ids.extend(events(&buffers.borrow().came).into_values().flatten().find_map(|event| match event {
                Event::Joined(joined) => Some(joined.connection?.connection_id),
                _ => None,
            }));
        }
        rest = after;
    }
    buffers.borrow_mut().is_shut = true;
    assert!(is_over || turn(), "the client is gone, and the server's end isn't");
    drop(transport);
    assert_eq!(world.hub.memory().spent(Spent::Streams), 0, "what streams took was not given back");
    std::mem::take(&mut buffers.borrow_mut().came)
}

fn check(input: &[u8]) {
    let said = play(input);
    for (kind, stream, payload) in frames(&said) {
        let is_internal = kind == 3 && payload == 2_u32.to_be_bytes();
        let is_told = payload.windows(14).any(|bytes| bytes == b"internal error");
        assert!(!is_internal && !is_told, "stream {stream} came upon a bug");
    }
    for (stream, events) in events(&said) {
        // One order.
        let mut last = 0;
        for event in events {
            let sequence = match &event {
                Event::Joined(joined) => joined.sequence,
                Event::Signal(signal) => signal.sequence,
                Event::ConnectionCreated(created) => created.sequence,
                Event::ConnectionDestroyed(destroyed) => destroyed.sequence,
                _ => continue,
            };
            assert!(sequence > last, "stream {stream}: {sequence} after {last}");
            last = sequence;
        }
    }
}

#[test]
fn a_session_by_hand_is_served() {
    let join = [0, 0, 0, 2, 0, 1, 0];
    let send = [3, 0, 3, 4, b'h', b'i'];
    let said = play(&[&join[..], &send].concat());
    let events = events(&said).remove(&1).unwrap();
    assert!(matches!(events[0], Event::Joined(_)), "{events:?}");
    assert!(
        events.iter().any(|event| matches!(event, Event::Signal(signal)
            if signal.signal.as_ref().is_some_and(|signal| signal.data == "hi"))),
        "{events:?}"
    );
}

#[test]
fn a_panic_while_something_is_sent_costs_one_stream_and_nothing_else() {
    let join = |stream| [0, stream, 0, 2, stream, 1, 0];
    let send = |stream| [3, stream, 3, 4, b'h', b'i'];
    let input = [&join(0)[..], &join(1), &send(0), &send(1)].concat();
    let reset = |said: &[u8]| {
        let is_reset = |(kind, _, payload): &(u8, u32, &[u8])| *kind == 3 && *payload == 2_u32.to_be_bytes();
        frames(said).into_iter().filter(is_reset).map(|(_, stream, _)| stream).collect::<Vec<_>>()
    };
    let signals = |said: &[u8], stream| {
        let events = events(said).remove(&stream).unwrap_or_default();
        events.into_iter().filter(|event| matches!(event, Event::Signal(_))).count()
    };
    let well = play(&input);
    assert_eq!((reset(&well), signals(&well, 1), signals(&well, 3)), (vec![], 2, 2));
    BUG_AFTER.set(Some(1));
    let said = play(&input);
    assert_eq!(BUG_AFTER.get(), None, "nobody came upon it");
    let [lost] = reset(&said)[..] else { panic!("{:?}", reset(&said)) };
    assert_eq!(signals(&said, 4 - lost), 1, "the other goes on, and hears itself");
}

#[test]
fn fuzz_transport() {
    bolero::check!().for_each(|input: &[u8]| check(input));
}
