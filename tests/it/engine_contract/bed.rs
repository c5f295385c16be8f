//! What the cases stand on: an engine, and a node that records what it is told
//! to deliver.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use signalbox::{
    clock::SystemClock,
    domain::{
        ConnectionId, Ending, Entry, Event, Limits, Refusal, ResumeToken, Role, SendId, Sequence, SessionId, Signal,
    },
    engine::{
        Engine, Joined, Link, MemoryEngine, Node, OutletId, Room, lock,
        redis::{Partitions, RedisEngine},
    },
    session::{Admission, Command, Farewell, Handle, Join, Resume, SendResult, ServerSend, View},
};
use tokio::sync::mpsc;

use crate::support::redis::RedisServer;

/// How long anything may take before a case has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes an engine's bed.
pub(super) type MakeBed = fn(Limits) -> Bed;

/// An engine on a recording node.
pub(super) struct Bed {
    pub(super) engine: Arc<dyn Engine>,
    node: Arc<Recorder>,
    random: AtomicU64,
    /// Kept as long as the engine.
    redis: Option<RedisServer>,
}

/// The memory engine's.
pub(super) fn memory(limits: Limits) -> Bed {
    let node = Arc::new(Recorder::default());
    let engine = MemoryEngine::new(Arc::new(limits), Arc::new(SystemClock::new()), node.clone());
    let reaper = engine.clone();
    tokio::spawn(async move { reaper.run().await });
    Bed { engine: Arc::new(engine), node, random: AtomicU64::new(1), redis: None }
}

/// That of Redis, with a server of its own.
pub(super) fn redis(limits: Limits) -> Bed {
    let server = RedisServer::start().expect("it was looked whether there is one");
    let node = Arc::new(Recorder::default());
    let engine = RedisEngine::new(server.client().into(), Arc::new(limits), node.clone(), Partitions::new(4));
    let keeper = engine.clone();
    tokio::spawn(async move { keeper.run().await });
    Bed { engine: Arc::new(engine), node, random: AtomicU64::new(1), redis: Some(server) }
}

/// Whether what an engine needs is installed.
pub(super) fn is_there(engine: &str) -> bool {
    engine != "redis" || RedisServer::start().is_some()
}

/// What a stream's outlet was told.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    Entry(Entry),
    Outcome(SendResult),
    Released(Farewell),
}

/// A stream that joined.
pub(super) struct Stream {
    pub(super) admission: Admission,
    pub(super) link: Arc<dyn Link>,
    told: mpsc::UnboundedReceiver<Told>,
}

pub(super) fn session(name: &str) -> SessionId {
    SessionId::parse(name, &Limits::default(), "session_id").unwrap()
}

pub(super) fn signal(data: &str) -> Signal {
    Signal::parse(String::new(), data.into()).unwrap()
}

pub(super) fn server_send(data: &str) -> ServerSend {
    ServerSend { signal: signal(data), to: None, key: None }
}

impl Bed {
    pub(super) fn wish(&self) -> Join {
        let number = self.random.fetch_add(1, Ordering::SeqCst);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let mut token = [0; 32];
        token[..8].copy_from_slice(&number.to_be_bytes());
        Join {
            data: format!("member {number}"),
            role: Role::Moderator,
            window: Duration::from_secs(60),
            view: View::default(),
            resume: None,
            fresh_id: ConnectionId::from_random(id),
            fresh_token: ResumeToken::from_random(token),
        }
    }

    pub(super) fn has_many_nodes(&self) -> bool {
        self.redis.is_some()
    }

    /// Joins with an outlet that takes `room` things before it overflows.
    pub(super) async fn join_with(&self, name: &str, wish: Join, room: usize) -> Result<Stream, Refusal> {
        let (outlet, told) = self.node.outlet(room);
        let Joined { admission, link } = self.engine.join(session(name), outlet, wish).await?;
        Ok(Stream { admission, link, told })
    }

    pub(super) async fn join(&self, name: &str) -> Stream {
        self.join_with(name, self.wish(), usize::MAX).await.unwrap()
    }

    pub(super) async fn resume(&self, name: &str, resume: Resume) -> Stream {
        self.join_with(name, Join { resume: Some(resume), ..self.wish() }, usize::MAX).await.unwrap()
    }
}

impl Stream {
    pub(super) fn id(&self) -> ConnectionId {
        self.admission.info.id
    }

    /// How this connection is resumed after `last_sequence`.
    pub(super) fn ticket(&self, last_sequence: Sequence) -> Resume {
        Resume {
            connection: Some(self.id()),
            token: self.admission.token.clone(),
            epoch: self.admission.epoch,
            last_sequence,
            last_result_send_id: 0,
        }
    }

    pub(super) fn send(&self, id: SendId, data: &str) {
        self.link.submit(Command::Send(id, Ok((signal(data), None))));
    }

    pub(super) async fn next(&mut self) -> Told {
        let next = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        next.expect("nothing came in time").expect("the outlet was dropped")
    }

    /// What came already.
    pub(super) fn seen(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    /// The next event, past outcomes.
    pub(super) async fn entry(&mut self) -> Entry {
        loop {
            match self.next().await {
                Told::Entry(entry) => return entry,
                Told::Outcome(_) => {}
                Told::Released(farewell) => panic!("released: {farewell:?}"),
            }
        }
    }

    /// The data of the next signal, past other events.
    pub(super) async fn data(&mut self) -> String {
        loop {
            if let Event::Signal { signal, .. } = self.entry().await.event {
                return signal.data().to_owned();
            }
        }
    }

    /// The next outcome, past events.
    pub(super) async fn outcome(&mut self) -> SendResult {
        loop {
            match self.next().await {
                Told::Outcome(result) => return result,
                Told::Entry(_) => {}
                Told::Released(farewell) => panic!("released: {farewell:?}"),
            }
        }
    }

    /// Why it was released, past everything else.
    pub(super) async fn released(&mut self) -> Ending {
        loop {
            if let Told::Released(farewell) = self.next().await {
                return farewell.ending;
            }
        }
    }
}

struct Outlet {
    told: mpsc::UnboundedSender<Told>,
    room: usize,
}

#[derive(Default)]
struct Recorder {
    outlets: Arc<Mutex<HashMap<OutletId, Outlet>>>,
    next: AtomicU64,
}

impl Recorder {
    fn outlet(&self, room: usize) -> (OutletId, mpsc::UnboundedReceiver<Told>) {
        let id = OutletId(self.next.fetch_add(1, Ordering::SeqCst));
        let (told, receiver) = mpsc::unbounded_channel();
        lock(&self.outlets).insert(id, Outlet { told, room });
        (id, receiver)
    }
}

impl Node for Recorder {
    fn open_room(&self, _: &SessionId) -> Box<dyn Room> {
        Box::new(RecordingRoom { outlets: Arc::clone(&self.outlets), seats: Vec::new(), last: 0 })
    }
}

struct Seat {
    handle: Handle,
    view: View,
    outlet: Outlet,
    overflowed: bool,
}

struct RecordingRoom {
    outlets: Arc<Mutex<HashMap<OutletId, Outlet>>>,
    seats: Vec<Seat>,
    last: Sequence,
}

impl Seat {
    fn tell(&mut self, told: Told, overflowed: &mut Vec<Handle>) {
        if self.overflowed {
            return;
        }
        if self.outlet.room == 0 {
            self.overflowed = true;
            overflowed.push(self.handle);
            return;
        }
        self.outlet.room -= 1;
        // The case may have dropped its stream.
        let _ = self.outlet.told.send(told);
    }
}

impl Room for RecordingRoom {
    fn attach(&mut self, handle: Handle, view: View, outlet: OutletId) {
        let outlet = lock(&self.outlets).remove(&outlet).expect("an outlet is attached once");
        self.seats.push(Seat { handle, view, outlet, overflowed: false });
    }

    fn release(&mut self, handle: Handle, farewell: Farewell) {
        let at = self.seats.iter().position(|seat| seat.handle == handle).expect("only what is attached is released");
        let _ = self.seats.remove(at).outlet.told.send(Told::Released(farewell));
    }

    fn abandon(&mut self, farewell: Farewell) {
        panic!("the engine panicked: {farewell:?}");
    }

    fn deliver(&mut self, entry: &Entry, overflowed: &mut Vec<Handle>) {
        assert!(entry.sequence > self.last, "{} came after {}", entry.sequence, self.last);
        self.last = entry.sequence;
        for seat in &mut self.seats {
            if seat.view.admits(entry, seat.handle.connection) {
                seat.tell(Told::Entry(entry.clone()), overflowed);
            }
        }
    }

    fn answer(&mut self, handle: Handle, result: &SendResult, overflowed: &mut Vec<Handle>) {
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.handle == handle) {
            seat.tell(Told::Outcome(result.clone()), overflowed);
        }
    }
}
