//! A client that does what the README tells one to do, on a bad network, and
//! some things that it doesn't.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::proto::{self, ClientAction, JoinOutcome, join_request::Frame, join_response::Event};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use super::{
    network::{Arrival, Wire},
    reader::Reader,
    record::{Ask, History, Record, Stream, View},
    world::{Sabotage, World, framed, reason_of},
};

/// What a client keeps to come back by.
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) epoch: u64,
    pub(super) last_sequence: u64,
    pub(super) last_result: u64,
    pub(super) last_send_id: u64,
    /// Sent, and its outcome not yet seen; where in the history it stands.
    pub(super) unresolved: BTreeMap<u64, usize>,
    /// The newest sends, decided or not, to be repeated for no reason.
    pub(super) recent: VecDeque<u64>,
}

/// What comes after a stream.
pub(super) enum Next {
    Again(Duration),
    /// Another one, at once, while this one is still well.
    Switch,
    Rest,
}

/// What is true of one stream while it lasts.
pub(super) struct Live {
    pub(super) wire: Wire,
    pub(super) reader: Reader,
    pub(super) joined: bool,
    pub(super) half_closed: bool,
    pub(super) leaving: bool,
    pub(super) closing: Option<proto::Closing>,
    /// When anything came last.
    pub(super) heard: Instant,
    /// It reads nothing before.
    pub(super) reads_from: Instant,
    pub(super) acts_at: Instant,
    /// The line is broken, and the client finds out then.
    pub(super) gone_at: Option<Instant>,
    /// Sends without an id, whose outcomes come in their order.
    pub(super) zeros: VecDeque<usize>,
}

/// A client.
pub(crate) struct Client {
    pub(super) world: Arc<World>,
    pub(super) dice: StdRng,
    pub(super) window: Duration,
    pub(super) suppress_connection_events: bool,
    pub(super) suppress_own_signals: bool,
    pub(super) me: Option<Identity>,
    /// Everyone it ever heard of.
    pub(super) known: Vec<String>,
    pub(super) history: History,
    pub(super) counter: u64,
    pub(super) settled: bool,
    pub(super) sabotage: Option<Sabotage>,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, number: u64, session: &str) -> Self {
        let mut dice = StdRng::seed_from_u64(world.plan.seed.wrapping_mul(1_000).wrapping_add(number));
        Self {
            window: Duration::from_secs([20, 20, 20, 7, 0][dice.random_range(0..5)]),
            // The first one sees everything.
            suppress_connection_events: number != 0 && dice.random_bool(0.2),
            suppress_own_signals: dice.random_bool(0.2),
            dice,
            me: None,
            known: vec!["nobody".into()],
            history: History { name: format!("client {number}"), session: session.into(), ..History::default() },
            counter: 0,
            settled: false,
            sabotage: world.plan.sabotage.filter(|_| number == 0),
            world: Arc::clone(world),
        }
    }

    pub(super) fn trace(&self, what: std::fmt::Arguments<'_>) {
        self.world.record.trace(&self.history.name, what);
    }

    pub(super) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.dice.random_range(range))
    }

    /// Lives until nothing happens any more.
    pub(crate) async fn live(mut self) -> History {
        let late = self.millis(0..3_000);
        sleep(late).await;
        while let Some(after) = self.one_stream().await {
            sleep(after).await;
        }
        self.history
    }

    fn dial(&mut self) -> Live {
        let (latency, cut) = (self.millis(1..40), self.dice.random_range(0..200));
        let wire = self.world.join(latency, cut);
        let types = if self.dice.random_bool(0.8) { Vec::new() } else { vec!["chat".into(), String::new()] };
        let claim = self.me.as_ref().map(|me| proto::Resume {
            connection_id: me.id.clone(),
            resume_token: me.token.clone(),
            epoch: me.epoch,
            last_sequence: me.last_sequence,
            last_result_send_id: me.last_result,
        });
        let join = proto::Join {
            session_id: self.history.session.clone(),
            connection_data: self.history.name.clone(),
            resume_window: Some(self.window.try_into().expect("a short window")),
            resume: claim.clone(),
            signal_types: types.clone(),
            suppress_connection_events: self.suppress_connection_events,
            suppress_own_signals: self.suppress_own_signals,
        };
        self.trace(format_args!("joins, resuming {claim:?}, for types {types:?}"));
        wire.send(framed(&proto::JoinRequest { frame: Some(Frame::Join(join)) }));
        let (suppress_connection_events, suppress_own_signals) =
            (self.suppress_connection_events, self.suppress_own_signals);
        self.history.streams.push(Stream {
            view: View { types, suppress_connection_events, suppress_own_signals },
            claim,
            joined: None,
            events: Vec::new(),
            complete_to: 0,
        });
        let now = Instant::now();
        Live {
            wire,
            reader: Reader::default(),
            joined: false,
            half_closed: false,
            leaving: false,
            closing: None,
            heard: now,
            reads_from: now,
            acts_at: now,
            gone_at: None,
            zeros: VecDeque::new(),
        }
    }

    /// How long to wait before the next one; none at rest.
    async fn one_stream(&mut self) -> Option<Duration> {
        let mut live = self.dial();
        match self.read(&mut live).await {
            Next::Again(after) => Some(after),
            Next::Switch => {
                tokio::spawn(taken_over(live, Arc::clone(&self.world.record), self.history.name.clone()));
                Some(Duration::ZERO)
            }
            Next::Rest => {
                self.leave(live).await;
                None
            }
        }
    }

    async fn read(&mut self, live: &mut Live) -> Next {
        let silence = self.world.plan.limits.heartbeat_interval * 5 / 2;
        loop {
            let (calm, over) = (self.world.calm.is_cancelled(), self.world.over.is_cancelled());
            if calm {
                // It reads again, at last.
                live.reads_from = live.reads_from.min(Instant::now());
                self.settle(live);
            }
            if self.rests(live) {
                self.trace(format_args!("is at rest"));
                return Next::Rest;
            }
            let now = Instant::now();
            let reads = now >= live.reads_from;
            let dead_at = live.heard.max(live.reads_from) + silence;
            let gone_at = live.gone_at;
            tokio::select! {
                biased;
                () = sleep_until(gone_at.unwrap_or(now)), if gone_at.is_some() => {
                    self.trace(format_args!("finds the line broken"));
                    return Next::Again(self.millis(1..300));
                }
                arrival = live.wire.receive(), if reads => {
                    live.heard = Instant::now();
                    if let Some(next) = self.arrived(live, arrival) {
                        return next;
                    }
                }
                () = sleep_until(live.reads_from), if !reads => {}
                () = self.world.calm.cancelled(), if !calm => {}
                () = self.world.over.cancelled(), if !over => {}
                () = sleep_until(live.acts_at), if live.joined && !calm && !live.leaving => {
                    live.acts_at = Instant::now() + self.millis(10..600);
                    if let Some(next) = self.act(live) {
                        return next;
                    }
                }
                () = sleep_until(dead_at), if reads && gone_at.is_none() => {
                    self.world.record.met("a silence too long");
                    self.trace(format_args!("gives the stream up, after a silence"));
                    let late = self.millis(0..30_000);
                    live.wire.break_line(0, late);
                    return Next::Again(self.millis(1..300));
                }
            }
        }
    }

    /// Tells once that it is in, with nothing unresolved.
    fn settle(&mut self, live: &Live) {
        let resolved = self.me.as_ref().is_some_and(|me| me.unresolved.is_empty());
        if !self.settled && live.joined && resolved {
            self.settled = true;
            self.world.settled.send_modify(|settled| *settled += 1);
        }
    }

    /// Whether nothing happens any more and it has seen everything.
    fn rests(&mut self, live: &mut Live) -> bool {
        let rest = self.world.newest.get().map(|newest| newest[&self.history.session]);
        let seen = self.history.streams.last().map_or(0, |stream| stream.complete_to);
        self.history.rest = rest.filter(|rest| live.joined && seen >= *rest);
        self.history.rest.is_some()
    }

    async fn leave(&mut self, mut live: Live) {
        if live.half_closed {
            return;
        }
        live.leaving = true;
        live.wire.send(framed(&proto::JoinRequest { frame: Some(Frame::Leave(proto::Leave {})) }));
        loop {
            let arrival = live.wire.receive().await;
            if self.arrived(&mut live, arrival).is_some() {
                return;
            }
        }
    }

    fn arrived(&mut self, live: &mut Live, arrival: Arrival) -> Option<Next> {
        match arrival {
            Arrival::Bytes(bytes) => {
                for event in live.reader.read(&bytes) {
                    self.saw(live, event);
                }
                None
            }
            Arrival::Broken => {
                self.trace(format_args!("sees the stream break"));
                self.world.record.met("a stream broken");
                Some(Next::Again(self.millis(1..500)))
            }
            Arrival::End(trailers) => Some(self.ended(live, &Status::from_header_map(&trailers).expect("a status"))),
        }
    }

    fn ended(&mut self, live: &Live, status: &Status) -> Next {
        let reason = reason_of(status);
        self.trace(format_args!("the stream ended with {:?} {reason}", status.code()));
        let closing = live.closing.as_ref();
        if status.code() == tonic::Code::Ok {
            if !live.leaving || closing.is_some() {
                self.violation("a stream ended with OK, without a leave".into());
            }
            self.me = None;
            self.world.record.met("a leave");
            return Next::Again(self.millis(1..2_000));
        }
        let Some(closing) = closing.filter(|closing| closing.reason == reason) else {
            self.violation(format!("a stream ended with {status:?} after {closing:?}"));
            return Next::Rest;
        };
        match (reason.as_str(), closing.action()) {
            ("GOING_AWAY", ClientAction::Resume) if !self.window.is_zero() => self.world.record.met("told to go away"),
            ("GOING_AWAY", ClientAction::Rejoin) => self.world.record.met("told to go away"),
            ("SLOW_CONSUMER", ClientAction::Resume) => self.world.record.met("a slow consumer"),
            ("FORCE_DISCONNECTED", ClientAction::Stop) => self.world.record.met("a force-disconnect"),
            _ => self.violation(format!("an unexpected end: {closing:?}")),
        }
        if closing.action() != ClientAction::Resume {
            self.me = None;
        }
        let wait = closing.retry_after.map(|wait| Duration::try_from(wait).expect("a wait"));
        Next::Again(wait.unwrap_or_else(|| self.millis(1..300)))
    }

    pub(super) fn violation(&self, what: String) {
        self.trace(format_args!("VIOLATION {what}"));
        self.world.record.violation(format!("{}: {what}", self.history.name));
    }

    fn stream(&mut self) -> &mut Stream {
        self.history.streams.last_mut().expect("a stream is being read")
    }

    pub(super) fn saw(&mut self, live: &mut Live, event: Event) {
        self.trace(format_args!("sees {event:?}"));
        match event {
            Event::Joined(joined) if !live.joined => {
                live.joined = !joined.more_connections;
                self.joined(live, joined);
            }
            Event::ConnectionsPage(page) if !live.joined => {
                live.joined = !page.more;
                let joined = self.stream().joined.as_mut().expect("a page follows joined");
                joined.connections.extend(page.connections);
            }
            Event::Closing(closing) => live.closing = Some(closing),
            _ if !live.joined => self.violation(format!("{event:?} before joined")),
            Event::Joined(_) | Event::ConnectionsPage(_) => self.violation(format!("a second {event:?}")),
            Event::SendResult(result) => self.answered(live, result),
            Event::Heartbeat(heartbeat) => self.reached(heartbeat.sequence),
            event => self.happened(event),
        }
    }

    fn reached(&mut self, sequence: u64) {
        let stream = self.stream();
        stream.complete_to = stream.complete_to.max(sequence);
        if let Some(me) = self.me.as_mut() {
            me.last_sequence = me.last_sequence.max(sequence);
        }
    }

    fn happened(&mut self, event: Event) {
        let sequence = match &event {
            Event::Signal(signal) => signal.sequence,
            Event::ConnectionCreated(created) => {
                self.known.extend(created.connection.iter().map(|connection| connection.connection_id.clone()));
                created.sequence
            }
            Event::ConnectionDestroyed(destroyed) => destroyed.sequence,
            Event::ConnectionInterrupted(interrupted) => interrupted.sequence,
            Event::ConnectionRestored(restored) => restored.sequence,
            other => return self.violation(format!("{other:?} is no event of the order")),
        };
        let is_signal = matches!(event, Event::Signal(_));
        let sabotage = self.sabotage;
        let stream = self.stream();
        // Late enough for a stream to have shown something before.
        let done = match sabotage.filter(|_| !stream.events.is_empty()) {
            Some(Sabotage::Lose) if is_signal => true,
            Some(Sabotage::Hide) if !is_signal => true,
            Some(Sabotage::Repeat) if is_signal => {
                stream.events.extend([event.clone(), event]);
                true
            }
            Some(Sabotage::Swap) => {
                stream.events.insert(stream.events.len() - 1, event);
                true
            }
            _ => {
                stream.events.push(event);
                false
            }
        };
        if done {
            self.sabotage = None;
        }
        self.reached(sequence);
    }

    fn joined(&mut self, live: &mut Live, joined: proto::Joined) {
        let connection = joined.connection.clone().expect("joined tells the connection");
        self.known.extend(joined.connections.iter().map(|connection| connection.connection_id.clone()));
        let outcome = joined.outcome();
        let stream = self.stream();
        stream.complete_to = joined.sequence;
        let resuming = stream.claim.is_some();
        stream.joined = Some(joined.clone());
        self.world.record.met(match (outcome, resuming) {
            (JoinOutcome::New, false) => "a join",
            (JoinOutcome::New, true) => "a resume not honoured",
            (JoinOutcome::Resumed, _) => "a resume",
            (JoinOutcome::ResumedWithGap, _) => "a gap",
            (JoinOutcome::Unspecified, _) => "an unspecified outcome",
        });
        match (&mut self.me, outcome) {
            (Some(me), JoinOutcome::Resumed | JoinOutcome::ResumedWithGap) => {
                me.last_sequence = joined.sequence;
                // The others are decided, and their outcomes follow.
                let again: Vec<_> = me.unresolved.range(joined.last_send_id + 1..).map(|(_, at)| *at).collect();
                for at in again {
                    self.world.record.met("a send repeated after a resume");
                    self.send_frame(live, at);
                }
            }
            (_, JoinOutcome::New) => {
                self.me = Some(Identity {
                    id: connection.connection_id,
                    token: joined.resume_token,
                    epoch: joined.epoch,
                    last_sequence: joined.sequence,
                    last_result: 0,
                    last_send_id: 0,
                    unresolved: BTreeMap::new(),
                    recent: VecDeque::new(),
                });
            }
            (_, outcome) => self.violation(format!("{outcome:?} without a resume")),
        }
    }

    fn answered(&mut self, live: &mut Live, result: proto::SendResult) {
        let Some(me) = self.me.as_mut() else { return };
        let outcome = result.outcome.clone().expect("a result has an outcome");
        let at = if result.send_id == 0 {
            live.zeros.pop_front()
        } else {
            me.last_result = me.last_result.max(result.send_id);
            me.unresolved.remove(&result.send_id);
            let asked = |ask: &Ask| ask.connection.to_string() == me.id && ask_id(&ask.frame) == result.send_id;
            self.history.asks.iter().rposition(asked)
        };
        match at {
            Some(at) => self.history.asks[at].answers.push(outcome),
            None => self.violation(format!("an outcome of nothing: {result:?}")),
        }
    }

    pub(super) fn send_frame(&self, live: &Live, at: usize) {
        let frame = self.history.asks[at].frame.clone();
        self.trace(format_args!("sends {}", ask_id(&frame)));
        live.wire.send(framed(&proto::JoinRequest { frame: Some(frame) }));
    }
}

/// Reads the stream that another one took over, to its end.
async fn taken_over(mut old: Live, record: Arc<Record>, name: String) {
    let mut closing = old.closing;
    loop {
        match old.wire.receive().await {
            Arrival::Bytes(bytes) => {
                for event in old.reader.read(&bytes) {
                    if let Event::Closing(told) = event {
                        closing = Some(told);
                    }
                }
            }
            Arrival::Broken => return,
            Arrival::End(_) => break,
        }
    }
    let closing = closing.unwrap_or_default();
    record.trace(&name, format_args!("the stream switched from closed with {closing:?}"));
    match (closing.reason.as_str(), closing.action()) {
        ("CONNECTION_TAKEN_OVER", ClientAction::Stop) => record.met("a take-over"),
        // What may happen to a stream before it is taken over.
        ("FORCE_DISCONNECTED" | "GOING_AWAY" | "SLOW_CONSUMER", _) => {}
        _ => record.violation(format!("{name}: a stream switched from closed with {closing:?}")),
    }
}

/// The id of what was asked.
pub(crate) fn ask_id(frame: &Frame) -> u64 {
    match frame {
        Frame::Send(send) => send.send_id,
        Frame::Disconnect(disconnect) => disconnect.send_id,
        Frame::Join(_) | Frame::Leave(_) => 0,
    }
}
