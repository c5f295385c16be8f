//! Plain HTTP for operators: `/metrics`, `/livez`, `/readyz`; `/status`, a page, and
//! `/status.json`, what it shows. Nothing here changes anything.

mod counted;
mod page;
mod process;
pub(crate) mod query;
pub(crate) mod snapshot;
mod survey;

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prost_types::Timestamp;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    domain::{Relief, Spent},
    engine::{Engine, Figure, FigureValue},
    hub::Hub,
    telemetry::{Metrics, Registry, Tracer, panics},
};

use super::shared::Answered;
use counted::Counted;
use query::Query;
use snapshot::{Answers, EngineFacts, Memory, NodeFacts, Outboxes, Snapshot, State, Totals, VERSION};
use survey::{Found, NoAnswer, READERS};

pub(super) use survey::Survey;

/// How long a caller may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failure to accept.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How often it is looked whether anybody still asks for the status.
const FORGET_INTERVAL: Duration = Duration::from_secs(30);

const PATHS: &str = "try /status, /status.json, /metrics, /livez or /readyz\n";

/// What operators are served from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hub: Hub,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) tracer: Tracer,
    /// What the engine has answered, if it asks anybody.
    pub(super) answered: Option<Arc<Answered>>,
    pub(super) clock: Arc<dyn Clock>,
    /// When the server began.
    pub(super) began: Instant,
    /// Where gRPC is served.
    pub(super) address: Option<SocketAddr>,
    pub(super) workers: usize,
    /// Cancelled when the server no longer takes joins.
    pub(super) unready: CancellationToken,
    pub(super) survey: Survey,
}

impl Admin {
    /// Serves, for ever.
    pub(super) async fn serve(self, listener: TcpListener) {
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = forget.tick() => {
                    self.survey.forget();
                    continue;
                }
            };
            let stream = match accepted {
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
                    let admin = admin.clone();
                    async move { Ok::<_, Infallible>(admin.answer(&request, is_loopback).await) }
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

    async fn answer(&self, request: &Request<Incoming>, is_loopback: bool) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.state() {
                (State::Ready, _) => text(StatusCode::OK, "ok\n"),
                (State::Draining, _) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
                (State::Unready, why) => text(StatusCode::SERVICE_UNAVAILABLE, why.unwrap_or_default() + "\n"),
            },
            "/metrics" => text(StatusCode::OK, self.scrape()),
            "/" | "/status" | "/status.json" if is_loopback && !names_this_machine(request.headers()) => text(
                StatusCode::MISDIRECTED_REQUEST,
                "the status has names of sessions in it: on a loopback address it is told only to those who ask for it \
                 by an IP address or as localhost\n",
            ),
            "/" | "/status" => page::page(),
            "/status.json" => self.status(request.uri().query()).await,
            _ => text(StatusCode::NOT_FOUND, PATHS),
        }
    }

    fn state(&self) -> (State, Option<String>) {
        if self.unready.is_cancelled() {
            return (State::Draining, None);
        }
        match self.engine.is_ready() {
            Ok(()) => (State::Ready, None),
            Err(why) => (State::Unready, Some(why)),
        }
    }

    async fn status(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong + "\n"),
        };
        let admin = self.clone();
        match self.survey.answer(query, move || admin.look()).await {
            Ok(body) => {
                let mut response = Response::new(Full::new(body));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                response
            }
            Err(NoAnswer::TooMany(seconds)) => {
                let what = "too many different questions in a second; ask again\n";
                let mut response = text(StatusCode::TOO_MANY_REQUESTS, what);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Err(NoAnswer::Panicked) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; it is in the server's log\n")
            }
        }
    }

    /// Looks at all there is. Takes as long as that takes: not for a thread that serves.
    fn look(&self) -> Found {
        let mut sessions = Vec::with_capacity(self.engine.stats().sessions);
        self.engine.survey(&mut |id, sight| sessions.push((id.clone(), sight)));
        let (depth, readers) = self.hub.fullest(READERS);
        let now = self.clock.now();
        let (stats, (state, why)) = (self.engine.stats(), self.state());
        let page = self.registry.render();
        let counted = Counted::new(&page);
        let rest = Snapshot {
            version: VERSION,
            taken_at: Timestamp::from(now.wall).to_string(),
            node: NodeFacts {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                name: self.engine.node().map(str::to_owned),
                address: self.address.map(|address| address.to_string()).unwrap_or_default(),
                state,
                why,
                uptime_seconds: self.began.elapsed().as_secs_f64(),
                workers: self.workers,
            },
            engine: self.engine_facts(),
            totals: Totals {
                sessions: stats.sessions,
                connected: stats.attached,
                interrupted: stats.detached,
                streams: depth.streams,
                signals: counted.by_label("signalbox_signals_total"),
                deliveries: counted.value("signalbox_deliveries_total"),
                joins: counted.by_label("signalbox_joins_total"),
                refusals: counted.by_label("signalbox_refusals_total"),
                closes: counted.by_label("signalbox_closes_total"),
                cap_hits: counted.by_label("signalbox_cap_hits_total"),
                panics: panics(),
            },
            outboxes: Outboxes { events: depth.events, bytes: depth.bytes, most_events: depth.most_events },
            memory: self.memory(),
            process: process::process(),
            ..Snapshot::default()
        };
        Found { wall: now.wall, sessions, readers, rest }
    }

    #[allow(clippy::cast_precision_loss)] // No count here comes near 2^52.
    fn engine_facts(&self) -> EngineFacts {
        let number = |value| match value {
            FigureValue::Total(value) => value as f64,
            FigureValue::Now(value) => value,
        };
        let figures = self.engine.figures().into_iter().map(|Figure { name, value, .. }| {
            let name = name.strip_prefix("signalbox_engine_").unwrap_or(name);
            (name.to_owned(), number(value))
        });
        EngineFacts {
            kind: if self.answered.is_some() { "redis" } else { "memory" }.to_owned(),
            answers: self.answered.as_ref().map(|answered| {
                let (count, time) = answered.read();
                Answers { count, seconds: time.as_secs_f64() }
            }),
            figures: figures.collect(),
        }
    }

    fn memory(&self) -> Memory {
        let budget = self.hub.memory();
        let relief: BTreeMap<_, _> = Relief::ALL.map(|by| (by.name().to_owned(), budget.relieved(by))).into();
        Memory {
            limit: budget.limit(),
            spent: Spent::ALL.map(|spent| (spent.name().to_owned(), budget.spent(spent))).into(),
            relief: relief.into_iter().filter(|(_, times)| *times > 0).collect(),
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
        metrics.spans(self.tracer.counts());
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

/// Whether a request is for an address of this machine, by number or as `localhost`: a
/// page of somebody else's in an operator's browser may have a name of its own lead here.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        // No browser leaves it out.
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let number = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    number.parse::<std::net::IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_this_machine_by_number_or_as_localhost() {
        let is = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a value"));
            names_this_machine(&headers)
        };
        for host in ["127.0.0.1:9464", "127.0.0.1", "[::1]:9464", "[::1]", "localhost:1", "LocalHost", "10.0.0.7:80"] {
            assert!(is(host), "{host}");
        }
        for host in ["evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "", "evil"] {
            assert!(!is(host), "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }
}
