//! Traces: what an OTLP receiver on a real port is sent.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode},
};
use rustix::process::Signal;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request, Response, Status};

use crate::support::{
    Event, Frame, Process, TestServer, broadcast, from_server, plain_join, prefixed, proto, redis::RedisServer, shown,
    soon,
};
use crate::{
    tls::acceptor,
    web::{self, Page},
};
use proto::signaling_service_client::SignalingServiceClient;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const BESIDE: &str = "signalbox.v1.SignalingService/Send";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{PARENT}-{}", if sampled { "01" } else { "00" })
}

/// An OTLP receiver.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    came: watch::Sender<Vec<ResourceSpans>>,
}

struct Taking(watch::Sender<Vec<ResourceSpans>>);

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|came| came.extend(request.into_inner().resource_spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        Self::serve(listener, None)
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let (address, came) = (listener.local_addr().unwrap(), watch::Sender::default());
        let taking = Arc::new(TraceServiceServer::new(Taking(came.clone())));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(TraceServiceServer::clone(&taking));
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                match &tls {
                    None => drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service))),
                    Some(tls) => {
                        let stream = tls.accept(stream).await.unwrap();
                        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
                    }
                }
            }
        });
        Self { address, came }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A server that sends its traces here.
    async fn server(&self, flags: &[&str]) -> TestServer {
        TestServer::with(&[&["--otlp-endpoint", &self.endpoint()], flags].concat()).await
    }

    /// Every span, after the server's drain.
    async fn after(&self, mut server: TestServer) -> Spans {
        server.shut_down();
        server.stopped().await;
        self.spans()
    }

    fn spans(&self) -> Spans {
        let came = self.came.borrow();
        let scopes = came.iter().flat_map(|of| &of.scope_spans);
        Spans(scopes.flat_map(|scope| scope.spans.clone()).collect())
    }
}

#[derive(Debug)]
struct Spans(Vec<Span>);

impl Spans {
    fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    #[track_caller]
    fn only(&self, name: &str) -> &Span {
        let named = self.named(name);
        assert_eq!(named.len(), 1, "{name} among {:?}", self.names());
        named[0]
    }

    fn names(&self) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        for span in &self.0 {
            *names.entry(span.name.as_str()).or_default() += 1;
        }
        names
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let AnyValue { value } = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
    Some(match value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}

fn said(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

#[track_caller]
fn says(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(said(span, key).as_deref(), Some(*value), "{key} of {span:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traced<T>(message: T, sampled: bool) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent(sampled).parse().unwrap());
    request
}

const JOIN: &str = "signalbox.v1.SignalingService/Join";
const SEND: &str = "signalbox.v1.SignalingService/SendFromServer";

#[tokio::test]
async fn a_call_has_a_span_whose_parent_is_the_callers() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&["--otlp-sample-ratio", "0"]).await;
    let member = server.join("s").enter().await;
    let mut request = traced(from_server("s", "a secret"), true);
    request.metadata_mut().insert("tracestate", "vendor=7".parse().unwrap());
    let sent = server.signaling().send_from_server(request).await.unwrap().into_inner();
    let id = member.id();
    server.sessions().get_session(traced(proto::GetSessionRequest { session_id: "s".into() }, true)).await.unwrap();
    let disconnect = proto::DisconnectConnectionRequest { session_id: "s".into(), connection_id: id.clone() };
    server.sessions().disconnect_connection(traced(disconnect, true)).await.unwrap();
    let port = server.address().port().to_string();
    let spans = receiver.after(server).await;

    let span = spans.only(SEND);
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((span.kind(), span.trace_state.as_str()), (SpanKind::Server, "vendor=7"));
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    assert_eq!(span.status.as_ref().map_or(StatusCode::Unset, |status| status.code()), StatusCode::Unset);
    says(
        span,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", SEND),
            ("rpc.status_code", "OK"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("network.peer.address", "127.0.0.1"),
            ("signalbox.session.id", "s"),
            ("signalbox.sequence", &sent.sequence.to_string()),
            ("signalbox.recipient.count", "1"),
        ],
    );
    says(spans.only("signalbox.v1.SessionService/GetSession"), &[("signalbox.session.id", "s")]);
    let span = spans.only("signalbox.v1.SessionService/DisconnectConnection");
    says(span, &[("signalbox.session.id", "s"), ("signalbox.connection.id", &id), ("rpc.status_code", "OK")]);
    // The join had no parent.
    assert_eq!(spans.0.len(), 3, "{:?}", spans.names());
    assert!(!format!("{spans:?}").contains("secret"));
}

#[tokio::test]
async fn a_stream_has_a_span_and_each_of_its_signals_a_child() {
    let receiver = Receiver::start().await;
    let server =
        receiver.server(&["--otlp-sample-ratio", "0", "--signal-burst", "2", "--signals-per-second", "1"]).await;
    let mut onlooker = server.join("s").enter().await;
    let mut member = server.join("s").traceparent(&traceparent(true)).data("a secret").enter().await;
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    let (first, stranger) = (member.send("secret", "a secret"), uuid::Uuid::from_bytes([7; 16]).to_string());
    let sequence = member.accepted(first).await;
    let second = member.send_to(&[&stranger], "a secret");
    assert_eq!(member.refusal(second).await.reason, "CONNECTION_NOT_FOUND");
    let third = member.send("", "a secret");
    assert_eq!(member.refusal(third).await.reason, "RATE_LIMITED");
    member.frame(Frame::Disconnect(proto::DisconnectConnection { send_id: 99, connection_id: onlooker.id() }));
    member.outcome(99).await.unwrap();
    let id = member.id();
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
    let spans = receiver.after(server).await;

    let join = spans.only(JOIN);
    assert_eq!((hex(&join.trace_id), hex(&join.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    says(
        join,
        &[
            ("rpc.method", JOIN),
            ("rpc.status_code", "OK"),
            ("signalbox.session.id", "s"),
            ("signalbox.connection.id", &id),
            ("signalbox.join.outcome", "new"),
        ],
    );
    let signals = spans.named("SendSignal");
    assert_eq!(signals.len(), 3, "{:?}", spans.names());
    for (span, send) in signals.iter().chain(&[spans.only("DisconnectConnection")]).zip([first, second, third, 99]) {
        assert_eq!((hex(&span.trace_id), &span.parent_span_id), (TRACE.to_owned(), &join.span_id));
        assert_eq!(span.kind(), SpanKind::Internal);
        assert!(span.start_time_unix_nano >= join.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= join.end_time_unix_nano);
        let send = send.to_string();
        says(span, &[("signalbox.send.id", &send), ("signalbox.session.id", "s"), ("signalbox.connection.id", &id)]);
    }
    says(signals[0], &[("signalbox.sequence", &sequence.to_string())]);
    says(signals[1], &[("signalbox.error.reason", "CONNECTION_NOT_FOUND")]);
    says(signals[2], &[("signalbox.error.reason", "RATE_LIMITED")]);
    assert_eq!(said(signals[0], "signalbox.error.reason"), None);
    assert_eq!(spans.0.len(), 5, "the onlooker's stream has none: {:?}", spans.names());
    assert!(!format!("{spans:?}").contains("secret"), "neither a signal's type and data nor a connection's");
}

#[tokio::test]
async fn a_browsers_calls_are_traced_and_measured_like_any() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&["--cors-origin", web::ORIGIN, "--otlp-sample-ratio", "0"]).await;
    let mut page = Page::of(&server);
    page.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let (stream, joined) = page.subscribe(plain_join("demo")).await;
    page.send(&web::send("demo", &joined, 1, "hello")).await.unwrap();
    let wrong = proto::SendRequest { resume_token: "wrong".into(), ..web::send("demo", &joined, 2, "hello") };
    assert_eq!(page.send(&wrong).await.unwrap_err().code(), Code::NotFound);
    for status in ["OK", "NOT_FOUND"] {
        let labels = format!("rpc_system_name=\"grpc\",rpc_method=\"{BESIDE}\",rpc_status_code=\"{status}\"");
        let count = server.metric(&format!("rpc_server_call_duration_seconds_count{{{labels}}}")).await;
        assert!((count - 1.0).abs() < f64::EPSILON, "{count} {status}");
    }
    let spans = receiver.after(server).await;
    drop(stream);
    let sends = spans.named(BESIDE);
    assert_eq!(sends.len(), 2, "{:?}", spans.names());
    let subscribed = spans.only("signalbox.v1.SignalingService/Subscribe");
    for span in sends.iter().chain([&subscribed]) {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert_eq!(said(span, "signalbox.session.id").as_deref(), Some("demo"));
    }
}

#[tokio::test]
async fn the_ratio_is_for_calls_without_a_trace_and_a_trace_decides_for_itself() {
    for (ratio, sampled, expected) in [("1", None, 3), ("0", None, 0), ("1", Some(false), 0), ("0", Some(true), 3)] {
        let receiver = Receiver::start().await;
        let server = receiver.server(&["--otlp-sample-ratio", ratio]).await;
        let mut join = server.join("s");
        let mut request = shown(from_server("s", ""), None);
        if let Some(sampled) = sampled {
            join = join.traceparent(&traceparent(sampled));
            request = traced(from_server("s", ""), sampled);
        }
        let mut member = join.enter().await;
        let sent = member.send("", "");
        member.accepted(sent).await;
        server.signaling().send_from_server(request).await.unwrap();
        drop(member);
        let spans = receiver.after(server).await;
        assert_eq!(spans.0.len(), expected, "ratio {ratio}, parent {sampled:?}: {:?}", spans.names());
        if expected > 0 && sampled.is_none() {
            let join = spans.only(JOIN);
            assert!(join.parent_span_id.is_empty());
            assert_ne!(spans.only(SEND).trace_id, join.trace_id, "each is a trace of its own");
        }
    }
}

/// As what a program that means no good might send.
#[tokio::test]
async fn a_parent_that_is_none_is_as_no_parent() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]).await;
    let _member = server.join("s").enter().await;
    let long = "0".repeat(4_000);
    for wrong in ["", "00", "xx-yy-zz-00", "00-00000000000000000000000000000000-0000000000000000-01", &long] {
        let mut request = Request::new(from_server("s", ""));
        request.metadata_mut().insert("traceparent", wrong.parse().unwrap());
        server.signaling().send_from_server(request).await.unwrap();
    }
    let spans = receiver.after(server).await;
    assert_eq!(spans.named(SEND).len(), 5);
    assert!(spans.named(SEND).iter().all(|span| span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn what_failed_says_so_with_its_reason() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]).await;
    server.signaling().send_from_server(from_server("nobody", "")).await.unwrap_err();
    let listing = proto::ListSessionsRequest { page_token: "wrong".into(), ..Default::default() };
    server.sessions().list_sessions(listing).await.unwrap_err();
    server.join("").refused().await;
    let broken = server.join("broken").enter().await;
    drop(broken);
    server.until_at_most("signalbox_streams", 0.0).await;
    // What nobody serves; over a connection that knows no names.
    let mut other = tonic::client::Grpc::new(server.channel().await);
    other.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<proto::Leave, proto::Leave>::default();
    let unknown = other.unary(Request::new(proto::Leave {}), "/a.B/C".parse().unwrap(), codec).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    let mut going = server.join("s").enter().await;
    going.frame(Frame::Send(proto::SendSignal { send_id: 1, signal: None, to: None }));
    going.outcome(1).await.unwrap_err();
    let shutting = receiver.after(server);
    let spans = shutting.await;
    drop(going);

    let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    let send = spans.only(SEND);
    says(send, &[("rpc.status_code", "NOT_FOUND"), ("signalbox.error.reason", "SESSION_NOT_FOUND")]);
    assert!(!failed(send) && said(send, "error.type").is_none(), "its caller's fault is none of the server's");
    let list = spans.only("signalbox.v1.SessionService/ListSessions");
    says(list, &[("rpc.status_code", "INVALID_ARGUMENT"), ("signalbox.error.reason", "PAGE_TOKEN_INVALID")]);
    let joins = spans.named(JOIN);
    let of = |code: &str| {
        let found: Vec<_> =
            joins.iter().filter(|span| said(span, "rpc.status_code").as_deref() == Some(code)).collect();
        assert_eq!(found.len(), 1, "{code} among {joins:?}");
        *found[0]
    };
    says(of("INVALID_ARGUMENT"), &[("signalbox.error.reason", "SESSION_ID_INVALID")]);
    says(of("CANCELLED"), &[("signalbox.session.id", "broken")]);
    let gone = of("UNAVAILABLE");
    says(gone, &[("signalbox.error.reason", "GOING_AWAY"), ("error.type", "UNAVAILABLE")]);
    assert!(failed(gone));
    let other = spans.only("grpc");
    says(other, &[("rpc.method", "_OTHER"), ("rpc.status_code", "UNIMPLEMENTED"), ("error.type", "UNIMPLEMENTED")]);
    assert!(failed(other));
}

#[tokio::test]
async fn what_has_no_outcome_when_its_stream_ends_is_told_as_unknown() {
    let Some(redis) = RedisServer::start() else { return };
    let receiver = Receiver::start().await;
    let server = TestServer::on(&redis, &["--otlp-endpoint", &receiver.endpoint()]).await;
    let raw = server.raw().await;
    let mut stream = raw.join().await;
    stream.frame(Frame::Join(plain_join("s")));
    stream.joined().await;
    redis.suspend(true);
    stream.frame(broadcast(7, "", ""));
    // What comes later over the same connection is answered: that was read.
    let mut health = raw.call("/grpc.health.v1.Health/Check").await;
    health.bytes(prefixed(&[]), true);
    assert_eq!(health.trailers().await.code(), Code::Ok);
    raw.vanish().await;
    server.until_at_most("signalbox_streams", 0.0).await;
    redis.suspend(false);
    let spans = receiver.after(server).await;
    let signal = spans.only("SendSignal");
    says(signal, &[("signalbox.send.id", "7"), ("signalbox.send.outcome", "unknown")]);
    let join = spans.only(JOIN);
    assert_eq!(signal.parent_span_id, join.span_id);
    says(join, &[("rpc.status_code", "CANCELLED")]);
    says(spans.only("grpc.health.v1.Health/Check"), &[("rpc.status_code", "OK")]);
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_spans_and_nothing_else() {
    // A port that nobody listens on, but for a moment.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = TestServer::with(&["--otlp-endpoint", &format!("http://{away}")]).await;
    let _member = server.join("s").enter().await;
    // More than make a batch, which is then sent at once.
    for _ in 0..600 {
        server.signaling().send_from_server(from_server("s", "")).await.unwrap();
    }
    soon("dropped spans", async {
        while server.metric("signalbox_spans_dropped_total{reason=\"not_taken\"}").await < 512.0 {}
    })
    .await;
    assert!(server.metric("signalbox_spans_sent_total").await.abs() < f64::EPSILON);
    assert!(server.metric("signalbox_spans_dropped_total{reason=\"queue_full\"}").await.abs() < f64::EPSILON);
    server.signaling().send_from_server(from_server("s", "")).await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_hangs_fills_a_bounded_queue_and_delays_no_end_for_long() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hanging.local_addr().unwrap());
    let mut server = TestServer::with(&["--otlp-endpoint", &endpoint, "--signal-burst", "0"]).await;
    let mut member = server.join("s").without_own_signals().traceparent(&traceparent(true)).enter().await;
    // Accepted and never answered.
    let silent: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let held = Arc::clone(&silent);
    tokio::spawn(async move {
        loop {
            let (stream, _) = hanging.accept().await.unwrap();
            held.lock().unwrap().push(stream);
        }
    });
    // The queue's 2,048, and what may be on its way.
    for _ in 0..4 {
        let sent: Vec<_> = (0..1_000).map(|_| member.send("", "")).collect();
        for sent in sent {
            member.accepted(sent).await;
        }
    }
    let dropped = server.metric("signalbox_spans_dropped_total{reason=\"queue_full\"}").await;
    assert!((1_000.0..=1_952.0).contains(&dropped), "{dropped} of 4000 did not fit");
    server.shut_down();
    drop(member);
    server.stopped().await;
    drop(silent);
}

/// A process, because it takes its environment.
#[tokio::test]
async fn the_log_says_once_that_spans_are_lost_and_the_environment_says_whose_they_are() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let environment = [
        ("SIGNALBOX_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_SERVICE_NAME", "rooms".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=seven".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
    ];
    let (process, mut log) = Process::with_environment(&environment, &["--log-level", "info"]).await;
    let mut client = SignalingServiceClient::new(process.channel().await);
    let mut lines = Vec::new();
    let mut line = async |word: &str| {
        loop {
            let line = soon(word, log.next_line()).await.unwrap().expect("it goes on");
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(word)) {
                return lines.iter().filter(|line| line.contains("spans are not taken")).count();
            }
        }
    };
    client.send_from_server(from_server("s", "")).await.unwrap_err();
    assert_eq!(line("spans are not taken").await, 1);
    client.send_from_server(from_server("s", "")).await.unwrap_err();
    let receiver = Receiver::on(TcpListener::bind(address).await.unwrap());
    let mut came = receiver.came.subscribe();
    // The way to the receiver is tried again after a while.
    soon("a span", async {
        while came.borrow().is_empty() {
            client.send_from_server(from_server("s", "")).await.unwrap_err();
            let _ = tokio::time::timeout(Duration::from_millis(50), came.changed()).await;
        }
    })
    .await;
    assert_eq!(line("spans are taken again").await, 1, "said once");
    let resource = came.borrow()[0].resource.clone().unwrap();
    for (key, value) in [
        ("service.name", "rooms"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "seven"),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(text(&resource.attributes, key).as_deref(), Some(value), "{key}");
    }
    let scope = came.borrow()[0].scope_spans[0].clone();
    assert_eq!(scope.schema_url, "https://opentelemetry.io/schemas/1.45.0");
    assert_eq!(scope.scope.unwrap().name, "signalbox");
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
}

/// A process, because it takes whom the system trusts out of its environment.
#[tokio::test]
async fn spans_go_over_tls_to_whom_the_system_trusts() {
    let (tls, authority) = acceptor();
    let receiver = Receiver::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls));
    let environment = [
        ("SIGNALBOX_OTLP_ENDPOINT", format!("https://localhost:{}", receiver.address.port())),
        ("SSL_CERT_FILE", authority.to_str().unwrap().to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
    ];
    let (process, _log) = Process::with_environment(&environment, &[]).await;
    let mut client = SignalingServiceClient::new(process.channel().await);
    let mut came = receiver.came.subscribe();
    client.send_from_server(from_server("s", "")).await.unwrap_err();
    soon("a span", came.changed()).await.unwrap();
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    says(receiver.spans().only(SEND), &[("signalbox.error.reason", "SESSION_NOT_FOUND")]);
}

#[tokio::test]
async fn calls_are_measured_whether_they_are_traced_or_not() {
    let server = TestServer::start().await;
    let member = server.join("s").enter().await;
    server.signaling().send_from_server(from_server("s", "")).await.unwrap();
    server.signaling().send_from_server(from_server("nobody", "")).await.unwrap_err();
    server.sessions().list_sessions(proto::ListSessionsRequest::default()).await.unwrap();
    let count = async |method: &str, code: &str, error: &str| {
        let labels = format!("rpc_system_name=\"grpc\",rpc_method=\"{method}\",rpc_status_code=\"{code}\"{error}");
        server.metric(&format!("rpc_server_call_duration_seconds_count{{{labels}}}")).await
    };
    for (method, code) in [(SEND, "OK"), (SEND, "NOT_FOUND"), ("signalbox.v1.SessionService/ListSessions", "OK")] {
        assert!((count(method, code, "").await - 1.0).abs() < f64::EPSILON, "{method} {code}");
    }
    drop(member);
    server.until_at_most("signalbox_streams", 0.0).await;
    assert!((count(JOIN, "CANCELLED", "").await - 1.0).abs() < f64::EPSILON);
}
