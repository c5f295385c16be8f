//! A `SendFromServer` call on a transport of ours.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::{
    domain::{Reason, Refusal},
    engine::BoxFuture,
    grpc::{PeerAddress, Services, frames::only_message, signaling::measured_send, status::bad_message, wire},
    proto::{SendFromServerRequest, SendFromServerResponse},
    telemetry::CallSpan,
};

use super::{Credentials, unfinished::Unfinished};

type Calling = BoxFuture<'static, Result<SendFromServerResponse, Refusal>>;

enum Phase {
    Receiving(Credentials, Vec<u8>),
    Calling(Calling),
    /// The answer is made, and goes as far as the window lets it.
    Answering(Bytes),
}

/// One call.
pub(super) struct SendCall {
    services: Arc<Services>,
    peer: Option<PeerAddress>,
    span: Option<Arc<CallSpan>>,
    phase: Phase,
    unfinished: Unfinished,
}

/// What there is to tell the client.
pub(super) enum Answer {
    Message(Bytes),
    Refused(Refusal),
}

impl SendCall {
    pub(super) fn new(
        services: Arc<Services>,
        credentials: Credentials,
        peer: Option<PeerAddress>,
        span: Option<Arc<CallSpan>>,
    ) -> Self {
        let phase = Phase::Receiving(credentials, Vec::new());
        Self { services, peer, span, phase, unfinished: Unfinished::default() }
    }

    /// Takes in what came. The answer, when there is one already.
    pub(super) fn receive(&mut self, context: &mut Context<'_>, data: &[u8], end: bool) -> Poll<Answer> {
        let Phase::Receiving(credentials, body) = &mut self.phase else { return Poll::Pending };
        if !end || !body.is_empty() {
            body.extend_from_slice(data);
        }
        if !end {
            let kept = self.unfinished.keep(body.capacity(), self.services.hub.memory());
            if let Err(refusal) = &kept {
                self.services.capped(refusal);
            }
            return match kept.and_then(|()| only_message(body, false).map(drop)) {
                Err(refusal) => Poll::Ready(Answer::Refused(refusal)),
                Ok(()) => Poll::Pending,
            };
        }
        let body = mem::take(body);
        let whole = if body.is_empty() { data } else { &body[..] };
        let request = only_message(whole, true).and_then(|message| {
            SendFromServerRequest::decode(message).map_err(|error| bad_message(&error.to_string()))
        });
        match request {
            Err(refusal) => Poll::Ready(Answer::Refused(refusal)),
            Ok(request) => {
                let (services, metadata) = (Arc::clone(&self.services), mem::take(credentials).into_headers());
                let call = measured_send(services, metadata, self.peer, self.span.take(), request);
                self.phase = Phase::Calling(Box::pin(call));
                self.poll(context)
            }
        }
    }

    /// Whether it waits for the engine.
    pub(super) fn is_calling(&self) -> bool {
        matches!(self.phase, Phase::Calling(_))
    }

    /// Goes on calling.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let Phase::Calling(calling) = &mut self.phase else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| calling.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => {
                let mut bytes = BytesMut::new();
                wire::prefix(response.encoded_len(), &mut bytes);
                // The buffer grows as needed.
                let _ = response.encode(&mut bytes);
                Poll::Ready(Answer::Message(bytes.freeze()))
            }
            Ok(Poll::Ready(Err(refusal))) => Poll::Ready(Answer::Refused(refusal)),
            Err(_) => Poll::Ready(Answer::Refused(Refusal::new(
                Reason::EngineUnavailable,
                "an internal error ended this call; whether the signal was sent is unknown",
            ))),
        }
    }

    /// Keeps the rest of an answer that the window has no room for.
    pub(super) fn keep(&mut self, rest: Bytes) {
        self.phase = Phase::Answering(rest);
    }

    /// What was kept.
    pub(super) fn take_rest(&mut self) -> Option<Bytes> {
        match &mut self.phase {
            Phase::Answering(rest) if !rest.is_empty() => Some(mem::take(rest)),
            _ => None,
        }
    }
}
