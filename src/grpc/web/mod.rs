//! gRPC-Web, for browsers: the same services, over HTTP/1.1 or HTTP/2, for the pages of
//! those origins that an operator names.
//!
//! The translation is tonic-web's, the headers for other origins tower-http's. What is
//! here is who may call, and how much of a request is taken in: all of it, and no more
//! than a message, before a service sees it. A client of gRPC-Web streams no requests.

mod calls;
mod http1;
mod origins;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tonic::{body::Body, service::Routes};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_http::cors::{AllowOrigin, Any, Cors, CorsLayer};

use crate::{
    domain::MAX_FRAME_BYTES,
    engine::BoxFuture,
    telemetry::{Metrics, Tracer},
};

use super::status::{bad_message, status};
use calls::Measured;

pub use origins::{Origin, Origins};

/// The most of a request's body: the largest message with its prefix, in base64.
const MAX_BODY_BYTES: usize = (MAX_FRAME_BYTES + 5).div_ceil(3) * 4;
/// How long a peer may take for a request: its head, and its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long browsers remember what they may do. More than two hours is no more to any.
const MAX_AGE: Duration = Duration::from_secs(7_200);

/// What requests carry that browsers ask about first.
const REQUEST_HEADERS: [HeaderName; 7] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];
/// What of an answer a page may read.
const ANSWER_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// The services by gRPC-Web. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    origins: Arc<Origins>,
    service: Cors<Whole>,
}

impl Web {
    /// These services, for pages of these origins; their calls are measured, and traced.
    #[must_use]
    pub fn new(origins: Origins, routes: Routes, metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        let origins = Arc::new(origins);
        let admitted = match origins.are_all() {
            true => AllowOrigin::from(Any),
            false => {
                let origins = Arc::clone(&origins);
                AllowOrigin::predicate(move |origin, _| origins.admit(origin))
            }
        };
        let cors = CorsLayer::new()
            .allow_origin(admitted)
            .allow_methods([Method::POST])
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(ANSWER_HEADERS)
            .max_age(MAX_AGE);
        let measured = Measured { routes, metrics, tracer };
        Self { origins, service: cors.layer(Whole(GrpcWebLayer::new().layer(measured))) }
    }

    /// Whether a request is a browser's, where others come too.
    pub(super) fn is_for(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS || is_grpc_web(headers)
    }
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

impl Service<Request<Body>> for Web {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method();
        let refused = match request.headers().get(ORIGIN) {
            Some(origin) if !self.origins.admit(origin) => {
                tracing::debug!(?origin, "a page of another origin");
                Some((StatusCode::FORBIDDEN, "pages of this origin may not call: it is none of --cors-origin\n"))
            }
            _ if method != Method::POST && method != Method::OPTIONS => {
                Some((StatusCode::METHOD_NOT_ALLOWED, "only POST: this port serves gRPC, and gRPC-Web\n"))
            }
            _ if method == Method::POST && !is_grpc_web(request.headers()) => Some((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "only application/grpc-web, -text too: gRPC itself needs HTTP/2\n",
            )),
            _ => None,
        };
        if let Some((code, why)) = refused {
            return Box::pin(async move { Ok(text(code, why)) });
        }
        Box::pin(self.service.clone().oneshot(request))
    }
}

/// What is beneath: gets requests whole.
#[derive(Clone)]
struct Whole(GrpcWebService<Measured>);

impl Service<Request<Body>> for Whole {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect();
            let body = match tokio::time::timeout(REQUEST_TIMEOUT, body).await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(too_large()),
                Ok(Err(_)) => return Ok(text(StatusCode::BAD_REQUEST, "the request broke off\n")),
                Err(_) => return Ok(text(StatusCode::REQUEST_TIMEOUT, "the request took longer than 10 s\n")),
            };
            service.oneshot(Request::from_parts(head, Body::new(Full::new(body)))).await
        })
    }
}

/// A status alone, which gRPC-Web may have in its headers.
fn too_large() -> Response<Body> {
    let why = format!("its body has more than {MAX_BODY_BYTES}");
    let mut response = status(&bad_message(&why)).into_http();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc-web+proto"));
    response
}

fn text(code: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(why)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
