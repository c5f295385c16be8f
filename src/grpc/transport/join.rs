//! A `Join` stream on a transport of ours.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    domain::{Ending, Reason, Refusal},
    engine::BoxFuture,
    grpc::{
        frames::Cutter,
        join::{JOIN_TIMEOUT, Joined, Reader, Taken, first_frame, no_join, too_late},
        outgoing::{Outgoing, Step},
    },
    hub::{Bits, Goodbye},
    proto,
    session::Command,
};

use super::{
    Credentials, WORK_PER_TURN,
    load::{self, Wait},
    unfinished::Unfinished,
};

/// A window with room for less isn't used at once by what doesn't fit, but after
/// this time. Source: the avoidance of silly windows in RFC 1122, 4.2.3.4.
const SMALL_WINDOW: usize = 1_024;
const CRUMBS_AFTER: Duration = Duration::from_millis(200);

type Joining = BoxFuture<'static, Result<Joined, Refusal>>;

enum Phase {
    /// No frame yet.
    Opening { until: Instant, credentials: Credentials },
    /// The engine decides; what comes meanwhile waits.
    Joining(Joining),
    /// In.
    Serving(Joined),
    /// Nothing that comes is of interest any more.
    Deaf,
}

/// One stream.
pub(super) struct JoinStream {
    outgoing: Outgoing,
    /// None when the hub had no place.
    reader: Option<Reader>,
    cutter: Cutter,
    unfinished: Unfinished,
    phase: Phase,
    /// What came and isn't dealt with yet: bounded by the window.
    backlog: Vec<u8>,
    /// Nothing comes after it.
    ended: bool,
    /// Taken from the outbox and not yet sent.
    held: Option<Bytes>,
    /// What comes after it: of a client that reads nothing, one thing more is
    /// taken than it has begun to be sent.
    ahead: Option<Step>,
    /// Outcomes wait for something to go with.
    wait: Option<Wait>,
    /// Since when its client takes nothing, though there is something.
    stalled_at: Option<Instant>,
    /// Until when a window that has room for little is not used.
    small_until: Option<Instant>,
    /// When the stream has something to do without being rung.
    due: Option<Instant>,
}

/// What a stream has to send next.
pub(super) enum Fill {
    /// All that fits, and there may be more.
    More,
    /// All there is.
    Dry,
    /// And the end.
    End(Box<Goodbye>),
}

impl JoinStream {
    pub(super) fn new(outgoing: Outgoing, reader: Option<Reader>, credentials: Credentials, now: Instant) -> Self {
        let until = now + JOIN_TIMEOUT;
        let phase = if reader.is_some() { Phase::Opening { until, credentials } } else { Phase::Deaf };
        Self {
            outgoing,
            reader,
            cutter: Cutter::default(),
            unfinished: Unfinished::default(),
            phase,
            backlog: Vec::new(),
            ended: false,
            held: None,
            ahead: None,
            wait: None,
            stalled_at: None,
            small_until: None,
            due: Some(until),
        }
    }

    pub(super) fn bit(&self) -> Bits {
        self.outgoing.outbox().bit()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it was let in.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.phase, Phase::Serving(_))
    }

    /// Whether it waits for the engine.
    pub(super) fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Joining(_))
    }

    /// Whether it has more to deal with than fits one turn.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() && !self.is_joining()
    }

    /// Takes in what came; commands are gathered, to be submitted together. How
    /// many bytes were dealt with, of these and of those before.
    pub(super) fn receive(
        &mut self,
        context: &mut Context<'_>,
        data: &[u8],
        end: bool,
        commands: &mut Vec<Command>,
    ) -> usize {
        self.ended |= end;
        let mut taken = self.receive_on(context, data, commands);
        let held = self.backlog.len() + self.cutter.held();
        if (held > 0 || self.unfinished.is_counted())
            && let Some(reader) = &self.reader
            && let Err(refusal) = self.unfinished.keep(held, reader.services.hub.memory())
        {
            reader.services.capped(&refusal);
            self.refuse(refusal, commands);
            taken += mem::take(&mut self.backlog).len();
            self.cutter = Cutter::default();
            self.unfinished = Unfinished::default();
        }
        taken
    }

    fn receive_on(&mut self, context: &mut Context<'_>, data: &[u8], commands: &mut Vec<Command>) -> usize {
        if self.is_joining() {
            self.backlog.extend_from_slice(data);
            return 0;
        }
        // A panic costs its stream and nothing else.
        let taken = catch_unwind(AssertUnwindSafe(|| {
            if self.backlog.is_empty() {
                let taken = self.take(context, data, commands);
                self.backlog.extend_from_slice(&data[taken..]);
                return taken;
            }
            self.backlog.extend_from_slice(data);
            let backlog = mem::take(&mut self.backlog);
            let taken = self.take(context, &backlog, commands);
            self.backlog.extend_from_slice(&backlog[taken..]);
            taken
        }));
        taken.unwrap_or_else(|_| {
            self.panicked();
            data.len() + mem::take(&mut self.backlog).len()
        })
    }

    /// Reads frames until the turn is over. How many bytes were dealt with.
    fn take(&mut self, context: &mut Context<'_>, data: &[u8], commands: &mut Vec<Command>) -> usize {
        let mut input = data;
        loop {
            let Some(reader) = &self.reader else { return data.len() };
            if matches!(self.phase, Phase::Deaf) {
                return data.len();
            }
            if self.is_joining() || commands.len() >= WORK_PER_TURN {
                return data.len() - input.len();
            }
            match self.cutter.next(&mut input, &reader.services.limits) {
                Ok(None) => break,
                Err(refusal) => self.refuse(refusal, commands),
                Ok(Some(frame)) => {
                    let taken = match &self.phase {
                        Phase::Serving(joined) => reader.take(frame, &joined.grant),
                        _ => match first_frame(frame) {
                            Ok(join) => {
                                self.begin(context, reader.clone(), join);
                                continue;
                            }
                            Err(refusal) => Taken::Refused(refusal),
                        },
                    };
                    match taken {
                        Taken::Command(command) => commands.push(command),
                        Taken::Nothing => {}
                        Taken::Last(command) => {
                            commands.push(command);
                            self.submit(commands);
                            self.phase = Phase::Deaf;
                        }
                        Taken::Refused(refusal) => self.refuse(refusal, commands),
                    }
                }
            }
        }
        if self.ended {
            match (self.cutter.end(), &self.phase) {
                (Err(refusal), _) => self.refuse(refusal, commands),
                (Ok(()), Phase::Opening { .. }) => self.refuse(no_join(), commands),
                // The connection stays and receives.
                (Ok(()), _) => {}
            }
        }
        data.len()
    }

    fn begin(&mut self, context: &mut Context<'_>, reader: Reader, join: proto::Join) {
        let Phase::Opening { credentials, .. } = mem::replace(&mut self.phase, Phase::Deaf) else { return };
        let metadata = credentials.into_headers();
        self.phase = Phase::Joining(Box::pin(async move { reader.join(&metadata, join, |_| {}).await }));
        self.poll_join(context);
    }

    /// Asks of the session what was gathered.
    pub(super) fn submit(&mut self, commands: &mut Vec<Command>) {
        if let Phase::Serving(joined) = &self.phase
            && catch_unwind(AssertUnwindSafe(|| joined.link.submit_all(commands))).is_err()
        {
            self.panicked();
        }
        commands.clear();
    }

    /// Goes on joining. Whether the engine has decided.
    pub(super) fn poll_join(&mut self, context: &mut Context<'_>) -> bool {
        let Phase::Joining(joining) = &mut self.phase else { return true };
        let joined = match catch_unwind(AssertUnwindSafe(|| joining.as_mut().poll(context))) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(joined)) => joined,
            Err(_) => {
                self.panicked();
                return true;
            }
        };
        self.phase = match joined {
            Ok(joined) => {
                // The next is told when it is filled, if its client reads.
                self.due = joined.until;
                Phase::Serving(joined)
            }
            Err(refusal) => {
                if let Some(reader) = &self.reader {
                    reader.refuse(refusal);
                }
                Phase::Deaf
            }
        };
        true
    }

    /// What is due by now.
    pub(super) fn on_time(&mut self, now: Instant) {
        match &self.phase {
            Phase::Opening { until, .. } if now >= *until => self.refuse(too_late(), &mut Vec::new()),
            Phase::Serving(joined) if joined.until.is_some_and(|until| now >= until) => self.expire(),
            _ => {}
        }
        self.due =
            [self.expires(), self.stalled_at.map(|since| since + self.outgoing.patience())].into_iter().flatten().min();
    }

    fn expire(&mut self) {
        if let Phase::Serving(joined) = mem::replace(&mut self.phase, Phase::Deaf) {
            if let Some(reader) = &self.reader {
                reader.expire(&joined.grant);
            }
            detach(&joined, Ending::Refused(Reason::TokenExpired));
        }
    }

    /// When its token expires.
    fn expires(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Serving(joined) => joined.until,
            _ => None,
        }
    }

    /// Ends the stream, after what it asked before.
    fn refuse(&mut self, refusal: Refusal, commands: &mut Vec<Command>) {
        self.submit(commands);
        let ending = Ending::Refused(refusal.reason);
        if let Some(reader) = &self.reader {
            reader.refuse(refusal);
        }
        if let Phase::Serving(joined) = mem::replace(&mut self.phase, Phase::Deaf) {
            detach(&joined, ending);
        }
    }

    /// Ends the stream after a panic in its service; its session is told.
    pub(super) fn panicked(&mut self) {
        if let Some(reader) = &self.reader {
            reader.panicked();
        }
        if let Phase::Serving(joined) = mem::replace(&mut self.phase, Phase::Deaf) {
            detach(&joined, Ending::Refused(Reason::EngineUnavailable));
        }
    }

    /// Whether what it has to send waits, because this thread is busy.
    pub(super) fn waits(&mut self, now: Instant) -> bool {
        let may = self.held.is_none() && self.ahead.is_none() && self.outgoing.may_wait() && load::is_busy(now);
        if let Some(wait) = &self.wait {
            if may && !wait.is_over(now) {
                return true;
            }
            load::forget(wait, self.outgoing.outbox().bell());
            self.wait = None;
            return false;
        }
        if may {
            let outbox = self.outgoing.outbox();
            self.wait = Some(load::wait(Arc::clone(outbox.bell()), outbox.bit(), now));
        }
        may
    }

    /// The client takes nothing now, though there is something.
    pub(super) fn stall(&mut self, now: Instant) {
        if self.held.is_some() || !self.outgoing.is_idle() {
            let since = *self.stalled_at.get_or_insert(now);
            self.due = [self.due, Some(since + self.outgoing.patience())].into_iter().flatten().min();
        }
        self.outgoing.fall_behind();
        self.outgoing.settle();
        // It was closed for being slow, and may never take that either: its
        // session doesn't wait.
        if self.outgoing.outbox().ending() == Some(Ending::SlowConsumer)
            && let Phase::Serving(joined) = mem::replace(&mut self.phase, Phase::Deaf)
        {
            detach(&joined, Ending::SlowConsumer);
        }
    }

    /// Whether to wait for a window that has room for more than crumbs, each of
    /// which would cost a frame and a system call.
    fn waits_for_window(&mut self, now: Instant) -> bool {
        let until = *self.small_until.get_or_insert(now + CRUMBS_AFTER);
        self.due = [self.due, Some(until)].into_iter().flatten().min();
        now < until
    }

    /// Ends a stream whose client takes nothing of what waits, for too long.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Goodbye> {
        let since = self.stalled_at?;
        if now < since + self.outgoing.patience() {
            return None;
        }
        let ending = Ending::SlowConsumer;
        self.outgoing.outbox().end(ending, None, None);
        let goodbye = self.outgoing.outbox().goodbye()?;
        self.outgoing.close(goodbye.farewell.ending);
        if let Phase::Serving(joined) = mem::replace(&mut self.phase, Phase::Deaf) {
            detach(&joined, ending);
        }
        Some(goodbye)
    }

    /// Gathers what may be sent, at most `limit` bytes of it.
    pub(super) fn fill(&mut self, limit: usize, now: Instant, parts: &mut Vec<Bytes>) -> Fill {
        #[cfg(test)]
        super::tests::come_upon_a_bug();
        let mut left = limit;
        loop {
            let mut data = match self.held.take() {
                Some(held) => held,
                // A frame is full: what waits stays where it counts.
                None if left == 0 && limit > 0 => return Fill::More,
                None => match self.ahead.take().unwrap_or_else(|| self.outgoing.step(now)) {
                    Step::Data(data) => data,
                    Step::Wait(until) => {
                        if until.is_some() {
                            self.due = [until, self.expires()].into_iter().flatten().min();
                        }
                        return Fill::Dry;
                    }
                    Step::Trailers(goodbye) => return Fill::End(goodbye),
                },
            };
            if data.len() > left {
                if (1..SMALL_WINDOW).contains(&limit) && parts.is_empty() && self.waits_for_window(now) {
                    self.held = Some(data);
                    return Fill::Dry;
                }
                let rest = data.split_off(left);
                self.held = Some(rest);
            }
            left -= data.len();
            if !data.is_empty() {
                self.stalled_at = None;
                self.small_until = None;
                parts.push(data);
            }
            if self.held.is_some() {
                if limit == 0 {
                    if self.ahead.is_none() {
                        self.ahead = Some(self.outgoing.step(now)).filter(|step| !matches!(step, Step::Wait(_)));
                    }
                    self.stall(now);
                }
                return Fill::More;
            }
        }
    }
}

/// Tells the session, whose panic, should there be one, is not its transport's.
fn detach(joined: &Joined, ending: Ending) {
    let _ = catch_unwind(AssertUnwindSafe(|| joined.link.detach(ending)));
}

/// The sure sign that the stream is over, whoever ended it.
impl Drop for JoinStream {
    fn drop(&mut self) {
        let ending = self.outgoing.ending();
        match mem::replace(&mut self.phase, Phase::Deaf) {
            Phase::Serving(joined) => detach(&joined, ending),
            // A join that the engine lets in must be let go again: for good, when its
            // client has never heard of the connection, and so can't come back to it.
            Phase::Joining(joining) => drop(tokio::spawn(async move {
                match joining.await {
                    Ok(Joined { link, is_new: true, .. }) => link.submit(Command::Leave),
                    Ok(joined) => joined.link.detach(ending),
                    Err(_) => {}
                }
            })),
            Phase::Opening { .. } | Phase::Deaf => {}
        }
    }
}
