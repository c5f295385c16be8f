//! `signalbox.v1.SignalingService`.
//!
//! `Join` and `Subscribe` are served by hand, below tonic, so that their response
//! body is our own; everything else goes tonic's usual way.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use prost::Message;
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{
    domain::{Ending, MAX_FRAME_BYTES, Refusal, SessionId},
    engine::BoxFuture,
    hub::{Bell, Bits, Bounds, Outbox},
    proto::{LeaveRequest, SendFromServerRequest, SendFromServerResponse, SendRequest},
    telemetry::{CallSpan, Note, UnaryMethod},
};

use super::{
    PeerAddress, Services,
    beside::Beside,
    body::JoinBody,
    join::{Reader, Stream, Takes},
    outgoing::Outgoing,
    parse,
    status::{explain_bad_message, status},
    wire,
};

/// The service, for a tonic router.
#[derive(Clone)]
pub struct SignalingService {
    services: Arc<Services>,
}

impl SignalingService {
    /// The service over these.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self { services: Arc::new(services) }
    }

    /// Answers at once, before a frame is read: a client that waits for
    /// headers before it sends must not deadlock.
    fn join(&self, request: Request<Body>, takes: Takes) -> Response<Body> {
        let (head, requests) = request.into_parts();
        let stream = Stream::new();
        let address = head.extensions.get::<PeerAddress>().map(|peer| peer.0);
        let (outgoing, reader) = open(&self.services, takes, address, Arc::default(), Bell::bit(0));
        if let Some(span) = head.extensions.get::<Arc<CallSpan>>() {
            outgoing.outbox().trace(Arc::clone(span));
        }
        if let Some(reader) = reader {
            tokio::spawn(reader.run(head.headers, Arc::clone(&stream), requests));
        }
        let body = JoinBody::new(outgoing, stream);
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
        response
    }
}

/// Begins a `Join` stream, or a `Subscribe`'s: its side to the client, and to the
/// session unless the hub has no place for it.
pub(super) fn open(
    services: &Arc<Services>,
    takes: Takes,
    address: Option<IpAddr>,
    bell: Arc<Bell>,
    bit: Bits,
) -> (Outgoing, Option<Reader>) {
    let now = tokio::time::Instant::now();
    match services.hub.admit(address, Arc::clone(&bell), bit) {
        Ok(outlet) => {
            let outbox = Arc::clone(outlet.outbox());
            let reader = Reader {
                services: Arc::clone(services),
                takes,
                outlet: outlet.id(),
                outbox: Arc::clone(&outbox),
                address,
            };
            (Outgoing::new(outbox, Some(outlet), &services.limits, now), Some(reader))
        }
        Err(refusal) => {
            services.hub.metrics().refused(refusal.reason);
            let outbox = Arc::new(Outbox::new(Bounds::from(&*services.limits), services.hub.memory(), bell, bit));
            outbox.end(Ending::Refused(refusal.reason), refusal.retry_after, Some(refusal));
            (Outgoing::new(outbox, None, &services.limits, now), None)
        }
    }
}

impl NamedService for SignalingService {
    const NAME: &'static str = "signalbox.v1.SignalingService";
}

impl Service<Request<Body>> for SignalingService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(wrong) = not_grpc(&request) {
            return Box::pin(async move { Ok(wrong) });
        }
        match request.uri().path() {
            "/signalbox.v1.SignalingService/Join" => {
                let response = self.join(request, Takes::Frames);
                Box::pin(async move { Ok(response) })
            }
            "/signalbox.v1.SignalingService/Subscribe" => {
                let response = self.join(request, Takes::Join);
                Box::pin(async move { Ok(response) })
            }
            "/signalbox.v1.SignalingService/SendFromServer" => {
                unary(SendFromServer { services: Arc::clone(&self.services) }, request)
            }
            "/signalbox.v1.SignalingService/Send" => {
                unary::<SendRequest, _>(Beside(Arc::clone(&self.services)), request)
            }
            "/signalbox.v1.SignalingService/Leave" => {
                unary::<LeaveRequest, _>(Beside(Arc::clone(&self.services)), request)
            }
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// A unary call, tonic's way.
fn unary<Q, M>(method: M, request: Request<Body>) -> <SignalingService as Service<Request<Body>>>::Future
where
    Q: Message + Default + 'static,
    M: UnaryService<Q> + Send + 'static,
    M::Response: Message + 'static,
    M::Future: Send,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_FRAME_BYTES);
        Ok(explain_bad_message(grpc.unary(method, request).await))
    })
}

/// Tells those that don't speak gRPC so, in HTTP's words.
fn not_grpc(request: &Request<Body>) -> Option<Response<Body>> {
    let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let code = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !is_grpc(content_type) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    Some(response)
}

/// Whether a content type is gRPC's with protobuf in it. Source: gRPC over
/// HTTP/2 (gRPC-Web is another protocol).
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let subtype = content_type.strip_prefix(b"application/grpc");
    subtype.is_some_and(|subtype| matches!(subtype, [] | [b';', ..]) || subtype.starts_with(b"+proto"))
}

struct SendFromServer {
    services: Arc<Services>,
}

impl UnaryService<SendFromServerRequest> for SendFromServer {
    type Response = SendFromServerResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<SendFromServerResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<SendFromServerRequest>) -> Self::Future {
        let services = Arc::clone(&self.services);
        Box::pin(async move {
            let (metadata, extensions, request) = request.into_parts();
            let peer = extensions.get().copied();
            let sent = measured_send(services, metadata.into_headers(), peer, extensions.get().cloned(), request).await;
            sent.map(tonic::Response::new).map_err(|refusal| status(&refusal))
        })
    }
}

async fn send_from_server(
    services: &Services,
    metadata: &HeaderMap,
    peer: Option<PeerAddress>,
    span: Option<Arc<CallSpan>>,
    request: SendFromServerRequest,
) -> Result<SendFromServerResponse, Refusal> {
    services.serve(metadata, peer, "SendFromServer")?;
    services.hub.takes_signals()?;
    let session = SessionId::parse(&request.session_id, &services.limits, "session_id")?;
    if let Some(span) = &span {
        span.note(Note::Session(&session));
    }
    let send = parse::server_send(request, &services.limits)?;
    let accepted = services.engine.send_from_server(session, send).await;
    let accepted = accepted.inspect_err(|refusal| services.capped(refusal))?;
    if let Some(span) = &span {
        span.note(Note::Sequence(accepted.sequence));
        span.note(Note::Recipients(accepted.recipient_count));
    }
    Ok(SendFromServerResponse {
        sequence: accepted.sequence,
        not_connected_ids: wire::to_names(&accepted.not_connected),
        recipient_count: u32::try_from(accepted.recipient_count).unwrap_or(u32::MAX),
    })
}

/// `SendFromServer`, measured.
pub(super) async fn measured_send(
    services: Arc<Services>,
    metadata: HeaderMap,
    peer: Option<PeerAddress>,
    span: Option<Arc<CallSpan>>,
    request: SendFromServerRequest,
) -> Result<SendFromServerResponse, Refusal> {
    let call = send_from_server(&services, &metadata, peer, span, request);
    measured(&services, UnaryMethod::SendFromServer, call).await
}

/// Runs a unary call: measured, its refusal counted.
async fn measured<T>(
    services: &Services,
    method: UnaryMethod,
    call: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let begun = Instant::now();
    let answered = call.await;
    let metrics = services.hub.metrics();
    metrics.answered(method, begun.elapsed());
    if let Err(refusal) = &answered {
        metrics.refused(refusal.reason);
        tracing::debug!(?method, reason = %refusal.reason, message = refusal.message, "call refused");
    }
    answered
}

/// Runs a unary call for a generated service.
pub(super) async fn answer<T>(
    services: &Services,
    method: UnaryMethod,
    call: impl Future<Output = Result<T, Refusal>>,
) -> Result<tonic::Response<T>, Status> {
    measured(services, method, call).await.map(tonic::Response::new).map_err(|refusal| status(&refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_with_protobuf_is_taken_for_grpc() {
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in
            ["", "application/json", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto"]
        {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }
}
