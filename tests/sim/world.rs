//! One seed's world: the service, whole but for HTTP/2, under virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::{
    auth::Gate,
    domain::{Entry, Limits, SessionId},
    engine::{Engine as _, MemoryEngine, Node, OutletId, Room, Stats},
    grpc::{ENCODING, Services, SignalingService},
    hub::{Capacity, Hub},
    proto,
    random::{NoRandomness, Random},
    session::{Farewell, Handle, SendResult, View},
    telemetry::Registry,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tonic_types::StatusExt as _;
use tower::Service as _;

use super::{
    network::{self, Wire},
    record::{Life, Record, VirtualClock, lock},
};

/// What a seed decides about its world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Clients in each of two sessions.
    pub(crate) clients: [usize; 2],
    pub(crate) limits: Limits,
    /// How long everybody acts before the world calms down.
    pub(crate) acting: Duration,
    /// When the server drains and starts again, or, if abruptly, just dies.
    pub(crate) restarts: Vec<(Duration, bool)>,
    /// What the network does that TCP never would, to try the checker by it.
    pub(crate) sabotage: Option<Sabotage>,
}

/// What must not happen, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A client doesn't see a signal.
    Lose,
    /// A client sees a signal twice.
    Repeat,
    /// A client sees two events in the wrong order.
    Swap,
    /// A client doesn't see that somebody came or went.
    Hide,
    /// A client sends what was decided again, under a new id.
    SendTwice,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut pick = |of: &[usize]| of[dice.random_range(0..of.len())];
        let limits = Limits {
            log_events: pick(&[0, 60, 400]),
            log_bytes: pick(&[0, 0, 65_536]),
            outbox_events: pick(&[12, 40, 1_024]),
            outbox_bytes: pick(&[0, 32_768]),
            signals_per_second: u32::try_from(pick(&[0, 4])).expect("small"),
            signal_burst: 6,
            max_resume_window: Duration::from_secs(20),
            heartbeat_interval: Duration::from_secs(5),
            ..Limits::default()
        };
        let clients = [pick(&[2, 3, 4]), pick(&[1, 2])];
        let acting = Duration::from_secs(60);
        let restarts = match pick(&[0, 1, 2]) {
            0 => Vec::new(),
            when => vec![(acting * u32::try_from(when).expect("small") / 3, pick(&[0, 1]) == 1)],
        };
        Self { seed, clients, limits, acting, restarts, sabotage: None }
    }
}

/// A running server.
#[derive(Clone)]
struct House {
    engine: MemoryEngine,
    hub: Hub,
    service: SignalingService,
    dead: CancellationToken,
}

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) record: Arc<Record>,
    start: Instant,
    random: Arc<Seeded>,
    house: Mutex<(usize, Option<House>)>,
    /// Nobody acts and nothing fails any more.
    pub(crate) calm: CancellationToken,
    /// How many clients are in, with nothing unresolved, since it is calm.
    pub(crate) settled: watch::Sender<usize>,
    /// The newest sequence of each session, once nothing happens any more.
    pub(crate) newest: OnceLock<BTreeMap<String, u64>>,
    /// That is known. (Not a `watch` channel: it wakes in a random order.)
    pub(crate) over: CancellationToken,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let seed = plan.seed;
        let world = Arc::new(Self {
            plan,
            record: Arc::new(Record::new()),
            start: Instant::now(),
            random: Arc::new(Seeded(Mutex::new(StdRng::seed_from_u64(seed ^ 0xffff)))),
            house: Mutex::new((0, None)),
            calm: CancellationToken::new(),
            settled: watch::Sender::new(0),
            newest: OnceLock::new(),
            over: CancellationToken::new(),
        });
        world.open_house();
        world
    }

    fn open_house(&self) {
        let limits = Arc::new(self.plan.limits.clone());
        let metrics = Arc::new(Registry::new().metrics());
        let hub = Hub::new(&limits, Capacity::default(), ENCODING, metrics);
        let mut house = lock(&self.house);
        house.0 += 1;
        let node = Witness { hub: hub.clone(), record: Arc::clone(&self.record), house: house.0 };
        let clock = Arc::new(VirtualClock(self.start));
        let engine = MemoryEngine::new(Arc::clone(&limits), clock, Arc::new(node));
        let random: Arc<dyn Random> = self.random.clone();
        let services =
            Services { engine: Arc::new(engine.clone()), hub: hub.clone(), gate: Gate::Open, limits, random };
        let dead = CancellationToken::new();
        let (running, over) = (engine.clone(), dead.clone());
        tokio::spawn(async move { over.run_until_cancelled(running.run()).await });
        house.1 = Some(House { engine, hub, service: SignalingService::new(services), dead });
        self.record.trace("server", format_args!("run {} begins", house.0));
    }

    fn house(&self) -> Option<House> {
        lock(&self.house).1.clone()
    }

    /// The server goes down, well or not, and comes up again.
    pub(crate) async fn restart(&self, abruptly: bool) {
        let Some(house) = self.house() else { return };
        self.record.trace("server", format_args!("goes {}", if abruptly { "at once" } else { "by a drain" }));
        if abruptly {
            self.record.met("a crash");
        } else {
            self.record.met("a drain");
            house.hub.drain();
            let _ = tokio::time::timeout(Duration::from_secs(10), house.hub.empty()).await;
        }
        lock(&self.house).1 = None;
        house.dead.cancel();
        sleep(Duration::from_millis(700)).await;
        self.open_house();
    }

    /// Opens a `Join` stream.
    pub(crate) fn join(&self, latency: Duration, cut: usize) -> Wire {
        let house = self.house();
        let dead = house.as_ref().map_or_else(CancellationToken::new, |house| house.dead.clone());
        let (wire, mut far) = network::stream(latency, &dead, cut);
        let Some(House { mut service, .. }) = house else {
            // Nobody listens: the client learns it at once.
            dead.cancel();
            return wire;
        };
        tokio::spawn(async move {
            let request = call("/signalbox.v1.SignalingService/Join", far.take_requests());
            sleep(latency).await;
            if dead.is_cancelled() {
                return;
            }
            let Ok(response) = service.call(request).await;
            far.answer(response.into_body()).await;
        });
        wire
    }

    /// Calls `SendFromServer`; none when the server is down.
    pub(crate) async fn send_from_server(
        &self,
        request: &proto::SendFromServerRequest,
    ) -> Option<Result<proto::SendFromServerResponse, String>> {
        let House { mut service, dead, .. } = self.house()?;
        let body = Body::new(Full::new(framed(request)));
        let answered = dead.run_until_cancelled(async {
            let Ok(response) = service.call(call("/signalbox.v1.SignalingService/SendFromServer", body)).await;
            let (head, body) = response.into_parts();
            if let Some(status) = Status::from_header_map(&head.headers) {
                return Err(reason_of(&status));
            }
            let whole = body.collect().await.expect("a unary answer is whole");
            let status = whole.trailers().and_then(Status::from_header_map).expect("trailers");
            assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
            Ok(proto::SendFromServerResponse::decode(&whole.to_bytes()[5..]).expect("an answer"))
        });
        answered.await
    }

    /// Nothing happens any more, but that everyone sees what did.
    pub(crate) fn end(&self) {
        let lives = lock(&self.record.lives);
        let newest = lives.iter().map(|life| (life.session.clone(), life.order.len() as u64)).collect();
        self.newest.set(newest).expect("the world ends once");
        self.over.cancel();
    }

    /// What the server still holds.
    pub(crate) fn left(&self) -> (Stats, usize) {
        let house = self.house().expect("a server");
        (house.engine.stats(), house.hub.depth().streams)
    }
}

/// The reason of a status.
pub(crate) fn reason_of(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A message with gRPC's prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
    message.encode(&mut bytes).expect("room");
    bytes.freeze()
}

fn call(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://signalbox{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

struct Seeded(Mutex<StdRng>);

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        lock(&self.0).fill_bytes(bytes);
        Ok(())
    }
}

/// A hub that also writes down what it is told to deliver.
struct Witness {
    hub: Hub,
    record: Arc<Record>,
    house: usize,
}

impl Node for Witness {
    fn open_room(&self, session: &SessionId) -> Box<dyn Room> {
        let mut lives = lock(&self.record.lives);
        lives.push(Life { session: session.to_string(), house: self.house, order: Vec::new() });
        let life = lives.len() - 1;
        Box::new(WitnessedRoom { room: self.hub.open_room(session), record: Arc::clone(&self.record), life })
    }
}

struct WitnessedRoom {
    room: Box<dyn Room>,
    record: Arc<Record>,
    life: usize,
}

impl Room for WitnessedRoom {
    fn attach(&mut self, handle: Handle, view: View, outlet: OutletId) {
        self.room.attach(handle, view, outlet);
    }

    fn release(&mut self, handle: Handle, farewell: Farewell) {
        self.room.release(handle, farewell);
    }

    fn abandon(&mut self, farewell: Farewell) {
        self.room.abandon(farewell);
    }

    fn deliver(&mut self, entry: &Entry, overflowed: &mut Vec<Handle>) {
        {
            let order = &mut lock(&self.record.lives)[self.life].order;
            assert_eq!(entry.sequence, order.len() as u64 + 1, "one order, without holes");
            order.push(entry.clone());
        }
        self.record.trace("server", format_args!("life {}: {entry:?}", self.life));
        self.room.deliver(entry, overflowed);
    }

    fn answer(&mut self, handle: Handle, result: &SendResult, overflowed: &mut Vec<Handle>) {
        self.room.answer(handle, result, overflowed);
    }
}
