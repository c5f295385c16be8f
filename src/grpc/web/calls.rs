//! Browsers' calls, as they are measured and traced: as the transport does its own, from
//! their headers to the status that they end with.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{HOST, HeaderName},
};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body, service::Routes};
use tower::{Service, ServiceExt as _};

use crate::{
    engine::BoxFuture,
    grpc::{PeerAddress, methods, status},
    telemetry::{Beginning, Call, Metrics, Tracer},
};

/// The services, each call of which is measured.
#[derive(Clone)]
pub(super) struct Measured {
    pub(super) routes: Routes,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
}

impl Measured {
    fn begin(&self, request: &Request<Body>) -> Call {
        let method = methods::method(request.uri().path().as_bytes());
        let header = |name: HeaderName| request.headers().get(name).map(http::HeaderValue::as_bytes);
        let span = self.tracer.is_on().then(|| {
            let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
            self.tracer.begin(Beginning {
                method: method.name,
                traceparent: header(HeaderName::from_static("traceparent")),
                tracestate: header(HeaderName::from_static("tracestate")),
                authority: authority.or_else(|| header(HOST)),
                peer: request.extensions().get::<PeerAddress>().map(|peer| peer.0),
            })
        });
        Call::begin(method, Arc::clone(&self.metrics), span.flatten())
    }
}

impl Service<Request<Body>> for Measured {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut call = self.begin(&request);
        if let Some(span) = call.span() {
            let span = Arc::clone(span);
            request.extensions_mut().insert(span);
        }
        let response = self.routes.clone().oneshot(request);
        Box::pin(async move {
            let response = response.await?;
            // One without a body has its status here.
            if response.headers().contains_key("grpc-status") {
                status::ends(&mut call, response.headers());
            }
            Ok(response.map(|body| Body::new(Answer { body, call })))
        })
    }
}

/// A body that tells its call how it ends. Where it is let go before, the call was
/// cancelled.
struct Answer {
    body: Body,
    call: Call,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            status::ends(&mut self.call, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
