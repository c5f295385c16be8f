//! What HTTP asks of a server, and what callers do to it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    ON,
    caller::{Caller, ask, connection_path, guarded, request, session_path, signal},
    member,
};
use crate::support::{Stuck, TestServer, soon, within};

#[tokio::test]
async fn other_methods_and_other_paths_are_told_what_there_is() {
    let server = guarded(&[]).await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = ask(&server, request(method, &session_path("s"), &[], "")).await;
        answer.is(405, "FRAME_INVALID", "only POST");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    for method in ["GET", "POST"] {
        let answer = ask(&server, request(method, &connection_path("s", "c"), &[], "")).await;
        answer.is(405, "FRAME_INVALID", "only DELETE");
        assert_eq!(answer.header("allow"), Some("DELETE"), "{method}");
    }
    // Whoever asks, what isn't there isn't there.
    for path in ["/", "/v2/project/x/archive", "/session/create", "/metrics", "/v2/project/k/session/s/signal/"] {
        for header in ["X-OPENTOK-AUTH", "X-OPENTOK-AUTH: x"] {
            ask(&server, request("POST", path, &[header], "{}")).await.is(404, "FRAME_INVALID", "/v2/project/KEY");
        }
    }
}

#[tokio::test]
async fn a_connection_takes_many_calls_one_after_the_other_and_at_once() {
    let server = guarded(&[]).await;
    let mut member = member(&server).await;
    let mut caller = Caller::new(server.rest()).await;
    // Refused ones do it no harm.
    for _ in 0..3 {
        caller.ask(signal("s", "kept")).await.is_done();
        caller.ask(signal("nowhere", "x")).await.is(404, "SESSION_NOT_FOUND", "");
        caller.ask(request("POST", &session_path("s"), &["X-OPENTOK-AUTH"], "{}")).await.is(403, "TOKEN_MISSING", "");
        caller.ask(request("PUT", &session_path("s"), &[], "")).await.is(405, "FRAME_INVALID", "");
        caller.ask(request("DELETE", &connection_path("s", "x"), &[], "")).await.is(404, "CONNECTION_NOT_FOUND", "");
        assert_eq!(member.heard().await, "kept");
    }
    // Nor if what is refused comes later than its head.
    for asked in [
        request("POST", &session_path("s"), &["X-OPENTOK-AUTH", "Content-Length: 12"], ""),
        request("POST", "/nowhere", &["Content-Length: 12"], ""),
        request("DELETE", &connection_path("s", "x"), &["Content-Length: 12"], ""),
    ] {
        caller.write(asked).await;
        ask(&server, request("PUT", "/", &[], "")).await.is(404, "FRAME_INVALID", "");
        let answer = caller.ask("{\"data\":\"x\"}").await;
        assert!((403..=404).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("connection"), None, "{answer:?}");
    }
    // All asked before the first answer is read: answers and signals in that order.
    let all: String = (0..50)
        .map(|number| if number % 5 == 4 { signal("nowhere", "x") } else { signal("s", &number.to_string()) })
        .collect();
    caller.write(&all).await;
    for number in 0..50 {
        let answer = caller.next().await.unwrap();
        if number % 5 == 4 {
            answer.is(404, "SESSION_NOT_FOUND", "");
        } else {
            answer.is_done();
            assert_eq!(member.heard().await, number.to_string());
        }
    }
    // HTTP/1.0 is not kept, unless asked for.
    caller.ask(signal("s", "last").replace("HTTP/1.1", "HTTP/1.0")).await.is_done();
    caller.closed().await;
}

#[tokio::test]
async fn bodies_come_in_pieces_or_not_at_all() {
    let server = guarded(&[]).await;
    let mut member = member(&server).await;
    let mut caller = Caller::new(server.rest()).await;
    let chunked = request("POST", &session_path("s"), &["Transfer-Encoding: chunked"], "7\r\n{\"data\"\r\n");
    caller.write(chunked).await;
    caller.ask("8\r\n:\"chu\",}\r\n0\r\n\r\n").await.is(400, "FRAME_INVALID", "line 1");
    let chunked = request("POST", &session_path("s"), &["Transfer-Encoding: chunked"], "7\r\n{\"data\"\r\n");
    caller.write(chunked).await;
    caller.ask("6\r\n:\"chu\"\r\n1;x=y\r\n}\r\n0\r\n\r\n").await.is_done();
    assert_eq!(member.heard().await, "chu");
    for byte in signal("s", "slow").bytes() {
        caller.write([byte]).await;
    }
    caller.next().await.unwrap().is_done();
    assert_eq!(member.heard().await, "slow");
    let expects = request("POST", &session_path("s"), &["Content-Length: 12", "Expect: 100-continue"], "");
    assert_eq!(caller.ask(expects).await.status, 100);
    caller.ask(r#"{"data":"x"}"#).await.is_done();
    assert_eq!(member.heard().await, "x");
    for kind in ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type"] {
        let answer = ask(&server, request("POST", &session_path("s"), &[kind], r#"{"data":"x"}"#)).await;
        answer.is(415, "FRAME_INVALID", "application/json");
    }
    // What ends in its midst is nothing.
    caller.write(request("POST", &session_path("s"), &["Content-Length: 100"], r#"{"data":"x"}"#)).await;
    caller.stream.shutdown().await.unwrap();
    if let Some(answer) = caller.next().await {
        answer.is(400, "FRAME_INVALID", "can't be read");
    }
    server.nothing_reached(&mut member, "s").await;
}

#[tokio::test]
async fn too_large_a_body_is_told_so_and_too_large_a_head_is() {
    let server = guarded(&[]).await;
    let mut bystander = member(&server).await;
    let mut caller = Caller::new(server.rest()).await;
    let padded = |bytes: usize| {
        let body = json!({ "data": "x" }).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let post = |body: &str| request("POST", &session_path("s"), &[], body);
    caller.ask(post(&padded(65_536))).await.is_done();
    assert_eq!(bystander.heard().await, "x");
    // Whoever sends all of it before it listens hears why, and goes on.
    for bytes in [65_537, 1_000_000] {
        let said = format!("{bytes} bytes or more; the limit is 65536");
        caller.ask(post(&padded(bytes))).await.is(413, "FRAME_INVALID", &said);
    }
    caller.ask(signal("s", "still here")).await.is_done();
    assert_eq!(bystander.heard().await, "still here");
    // Far too much isn't read, nor is what waits to be asked for.
    for headers in [&["Content-Length: 1048577"][..], &["Content-Length: 70000", "Expect: 100-continue"]] {
        let mut caller = Caller::new(server.rest()).await;
        let answer = caller.ask(request("POST", &session_path("s"), headers, "")).await;
        answer.is(413, "FRAME_INVALID", "the limit is 65536");
        assert_eq!(answer.header("connection"), Some("close"));
        caller.closed().await;
    }
    // Nor is an endless one.
    let mut caller = Caller::new(server.rest()).await;
    caller.write(request("POST", &session_path("s"), &["Transfer-Encoding: chunked"], "")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
    for _ in 0..17 {
        // It may be closed by now.
        let _ = soon("a write", caller.stream.write_all(chunk.as_bytes())).await;
    }
    if let Some(answer) = caller.next().await {
        answer.is(413, "FRAME_INVALID", "the limit is 65536");
    }
    // Heads: of one header, of many, of a path.
    let long = "x".repeat(70_000);
    let many: Vec<_> = (0..200).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let header = format!("X-Long: {long}");
    for (what, asked) in [
        ("a header", request("DELETE", &connection_path("s", "c"), &[&header], "")),
        ("headers", request("DELETE", &connection_path("s", "c"), &many, "")),
        ("a path", request("DELETE", &connection_path(&long, "c"), &[], "")),
    ] {
        let mut caller = Caller::new(server.rest()).await;
        let _ = soon("a write", caller.stream.write_all(asked.as_bytes())).await;
        if let Some(answer) = caller.next().await {
            assert!(matches!(answer.status, 414 | 431), "{what}: {answer:?}");
        }
        caller.closed().await;
    }
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn who_says_nothing_or_too_slowly_is_let_go() {
    let server = guarded(&[]).await;
    let mut bystander = member(&server).await;
    let begun = Instant::now();
    let body = r#"{"data":"x"}"#;
    let mut silent = Caller::new(server.rest()).await;
    let mut slow_head = Caller::new(server.rest()).await;
    slow_head.write(&signal("s", "x")[..30]).await;
    let mut idle = Caller::new(server.rest()).await;
    idle.ask(signal("s", "hello")).await.is_done();
    let mut slow_body = Caller::new(server.rest()).await;
    slow_body.write(request("POST", &session_path("s"), &["Content-Length: 12"], &body[..11])).await;
    let limit = Duration::from_secs(20);
    let (silent, head, idle, answer) = tokio::join!(
        within(limit, "the end of a silent one", silent.read()),
        within(limit, "the end of a slow head", slow_head.read()),
        within(limit, "the end of an idle one", idle.read()),
        within(limit, "the answer to a slow body", slow_body.read()),
    );
    let took = begun.elapsed();
    assert!(silent.is_none() && head.is_none() && idle.is_none(), "{silent:?} {head:?} {idle:?}");
    let answer = answer.expect("an answer to a slow body");
    answer.is(408, "FRAME_INVALID", "10s");
    assert_eq!(answer.header("connection"), Some("close"));
    slow_body.closed().await;
    assert!(took >= Duration::from_millis(9_500), "{took:?}: they have ten seconds");
    assert_eq!(bystander.heard().await, "hello");
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let server = guarded(&[]).await;
    let mut bystander = member(&server).await;
    let mut kept = Caller::new(server.rest()).await;
    let smuggled = signal("s", "x").replace("Host: rest", "Host: rest\r\nTransfer-Encoding: chunked");
    let two_lengths = signal("s", "x").replace("Host: rest", "Host: rest\r\nContent-Length: 3");
    let no_number = signal("s", "x").replace("Content-Length: ", "Content-Length: -");
    let bad_chunk = request("POST", &session_path("s"), &["Transfer-Encoding: chunked"], "zz\r\n{}\r\n0\r\n\r\n");
    let spaced = signal("s", "x").replace("Host: rest", "Host : rest");
    let folded = signal("s", "x").replace("Host: rest", "Host: rest\r\n  more");
    for garbage in [
        &b"\0\x01\x02\xff\xfe\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v2/project/k/session/s/signal\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST /\xff HTTP/1.1\r\n\r\n",
        b"CONNECT rest:443 HTTP/1.1\r\nHost: rest\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: rest\r\n\r\n",
        no_number.as_bytes(),
        two_lengths.as_bytes(),
        bad_chunk.as_bytes(),
        spaced.as_bytes(),
        folded.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(garbage).into_owned();
        let mut caller = Caller::new(server.rest()).await;
        caller.write(garbage).await;
        caller.stream.shutdown().await.unwrap();
        if let Some(answer) = caller.next().await {
            assert!((400..500).contains(&answer.status), "{shown:?}: {answer:?}");
        }
    }
    // By both at once, the chunks count: as JSON they are none.
    let mut caller = Caller::new(server.rest()).await;
    caller.write(smuggled).await;
    if let Some(answer) = caller.next().await {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    kept.ask(signal("s", "unharmed")).await.is_done();
    assert_eq!(bystander.heard().await, "unharmed");
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn a_drain_tells_callers_to_come_back_and_ends() {
    let mut server = TestServer::with(&[&ON[..], &["--drain-timeout", "5m"]].concat()).await;
    let stuck = Stuck::enter(&server, None).await;
    let member = server.join("s").enter().await;
    let mut idle = Caller::new(server.rest()).await;
    idle.ask(signal("s", "before")).await.is_done();
    let mut slow = Caller::new(server.rest()).await;
    let body = r#"{"data":"late"}"#;
    let late = request("POST", &session_path("s"), &[&format!("Content-Length: {}", body.len())], "");
    slow.write(&late).await;
    let mut silent = Caller::new(server.rest()).await;
    // Accepted in their order: the others' heads are read when this is answered.
    ask(&server, signal("s", "before")).await.is_done();
    server.shut_down();
    let heard = member.end().await;
    assert!(!format!("{heard:?}").contains("late"));
    idle.closed().await;
    // New ones and those on their way are answered, and told to go.
    let disconnect = request("DELETE", &connection_path("s", &stuck.id()), &[], "");
    let answers = [
        slow.next().await.unwrap(),
        silent.ask(signal("s", "late")).await,
        ask(&server, signal("s", "late")).await,
        ask(&server, disconnect).await,
    ];
    for answer in answers {
        answer.is(503, "GOING_AWAY", "come back");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=31).contains(&after), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    }
    for caller in [slow, silent] {
        caller.closed().await;
    }
    // One that says nothing doesn't hold it.
    let holding = Caller::new(server.rest()).await;
    stuck.vanish().await;
    server.stopped().await;
    holding.closed().await;
}
