//! Plain HTTP for operators: `/metrics`, `/livez`, `/readyz`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Relief, Spent},
    engine::{Engine, Figure, FigureValue},
    hub::Hub,
    telemetry::{Metrics, Registry, panics},
};

/// How long a caller may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failure to accept.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What operators are served from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hub: Hub,
    pub(super) engine: Arc<dyn Engine>,
    /// Cancelled when the server no longer takes joins.
    pub(super) unready: CancellationToken,
}

impl Admin {
    /// Serves, for ever.
    pub(super) async fn serve(self, listener: TcpListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "can't accept connections on the admin port; trying again after a pause");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = admin.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "admin connection ended");
                }
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.unready.is_cancelled() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => match self.engine.is_ready() {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
            },
            "/metrics" => text(StatusCode::OK, self.scrape()),
            _ => text(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n"),
        }
    }

    /// The gauges are read when somebody looks, not kept up with every event.
    #[allow(clippy::cast_precision_loss)] // No count here comes near 2^52.
    fn scrape(&self) -> String {
        let (stats, depth, metrics) = (self.engine.stats(), self.hub.depth(), &self.metrics);
        for (gauge, value) in [
            (&metrics.sessions, stats.sessions),
            (&metrics.attached, stats.attached),
            (&metrics.detached, stats.detached),
            (&metrics.streams, depth.streams),
            (&metrics.outbox_events, depth.events),
            (&metrics.outbox_bytes, depth.bytes),
            (&metrics.outbox_events_max, depth.most_events),
        ] {
            gauge.set(value as f64);
        }
        metrics.panics.absolute(panics());
        let budget = self.hub.memory();
        metrics.memory_limit.set(budget.limit().unwrap_or(0) as f64);
        for (gauge, spent) in metrics.memory.iter().zip(Spent::ALL) {
            gauge.set(budget.spent(spent) as f64);
        }
        for (counter, by) in metrics.relieved.iter().zip(Relief::ALL) {
            counter.absolute(budget.relieved(by));
        }
        for Figure { name, help, value } in self.engine.figures() {
            match value {
                FigureValue::Total(value) => self.registry.total(name, help, value),
                FigureValue::Now(value) => self.registry.now(name, help, value),
            }
        }
        self.registry.render()
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
