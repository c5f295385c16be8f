//! OpenTok's REST calls for backends: signals, and disconnecting. Layer 4,
//! beside `grpc`: HTTP's side of everything below, without its sockets.
//!
//! What the calls are and answer: docs/REST.md.

mod answer;
mod body;
mod path;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header::CONNECTION, request::Parts};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;

use crate::{
    auth::ProjectGate,
    domain::{Limits, Named, Reason, Recipients, Refusal, SessionId},
    engine::Engine,
    hub::Hub,
    session::ServerSend,
    telemetry::{Cap, UnaryMethod, audit},
};

pub use body::BODY_TIMEOUT;

use answer::{Wrong, done};
use path::{Call, Place};

/// What the calls are answered from. Cheap to clone.
#[derive(Clone)]
pub struct Rest {
    /// Decides.
    pub engine: Arc<dyn Engine>,
    /// Delivers, and knows when the server goes away.
    pub hub: Hub,
    /// Lets in.
    pub gate: ProjectGate,
    /// Bounds.
    pub limits: Arc<Limits>,
}

impl Rest {
    /// Answers a request of this peer's, whatever it is.
    pub async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, mut body) = request.into_parts();
        let called = self.called(&head, &mut body, peer.to_canonical()).await;
        let is_over = called.as_ref().is_err_and(|wrong| wrong.closes)
            || !body::hear_out(&head.headers, body).await
            || self.hub.takes_signals().is_err();
        let mut response = called.map_or_else(|wrong| self.refuse(wrong), |()| done());
        if is_over {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn called<B>(&self, head: &Parts, body: &mut B, peer: IpAddr) -> Result<(), Wrong>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let call = Call::read(head.uri.path()).ok_or_else(Wrong::no_call)?;
        if head.method != call.method() {
            return Err(Wrong::method(call.method()));
        }
        let method = match call.place {
            Place::Session | Place::Connection(_) => UnaryMethod::RestSignal,
            Place::Disconnect(_) => UnaryMethod::RestDisconnect,
        };
        let begun = Instant::now();
        let called = self.call(call, &head.headers, body, peer).await;
        self.hub.metrics().answered(method, begun.elapsed());
        called
    }

    fn refuse(&self, wrong: Wrong) -> Response<Full<Bytes>> {
        let Refusal { reason, message, .. } = &wrong.refusal;
        tracing::debug!(%reason, message, "REST call refused");
        self.hub.metrics().refused(*reason);
        wrong.into()
    }

    async fn call<B>(&self, call: Call, headers: &HeaderMap, body: &mut B, peer: IpAddr) -> Result<(), Wrong>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let project = call.project?;
        self.gate.check(headers, &project).inspect_err(|refusal| {
            let who = audit::Who { subject: None, address: Some(peer) };
            audit::refused(who, "REST", refusal);
        })?;
        self.hub.takes_signals()?;
        let session = SessionId::parse(&call.session?, &self.limits, "session_id")?;
        let to = match call.place {
            Place::Disconnect(connection) => return self.disconnect(session, connection?, &project, peer).await,
            Place::Connection(connection) => Some(Recipients::parse(vec![connection?], &self.limits)?),
            Place::Session => None,
        };
        let key = body::idempotency_key(headers)?;
        let read = tokio::select! {
            read = body::signal(headers, body) => read,
            () = self.hub.draining() => Err(Wrong::broken()),
        };
        // Which is what a caller is told whose body took until now.
        self.hub.takes_signals().map_err(|refusal| Wrong::from(refusal).closing())?;
        let signal = read?;
        let sent = self.engine.send_from_server(session, ServerSend { signal, to, key }).await;
        sent.inspect_err(|refusal| self.capped(refusal))?;
        Ok(())
    }

    async fn disconnect(
        &self,
        session: SessionId,
        connection: String,
        project: &str,
        peer: IpAddr,
    ) -> Result<(), Wrong> {
        let connection = Named::read(connection);
        let subject = self.gate.asks().then(|| format!("project {project}"));
        let who = audit::Who { subject: subject.as_deref(), address: Some(peer) };
        audit::disconnects(who, Some(&session), &connection);
        self.engine.disconnect(session, connection).await?;
        Ok(())
    }

    /// Counts a refusal by an engine that is for a cap's sake.
    fn capped(&self, refusal: &Refusal) {
        if refusal.reason == Reason::ServerFull {
            self.hub.metrics().caps.hit(Cap::Memory, &refusal.message);
        }
    }
}

impl Call {
    /// The one method that it has.
    fn method(&self) -> Method {
        match self.place {
            Place::Session | Place::Connection(_) => Method::POST,
            Place::Disconnect(_) => Method::DELETE,
        }
    }
}
