//! A server without sockets: transports that are polled by hand, each over two
//! buffers in memory.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use prost::Message as _;
use signalbox::{
    auth::Gate,
    clock::SystemClock,
    domain::Limits,
    engine::MemoryEngine,
    grpc::{Control, ENCODING, Rates, Services, SignalingService, Transport, TransportSettings, before_park},
    hub::{Capacity, Hub},
    proto::{JoinResponse, join_response::Event},
    random::{NoRandomness, Random},
    telemetry::{Registry, Tracer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, EnterGuard, Runtime},
};
use tonic::service::Routes;

use super::wire;

pub(crate) const SESSION: &str = "session";

/// Log events that a session keeps: few, so that warming up fills the log.
const LOG_EVENTS: usize = 64;

/// Different bytes each time, the same in every run.
#[derive(Default)]
struct Counter(AtomicU8);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

#[derive(Default)]
struct Buffers {
    /// To the server.
    sent: Vec<u8>,
    /// From it.
    came: Vec<u8>,
}

/// The server's end of a connection.
struct Wire(Rc<RefCell<Buffers>>);

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let sent = &mut self.0.borrow_mut().sent;
        if sent.is_empty() {
            return Poll::Pending;
        }
        let length = sent.len().min(into.remaining());
        into.put_slice(&sent[..length]);
        sent.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().came.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let came = &mut self.0.borrow_mut().came;
        slices.iter().for_each(|slice| came.extend_from_slice(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server.
pub(crate) struct World {
    settings: Arc<TransportSettings>,
    control: Arc<Control>,
    /// The timers'; never run. Left behind, because the process ends.
    _entered: EnterGuard<'static>,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime: &'static Runtime =
            Box::leak(Box::new(Builder::new_current_thread().enable_time().build().expect("a runtime")));
        let limits = Arc::new(Limits {
            signals_per_second: 0,
            max_unresolved_sends: 0,
            log_events: LOG_EVENTS,
            ..Limits::default()
        });
        let hub = Hub::new(&limits, Capacity::default(), ENCODING, Arc::new(Registry::new().metrics()));
        let engine = MemoryEngine::new(Arc::clone(&limits), Arc::new(SystemClock::new()), Arc::new(hub.clone()));
        let random = Arc::new(Counter::default());
        let services = Services { engine: Arc::new(engine), hub, gate: Gate::Open, limits, random };
        let routes = Routes::new(SignalingService::new(services.clone())).prepare();
        let settings = Arc::new(TransportSettings {
            web: None,
            services: Arc::new(services),
            routes,
            max_streams: 0,
            rates: Rates::default(),
            tracer: Tracer::default(),
        });
        Self { settings, control: Arc::default(), _entered: runtime.enter() }
    }

    /// A connection.
    pub(crate) fn connect(&self) -> Peer {
        let buffers = Rc::<RefCell<Buffers>>::default();
        let transport = Transport::new(Wire(Rc::clone(&buffers)), None, Arc::clone(&self.settings), &self.control);
        let woken = Arc::<Woken>::default();
        let mut peer = Peer { transport, buffers, waker: Waker::from(Arc::clone(&woken)), woken };
        peer.ask(&wire::hello());
        peer.take();
        peer
    }

    /// A connection whose first stream is in the session, and its id.
    pub(crate) fn join(&self) -> (Peer, String) {
        let mut peer = self.connect();
        peer.ask(&wire::join(1, SESSION));
        let id = peer.with_taken(|bytes| joined(bytes).expect("an answer to the join"));
        (peer, id)
    }

    /// So many of them.
    pub(crate) fn join_many(&self, count: usize) -> Vec<(Peer, String)> {
        (0..count).map(|_| self.join()).collect()
    }
}

/// The id in the answer to a join.
fn joined(mut bytes: &[u8]) -> Option<String> {
    const PREFIX_BYTES: usize = 5;
    while let Some((_, payload, rest)) = wire::split(bytes) {
        if payload.len() > PREFIX_BYTES {
            let length = u32::from_be_bytes(*payload[1..].first_chunk()?) as usize;
            let response = JoinResponse::decode(&payload[PREFIX_BYTES..][..length]).ok()?;
            if let Some(Event::Joined(joined)) = response.event {
                return joined.connection.map(|connection| connection.connection_id);
            }
        }
        bytes = rest;
    }
    None
}

/// A connection, both ends.
pub(crate) struct Peer {
    transport: Transport<Wire>,
    buffers: Rc<RefCell<Buffers>>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl Peer {
    /// Sends bytes and lets the server deal with them.
    pub(crate) fn ask(&mut self, bytes: &[u8]) {
        self.buffers.borrow_mut().sent.extend_from_slice(bytes);
        self.turn();
    }

    /// Polls the transport, until it needs no more.
    pub(crate) fn turn(&mut self) {
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            // As if the thread had nothing else to do: a turn is never put off.
            before_park();
            let polled = pin!(&mut self.transport).poll(&mut Context::from_waker(&self.waker));
            assert!(polled.is_pending(), "the server ended the connection");
            if !self.woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Polls the transport if it was woken. Whether it was.
    pub(crate) fn turn_if_woken(&mut self) -> bool {
        let is_woken = self.woken.0.load(Ordering::Relaxed);
        if is_woken {
            self.turn();
        }
        is_woken
    }

    /// Throws away what came. How many bytes that were.
    pub(crate) fn take(&mut self) -> usize {
        self.with_taken(<[u8]>::len)
    }

    fn with_taken<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let came = &mut self.buffers.borrow_mut().came;
        let seen = look(came);
        came.clear();
        seen
    }
}
