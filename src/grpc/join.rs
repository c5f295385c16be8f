//! The requests of one `Join` stream: from the first frame to the last.
//!
//! They are read by a task of their own, not by the response body: a body
//! isn't polled while its client doesn't read, and h2 answers frames that
//! nobody reads with the end of the whole connection.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Action, Grant},
    domain::{ConnectionId, Ending, RESUME_TOKEN_BYTES, Reason, Refusal, ResumeToken, SendId, SessionId},
    engine::{Link, OutletId, lock},
    hub::Outbox,
    proto,
    random::NoRandomness,
    session::{Command, Join, Outcome},
    telemetry::{Cap, Note, Sent, audit},
};

use super::{
    Services,
    frames::{Ended, Frames, Request},
    overload, parse, wire,
};

/// How long a stream may stay without a `join`. Source: the contract.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream's reader and its response body share.
pub(super) struct Stream {
    link: Mutex<Linked>,
    over: CancellationToken,
}

enum Linked {
    NotYet,
    Yes(Arc<dyn Link>),
    Gone(Ending),
}

impl Stream {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { link: Mutex::new(Linked::NotYet), over: CancellationToken::new() })
    }

    /// The stream is over: its session is told, now or as soon as a join that
    /// is still under way is through.
    pub(super) fn gone(&self, ending: Ending) {
        self.over.cancel();
        let before = std::mem::replace(&mut *lock(&self.link), Linked::Gone(ending));
        if let Linked::Yes(link) = before {
            link.detach(ending);
        }
    }

    fn linked(&self, link: &Arc<dyn Link>) {
        let mut linked = lock(&self.link);
        match &*linked {
            Linked::Gone(ending) => {
                let ending = *ending;
                drop(linked);
                link.detach(ending);
            }
            Linked::NotYet | Linked::Yes(_) => *linked = Linked::Yes(Arc::clone(link)),
        }
    }
}

/// What comes on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Frames, of which the first is a `join`: it is a `Join`.
    Frames,
    /// A `join`, and nothing more: it is a `Subscribe`, whose request is such a frame
    /// byte for byte.
    Join,
}

/// What one stream's requests ask for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) services: Arc<Services>,
    pub(super) takes: Takes,
    pub(super) outlet: OutletId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) address: Option<IpAddr>,
}

/// A stream that is in.
pub(super) struct Joined {
    pub(super) link: Arc<dyn Link>,
    pub(super) grant: Arc<Grant>,
    /// When its token expires.
    pub(super) until: Option<Instant>,
    /// Whether its connection began with it.
    pub(super) is_new: bool,
}

/// What becomes of a frame after the first.
pub(super) enum Taken {
    /// It is asked of the session.
    Command(Command),
    /// So is this, and nothing more is read.
    Last(Command),
    /// It is left undecided: a resume sends it again.
    Nothing,
    /// It ends the stream.
    Refused(Refusal),
}

impl Reader {
    /// Reads until the client has nothing more to send, or the stream is over.
    pub(super) async fn run<B: Body<Data = Bytes> + Unpin>(self, metadata: HeaderMap, stream: Arc<Stream>, body: B) {
        let _guard = PanicGuard { outbox: Arc::clone(&self.outbox) };
        let mut frames = Frames::new(body);
        let over = stream.over.clone();
        let first = tokio::select! {
            biased;
            () = over.cancelled() => return,
            first = tokio::time::timeout(JOIN_TIMEOUT, frames.next(&self.services.limits)) => first,
        };
        let join = match first {
            Err(_) => Err(too_late()),
            Ok(Ok(frame)) => first_frame(frame),
            Ok(Err(Ended::HalfClosed)) => Err(no_join()),
            Ok(Err(Ended::Broken)) => return,
            Ok(Err(Ended::Invalid(refusal))) => Err(refusal),
        };
        let joined = match join {
            Ok(join) => self.join(&metadata, join, |link| stream.linked(link)).await,
            Err(refusal) => Err(refusal),
        };
        let joined = match joined {
            Ok(joined) => joined,
            Err(refusal) => return self.refuse(refusal),
        };
        let expired = async {
            match joined.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let served = async {
            self.serve(&mut frames, &joined, &stream).await;
            // The connection stays, and receives while its token is good.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = over.cancelled() => {}
            () = expired => {
                self.expire(&joined.grant);
                stream.gone(Ending::Refused(Reason::TokenExpired));
            }
            () = served => {}
        }
    }

    /// Joins, or resumes; `linked` is called as soon as the stream is in. Not
    /// to be cancelled half-way: a join that an engine let in must be let go
    /// again.
    pub(super) async fn join(
        &self,
        metadata: &HeaderMap,
        join: proto::Join,
        linked: impl FnOnce(&Arc<dyn Link>),
    ) -> Result<Joined, Refusal> {
        let limits = &self.services.limits;
        let session = SessionId::parse(&join.session_id, limits, "join.session_id")?;
        let span = self.outbox.span();
        if let Some(span) = span {
            span.note(Note::Session(&session));
        }
        let grant = self.services.gate.join(metadata, &session).map_err(|denied| {
            let who = audit::Who { subject: denied.subject.as_deref(), address: self.address };
            audit::refused(who, "a join", &denied.refusal);
            denied.refusal
        })?;
        let until = grant.valid_for.map(|left| Instant::now() + left);
        let wish = parse::join(join, limits)?;
        let join = Join {
            data: data(&grant, wish.data, wish.resume.is_some())?,
            role: grant.role(),
            window: wish.window,
            view: wish.view,
            resume: wish.resume,
            fresh_id: ConnectionId::from_random(self.random()?),
            fresh_token: ResumeToken::from_random(self.random::<RESUME_TOKEN_BYTES>()?),
        };
        let joined = match join.resume {
            Some(_) => Ok(()),
            None => overload::admits(Instant::now(), u16::from_le_bytes(self.random()?))
                .inspect_err(|refusal| self.services.hub.metrics().caps.hit(Cap::Workers, &refusal.message)),
        };
        joined?;
        let joined = self.services.engine.join(session.clone(), self.outlet, join).await;
        let joined = joined.inspect_err(|refusal| self.services.capped(refusal))?;
        linked(&joined.link);

        let admission = joined.admission;
        let connection = admission.info.id;
        tracing::debug!(%session, %connection, outcome = ?admission.outcome, sequence = admission.sequence, "joined");
        let metrics = self.services.hub.metrics();
        let (counter, outcome) = match admission.outcome {
            Outcome::New => (&metrics.joins, "new"),
            Outcome::Resumed => (&metrics.resumes, "resumed"),
            Outcome::ResumedWithGap => (&metrics.resumes_with_gap, "resumed_with_gap"),
        };
        counter.increment(1);
        if let Some(span) = span {
            span.note(Note::Connection(connection));
            span.note(Note::Outcome(outcome));
        }
        let (resumable, is_new) = (!admission.window.is_zero(), admission.outcome == Outcome::New);
        let held = wire::preamble_held(&admission);
        self.outbox.open(wire::preamble(admission, limits), held, resumable);
        Ok(Joined { link: joined.link, grant, until, is_new })
    }

    async fn serve<B: Body<Data = Bytes> + Unpin>(
        &self,
        frames: &mut Frames<B>,
        joined: &Joined,
        stream: &Arc<Stream>,
    ) {
        let link = &joined.link;
        loop {
            // A sender whose frames are all there already would never yield.
            tokio::task::coop::consume_budget().await;
            let taken = match frames.next(&self.services.limits).await {
                Ok(frame) => self.take(frame, &joined.grant),
                // The connection stays and receives.
                Err(Ended::HalfClosed) => return,
                // The response body is dropped, which says it all.
                Err(Ended::Broken) => return,
                Err(Ended::Invalid(refusal)) => Taken::Refused(refusal),
            };
            match taken {
                Taken::Command(command) => link.submit(command),
                Taken::Nothing => {}
                Taken::Last(command) => return link.submit(command),
                Taken::Refused(refusal) => {
                    let ending = Ending::Refused(refusal.reason);
                    self.refuse(refusal);
                    return stream.gone(ending);
                }
            }
        }
    }

    /// Makes a command of a frame.
    pub(super) fn take(&self, request: Request, grant: &Grant) -> Taken {
        match request {
            _ if self.takes == Takes::Join => {
                let why = "a second message; Subscribe takes one, and Send and Leave what comes after it";
                Taken::Refused(Refusal::new(Reason::FrameInvalid, why))
            }
            Request::Send(..) | Request::Disconnect(..) if self.outbox.is_ending() => Taken::Nothing,
            Request::Send(id, attempt) => {
                self.trace(Sent::Signal, id);
                let may = self.begin_send(id).and_then(|()| self.check(grant, Action::Signal));
                Taken::Command(Command::Send(id, may.and(attempt)))
            }
            Request::Disconnect(id, whom) => {
                self.trace(Sent::Disconnect, id);
                let may = self.begin_send(id).and_then(|()| self.check(grant, Action::Disconnect));
                if may.is_ok() {
                    audit::disconnects(self.who(grant), None, &whom);
                }
                Taken::Command(Command::Disconnect(id, may.map(|()| whom)))
            }
            Request::Leave => Taken::Last(Command::Leave),
            Request::Join(_) => Taken::Refused(
                Refusal::new(Reason::AlreadyJoined, "a second join frame; a stream joins once").field("frame"),
            ),
        }
    }

    /// Something was read whose outcome is told to a trace.
    fn trace(&self, what: Sent, id: SendId) {
        if let Some(span) = self.outbox.span() {
            span.sent(what, id);
        }
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.services.random.fill(&mut bytes).map_err(|NoRandomness(error)| {
            tracing::error!(error, "there is no randomness");
            Refusal::new(Reason::EngineUnavailable, "the server can't make a connection id now")
        })?;
        Ok(bytes)
    }

    /// Whether a member may do that, by its role.
    fn check(&self, grant: &Grant, action: Action) -> Result<(), Refusal> {
        grant.bearer.check(action).inspect_err(|refusal| audit::refused(self.who(grant), "a frame", refusal))
    }

    fn who<'a>(&self, grant: &'a Grant) -> audit::Who<'a> {
        audit::Who { subject: grant.subject.as_deref(), address: self.address }
    }

    /// Counts a send until the client takes its outcome.
    fn begin_send(&self, id: SendId) -> Result<(), Refusal> {
        self.outbox.begin_send().map_err(|count| {
            let most = self.services.limits.max_unresolved_sends;
            Refusal::new(
                Reason::TooManyUnresolvedSends,
                format!("{count} sends are without an outcome taken by the client, send {id} among them; the limit is {most}"),
            )
        })
    }

    /// Ends the stream with this.
    pub(super) fn refuse(&self, refusal: Refusal) {
        tracing::debug!(reason = %refusal.reason, message = refusal.message, "stream refused");
        self.services.hub.metrics().refused(refusal.reason);
        self.outbox.end(Ending::Refused(refusal.reason), refusal.retry_after, Some(refusal));
    }

    /// Ends the stream: its token's lifetime is over.
    pub(super) fn expire(&self, grant: &Grant) {
        let refusal = Refusal::new(Reason::TokenExpired, "the token has expired; join again with a new one");
        audit::refused(self.who(grant), "to stay", &refusal);
        self.refuse(refusal);
    }

    /// Ends the stream, and nothing else, after a panic in its service.
    pub(super) fn panicked(&self) {
        panicked(&self.outbox);
    }
}

/// The first frame, which must be `join`.
pub(super) fn first_frame(request: Request) -> Result<proto::Join, Refusal> {
    let name = match request {
        Request::Join(join) => return Ok(join),
        Request::Send(..) => "send",
        Request::Disconnect(..) => "disconnect",
        Request::Leave => "leave",
    };
    Err(Refusal::new(Reason::JoinRequired, format!("the first frame is a {name}; it must be join")).field("frame"))
}

/// No frame came at all.
pub(super) fn no_join() -> Refusal {
    Refusal::new(Reason::JoinRequired, "the requests ended before a join frame").field("frame")
}

/// No frame came in time.
pub(super) fn too_late() -> Refusal {
    Refusal::new(Reason::JoinTimeout, format!("no join frame came within {} s", JOIN_TIMEOUT.as_secs()))
}

/// What a connection's data is: the token's, where it says any.
fn data(grant: &Grant, own: String, resumes: bool) -> Result<String, Refusal> {
    match &grant.data {
        None => Ok(own),
        // A resume's is ignored.
        Some(data) if own.is_empty() || resumes => Ok(data.clone()),
        Some(_) => Err(Refusal::new(
            Reason::FrameInvalid,
            "the token says what the connection's data is, so that the join may not",
        )
        .field("join.connection_data")),
    }
}

fn panicked(outbox: &Outbox) {
    let refusal = Refusal::new(Reason::EngineUnavailable, "an internal error ended this stream");
    outbox.end(Ending::Refused(refusal.reason), None, Some(refusal));
}

/// Ends the stream, and nothing else, when its reader panics.
struct PanicGuard {
    outbox: Arc<Outbox>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            panicked(&self.outbox);
        }
    }
}
