//! The protocol of a member as a pure machine: what happened and the time go
//! in, what to do comes out. No I/O, no clock, no runtime.
//!
//! One connection outlives its streams. At most two streams exist at a time:
//! the live one, and one being opened, to come back or, with a fresh token, to
//! take the live one over.

mod arriving;
mod losing;
mod opening;
mod pace;
mod sends;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use backon::ExponentialBackoff;

use crate::{
    domain::Limits,
    proto::{self, ClientAction, JoinRequest, Leave, join_request::Frame},
};

use super::{
    Accepted, ConnectError, Connection, Event, Lost, Over, Refusal, SendError, back_off::pauses, roster::Roster,
};

use opening::Opening;
use pace::Pace;
use sends::Sends;
pub(super) use sends::Wanted;

/// How many sends may be on their way when the server sets no limit.
const UNRESOLVED_WITHOUT_LIMIT: usize = 1_024;

/// A token is renewed this long before it expires, or when a tenth of its time
/// is left, whichever is later.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// What never changes.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Without `resume`.
    pub(super) join: proto::Join,
    /// The names of the endpoints to try; at least one.
    pub(super) endpoints: Vec<String>,
    /// How long an attempt may take until `joined`.
    pub(super) connect_timeout: Duration,
    /// The shortest and the longest pause between attempts, before jitter of
    /// up to as much again.
    pub(super) back_off: (Duration, Duration),
    /// How long to try to get back in.
    pub(super) give_up_after: Duration,
    /// Whether another token can be had.
    pub(super) renewable: bool,
    /// Sends and bytes that may wait.
    pub(super) queue: (usize, usize),
    /// For jitter; none: the system's randomness.
    pub(super) seed: Option<u64>,
}

/// Names a stream.
pub(super) type StreamId = u64;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output<T> {
    /// Open a stream to an endpoint and send `join` on it.
    Open { stream: StreamId, endpoint: String, join: Box<proto::Join>, renew_token: bool },
    /// Send a frame on a stream.
    Frame(StreamId, JoinRequest),
    /// Let go of a stream.
    Close(StreamId),
    /// Tell the application.
    Event(Event),
    /// Tell a sender.
    Outcome(T, Result<Accepted, SendError>),
    /// The first join failed; nothing follows.
    Failed(ConnectError),
    /// Nothing follows.
    Over,
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// With OK.
    Well,
    /// With a status.
    Status(Refusal),
    /// Before it began.
    Failed(ConnectError),
    /// Nothing came in time; found by the machine itself.
    Silent,
}

/// What is remembered of the connection, over all its streams.
struct Identity {
    connection: Connection,
    resume_token: String,
    epoch: u64,
    last_sequence: u64,
    last_result: u64,
}

/// The stream that is in use.
struct Live {
    stream: StreamId,
    since: Duration,
    heard_at: Duration,
    closing: Option<proto::Closing>,
    leave_sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    WhenSettled,
    Now,
}

/// A member of one session.
pub(super) struct Machine<T> {
    settings: Settings,
    identity: Option<Identity>,
    live: Option<Live>,
    opening: Option<Opening>,
    /// When to open the next stream.
    open_at: Option<Duration>,
    /// Since when there has been no live stream; none: there is one, or never
    /// was.
    lost_at: Option<Duration>,
    attempts: ExponentialBackoff,
    /// Which endpoint is next, and how many streams were opened so far.
    endpoint: usize,
    streams: StreamId,
    renew_token: bool,
    renew_at: Option<Duration>,
    sends: Sends<T>,
    pace: Pace,
    limits: Limits,
    max_unresolved: usize,
    roster: Roster,
    leaving: Leaving,
    over: bool,
    /// Whether what arrives is read; if not, silence means nothing.
    reading: bool,
    outputs: VecDeque<Output<T>>,
}

impl<T> Machine<T> {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            attempts: attempts(&settings),
            sends: Sends::new(settings.queue),
            settings,
            identity: None,
            live: None,
            opening: None,
            open_at: None,
            lost_at: None,
            endpoint: 0,
            streams: 0,
            renew_token: false,
            renew_at: None,
            pace: Pace::new(0, 0),
            limits: Limits::default(),
            max_unresolved: UNRESOLVED_WITHOUT_LIMIT,
            roster: Roster::default(),
            leaving: Leaving::No,
            over: false,
            reading: true,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub(super) fn output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Opens the first stream.
    pub(super) fn start(&mut self, now: Duration) {
        self.open(now);
    }

    /// This client's id; empty before the first `Joined`.
    pub(super) fn connection_id(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.connection.connection_id)
    }

    /// The stream in use.
    pub(super) fn live_stream(&self) -> Option<StreamId> {
        self.live.as_ref().map(|live| live.stream)
    }

    /// Sends, now or as soon as it may.
    ///
    /// # Errors
    /// What can't even be queued comes back with the reason: its ticket is the
    /// caller's to resolve, because after the end no output follows.
    pub(super) fn send(&mut self, wanted: Wanted, ticket: T, now: Duration) -> Result<(), (T, SendError)> {
        if self.over || self.leaving != Leaving::No {
            return Err((ticket, SendError::Over));
        }
        if let Wanted::Signal(signal) = &wanted {
            if let Err(refusal) = signal.check(&self.limits) {
                return Err((ticket, SendError::Refused(refusal)));
            }
            if !signal.retry && self.lost_at.is_some() {
                return Err((ticket, SendError::Disconnected));
            }
        }
        // What needn't wait is not held to what may.
        let at_once =
            self.sending().is_some() && !self.sends.is_waiting() && self.ready_at().is_some_and(|at| at <= now);
        self.sends.push(wanted, ticket, at_once)?;
        self.flush(now);
        Ok(())
    }

    /// Leaves once every send has its outcome.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.identity.is_none() {
            self.leave_now(now);
        } else if self.leaving == Leaving::No {
            self.leaving = Leaving::WhenSettled;
            self.flush(now);
        }
    }

    /// Leaves without what was not sent yet. Without a live stream there is
    /// nobody to tell: the server lets the connection go when its window is
    /// over.
    pub(super) fn leave_now(&mut self, now: Duration) {
        if self.over {
            return;
        }
        self.leaving = Leaving::Now;
        for ticket in self.sends.discard() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Over)));
        }
        match &self.live {
            Some(_) => self.flush(now),
            None => self.end(Over::Left, ClientAction::Stop),
        }
    }

    /// Nobody drives it any more: nothing is sent, and no outcome comes.
    pub(super) fn abandon(&mut self) {
        self.end(Over::Left, ClientAction::Stop);
    }

    /// Whether it is on its way out.
    pub(super) fn leaves(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// Whether it is over because it was asked to leave.
    pub(super) fn has_left(&self) -> bool {
        self.over && self.leaves()
    }

    /// Whether what arrives is read from here on. A reader that pauses can't
    /// tell silence from its own pause.
    pub(super) fn read(&mut self, reading: bool, now: Duration) {
        if reading
            && !self.reading
            && let Some(live) = &mut self.live
        {
            live.heard_at = now;
        }
        self.reading = reading;
    }

    /// The token of the stream that was opened last expires after `left`.
    pub(super) fn token_expires(&mut self, left: Duration, now: Duration) {
        if self.settings.renewable {
            self.renew_at = Some(now + left.saturating_sub(RENEW_BEFORE.min(left / 10)));
        }
    }

    /// When to [`wake`](Self::wake) it at the latest.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        let may_send = self.sending().filter(|_| self.sends.is_waiting()).and_then(|_| self.ready_at());
        let renew = self.renew_at.filter(|_| self.live.is_some() && self.opening.is_none() && self.open_at.is_none());
        let opening = self.opening.as_ref().map(|opening| opening.deadline);
        [self.open_at, opening, self.silent_at(), renew, may_send].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Duration) {
        if self.over {
            return;
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            self.lose(End::Silent, now);
        }
        if self.opening.as_ref().is_some_and(|opening| opening.deadline <= now) {
            self.fail(End::Silent, now);
        }
        if self.open_at.is_some_and(|at| at <= now) {
            self.open(now);
        } else if self.live.is_some() && self.opening.is_none() && self.renew_at.is_some_and(|at| at <= now) {
            self.renew_token = true;
            self.open(now);
        }
        self.flush(now);
    }

    /// A stream ended.
    pub(super) fn ended(&mut self, stream: StreamId, end: End, now: Duration) {
        if self.opening.as_ref().is_some_and(|opening| opening.stream == stream) {
            self.fail(end, now);
        } else if self.live.as_ref().is_some_and(|live| live.stream == stream) {
            self.lose(end, now);
        }
    }

    /// When the live stream has been silent for too long. The server says
    /// something every heartbeat interval; a half-open connection must be found
    /// within two.
    fn silent_at(&self) -> Option<Duration> {
        let interval = self.limits.heartbeat_interval;
        let live = self.live.as_ref().filter(|_| self.reading && !interval.is_zero())?;
        Some(live.heard_at + interval.saturating_mul(7) / 4)
    }

    fn ready_at(&self) -> Option<Duration> {
        (self.sends.unresolved() < self.max_unresolved).then(|| self.pace.ready_at(self.sends.unresolved())).flatten()
    }

    /// The stream that frames can be sent on. One that is being closed takes
    /// nothing: what is sent now goes on the next.
    fn sending(&self) -> Option<StreamId> {
        self.live.as_ref().filter(|live| live.closing.is_none() && !live.leave_sent).map(|live| live.stream)
    }

    /// Sends what may be sent.
    fn flush(&mut self, now: Duration) {
        let Some(stream) = self.sending() else { return };
        for frame in self.sends.again() {
            self.outputs.push_back(Output::Frame(stream, frame));
        }
        while self.sends.is_waiting() && self.ready_at().is_some_and(|at| at <= now) {
            if let Some(frame) = self.sends.next() {
                self.outputs.push_back(Output::Frame(stream, frame));
            }
        }
        let leaves = match self.leaving {
            Leaving::No => false,
            Leaving::WhenSettled => self.sends.is_settled(),
            Leaving::Now => true,
        };
        if leaves && let Some(live) = &mut self.live {
            live.leave_sent = true;
            let leave = JoinRequest { frame: Some(Frame::Leave(Leave {})) };
            self.outputs.push_back(Output::Frame(stream, leave));
        }
    }
}

fn attempts(settings: &Settings) -> ExponentialBackoff {
    pauses(settings.back_off, settings.seed)
}
