//! The status: what `/status.json` says, and how `/status` comes.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Frame, Stuck, TestServer, from_server, proto, soon};

const MINUTE: Duration = Duration::from_secs(60);

/// Head and body of an answer to a caller who knows the server by this name.
async fn ask_as(server: &TestServer, host: &str, path: &str) -> (String, String) {
    let mut answer = String::new();
    soon("an answer of the admin port", async {
        let mut stream = TcpStream::connect(server.admin()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    })
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// What it says about these sessions; an answer for too many questions is asked again.
async fn status(server: &TestServer, query: &str) -> Value {
    soon("a status", async {
        loop {
            match server.get(&format!("/status.json?{query}")).await {
                (200, body) => return serde_json::from_str(&body).unwrap(),
                (429, _) => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    })
    .await
}

/// What it says once that is so: a look is good for most of a second.
async fn until(server: &TestServer, query: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    soon(what, async {
        loop {
            let status = status(server, query).await;
            if is_so(&status) {
                return status;
            }
        }
    })
    .await
}

fn names(status: &Value) -> Vec<&str> {
    let rows = status["sessions"]["rows"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn it_says_what_there_is() {
    let server = TestServer::start().await;
    let _pair = (server.join("pair").enter().await, server.join("pair").enter().await);
    let lost = server.join("lost").window(MINUTE).enter().await;
    let leaves = server.join("pair").enter().await;
    leaves.frame(Frame::Leave(proto::Leave {}));
    assert!(leaves.end().await.status.is_none());
    server.signaling().send_from_server(from_server("pair", "hello")).await.unwrap();
    server.signaling().send_from_server(from_server("nowhere", "hello")).await.unwrap_err();
    let (many_nodes, kept) = (server.has_many_nodes(), lost.memory());
    let _ = lost.lose();
    let is_lost = |status: &Value| match many_nodes {
        true => status["totals"]["connected"] == 2 && status["totals"]["sessions"] == 1,
        false => status["totals"]["interrupted"] == 1,
    };
    let status = until(&server, "sort=name&order=last", "a lost stream", is_lost).await;
    assert_eq!(status["version"], 1);
    let node = &status["node"];
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(node["address"], server.address().to_string());
    assert_eq!((&node["state"], &node["why"]), (&Value::from("ready"), &Value::Null));
    assert!(node["uptime_seconds"].as_f64().unwrap() > 0.0 && node["workers"].as_u64().unwrap() >= 1, "{node}");
    assert_eq!(node["name"].is_string(), many_nodes);
    assert_eq!(status["engine"]["kind"], if many_nodes { "redis" } else { "memory" });
    assert_eq!(status["engine"]["answers"]["count"].is_u64(), many_nodes);
    assert_eq!(status["engine"]["figures"]["partitions_away"].is_f64(), many_nodes);
    let totals = &status["totals"];
    assert_eq!((&totals["connected"], &totals["streams"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(totals["signals"], serde_json::json!({"server": 1}));
    assert_eq!(totals["refusals"], serde_json::json!({"SESSION_NOT_FOUND": 1}));
    assert_eq!((&totals["closes"]["LEFT"], &totals["joins"]["new"]), (&Value::from(1), &Value::from(4)));
    assert!(totals["deliveries"].as_u64().unwrap() >= 2, "{totals}");
    assert!(status["memory"]["limit"].as_u64().unwrap() > 0, "{}", status["memory"]);
    assert!(status["process"]["memory_bytes"].as_u64().unwrap() > 0, "{}", status["process"]);
    assert_eq!(names(&status), if many_nodes { vec!["pair"] } else { vec!["pair", "lost"] });
    let pair = &status["sessions"]["rows"][0];
    // Three came, one left, one signal.
    assert_eq!((&pair["connected"], &pair["sequence"]), (&Value::from(2), &Value::from(5)));
    assert!(
        pair["epoch"].as_u64().unwrap() > 1_000_000 && (0.0..60.0).contains(&pair["age_seconds"].as_f64().unwrap())
    );
    if !many_nodes {
        let lost = &status["sessions"]["rows"][1];
        assert_eq!((&lost["connected"], &lost["interrupted"]), (&Value::from(0), &Value::from(1)));
    }
    assert!(!status.to_string().contains(&kept.resume_token), "nothing secret is in it");
}

#[tokio::test]
async fn sessions_are_asked_for_by_number_order_and_name_and_rated_by_their_events() {
    let server = TestServer::start().await;
    let mut members = Vec::new();
    for number in 0..12 {
        for _ in 0..=number % 3 {
            members.push(server.join(&format!("Room-{number:02}")).without_connection_events().enter().await);
        }
    }
    let first = status(&server, "sessions=4&sort=connections").await;
    assert_eq!(names(&first), ["Room-02", "Room-05", "Room-08", "Room-11"]);
    assert_eq!((&first["sessions"]["matching"], &first["sessions"]["looked_at"]), (&12.into(), &12.into()));
    assert_eq!(names(&status(&server, "filter=rOOm-1&sort=name&order=last").await), ["Room-11", "Room-10"]);
    assert_eq!(names(&status(&server, "sessions=0").await), [""; 0]);
    for _ in 0..5 {
        server.signaling().send_from_server(from_server("Room-07", "x")).await.unwrap();
    }
    let is_rated = |status: &Value| !status["sessions"]["rates_over_seconds"].is_null();
    let rated = until(&server, "sessions=1", "rates", is_rated).await;
    assert_eq!(names(&rated), ["Room-07"]);
    let over = rated["sessions"]["rates_over_seconds"].as_f64().unwrap();
    let rate = rated["sessions"]["rows"][0]["events_per_second"].as_f64().unwrap();
    assert!((rate * over - 5.0).abs() < 1e-6, "{rate} in {over} s");
}

#[tokio::test]
async fn a_bad_question_is_told_what_is_wrong_with_it() {
    let server = TestServer::start().await;
    for (query, says) in [
        ("sessions=1001", "between 0 and 1000"),
        ("sort=size", "connections"),
        ("order=up", "first, last"),
        ("filter=%FF", "ASCII"),
        ("what=1", "sessions, sort, order, filter"),
    ] {
        let (status, body) = server.get(&format!("/status.json?{query}")).await;
        assert!(status == 400 && body.contains(says), "{query}: {status} {body}");
    }
}

#[tokio::test]
async fn many_questions_at_once_are_answered_from_one_look_or_told_to_come_back() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    let asked = (0..60).map(|number| {
        let (server, path) = (&server, format!("/status.json?filter={number}"));
        async move { ask_as(server, "127.0.0.1", &path).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    let refused: Vec<_> = answers.iter().filter(|(head, _)| head.starts_with("http/1.1 429 ")).collect();
    assert!(!refused.is_empty(), "60 different ones are more than 16 a look");
    assert!(refused.iter().all(|(head, _)| head.contains("\r\nretry-after: 1")), "{refused:?}");
    let answered = answers.iter().filter(|(head, _)| head.starts_with("http/1.1 200 "));
    let looks: BTreeSet<_> = answered
        .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["taken_at"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(looks.len(), 1, "{looks:?}");
}

#[tokio::test]
async fn a_reader_that_reads_nothing_is_named_with_what_waits_for_it() {
    let server = TestServer::start().await;
    let stuck = Stuck::enter(&server, Some(MINUTE)).await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    for _ in 0..40 {
        let sent = sender.send("", "something");
        sender.accepted(sent).await;
    }
    let waits = |status: &Value| status["readers"][0]["events"] == 40 && status["readers"][0]["waiting_seconds"] != 0.0;
    let status = until(&server, "", "a slow reader", waits).await;
    let reader = &status["readers"][0];
    assert_eq!(reader["session"], "s");
    assert_eq!(reader["connection"], stuck.id());
    let full = reader["full"].as_f64().unwrap();
    assert!((full - 40.0 / 1_024.0).abs() < 1e-9, "{full}");
    let (bytes, since) = (reader["bytes"].as_u64().unwrap(), reader["waiting_seconds"].as_f64().unwrap());
    assert!(bytes > 40 * 9 && since > 0.5 && since < reader["age_seconds"].as_f64().unwrap(), "{reader}");
    assert_eq!(status["readers"].as_array().unwrap().len(), 1, "who reads is not in it");
    assert_eq!((&status["outboxes"]["events"], &status["outboxes"]["most_events"]), (&40.into(), &40.into()));
}

#[tokio::test]
async fn the_page_comes_with_what_it_may_do_and_the_status_without_leave_for_others() {
    let server = TestServer::start().await;
    for path in ["/", "/status"] {
        let (head, body) = ask_as(&server, "localhost:9464", path).await;
        assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
        assert!(
            head.contains("content-security-policy: default-src 'none'; connect-src 'self'; base-uri 'none'"),
            "{head}"
        );
        assert!(head.contains("x-content-type-options: nosniff") && head.contains("x-frame-options: deny"), "{head}");
        assert!(body.starts_with("<!doctype html>") && body.contains("status.json"), "{body}");
    }
    let (head, _) = ask_as(&server, "127.0.0.1", "/status.json").await;
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    assert!(!head.contains("access-control"), "{head}");
    for path in ["/", "/status", "/status.json"] {
        let (head, body) = ask_as(&server, "evil.example:9464", path).await;
        assert!(head.starts_with("http/1.1 421 ") && body.contains("localhost"), "{path}: {head}");
    }
    let (head, _) = ask_as(&server, "evil.example", "/metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_drain_shows() {
    let mut server = TestServer::with(&["--drain-timeout", "30s"]).await;
    // It takes its end, but its stream isn't flushed before it reads.
    let _stuck = Stuck::enter(&server, None).await;
    assert_eq!(status(&server, "").await["node"]["state"], "ready");
    server.shut_down();
    until(&server, "", "a drain", |status| status["node"]["state"] == "draining").await;
}
