//! OpenTok's REST calls: what they do and answer. What HTTP asks of them is in
//! `http`; that OpenTok's own libraries are content, in `tests/interop`.

pub(crate) mod caller;
mod http;

use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    Event, Member, TestServer, Wrong,
    proto::{self, ClientAction, DisconnectReason},
    redis::RedisServer,
    within,
};
use caller::{
    Caller, KEY, ON, SECRET, ask, claims, connection_path, guarded, now, request, session_path, signal, signed, token,
    unsigned,
};

async fn member(server: &TestServer) -> Member {
    server.join("s").without_connection_events().enter().await
}

/// What a member hears next.
async fn heard(member: &mut Member) -> (Option<String>, String, String) {
    let signal = member.signal().await;
    let proto::Signal { r#type, data } = signal.signal.unwrap();
    (signal.from_connection_id, r#type, data)
}

fn from_nobody(kind: &str, data: &str) -> (Option<String>, String, String) {
    (None, kind.to_owned(), data.to_owned())
}

#[tokio::test]
async fn a_signal_reaches_a_session_or_one_connection_from_nobody() {
    let server = guarded(&[]).await;
    let (mut one, mut other) = (member(&server).await, member(&server).await);
    let mut elsewhere = server.join("t").without_connection_events().enter().await;
    ask(&server, signal("s", "to all")).await.is_done();
    for member in [&mut one, &mut other] {
        assert_eq!(heard(member).await, from_nobody("chat", "to all"));
    }
    let path = connection_path("s", &one.id()) + "/signal";
    ask(&server, request("POST", &path, &[], r#"{"data":"to \u00e9ne","extra":1}"#)).await.is_done();
    assert_eq!(heard(&mut one).await, from_nobody("", "to \u{e9}ne"));
    server.nothing_reached(&mut other, "s").await;
    server.nothing_reached(&mut elsewhere, "t").await;
    let large = "x".repeat(8_192);
    let body = json!({ "type": "~".repeat(128), "data": large }).to_string();
    ask(&server, request("POST", &session_path("s"), &[], &body)).await.is_done();
    assert_eq!(heard(&mut other).await, from_nobody(&"~".repeat(128), &large));
}

#[tokio::test]
async fn a_session_of_any_name_is_reached_by_its_encoded_path() {
    let server = guarded(&[]).await;
    let mut member = server.join("a/b?c#%\"{}").enter().await;
    let path = session_path("a%2Fb%3Fc%23%25%22%7b%7D");
    ask(&server, request("POST", &(path.clone() + "?query=1"), &[], r#"{"data":"x"}"#)).await.is_done();
    ask(&server, request("POST", &format!("http://rest{path}"), &[], r#"{"data":"y"}"#)).await.is_done();
    assert_eq!([member.heard().await, member.heard().await], ["x", "y"]);
}

#[tokio::test]
async fn a_disconnected_connection_is_told_so_and_so_are_the_others() {
    let server = guarded(&[]).await;
    let mut witness = server.join("s").enter().await;
    let victim = server.join("s").window(Duration::from_secs(60)).enter().await;
    assert!(matches!(witness.next().await, Event::ConnectionCreated(_)));
    let id = victim.id();
    ask(&server, request("DELETE", &connection_path("s", &id), &[], "")).await.is_done();
    let wrong = Wrong::new(Code::Aborted, "FORCE_DISCONNECTED", "", &["backend"]);
    victim.end().await.check(&wrong, ClientAction::Stop);
    let Event::ConnectionDestroyed(destroyed) = witness.next().await else { panic!("not destroyed") };
    assert_eq!((destroyed.connection_id.as_str(), destroyed.reason()), (&*id, DisconnectReason::ForceDisconnected));
    // Gone is gone.
    let again = ask(&server, request("DELETE", &connection_path("s", &id), &[], "")).await;
    again.is(404, "CONNECTION_NOT_FOUND", "");
}

#[tokio::test]
async fn what_is_wrong_with_a_call_has_its_status_and_says_why() {
    let server = guarded(&[]).await;
    let mut bystander = member(&server).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let post = |path: &str, body: &str| request("POST", path, &[], body);
    let to = |connection: &str| connection_path("s", connection) + "/signal";
    let good = r#"{"data":"x"}"#;
    let data = json!({ "data": "x".repeat(8_193) }).to_string();
    let kind = json!({ "data": "x", "type": "t".repeat(129) }).to_string();
    let long = "c".repeat(129);
    for (asked, status, reason, says) in [
        (post(&session_path("s"), "{"), 400, "FRAME_INVALID", "line 1, column 1"),
        (post(&session_path("s"), r#"{"type":"chat"}"#), 400, "FRAME_INVALID", "`data`"),
        (post(&session_path("s"), r#"{"data":7}"#), 400, "FRAME_INVALID", "no string"),
        (post(&session_path("s"), r#"{"data":"x","type":"a b"}"#), 400, "SIGNAL_TYPE_INVALID", "' ' at byte 1"),
        (post(&session_path("a%20b"), good), 400, "SESSION_ID_INVALID", "' ' at byte 1"),
        (post(&session_path(""), good), 400, "SESSION_ID_INVALID", "empty"),
        (post(&session_path("%ff"), good), 400, "SESSION_ID_INVALID", "UTF-8"),
        (post(&to(""), good), 400, "RECIPIENTS_INVALID", "empty"),
        (post(&to("%ff"), good), 400, "RECIPIENTS_INVALID", "UTF-8"),
        (post(&to(&long), good), 400, "RECIPIENTS_INVALID", "129"),
        (post(&session_path("nowhere"), good), 404, "SESSION_NOT_FOUND", ""),
        (post(&to(nobody), good), 404, "CONNECTION_NOT_FOUND", ""),
        (post(&to("no-such-id"), good), 404, "CONNECTION_NOT_FOUND", ""),
        (post(&session_path("s"), &data), 413, "SIGNAL_DATA_TOO_LARGE", "8193 bytes of UTF-8; the limit is 8192"),
        (post(&session_path("s"), &kind), 413, "SIGNAL_TYPE_TOO_LARGE", "129 bytes; the limit is 128"),
        (request("DELETE", &connection_path("s", nobody), &[], ""), 404, "CONNECTION_NOT_FOUND", ""),
        (request("DELETE", &connection_path("s", "x"), &[], ""), 404, "CONNECTION_NOT_FOUND", ""),
        (request("DELETE", &connection_path("nowhere", nobody), &[], ""), 404, "SESSION_NOT_FOUND", ""),
        (request("DELETE", &connection_path("a%20b", nobody), &[], ""), 400, "SESSION_ID_INVALID", ""),
        (request("DELETE", &connection_path("s", ""), &[], ""), 400, "RECIPIENTS_INVALID", "empty"),
    ] {
        let answer = ask(&server, &asked).await;
        assert_eq!(answer.status, status, "{asked}\n{answer:?}");
        answer.is(status, reason, says);
    }
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn only_a_projects_token_opens_its_path() {
    let server = guarded(&[]).await;
    let mut bystander = member(&server).await;
    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signed(&claims, SECRET)
    };
    let other = SECRET.replace('0', "f");
    let others = signed(&json!({ "iss": "other", "ist": "project", "exp": now() + 60 }), &other);
    let without_exp = signed(&json!({ "iss": KEY, "ist": "project" }), SECRET);
    let path = |key: &str| format!("/v2/project/{key}/session/s/signal");
    let wrong = [
        (KEY, format!("X-OPENTOK-AUTH: {}", signed(&claims(), &other)), "TOKEN_INVALID", "signature"),
        (KEY, format!("X-OPENTOK-AUTH: {others}"), "TOKEN_INVALID", "signature"),
        ("other", format!("X-OPENTOK-AUTH: {}", token()), "TOKEN_INVALID", "signature"),
        ("nobody", format!("X-OPENTOK-AUTH: {}", token()), "TOKEN_INVALID", "no project"),
        ("%ff", format!("X-OPENTOK-AUTH: {}", token()), "TOKEN_INVALID", "UTF-8"),
        ("", format!("X-OPENTOK-AUTH: {}", token()), "TOKEN_INVALID", "no project"),
        (KEY, format!("X-OPENTOK-AUTH: {}", changed("iss", json!("other"))), "TOKEN_INVALID", "iss"),
        (KEY, format!("X-OPENTOK-AUTH: {}", changed("ist", json!("account"))), "TOKEN_INVALID", "ist"),
        (KEY, format!("X-OPENTOK-AUTH: {}", changed("iat", json!(now() + 600))), "TOKEN_INVALID", "iat"),
        (KEY, format!("X-OPENTOK-AUTH: {}", changed("nbf", json!(now() + 600))), "TOKEN_INVALID", "nbf"),
        (KEY, format!("X-OPENTOK-AUTH: {}", changed("exp", json!(now() - 31))), "TOKEN_EXPIRED", "30 s"),
        (KEY, format!("X-OPENTOK-AUTH: {without_exp}"), "TOKEN_INVALID", "exp"),
        (KEY, format!("X-OPENTOK-AUTH: {}", unsigned()), "TOKEN_INVALID", "algorithm"),
        (KEY, "X-OPENTOK-AUTH: a.b.c".to_owned(), "TOKEN_INVALID", ""),
        (KEY, "X-OPENTOK-AUTH: \u{e9}".to_owned(), "TOKEN_INVALID", ""),
        (KEY, "X-OPENTOK-AUTH:".to_owned(), "TOKEN_INVALID", ""),
        (KEY, format!("X-OPENTOK-AUTH: {0}\r\nX-OPENTOK-AUTH: {0}", token()), "TOKEN_INVALID", "more than one"),
        // No `:`: there is none at all.
        (KEY, "X-OPENTOK-AUTH".to_owned(), "TOKEN_MISSING", "X-OPENTOK-AUTH"),
        (KEY, format!("X-OPENTOK-AUTH\r\nAuthorization: Bearer {}", token()), "TOKEN_MISSING", ""),
        (KEY, format!("X-OPENTOK-AUTH\r\nX-TB-PARTNER-AUTH: {KEY}:{SECRET}"), "TOKEN_MISSING", ""),
    ];
    for (key, header, reason, says) in &wrong {
        let headers: Vec<_> = header.split("\r\n").collect();
        let answer = ask(&server, request("POST", &path(key), &headers, r#"{"data":"x"}"#)).await;
        answer.is(403, reason, says);
        assert!(!answer.body.contains(&SECRET[..8]), "{answer:?}");
    }
    // A token opens nothing else either, and is asked for before anything is told.
    for path in [connection_path("nowhere", &bystander.id()), connection_path("s", &bystander.id())] {
        ask(&server, request("DELETE", &path, &["X-OPENTOK-AUTH"], "")).await.is(403, "TOKEN_MISSING", "");
    }
    let refused = server.metric("signalbox_refusals_total{reason=\"TOKEN_MISSING\"}").await;
    assert!((refused - 5.0).abs() < f64::EPSILON, "{refused}");
    server.nothing_reached(&mut bystander, "s").await;
    // Within the leeway, and by a key that a number is.
    for token in
        [changed("exp", json!(now() - 20)), changed("iat", json!(now() + 20)), changed("iss", json!(47_345_601))]
    {
        let header = format!("X-OPENTOK-AUTH: {token}");
        ask(&server, request("POST", &path(KEY), &[&header], r#"{"data":"x"}"#)).await.is_done();
    }
}

#[tokio::test]
async fn without_keys_the_header_is_not_looked_at() {
    let server = TestServer::with(&ON).await;
    let mut member = member(&server).await;
    for header in ["X-OPENTOK-AUTH", "X-OPENTOK-AUTH: anything"] {
        let path = "/v2/project/any/session/s/signal";
        ask(&server, request("POST", path, &[header], r#"{"data":"x"}"#)).await.is_done();
        assert_eq!(heard(&mut member).await, from_nobody("", "x"));
    }
}

#[tokio::test]
async fn an_idempotency_key_has_a_call_done_once() {
    let server = guarded(&[]).await;
    let mut member = member(&server).await;
    let send = |key: &str, data: &str| {
        let body = json!({ "data": data }).to_string();
        request("POST", &session_path("s"), &[&format!("Idempotency-Key: {key}")], &body)
    };
    for (key, data) in [("one", "first"), ("one", "again"), ("two", "second"), ("", "third"), ("", "fourth")] {
        ask(&server, send(key, data)).await.is_done();
    }
    for data in ["first", "second", "third", "fourth"] {
        assert_eq!(heard(&mut member).await, from_nobody("", data));
    }
    ask(&server, send(&"k".repeat(129), "x")).await.is(400, "IDEMPOTENCY_KEY_INVALID", "129 bytes; the limit is 128");
    ask(&server, send("\u{e9}", "x")).await.is(400, "IDEMPOTENCY_KEY_INVALID", "ASCII");
    server.nothing_reached(&mut member, "s").await;
}

#[tokio::test]
async fn calls_are_measured_and_counted() {
    let server = guarded(&[]).await;
    let member = member(&server).await;
    ask(&server, signal("s", "x")).await.is_done();
    ask(&server, signal("nowhere", "x")).await;
    ask(&server, request("DELETE", &connection_path("s", &member.id()), &[], "")).await.is_done();
    ask(&server, request("GET", "/", &[], "")).await;
    for (metric, value) in [
        ("signalbox_signals_total{source=\"server\"}", 1.0),
        ("signalbox_unary_seconds_count{method=\"RestSignal\"}", 2.0),
        ("signalbox_unary_seconds_count{method=\"RestDisconnect\"}", 1.0),
        ("signalbox_refusals_total{reason=\"SESSION_NOT_FOUND\"}", 1.0),
        ("signalbox_refusals_total{reason=\"FRAME_INVALID\"}", 1.0),
    ] {
        let is = server.metric(metric).await;
        assert!((is - value).abs() < f64::EPSILON, "{metric} is {is}, not {value}");
    }
}

#[tokio::test]
async fn while_redis_is_away_callers_are_told_when_to_come_back() {
    let Some(mut redis) = RedisServer::start() else { return };
    let server = TestServer::on(&redis, &ON).await;
    let _member = member(&server).await;
    ask(&server, signal("s", "x")).await.is_done();
    redis.kill();
    let mut caller = Caller::new(server.rest()).await;
    let away = async {
        loop {
            let answer = caller.ask(signal("s", "x")).await;
            if answer.status != 204 {
                return answer;
            }
        }
    };
    let answer = within(Duration::from_secs(40), "a refusal", away).await;
    answer.is(503, "ENGINE_UNAVAILABLE", "");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{answer:?}");
    // The connection is as good as before.
    caller.ask(signal("s", "x")).await.is(503, "ENGINE_UNAVAILABLE", "");
}
