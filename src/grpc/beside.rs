//! What a connection asks for beside its stream, by its resume token: `Send` and `Leave`.

use std::sync::Arc;

use http::HeaderMap;
use tonic::{Status, server::UnaryService};

use crate::{
    auth::{Action, Grant},
    domain::{ConnectionId, Limits, Named, Reason, Refusal, ResumeToken, SessionId},
    engine::BoxFuture,
    proto::{LeaveRequest, LeaveResponse, SendRequest, SendResponse, send_frame::Frame},
    session::{Command, SendResult, unknown_connection},
    telemetry::{CallSpan, Note, UnaryMethod, audit},
};

use super::{PeerAddress, Services, parse, signaling::answer, wire};

/// How many frames a call has at the most: an engine does them at once.
const MAX_FRAMES: usize = 64;

/// Who asks: what a call says of it.
struct Asking {
    session: SessionId,
    connection: Option<ConnectionId>,
    token: ResumeToken,
    grant: Arc<Grant>,
    peer: Option<PeerAddress>,
}

/// What a call has beside its message.
struct Head {
    metadata: HeaderMap,
    peer: Option<PeerAddress>,
    span: Option<Arc<CallSpan>>,
}

impl Head {
    fn of<T>(request: tonic::Request<T>) -> (Self, T) {
        let (metadata, extensions, message) = request.into_parts();
        let (peer, span) = (extensions.get().copied(), extensions.get().cloned());
        (Self { metadata: metadata.into_headers(), peer, span }, message)
    }

    fn note(&self, note: Note<'_>) {
        if let Some(span) = &self.span {
            span.note(note);
        }
    }
}

impl Services {
    /// Lets a member call this.
    fn asking(
        &self,
        head: &Head,
        what: &str,
        (session, connection, token): (String, String, String),
    ) -> Result<Asking, Refusal> {
        let session = SessionId::parse(&session, &self.limits, "session_id")?;
        head.note(Note::Session(&session));
        let grant = self.gate.join(&head.metadata, &session).map_err(|denied| {
            let who = audit::Who { subject: denied.subject.as_deref(), address: head.peer.map(|peer| peer.0) };
            audit::refused(who, what, &denied.refusal);
            Refusal { field: denied.refusal.field.map(|_| "session_id"), ..denied.refusal }
        })?;
        self.hub.takes_signals()?;
        let (connection, token) = (ConnectionId::parse(&connection), ResumeToken::presented(token));
        if let Some(connection) = connection {
            head.note(Note::Connection(connection));
        }
        Ok(Asking { session, connection, token, grant, peer: head.peer })
    }

    async fn do_beside(&self, asking: Asking, commands: Vec<Command>) -> Result<Vec<SendResult>, Refusal> {
        let Asking { session, connection, token, .. } = asking;
        let connection = connection.ok_or_else(unknown_connection)?;
        self.engine.command_beside(session, connection, token, commands).await
    }
}

impl Asking {
    /// Makes a command of a frame.
    fn command(&self, frame: Option<Frame>, limits: &Limits) -> Result<Command, Refusal> {
        match frame {
            Some(Frame::Send(send)) => {
                let (id, may) = (send.send_id, self.check(Action::Signal));
                Ok(Command::Send(id, may.and_then(|()| parse::send(send, limits))))
            }
            Some(Frame::Disconnect(disconnect)) => {
                let (id, whom) = (disconnect.send_id, Named::read(disconnect.connection_id));
                let may = self.check(Action::Disconnect);
                if may.is_ok() {
                    audit::disconnects(self.who(), Some(&self.session), &whom);
                }
                Ok(Command::Disconnect(id, may.map(|()| whom)))
            }
            None => {
                let why = "a frame is neither a send nor a disconnect, or of an unknown kind";
                Err(Refusal::new(Reason::FrameInvalid, why).field("frames"))
            }
        }
    }

    /// Whether its token lets it; if not, that is the send's outcome.
    fn check(&self, action: Action) -> Result<(), Refusal> {
        self.grant.bearer.check(action).inspect_err(|refusal| audit::refused(self.who(), "a send", refusal))
    }

    fn who(&self) -> audit::Who<'_> {
        audit::Who { subject: self.grant.subject.as_deref(), address: self.peer.map(|peer| peer.0) }
    }
}

async fn send(services: &Services, head: &Head, request: SendRequest) -> Result<SendResponse, Refusal> {
    let SendRequest { session_id, connection_id, resume_token, frames } = request;
    let asking = services.asking(head, "Send", (session_id, connection_id, resume_token))?;
    let count = frames.len();
    if !(1..=MAX_FRAMES).contains(&count) {
        let why = format!("the request has {count} frames; it must have 1 to {MAX_FRAMES}");
        return Err(Refusal::new(Reason::FrameInvalid, why).field("frames"));
    }
    let commands = frames.into_iter().map(|frame| asking.command(frame.frame, &services.limits));
    let commands = commands.collect::<Result<Vec<_>, _>>()?;
    let results = services.do_beside(asking, commands).await?;
    // Of the newest that has one.
    if let Some(accepted) = results.iter().rev().find_map(|result| result.outcome.as_ref().ok()) {
        head.note(Note::Sequence(accepted.sequence));
    }
    Ok(SendResponse { results: results.iter().map(wire::to_send_result).collect() })
}

async fn leave(services: &Services, head: &Head, request: LeaveRequest) -> Result<LeaveResponse, Refusal> {
    let LeaveRequest { session_id, connection_id, resume_token } = request;
    let asking = services.asking(head, "Leave", (session_id, connection_id, resume_token))?;
    services.do_beside(asking, vec![Command::Leave]).await?;
    Ok(LeaveResponse {})
}

/// The calls, for tonic.
pub(super) struct Beside(pub(super) Arc<Services>);

type Answer<T> = BoxFuture<'static, Result<tonic::Response<T>, Status>>;

impl UnaryService<SendRequest> for Beside {
    type Response = SendResponse;
    type Future = Answer<SendResponse>;

    fn call(&mut self, request: tonic::Request<SendRequest>) -> Self::Future {
        let services = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, request) = Head::of(request);
            answer(&services, UnaryMethod::Send, send(&services, &head, request)).await
        })
    }
}

impl UnaryService<LeaveRequest> for Beside {
    type Response = LeaveResponse;
    type Future = Answer<LeaveResponse>;

    fn call(&mut self, request: tonic::Request<LeaveRequest>) -> Self::Future {
        let services = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, request) = Head::of(request);
            answer(&services, UnaryMethod::Leave, leave(&services, &head, request)).await
        })
    }
}
