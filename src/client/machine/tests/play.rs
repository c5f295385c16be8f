//! Plays a machine against the model server over a network that fails.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use crate::{
    client::{Accepted, Event, SendError, Signal, machine::Settings},
    proto::{self, ClientAction},
};

use super::{
    super::{End, Machine, Output, StreamId, Wanted},
    broken,
    server::{Down, HEARTBEAT, Server},
};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Send {
        retry: bool,
    },
    /// Frames pass on every stream.
    Up(u8),
    Down(u8),
    /// Both ends see the newest stream break; what was on its way is lost.
    Cut,
    /// Only the client sees it.
    CutHere,
    /// Nothing passes any more, and nobody knows.
    HalfOpen,
    Noise,
    OtherJoins,
    OneGoes,
    Close {
        action: i32,
    },
    /// The next opening fails.
    Refuse,
    Restart,
    TokenExpires,
    Pass {
        millis: u32,
    },
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => any::<bool>().prop_map(|retry| Act::Send { retry }),
        8 => (1_u8..6).prop_map(Act::Up),
        8 => (1_u8..8).prop_map(Act::Down),
        2 => Just(Act::Cut),
        1 => Just(Act::CutHere),
        1 => Just(Act::HalfOpen),
        4 => Just(Act::Noise),
        1 => Just(Act::OtherJoins),
        1 => Just(Act::OneGoes),
        1 => (0_i32..3).prop_map(|action| Act::Close { action }),
        1 => Just(Act::Refuse),
        1 => Just(Act::TokenExpires),
        6 => (1_u32..3_000).prop_map(|millis| Act::Pass { millis }),
        // Rare: it makes everything a gap.
        1 => prop_oneof![3 => Just(Act::Noise), 1 => Just(Act::Restart)],
    ]
}

/// What the client was told, from one snapshot to the next.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) member: String,
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) told: Vec<(u64, Option<String>)>,
}

pub(super) struct Play {
    pub(super) machine: Machine<String>,
    pub(super) server: Server,
    pub(super) now: Duration,
    refuse: bool,
    sent: usize,
    pub(super) outcomes: BTreeMap<String, Result<Accepted, SendError>>,
    pub(super) twice: Vec<String>,
    pub(super) segments: Vec<Segment>,
    pub(super) events: Vec<Event>,
    pub(super) over: bool,
}

impl Play {
    pub(super) fn new(seed: u64) -> Self {
        let mut play = Self {
            machine: Machine::new(Settings {
                join: proto::Join { session_id: "s".to_owned(), ..proto::Join::default() },
                endpoints: vec!["a".to_owned(), "b".to_owned()],
                connect_timeout: Duration::from_secs(5),
                back_off: (Duration::from_millis(100), Duration::from_secs(2)),
                give_up_after: Duration::from_secs(100_000),
                renewable: true,
                queue: (8, 10_000),
                seed: Some(seed),
            }),
            server: Server::new(),
            now: Duration::from_secs(1),
            refuse: false,
            sent: 0,
            outcomes: BTreeMap::new(),
            twice: Vec::new(),
            segments: Vec::new(),
            events: Vec::new(),
            over: false,
        };
        play.machine.start(play.now);
        play.settle();
        // A first join that fails is an end of its own.
        while play.segments.is_empty() {
            play.up();
            play.down();
        }
        play
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = String> {
        (1..=self.sent).map(|n| format!("tag {n:04}"))
    }

    /// Does what the machine wants done.
    fn settle(&mut self) {
        while let Some(output) = self.machine.output() {
            assert!(!self.over, "{output:?} after the end");
            match output {
                Output::Open { stream, join, .. } => {
                    if std::mem::take(&mut self.refuse) {
                        self.machine.ended(stream, End::Status(broken()), self.now);
                        continue;
                    }
                    let frame = Some(proto::join_request::Frame::Join(*join));
                    let pipe = self.server.pipes.entry(stream).or_default();
                    pipe.up.push_back(proto::JoinRequest { frame });
                }
                Output::Frame(stream, frame) => {
                    if let Some(pipe) = self.server.pipes.get_mut(&stream) {
                        pipe.up.push_back(frame);
                    }
                }
                Output::Close(stream) => self.drop_stream(stream),
                Output::Outcome(tag, outcome) => {
                    if self.outcomes.insert(tag.clone(), outcome).is_some() {
                        self.twice.push(tag);
                    }
                }
                Output::Event(event) => self.tell(event),
                Output::Failed(error) => panic!("{error}"),
                Output::Over => self.over = true,
            }
        }
    }

    /// The client lets go of a stream; the server sees it, unless nothing
    /// passes.
    fn drop_stream(&mut self, stream: StreamId) {
        if self.server.pipes.remove(&stream).is_some_and(|pipe| !pipe.half_open) {
            self.server.detach(stream);
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Joined { connection, epoch, sequence, .. }
            | Event::Reconnected { gap: true, connection, epoch, sequence, .. } => self.segments.push(Segment {
                member: connection.connection_id.clone(),
                epoch: *epoch,
                from: *sequence,
                told: Vec::new(),
            }),
            Event::Signal(signal) => self.told(signal.sequence, Some(signal.data.clone())),
            Event::ConnectionCreated { sequence, .. }
            | Event::ConnectionDestroyed { sequence, .. }
            | Event::ConnectionInterrupted { sequence, .. }
            | Event::ConnectionRestored { sequence, .. } => self.told(*sequence, None),
            Event::Reconnecting { .. } | Event::Reconnected { .. } | Event::Disconnected { .. } => {}
        }
        self.events.push(event);
    }

    fn told(&mut self, sequence: u64, data: Option<String>) {
        self.segments.last_mut().expect("nothing comes before `Joined`").told.push((sequence, data));
    }

    fn newest(&self) -> Option<StreamId> {
        self.server.pipes.keys().next_back().copied()
    }

    pub(super) fn send(&mut self, retry: bool) {
        self.sent += 1;
        let tag = format!("tag {:04}", self.sent);
        let signal = Signal::new("", tag.clone()).retry_after_reconnect(retry);
        if let Err((tag, error)) = self.machine.send(Wanted::Signal(signal), tag, self.now) {
            self.outcomes.insert(tag, Err(error));
        }
        self.settle();
    }

    fn up(&mut self) -> bool {
        let ready = |pipe: &super::server::Pipe| !pipe.half_open && !pipe.up.is_empty();
        let streams: Vec<_> =
            self.server.pipes.iter().filter(|(_, pipe)| ready(pipe)).map(|(stream, _)| *stream).collect();
        for stream in &streams {
            self.server.take(*stream, self.now);
        }
        !streams.is_empty()
    }

    fn down(&mut self) -> bool {
        let streams: Vec<_> = self.server.pipes.keys().copied().collect();
        let mut any = false;
        for stream in streams {
            let Some(pipe) = self.server.pipes.get_mut(&stream).filter(|pipe| !pipe.half_open) else { continue };
            match pipe.down.pop_front() {
                Some(Down::Response(response)) => self.machine.received(stream, response, self.now),
                Some(Down::End(end)) => {
                    self.server.pipes.remove(&stream);
                    self.machine.ended(stream, end, self.now);
                }
                None => continue,
            }
            any = true;
            self.settle();
        }
        any
    }

    fn cut(&mut self, server_sees: bool) {
        let Some(stream) = self.newest() else { return };
        self.server.pipes.remove(&stream);
        if server_sees {
            self.server.detach(stream);
        }
        self.machine.ended(stream, End::Status(broken()), self.now);
        self.settle();
    }

    /// Time passes, with the machine woken and heartbeats sent when due.
    fn pass(&mut self, until: Duration) {
        let mut woken = 0;
        while let Some(at) = self.machine.wake_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            woken += 1;
            assert!(woken < 10_000, "it wants to be woken for nothing");
            self.machine.wake(self.now);
            self.settle();
        }
        self.now = until;
    }

    pub(super) fn act(&mut self, act: &Act) {
        match *act {
            Act::Send { retry } => self.send(retry),
            Act::Up(frames) => {
                for _ in 0..frames {
                    self.up();
                }
            }
            Act::Down(frames) => {
                for _ in 0..frames {
                    self.down();
                }
            }
            Act::Cut => self.cut(true),
            Act::CutHere => self.cut(false),
            Act::HalfOpen => {
                if let Some(pipe) = self.newest().and_then(|stream| self.server.pipes.get_mut(&stream)) {
                    pipe.half_open = true;
                }
            }
            Act::Noise => self.server.noise(),
            Act::OtherJoins => {
                self.server.other_joins();
            }
            Act::OneGoes => self.server.one_goes(),
            Act::Close { action } => {
                let actions = [ClientAction::Resume, ClientAction::Rejoin, ClientAction::Unspecified];
                let action = actions[usize::try_from(action).unwrap_or_default()];
                if let Some(stream) = self.newest() {
                    self.server.close(stream, "SOMETHING_NEW", action);
                }
            }
            Act::Refuse => self.refuse = !self.segments.is_empty(),
            Act::Restart => self.server.restart(),
            Act::TokenExpires => {
                self.machine.token_expires(Duration::ZERO, self.now);
                self.pass(self.now);
            }
            Act::Pass { millis } => self.pass(self.now + Duration::from_millis(millis.into())),
        }
    }

    /// The network works again, and everything comes to rest.
    pub(super) fn rest(&mut self) {
        let mut quiet = Duration::ZERO;
        let mut steps = 0;
        while quiet < HEARTBEAT * 3 {
            steps += 1;
            assert!(steps < 10_000, "it never comes to rest");
            let mut moved = false;
            while self.up() | self.down() {
                moved = true;
            }
            let next = self.machine.wake_at().unwrap_or(self.now + HEARTBEAT).min(self.now + HEARTBEAT / 2);
            quiet = if moved { Duration::ZERO } else { quiet + next.saturating_sub(self.now) };
            self.pass(next.max(self.now + Duration::from_millis(1)));
            if !moved && let Some(stream) = self.newest() {
                // Only what the server says keeps silence away; it isn't noise.
                let before = quiet;
                self.server.heartbeat(stream);
                while self.down() {}
                quiet = before;
            }
        }
    }
}
