//! The protocol of a member as a pure machine: what happened and the time go
//! in, what to do comes out. No I/O, no clock, no runtime.
//!
//! One connection outlives its streams. At most two streams exist at a time:
//! the live one, and one being opened, to come back or, with a fresh token, to
//! take the live one over.

mod arriving;
mod opening;
mod pace;
mod sends;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tonic::Code;

use crate::{
    domain::Limits,
    proto::{self, ClientAction, JoinRequest, Leave, join_request::Frame},
};

use super::{Accepted, ConnectError, Connection, Event, Lost, Over, Refusal, SendError, roster::Roster};

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

/// What the server says of a stream whose connection was resumed on another.
const TAKEN_OVER: &str = "CONNECTION_TAKEN_OVER";
/// What the server says when it shuts down: another may take its members.
const GOING_AWAY: &str = "GOING_AWAY";

/// Names a stream.
pub(super) type StreamId = u64;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output<T> {
    /// Open a stream to an endpoint and send `join` on it.
    Open { stream: StreamId, endpoint: usize, join: Box<proto::Join>, renew_token: bool },
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

    /// The live stream is gone.
    fn lose(&mut self, end: End, now: Duration) {
        let Some(live) = self.live.take() else { return };
        self.outputs.push_back(Output::Close(live.stream));
        if self.leaving == Leaving::Now || (live.leave_sent && matches!(end, End::Well)) {
            return self.end(Over::Left, ClientAction::Stop);
        }
        // A stream opened after it took it over, and that it is in is still on
        // its way: nothing is lost unless it fails.
        let by_own = reason(live.closing.as_ref(), &end) == TAKEN_OVER && self.streams > live.stream;
        if by_own && self.opening.is_some() {
            return;
        }
        let verdict = match self.judge(live.closing.as_ref(), &end, false) {
            // Its answer was lost: that stream is no more, and nobody else's.
            Verdict::Stop(_) if by_own => Verdict::Again { after: None, renew_token: false },
            verdict => verdict,
        };
        match verdict {
            Verdict::Stop(refusal) => self.stop(refusal),
            Verdict::Again { after, renew_token } => {
                // A stream that breaks again and again is no success.
                if now.saturating_sub(live.since) >= self.settings.back_off.1 {
                    self.attempts = attempts(&self.settings);
                }
                self.renew_token |= renew_token;
                if live.closing.as_ref().is_some_and(|closing| closing.reason == GOING_AWAY) {
                    self.next_endpoint();
                }
                self.reconnecting(why(live.closing, &end), now);
                // A stream that was about to take over is as good as any.
                if self.opening.is_none() {
                    self.again(after, now);
                }
            }
        }
    }

    /// There is no stream any more.
    fn reconnecting(&mut self, why: Lost, now: Duration) {
        self.lost_at = Some(now);
        for ticket in self.sends.lost() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Disconnected)));
        }
        self.outputs.push_back(Output::Event(Event::Reconnecting { why }));
    }

    fn next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.settings.endpoints.len();
    }

    /// Tries again after a pause.
    fn again(&mut self, after: Option<Duration>, now: Duration) {
        let pause = self.attempts.next().unwrap_or(self.settings.back_off.1);
        self.open_at = Some(now + pause.max(after.unwrap_or_default()));
    }

    fn stop(&mut self, refusal: Refusal) {
        self.end(Over::Closed(refusal), ClientAction::Stop);
    }

    /// It is over, for good.
    fn end(&mut self, reason: Over, action: ClientAction) {
        if self.over {
            return;
        }
        self.over = true;
        for stream in [self.live.take().map(|live| live.stream), self.opening.take().map(|opening| opening.stream)] {
            self.outputs.extend(stream.map(Output::Close));
        }
        self.open_at = None;
        self.renew_at = None;
        for ticket in self.sends.discard() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Over)));
        }
        for ticket in self.sends.renewed() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Unknown)));
        }
        self.outputs.push_back(Output::Event(Event::Disconnected { reason, action }));
        self.outputs.push_back(Output::Over);
    }

    /// What an end means for coming back; `renewed` says whether the stream had
    /// a new token.
    fn judge(&self, closing: Option<&proto::Closing>, end: &End, renewed: bool) -> Verdict {
        let told = match end {
            End::Status(refusal) => Some(refusal),
            _ => None,
        };
        let reason = reason(closing, end);
        let after = closing
            .and_then(|closing| closing.retry_after)
            .and_then(|after| Duration::try_from(after).ok())
            .or_else(|| told.and_then(|refusal| refusal.retry_after));
        let refusal = || match told {
            Some(refusal) => Refusal { reason: reason.to_owned(), ..refusal.clone() },
            None => Refusal::new(Code::Aborted, reason, "the server closed the stream and says not to come back"),
        };
        if reason == "TOKEN_EXPIRED" {
            // Another token may help, once; one that is refused again doesn't.
            return if self.settings.renewable && !renewed {
                Verdict::Again { after, renew_token: true }
            } else {
                Verdict::Stop(refusal())
            };
        }
        // An action that this version doesn't know leaves it to the status.
        match closing.map(proto::Closing::action) {
            Some(ClientAction::Stop) => return Verdict::Stop(refusal()),
            Some(ClientAction::Resume | ClientAction::Rejoin) => return Verdict::Again { after, renew_token: false },
            Some(ClientAction::Unspecified) | None => {}
        }
        match told.map(|refusal| refusal.code) {
            Some(Code::PermissionDenied | Code::Unauthenticated) => Verdict::Stop(refusal()),
            // Without a reason it is a proxy's, and passes.
            Some(Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::Aborted)
                if !reason.is_empty() =>
            {
                Verdict::Stop(refusal())
            }
            _ => Verdict::Again { after, renew_token: false },
        }
    }
}

/// Whether to come back.
enum Verdict {
    Again { after: Option<Duration>, renew_token: bool },
    Stop(Refusal),
}

fn attempts(settings: &Settings) -> ExponentialBackoff {
    let builder = ExponentialBuilder::new()
        .with_min_delay(settings.back_off.0)
        .with_max_delay(settings.back_off.1)
        .without_max_times()
        .with_jitter();
    match settings.seed {
        Some(seed) => builder.with_jitter_seed(seed).build(),
        None => builder.build(),
    }
}

/// The stable reason of an end; empty when it has none.
fn reason<'a>(closing: Option<&'a proto::Closing>, end: &'a End) -> &'a str {
    match (closing, end) {
        (Some(closing), _) => &closing.reason,
        (None, End::Status(refusal)) => &refusal.reason,
        _ => "",
    }
}

fn why(closing: Option<proto::Closing>, end: &End) -> Lost {
    if let Some(closing) = closing {
        let retry_after = closing.retry_after.and_then(|after| Duration::try_from(after).ok());
        return Lost::Closed { reason: closing.reason, retry_after };
    }
    match end {
        End::Well => Lost::Broken("the stream ended".to_owned()),
        End::Silent => Lost::Silent,
        End::Status(refusal) if refusal.reason.is_empty() => Lost::Broken(refusal.to_string()),
        End::Status(refusal) => Lost::Closed { reason: refusal.reason.clone(), retry_after: refusal.retry_after },
        End::Failed(error) => Lost::Broken(error.to_string()),
    }
}
