//! Drives the machine: streams, time and the application's channels.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::proto::{JoinRequest, JoinResponse, Leave, join_request::Frame};

use super::{
    Accepted, ConnectError, Event, Received, SendError,
    connect::{Responses, SharedConnector},
    machine::{End, Machine, Output, Settings, StreamId},
    roster::Roster,
    token::Tokens,
};

/// How many events wait for the application before no more are read.
pub(super) const MOST_EVENTS: usize = 1_024;

/// How long a stream that was being opened may take to be let go again.
const PARTING: Duration = Duration::from_secs(5);

/// Whom to tell an outcome. Nobody need listen.
pub(super) type Ticket = oneshot::Sender<Result<Accepted, SendError>>;

/// A filtered stream's other end.
struct Filter {
    kind: String,
    signals: mpsc::Sender<Received>,
}

/// What the driver and the application's handles share.
pub(super) struct Shared {
    machine: Mutex<Machine<Ticket>>,
    view: Mutex<Roster>,
    filters: Mutex<Vec<Filter>>,
    started: Instant,
    asked: Notify,
    /// Cancelled when it is over.
    pub(super) over: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: no lock is held over user code.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            machine: Mutex::new(Machine::new(settings)),
            view: Mutex::default(),
            filters: Mutex::default(),
            started: Instant::now(),
            asked: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    /// Asks something of the machine, and has the driver do what comes of it.
    pub(super) fn ask<R>(&self, what: impl FnOnce(&mut Machine<Ticket>, Duration) -> R) -> R {
        let answer = self.drive(what);
        self.asked.notify_one();
        answer
    }

    pub(super) fn drive<R>(&self, what: impl FnOnce(&mut Machine<Ticket>, Duration) -> R) -> R {
        what(&mut lock(&self.machine), self.started.elapsed())
    }

    pub(super) fn view<R>(&self, look: impl FnOnce(&mut Roster) -> R) -> R {
        look(&mut lock(&self.view))
    }

    pub(super) fn filter(&self, kind: String) -> mpsc::Receiver<Received> {
        let (signals, received) = mpsc::channel(MOST_EVENTS);
        // The driver clears them after it is over: one that it would miss is
        // not added.
        let mut filters = lock(&self.filters);
        if !self.over.is_cancelled() {
            filters.push(Filter { kind, signals });
        }
        received
    }

    fn filters_for(&self, kind: &str) -> Vec<mpsc::Sender<Received>> {
        let mut filters = lock(&self.filters);
        filters.retain(|filter| !filter.signals.is_closed());
        filters.iter().filter(|filter| filter.kind == kind).map(|filter| filter.signals.clone()).collect()
    }
}

/// Events on their way to the application, which may be slow.
struct Delivery {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
    /// The filters that must have the first event before it is done; none yet
    /// looked up.
    filters: Option<Vec<mpsc::Sender<Received>>>,
}

impl Delivery {
    /// Hands over what waits, as fast as it is taken. Can be dropped at any
    /// time: nothing is lost or told twice.
    async fn deliver(&mut self) {
        while let Some(event) = self.backlog.front() {
            let filters = self.filters.get_or_insert_with(|| match event {
                Event::Signal(signal) => self.shared.filters_for(&signal.kind),
                _ => Vec::new(),
            });
            while let Some(filter) = filters.last() {
                if let (Ok(place), Event::Signal(signal)) = (filter.reserve().await, event) {
                    place.send(signal.clone());
                }
                filters.pop();
            }
            let place = self.events.reserve().await;
            self.filters = None;
            let Some(event) = self.backlog.pop_front() else { return };
            // Where nobody takes events the view follows by itself. Decided
            // under its lock, under which `Events` drains what it leaves
            // behind: so the view has each event once, and in order.
            self.shared.view(|view| match place {
                Ok(place) if !self.events.is_closed() => place.send(event),
                _ => view.apply(&event),
            });
        }
    }
}

/// What came of a stream.
enum Came {
    /// It will be opened with a token that lasts this long.
    Token(Option<Duration>),
    Response(JoinResponse),
    Ended(End),
}

enum Phase {
    /// Getting a token.
    Token(BoxFuture<'static, Result<super::token::Authorization, ConnectError>>),
    Opening(BoxFuture<'static, Result<Responses, ConnectError>>),
    Open(Responses),
}

struct Stream {
    id: StreamId,
    endpoint: String,
    requests: mpsc::UnboundedSender<JoinRequest>,
    unopened: Option<mpsc::UnboundedReceiver<JoinRequest>>,
    phase: Phase,
}

impl Stream {
    fn poll(&mut self, connector: &SharedConnector, context: &mut Context<'_>) -> Poll<Came> {
        loop {
            match &mut self.phase {
                Phase::Token(asking) => match std::task::ready!(asking.poll_unpin(context)) {
                    Ok(authorization) => {
                        let requests = self.unopened.take().unwrap_or_else(|| mpsc::unbounded_channel().1);
                        let endpoint = self.endpoint.clone();
                        self.phase = Phase::Opening(connector.open(endpoint, authorization.value, requests));
                        return Poll::Ready(Came::Token(authorization.left));
                    }
                    Err(error) => return Poll::Ready(Came::Ended(End::Failed(error))),
                },
                Phase::Opening(opening) => match std::task::ready!(opening.poll_unpin(context)) {
                    Ok(responses) => self.phase = Phase::Open(responses),
                    Err(ConnectError::Rejected(refusal)) => return Poll::Ready(Came::Ended(End::Status(refusal))),
                    Err(error) => return Poll::Ready(Came::Ended(End::Failed(error))),
                },
                Phase::Open(responses) => {
                    return Poll::Ready(match std::task::ready!(responses.poll_next_unpin(context)) {
                        Some(Ok(response)) => Came::Response(response),
                        Some(Err(refusal)) => Came::Ended(End::Status(refusal)),
                        None => Came::Ended(End::Well),
                    });
                }
            }
        }
    }
}

/// The task behind a [`Session`](super::Session).
pub(super) struct Driver {
    shared: Arc<Shared>,
    connector: SharedConnector,
    tokens: Arc<tokio::sync::Mutex<Tokens>>,
    streams: Vec<Stream>,
    delivery: Delivery,
    first: Option<oneshot::Sender<Result<(), ConnectError>>>,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        connector: SharedConnector,
        tokens: Tokens,
        events: mpsc::Sender<Event>,
        first: oneshot::Sender<Result<(), ConnectError>>,
    ) -> Self {
        let delivery = Delivery { shared: Arc::clone(&shared), events, backlog: VecDeque::new(), filters: None };
        let tokens = Arc::new(tokio::sync::Mutex::new(tokens));
        Self { shared, connector, tokens, streams: Vec::new(), delivery, first: Some(first) }
    }

    pub(super) async fn run(mut self) {
        self.shared.drive(Machine::start);
        while self.act() {
            // One that takes no events is not read for, or they would pile up
            // here; but one that leaves is waited for. A stream that is being
            // opened tells no events, and would run out of its time.
            let taken = self.delivery.backlog.is_empty();
            let (wake_at, unread) = self.shared.drive(|machine, now| {
                let reads = taken || machine.leaves();
                machine.read(reads, now);
                (machine.wake_at(), machine.live_stream().filter(|_| !reads))
            });
            let wake_at = wake_at.map(|at| self.shared.started + at);
            let (streams, connector) = (&mut self.streams, &self.connector);
            tokio::select! {
                () = self.shared.asked.notified() => {}
                () = self.delivery.deliver(), if !taken => {}
                (stream, came) = next(streams, unread, connector) => self.take(stream, came),
                () = sleep_until(wake_at) => self.shared.drive(Machine::wake),
            }
        }
        self.shared.over.cancel();
        self.delivery.deliver().await;
        self.part().await;
    }

    /// Leaves where a stream was still being opened when it was over: a server
    /// that lets it in would keep it for its window.
    async fn part(&mut self) {
        let has_left = self.shared.drive(|machine, _| machine.has_left());
        self.streams.retain(|stream| has_left && matches!(stream.phase, Phase::Opening(_) | Phase::Open(_)));
        let parted = async {
            while !self.streams.is_empty() {
                let (id, came) = next(&mut self.streams, None, &self.connector).await;
                match came {
                    Came::Response(_) => self.leave(id),
                    Came::Ended(_) => self.streams.retain(|stream| stream.id != id),
                    Came::Token(_) => {}
                }
            }
        };
        // If it takes longer, the server finds out by itself.
        let _ = tokio::time::timeout(PARTING, parted).await;
    }

    /// Leaves where it is in. More than one leave is as good as one.
    fn leave(&self, id: StreamId) {
        for stream in self.streams.iter().filter(|stream| stream.id == id) {
            let _ = stream.requests.send(JoinRequest { frame: Some(Frame::Leave(Leave {})) });
        }
    }

    /// Does what the machine wants done; false when nothing follows.
    fn act(&mut self) -> bool {
        while let Some(output) = self.shared.drive(|machine, _| machine.output()) {
            match output {
                Output::Open { stream, endpoint, join, renew_token } => {
                    let frame = JoinRequest { frame: Some(Frame::Join(*join)) };
                    self.open(stream, endpoint, frame, renew_token);
                }
                Output::Frame(stream, frame) => {
                    if let Some(stream) = self.streams.iter().find(|one| one.id == stream) {
                        // A stream that is gone says so by its end.
                        let _ = stream.requests.send(frame);
                    }
                }
                // Who has left parts with it.
                Output::Close(_) if self.shared.drive(|machine, _| machine.has_left()) => {}
                Output::Close(stream) => self.streams.retain(|one| one.id != stream),
                Output::Event(event) => {
                    if let Some(first) = self.first.take() {
                        self.shared.view(|view| view.apply(&event));
                        // A join that was given up leaves by itself.
                        let _ = first.send(Ok(()));
                    }
                    self.delivery.backlog.push_back(event);
                }
                // Nobody need wait for an outcome.
                Output::Outcome(ticket, outcome) => drop(ticket.send(outcome)),
                Output::Failed(error) => {
                    if let Some(first) = self.first.take() {
                        let _ = first.send(Err(error));
                    }
                }
                Output::Over => return false,
            }
        }
        true
    }

    fn open(&mut self, id: StreamId, endpoint: String, join: JoinRequest, renew_token: bool) {
        let (requests, unopened) = mpsc::unbounded_channel();
        // The receiver is in hand: it can't be gone.
        let _ = requests.send(join);
        let tokens = Arc::clone(&self.tokens);
        let asking = async move { tokens.lock().await.authorization(renew_token).await };
        let phase = Phase::Token(asking.boxed());
        self.streams.push(Stream { id, endpoint, requests, unopened: Some(unopened), phase });
    }

    fn take(&mut self, stream: StreamId, came: Came) {
        if matches!(came, Came::Ended(_)) {
            self.streams.retain(|one| one.id != stream);
        }
        // It was asked to leave before it heard that it is in: nothing else may come.
        if matches!(came, Came::Response(_)) && self.shared.drive(|machine, _| machine.has_left()) {
            self.leave(stream);
        }
        self.shared.drive(|machine, now| match came {
            Came::Token(Some(left)) => machine.token_expires(left, now),
            Came::Token(None) => {}
            Came::Response(response) => machine.received(stream, response, now),
            Came::Ended(end) => machine.ended(stream, end, now),
        });
    }
}

/// However it ends, and be it that the runtime shuts down: nobody is left
/// waiting for it.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.drive(|machine, _| machine.abandon());
        self.shared.over.cancel();
        while let Some(output) = self.shared.drive(|machine, _| machine.output()) {
            if let Output::Outcome(ticket, outcome) = output {
                // Nobody need wait for it.
                let _ = ticket.send(outcome);
            }
        }
        // The ends of the filtered streams.
        lock(&self.shared.filters).clear();
    }
}

/// What comes next, on any stream but `unread`. The newest goes first: a flood
/// on the live stream must not keep out the one that takes over.
async fn next(streams: &mut [Stream], unread: Option<StreamId>, connector: &SharedConnector) -> (StreamId, Came) {
    poll_fn(|context| {
        for stream in streams.iter_mut().rev().filter(|stream| Some(stream.id) != unread) {
            if let Poll::Ready(came) = stream.poll(connector, context) {
                return Poll::Ready((stream.id, came));
            }
        }
        Poll::Pending
    })
    .await
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
