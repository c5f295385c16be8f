//! The admin port: liveness, readiness, and what the metrics count.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Event, Frame, Raw, TestServer, from_server, plain_join, proto, signal, soon};

const MINUTE: Duration = Duration::from_secs(60);

/// Head and body of an answer.
async fn ask(server: &TestServer, method: &str, path: &str) -> (String, String) {
    let mut answer = String::new();
    soon("an answer of the admin port", async {
        let mut stream = TcpStream::connect(server.admin()).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    })
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Waits until a metric has a value: what a lost peer changes, changes when
/// the server notices.
async fn comes_to(server: &TestServer, metric: &str, value: f64) {
    let reading = async {
        while (server.metric(metric).await - value).abs() > f64::EPSILON {
            tokio::task::yield_now().await;
        }
    };
    soon(&format!("{metric} of {value}"), reading).await;
}

/// Asserts what metrics say now.
async fn are(server: &TestServer, expected: &[(&str, f64)]) {
    for (metric, value) in expected {
        let read = server.metric(metric).await;
        assert!((read - value).abs() < f64::EPSILON, "{metric} is {read}, not {value}");
    }
}

#[tokio::test]
async fn the_server_is_alive_and_ready() {
    let server = TestServer::start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get(path).await, (200, "ok\n".to_owned()), "{path}");
    }
    let (head, body) = ask(&server, "GET", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("signalbox_sessions 0"), "{body}");
    let (head, body) = ask(&server, "HEAD", "/livez").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_no_get_is_405() {
    let server = TestServer::start().await;
    for path in ["/status/", "/metrics/", "/health", "/livez/x"] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 404, "{path}");
        for there in ["/status", "/status.json", "/metrics", "/livez", "/readyz"] {
            assert!(body.contains(there), "it names what is there: {body}");
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        for path in ["/metrics", "/livez", "/status.json", "/status", "/elsewhere"] {
            let (head, _) = ask(&server, method, path).await;
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
        }
    }
}

#[tokio::test]
async fn sessions_connections_and_streams_are_gauged() {
    let server = TestServer::start().await;
    if server.has_many_nodes() {
        // Whoever has no stream is on none of them, and counted by none.
        return;
    }
    let mut first = server.join("s").enter().await;
    let second = server.join("s").enter().await;
    let lost = server.join("t").window(MINUTE).enter().await;
    are(
        &server,
        &[
            ("signalbox_sessions", 2.0),
            ("signalbox_connections{state=\"attached\"}", 3.0),
            ("signalbox_connections{state=\"detached\"}", 0.0),
            ("signalbox_streams", 3.0),
        ],
    )
    .await;

    let memory = lost.lose();
    comes_to(&server, "signalbox_connections{state=\"detached\"}", 1.0).await;
    comes_to(&server, "signalbox_streams", 2.0).await;
    are(&server, &[("signalbox_sessions", 2.0), ("signalbox_connections{state=\"attached\"}", 2.0)]).await;

    let back = server.join("t").resume(memory).enter().await;
    are(
        &server,
        &[
            ("signalbox_connections{state=\"attached\"}", 3.0),
            ("signalbox_connections{state=\"detached\"}", 0.0),
            ("signalbox_joins_total{outcome=\"new\"}", 3.0),
            ("signalbox_joins_total{outcome=\"resumed\"}", 1.0),
            ("signalbox_joins_total{outcome=\"resumed_with_gap\"}", 0.0),
        ],
    )
    .await;

    for member in [second, back] {
        member.frame(Frame::Leave(proto::Leave {}));
        assert!(member.end().await.status.is_none());
    }
    assert!(matches!(first.next().await, Event::ConnectionCreated(_)));
    assert!(matches!(first.next().await, Event::ConnectionDestroyed(_)));
    comes_to(&server, "signalbox_streams", 1.0).await;
    are(&server, &[("signalbox_sessions", 1.0), ("signalbox_connections{state=\"attached\"}", 1.0)]).await;
}

#[tokio::test]
async fn signals_are_counted_by_source_and_deliveries_by_receiver() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").without_connection_events().enter().await;
    let mut other = server.join("s").without_connection_events().enter().await;
    let _filtering = server.join("s").without_connection_events().types(&["chat"]).enter().await;
    are(&server, &[("signalbox_deliveries_total", 0.0)]).await;
    for sent in [sender.send("", "to two"), sender.send("chat", "to three")] {
        sender.accepted(sent).await;
    }
    let id = other.id();
    let sent = sender.send_to(&[&id], "to one");
    sender.accepted(sent).await;
    server.signaling().send_from_server(from_server("s", "to two")).await.unwrap();
    for _ in 0..4 {
        other.heard().await;
    }
    are(
        &server,
        &[("signalbox_signals_total{source=\"client\"}", 3.0), ("signalbox_signals_total{source=\"server\"}", 1.0)],
    )
    .await;
    // Counted once they are handed on: perhaps after the last was heard.
    comes_to(&server, "signalbox_deliveries_total", 8.0).await;
    // A connection event is a delivery too: to one that wants them.
    let _observer = server.join("s").enter().await;
    let _late = server.join("s").without_connection_events().enter().await;
    comes_to(&server, "signalbox_deliveries_total", 9.0).await;
}

#[tokio::test]
async fn refusals_are_counted_by_reason_wherever_they_happen() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let large = "x".repeat(8_193);
    // A send, twice.
    for _ in 0..2 {
        let sent = member.send("", &large);
        assert_eq!(member.refusal(sent).await.reason, "SIGNAL_DATA_TOO_LARGE");
    }
    // A unary call, and one of the other service.
    server.signaling().send_from_server(from_server("nowhere", "x")).await.unwrap_err();
    let request = proto::GetSessionRequest { session_id: "nowhere".into() };
    server.sessions().get_session(request).await.unwrap_err();
    // A watch, and a join.
    let request = proto::WatchSessionsRequest { session_id: "a b".into() };
    server.sessions().watch_sessions(request).await.unwrap_err();
    server.join("a b").refused().await;
    // A disconnect within the stream.
    let sent = member.disconnect("nobody");
    assert_eq!(member.refusal(sent).await.reason, "CONNECTION_NOT_FOUND");
    are(
        &server,
        &[
            ("signalbox_refusals_total{reason=\"SIGNAL_DATA_TOO_LARGE\"}", 2.0),
            ("signalbox_refusals_total{reason=\"SESSION_NOT_FOUND\"}", 2.0),
            ("signalbox_refusals_total{reason=\"SESSION_ID_INVALID\"}", 2.0),
            ("signalbox_refusals_total{reason=\"CONNECTION_NOT_FOUND\"}", 1.0),
            ("signalbox_refusals_total{reason=\"SESSION_FULL\"}", 0.0),
            ("signalbox_signals_total{source=\"client\"}", 0.0),
        ],
    )
    .await;
    comes_to(&server, "signalbox_closes_total{reason=\"SESSION_ID_INVALID\"}", 1.0).await;
}

#[tokio::test]
async fn closes_are_counted_by_reason() {
    let server = TestServer::start().await;
    let leaves = server.join("s").enter().await;
    leaves.frame(Frame::Leave(proto::Leave {}));
    assert!(leaves.end().await.status.is_none());

    let disconnected = server.join("s").enter().await;
    let request = proto::DisconnectConnectionRequest { session_id: "s".into(), connection_id: disconnected.id() };
    server.sessions().disconnect_connection(request).await.unwrap();
    disconnected.end().await;

    let taken_over = server.join("s").window(MINUTE).enter().await;
    let back = server.join("s").resume(taken_over.memory()).enter().await;
    taken_over.end().await;

    let wrong = server.join("s").enter().await;
    wrong.request(proto::JoinRequest { frame: None });
    wrong.end().await;

    drop(back);
    for reason in ["LEFT", "FORCE_DISCONNECTED", "CONNECTION_TAKEN_OVER", "FRAME_INVALID", "BROKEN"] {
        comes_to(&server, &format!("signalbox_closes_total{{reason=\"{reason}\"}}"), 1.0).await;
    }
    let (_, page) = server.get("/metrics").await;
    let closes = page.lines().filter(|line| line.starts_with("signalbox_closes_total{"));
    let sum: f64 = closes.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!((sum - 5.0).abs() < f64::EPSILON, "nothing else is counted: {sum}");
}

#[tokio::test]
async fn the_outboxes_depth_is_what_waits_for_slow_readers() {
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    let window = 20_000;
    let raw = Raw::connect(server.address(), window).await;
    let mut slow = raw.join().await;
    slow.frame(Frame::Join(plain_join("s")));
    slow.joined().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let data = "x".repeat(8_000);
    for _ in 0..100 {
        let sent = sender.send("", &data);
        sender.accepted(sent).await;
    }
    slow.stall(window as usize).await;
    // Some are on their way: the window, and what is held for it.
    let (events, bytes) =
        (server.metric("signalbox_outbox_events").await, server.metric("signalbox_outbox_bytes").await);
    assert!((80.0..100.0).contains(&events), "{events} events wait");
    assert!((events * 8_000.0..events * 8_200.0).contains(&bytes), "{bytes} bytes wait in {events} events");
    are(&server, &[("signalbox_outbox_events_max", events)]).await;
    let mut heard = 0;
    while heard < 100 {
        slow.release();
        if matches!(slow.next().await, Some(Event::Signal(_))) {
            heard += 1;
        }
    }
    for metric in ["signalbox_outbox_events", "signalbox_outbox_bytes", "signalbox_outbox_events_max"] {
        comes_to(&server, metric, 0.0).await;
    }
}

#[tokio::test]
async fn unary_calls_are_timed_by_method_refused_ones_too() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    for session in ["s", "s", "nowhere"] {
        let _ = server.signaling().send_from_server(from_server(session, "x")).await;
    }
    let request = proto::GetSessionRequest { session_id: "s".into() };
    server.sessions().get_session(request).await.unwrap();
    are(
        &server,
        &[
            ("signalbox_unary_seconds_count{method=\"SendFromServer\"}", 3.0),
            ("signalbox_unary_seconds_bucket{method=\"SendFromServer\",le=\"+Inf\"}", 3.0),
            ("signalbox_unary_seconds_count{method=\"GetSession\"}", 1.0),
        ],
    )
    .await;
    let (_, page) = server.get("/metrics").await;
    assert!(!page.contains("signalbox_unary_seconds_count{method=\"ListSessions\"} 1"));
    let took = server.metric("signalbox_unary_seconds_sum{method=\"SendFromServer\"}").await;
    assert!(took > 0.0 && took < 10.0, "{took} seconds");
    // Each bucket holds what those below it hold.
    let buckets =
        page.lines().filter(|line| line.starts_with("signalbox_unary_seconds_bucket{method=\"SendFromServer\""));
    let counts: Vec<u64> = buckets.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(counts.len() > 5 && counts.is_sorted(), "{counts:?}");
}

/// Whether a text is a name of Prometheus' text format.
fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.chars().all(good) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Checks one line of Prometheus' text format: `name{label="value",…} value`.
/// None of our labels has a comma or an escape in it.
fn check_sample(line: &str) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(value.parse::<f64>().is_ok(), "{line}");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
        None => (series, ""),
    };
    let is_known = ["signalbox_", "rpc_server_", "process_"].iter().any(|whose| name.starts_with(whose));
    assert!(is_name(name) && is_known, "{line}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        assert!(is_name(name) && value.is_some_and(|value| !value.contains(['"', '\\'])), "{line}");
    }
}

#[tokio::test]
async fn the_page_is_prometheus_text_and_holds_nothing_that_clients_said() {
    let server = TestServer::start().await;
    let session = "session-marker";
    let mut member = server.join(session).data("connection-marker").enter().await;
    let sent = member.send("type-marker", "data-marker");
    member.accepted(sent).await;
    let request = proto::SendFromServerRequest {
        signal: Some(signal("type-marker", "data-marker")),
        idempotency_key: "key-marker".into(),
        ..from_server(session, "")
    };
    server.signaling().send_from_server(request).await.unwrap();
    let sent = member.send("type marker", "data-marker");
    assert_eq!(member.refusal(sent).await.reason, "SIGNAL_TYPE_INVALID");
    let (status, page) = server.get("/metrics").await;
    assert_eq!(status, 200);
    for line in page.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(comment) => assert!(comment.starts_with(" HELP ") || comment.starts_with(" TYPE "), "{line}"),
            None => check_sample(line),
        }
    }
    for series in ["signalbox_sessions 1", "signalbox_signals_total{source=\"client\"} 1"] {
        assert!(page.lines().any(|line| line == series), "{series} is not in\n{page}");
    }
    assert!(!page.contains("marker"), "{page}");
}
