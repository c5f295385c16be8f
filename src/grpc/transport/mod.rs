//! One TCP connection: HTTP/2 read and written, its streams driven, by one
//! future.
//!
//! This is the server's data path. Streams are no tasks of their own: what
//! comes in one read is dealt with at once, commands of a stream are submitted
//! together, and what waits in the outboxes of all streams goes out in one
//! write. `Join`, `Subscribe` and `SendFromServer` are served here; every other call
//! goes to the generated services.

mod block;
mod calls;
mod control;
mod join;
mod lane;
mod load;
mod pace;
mod reading;
mod routed;
mod send;
mod stream;
mod timing;
mod unfinished;
mod writing;

#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep},
};
use tonic::service::Routes;

use crate::{
    domain::{Charge, Spent},
    http2::{Connection, Event, Head, Settings, Spare, StreamId},
    hub::{Bell, Bits},
    session::Command,
    telemetry::{Call, CallStatus, Tracer},
};

use super::{
    PeerAddress, Services,
    join::Takes,
    signaling::{is_grpc, open},
    web::Web,
};

pub use control::Control;
pub use lane::InSlowLane;
pub use load::{after_park, before_park};
pub use pace::Rates;

use join::JoinStream;
use lane::Ticket;
use pace::{JOIN_MESSAGES, Pace};
use routed::Routed;
use send::{Answer, SendCall};
use stream::{Kind, Queue, Stream};

/// How many calls, and commands, a turn deals with before the others' turn: those
/// that receive what they bring about must get theirs before their outboxes are
/// full. A quarter of what one holds by default.
const WORK_PER_TURN: usize = 256;
/// What a join counts for among those.
const JOIN_WORK: usize = 30;
/// How many streams a connection may have whatever the memory for signals.
const FEW_STREAMS: usize = 16;
/// What a stream takes of that memory, at rest.
const STREAM_BYTES: usize = 4 * 1_024;
/// In which steps what a connection holds for its peer is counted.
const HELD_STEP: usize = 32 * 1_024;
/// HTTP/2 windows: 64 KiB breaks fast senders of small frames, more than 1 MiB
/// gives nothing.
const WINDOW_BYTES: u32 = 1_048_576;
/// The most bytes of a request's headers.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1_024;
/// How long a peer may take for the preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take to close after it was told all.
const LINGER: Duration = Duration::from_secs(1);

const JOIN: &[u8] = b"/signalbox.v1.SignalingService/Join";
const SUBSCRIBE: &[u8] = b"/signalbox.v1.SignalingService/Subscribe";
const SEND_FROM_SERVER: &[u8] = b"/signalbox.v1.SignalingService/SendFromServer";

/// What every transport of a server works with.
pub struct TransportSettings {
    /// What `Join` and `SendFromServer` work with.
    pub services: Arc<Services>,
    /// Every other call.
    pub routes: Routes,
    /// The same by gRPC-Web, if it is served.
    pub web: Option<Web>,
    /// HTTP/2 streams at once; 0 is no limit.
    pub max_streams: u32,
    /// What one connection may send in a second.
    pub rates: Rates,
    /// What traces calls.
    pub tracer: Tracer,
}

/// What a turn works with and no transport keeps: a worker's transports share
/// it.
#[derive(Default)]
struct Scratch {
    read: Vec<u8>,
    parts: Vec<Bytes>,
    commands: Vec<Command>,
    output: Option<Spare>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// How a transport is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Told all: closed once it is written.
    Closing,
    /// Closed on this side; what still comes is thrown away until then.
    Lingering(Instant),
}

/// One connection, from its first byte to its last.
///
/// In this order: what every turn needs lies together, because a thousand
/// connections in turn find little of theirs in the caches.
#[repr(C)]
pub struct Transport<I> {
    io: I,
    bell: Arc<Bell>,
    control: control::Place,
    /// When the timer fires. Looked at in every turn, the timer isn't.
    timer_at: Instant,
    /// It fires no later than anything is due: to be looked at again when
    /// something has become due earlier than before, or it has fired.
    is_set: bool,
    /// It knows whom to wake.
    is_timed: bool,
    /// A stream's window was found shut.
    is_starved: bool,
    phase: Phase,
    /// Somebody was let in on it.
    is_known: bool,
    /// It is over, and ends as there is time for it.
    is_over: bool,
    /// It moves much data: until then it takes its turns in the slow lane.
    heavy_until: Option<Instant>,
    /// Streams that may have something to send.
    dirty: Queue,
    /// The stream whose commands are being gathered.
    gathering: Option<StreamId>,
    /// The stream that has more than fits a turn.
    backlogged: Option<StreamId>,
    /// What is done in this turn.
    work: usize,
    /// What was read in this turn that counts for its pace beside frames.
    messages: usize,
    pace: Pace,
    /// It sent too much: nothing is read until then.
    paced: Option<Instant>,
    /// What it takes of the memory for signals: streams, and what waits for the
    /// socket.
    charges: (Charge, Charge),
    /// How many steps of each are counted.
    counted: (usize, usize),
    /// Streams that wait for the engine.
    waiting: Vec<StreamId>,
    /// What was read and didn't fit a turn.
    leftover: Vec<u8>,
    heard_at: Instant,
    heard_bytes: usize,
    /// How many of them count for its pace already.
    paid_bytes: usize,
    /// How many came after the end.
    thrown_away: usize,
    pinged_at: Option<Instant>,
    /// Its place in the slow lane.
    ticket: Ticket,
    /// Since when something comes in part that is needed whole; and of headers, on which
    /// stream.
    midway: Option<(Instant, Option<StreamId>)>,
    /// The earliest that a stream has something to do without being rung.
    due: Option<Instant>,
    http: Connection<Stream>,
    timer: Pin<Box<Sleep>>,
    settings: Arc<TransportSettings>,
    /// How many streams there have been.
    count: u32,
    opened_at: Instant,
    peer: Option<PeerAddress>,
}

/// The connection is over.
struct Over;

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    /// A connection that was just accepted, from this address.
    pub fn new(io: I, peer: Option<IpAddr>, settings: Arc<TransportSettings>, control: &Arc<Control>) -> Self {
        let now = Instant::now();
        let max_concurrent_streams = if settings.max_streams == 0 { u32::MAX } else { settings.max_streams };
        let http = Connection::new(Settings {
            max_concurrent_streams,
            stream_window: WINDOW_BYTES,
            connection_window: WINDOW_BYTES,
            max_header_list: MAX_HEADER_LIST_BYTES,
        });
        let bell = Arc::<Bell>::default();
        let budget = settings.services.hub.memory();
        let charges = (Charge::new(budget, Spent::Streams), Charge::new(budget, Spent::Waiting));
        Self {
            io,
            charges,
            counted: (0, 0),
            messages: 0,
            pace: Pace::new(now),
            paced: None,
            settings,
            control: Control::enter(control, Arc::clone(&bell)),
            peer: peer.map(PeerAddress),
            http,
            bell,
            phase: Phase::Serving,
            is_known: false,
            is_over: false,
            heavy_until: None,
            ticket: Ticket::default(),
            count: 0,
            dirty: Queue::default(),
            is_starved: false,
            waiting: Vec::new(),
            gathering: None,
            backlogged: None,
            leftover: Vec::new(),
            work: 0,
            opened_at: now,
            heard_bytes: 0,
            paid_bytes: 0,
            thrown_away: 0,
            heard_at: now,
            pinged_at: None,
            midway: None,
            due: None,
            timer: Box::pin(tokio::time::sleep_until(now + PREFACE_TIMEOUT)),
            timer_at: now + PREFACE_TIMEOUT,
            is_set: false,
            is_timed: false,
        }
    }

    /// Works until there is nothing to do; ready when the connection is over.
    fn turn(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Result<Poll<()>, Over> {
        loop {
            let mut rung = self.bell.take();
            let now = Instant::now();
            self.obey()?;
            if now >= self.timer_at {
                self.on_time(now)?;
            }
            self.work = 0;
            let is_full = self.is_full();
            let more = self.read(context, scratch, now)?;
            if !self.waiting.is_empty() {
                self.poll_waiting(context, scratch);
            }
            // What was read has an outcome, most often by now.
            rung |= self.bell.take_more();
            self.mark_rung(rung);
            let written = self.write(context, scratch, now)?;
            self.account();
            if written.is_ready() {
                self.go_on(context, now)?;
            }
            if is_full && !self.is_full() {
                // What was left unread may be read now.
                continue;
            }
            if more {
                self.moves_much(now);
                // The others' turn; this one is rung no more than needed.
                context.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            if self.sleep(context, now).is_ready() {
                continue;
            }
            if self.bell.rest(context) {
                return Ok(Poll::Pending);
            }
        }
    }

    /// Counts what it holds.
    #[inline]
    fn account(&mut self) {
        let streams = self.http.streams() / FEW_STREAMS;
        let held = (self.http.output().len() + self.leftover.len()) / HELD_STEP;
        if (streams, held) != self.counted {
            self.counted = (streams, held);
            self.charges.0.set(streams * FEW_STREAMS * STREAM_BYTES);
            self.charges.1.set(held * HELD_STEP);
        }
    }

    /// Does what the server wants of all its transports.
    fn obey(&mut self) -> Result<(), Over> {
        if self.control.is_cut() {
            return Err(Over);
        }
        if self.control.is_finishing() && !self.http.is_shutting_down() {
            self.http.shut_down();
        }
        Ok(())
    }

    /// After everything is written.
    fn go_on(&mut self, context: &mut Context<'_>, now: Instant) -> Result<(), Over> {
        if self.phase == Phase::Serving && self.http.is_done() {
            self.phase = Phase::Closing;
        }
        // What the peer has sent meanwhile is read and thrown away: closing at
        // once would have the kernel reset the connection, and the peer might
        // lose what it was told last.
        if self.phase == Phase::Closing {
            match Pin::new(&mut self.io).poll_shutdown(context) {
                Poll::Ready(Ok(())) => {
                    self.phase = Phase::Lingering(now + LINGER);
                    self.is_set = false;
                }
                Poll::Ready(Err(_)) => return Err(Over),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn on_event(&mut self, context: &mut Context<'_>, event: Event<'_, Stream>, commands: &mut Vec<Command>) {
        match event {
            Event::Request { stream, head, end } => {
                self.work += 1;
                self.messages += 1;
                self.begin(stream, &head, end);
                if end {
                    self.on_data(context, stream, &[], true, commands);
                }
            }
            Event::Data { stream, data, end } => self.on_data(context, stream, data, end, commands),
            Event::Reset { state, .. } => {
                self.submit(commands);
                drop(state);
            }
            Event::Window { stream: Some(stream) } => self.mark(stream),
            // Said as often as the peer likes: only who waited for it looks.
            Event::Window { stream: None } if std::mem::take(&mut self.is_starved) => self.mark_rung(Bell::ALL),
            Event::Window { stream: None } => {}
            Event::Pong | Event::GoAway => {}
        }
    }

    /// A new stream.
    fn begin(&mut self, id: StreamId, head: &Head, end: bool) {
        let bit = Bell::bit(self.count);
        self.count = self.count.wrapping_add(1);
        let is_ours = head.method() == b"POST" && head.get("content-type").is_some_and(is_grpc);
        let mut call = is_ours.then(|| self.begin_call(head));
        let budget = self.settings.services.hub.memory();
        if self.http.streams() > FEW_STREAMS && budget.is_full() {
            let refusal = budget.refuses_stream();
            self.settings.services.capped(&refusal);
            if let Some(call) = &mut call {
                calls::refused(call, &refusal);
            }
            return self.answer(id, Answer::Refused(refusal));
        }
        let span = call.as_ref().and_then(Call::span);
        let kind = match head.path() {
            path @ (JOIN | SUBSCRIBE) if is_ours => {
                let services = &self.settings.services;
                let peer = self.peer.map(|peer| peer.0);
                let takes = if path == JOIN { Takes::Frames } else { Takes::Join };
                let (outgoing, reader) = open(services, takes, peer, Arc::clone(&self.bell), bit);
                if let Some(span) = span {
                    outgoing.outbox().trace(Arc::clone(span));
                }
                let stream = JoinStream::new(outgoing, reader, Credentials::of(head), Instant::now());
                self.is_due(stream.due());
                self.messages += JOIN_MESSAGES;
                self.work += JOIN_WORK;
                // At once, before a frame is read: a client that waits for
                // headers before it sends must not deadlock.
                self.http.send_headers(id, block::response(), false);
                Kind::Join(Box::new(stream))
            }
            SEND_FROM_SERVER if is_ours => {
                let services = Arc::clone(&self.settings.services);
                Kind::Send(SendCall::new(services, Credentials::of(head), self.peer, span.cloned()))
            }
            _ => match Routed::new(&self.settings, head, end, (self.peer, span.cloned()), &self.bell, bit) {
                Ok(routed) => Kind::Routed(routed),
                Err(error) => {
                    tracing::debug!(%error, "not a request that can be routed");
                    if let Some(call) = &mut call {
                        call.end(CallStatus::UNKNOWN, || None::<String>);
                    }
                    let status = Some(http::StatusCode::BAD_REQUEST);
                    self.http.send_headers(id, &block::of(status, &HeaderMap::new()), true);
                    self.http.finish(id);
                    return;
                }
            },
        };
        self.http.accept(id, Stream::new(kind, call));
        // A peer with streams is asked for signs of life.
        self.is_set = false;
        self.mark(id);
    }

    fn on_data(
        &mut self,
        context: &mut Context<'_>,
        id: StreamId,
        data: &[u8],
        end: bool,
        commands: &mut Vec<Command>,
    ) {
        if self.gathering.is_some_and(|other| other != id) {
            self.submit(commands);
        }
        let Some(stream) = self.http.get_mut(id) else { return self.http.consumed(id, data.len()) };
        match &mut stream.kind {
            Kind::Join(join) => {
                let before = commands.len();
                let taken = join.receive(context, data, end, commands);
                let came = commands.len().saturating_sub(before);
                self.work += came;
                self.messages += came;
                self.gathering = Some(id);
                self.is_known |= join.is_in();
                if join.is_joining() && !self.waiting.contains(&id) {
                    self.waiting.push(id);
                }
                if join.has_backlog() {
                    self.backlogged = Some(id);
                }
                self.http.consumed(id, taken);
            }
            Kind::Send(call) => {
                let answer = call.receive(context, data, end);
                if call.is_calling() && answer.is_pending() {
                    self.waiting.push(id);
                }
                self.http.consumed(id, data.len());
                if let Poll::Ready(answer) = answer {
                    self.answer(id, answer);
                }
            }
            // Its data is consumed as the service reads it.
            Kind::Routed(routed) => routed.receive(data, end),
        }
    }

    /// Submits what was gathered.
    fn submit(&mut self, commands: &mut Vec<Command>) {
        if let Some(id) = self.gathering.take()
            && !commands.is_empty()
            && let Some(Kind::Join(join)) = self.http.get_mut(id).map(|stream| &mut stream.kind)
        {
            join.submit(commands);
        }
        commands.clear();
    }

    /// Goes on with the streams that wait for the engine.
    fn poll_waiting(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) {
        for id in std::mem::take(&mut self.waiting) {
            let Some(stream) = self.http.get_mut(id) else { continue };
            match &mut stream.kind {
                Kind::Join(join) => {
                    if join.poll_join(context) {
                        self.on_data(context, id, &[], false, &mut scratch.commands);
                        self.submit(&mut scratch.commands);
                    } else {
                        self.waiting.push(id);
                    }
                }
                Kind::Send(call) => match call.poll(context) {
                    Poll::Ready(answer) => self.answer(id, answer),
                    Poll::Pending => self.waiting.push(id),
                },
                Kind::Routed(_) => {}
            }
        }
    }

    /// The stream may have something to send.
    fn mark(&mut self, id: StreamId) {
        if let Some(stream) = self.http.get_mut(id)
            && !std::mem::replace(&mut stream.is_dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// So may those whose bits these are.
    fn mark_rung(&mut self, bits: Bits) {
        if bits == 0 {
            return;
        }
        let dirty = &mut self.dirty;
        if let Some((id, stream)) = self.http.only_mut() {
            if !std::mem::replace(&mut stream.is_dirty, true) {
                dirty.push(id);
            }
            return;
        }
        self.http.for_each_mut(|id, stream| {
            if (bits == Bell::ALL || stream.bit().is_none_or(|bit| bit & bits != 0))
                && !std::mem::replace(&mut stream.is_dirty, true)
            {
                dirty.push(id);
            }
        });
    }
}

/// The part of a request's headers that decides who may do what; in little
/// room, because most have none.
#[derive(Default)]
struct Credentials(Option<Box<HeaderMap>>);

impl Credentials {
    fn of(head: &Head) -> Self {
        let value = head.get("authorization").and_then(|value| http::HeaderValue::from_bytes(value).ok());
        Self(value.map(|value| Box::new(HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]))))
    }

    fn into_headers(self) -> HeaderMap {
        self.0.map_or_else(HeaderMap::new, |headers| *headers)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Future for Transport<I> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over {
            return self.end_slowly(context);
        }
        let turn = match self.lane() {
            None => None,
            Some(which) => {
                let Some(turn) = lane::enter(which, &mut self.ticket, context) else { return Poll::Pending };
                Some(turn)
            }
        };
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let output = self.http.output();
        if output.is_empty() {
            output.give_spare(scratch.output.take().unwrap_or_default());
        }
        let turned = self.turn(context, &mut scratch);
        if let Some(spare) = self.http.output().take_spare() {
            scratch.output = Some(spare);
        }
        SCRATCH.set(Some(scratch));
        if let Ok(Poll::Pending) = turned {
            return Poll::Pending;
        }
        drop(turn);
        self.is_over = true;
        self.end_slowly(context)
    }
}
