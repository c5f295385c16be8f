//! `Subscribe`: the events of a `Join`, and how such a stream ends.

use std::time::Duration;

use http::Request;
use prost::Message as _;
use proto::ClientAction;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};

use super::{Answer, ORIGIN, Page, SERVICE, TRAILERS, accepted, ask, join, leave, send, server, status_of};
use crate::support::{
    Event, Frame, Raw, TestServer, Wrong, from_server, plain_join, prefixed, proto, reason_of, soon, within,
};

/// Longer than a peer may take for a request.
const TOO_LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_page_joins_sends_and_leaves_in_both_encodings() {
    let server = server(&[]).await;
    for is_text in [false, true] {
        let page = Page { is_text, ..Page::of(&server) };
        let mut friend = server.join("s").enter().await;
        let (mut stream, joined) = page.subscribe(join("s")).await;
        let kind = if is_text { "application/grpc-web-text" } else { "application/grpc-web" };
        assert!(stream.header("content-type").starts_with(kind), "{stream:?}");
        let place = accepted(page.send(&send("s", &joined, 1, "from a page")).await.unwrap()).sequence;
        assert_eq!(friend.heard().await, "from a page");
        let Event::Signal(signal) = stream.event().await else { panic!("no signal") };
        assert_eq!((signal.sequence, signal.from_connection_id), (place, Some(leave("s", &joined).connection_id)));
        friend.say("chat", "to a page").await;
        assert_eq!(stream.heard().await, "to a page");
        page.leave(&leave("s", &joined)).await.unwrap();
        assert_eq!(stream.end().await.code(), Code::Ok);
        drop(friend.lose());
        server.until_at_most("signalbox_sessions", 0.0).await;
    }
}

/// The same bytes by `Join`, by `Subscribe` over gRPC, and over gRPC-Web.
#[tokio::test]
async fn events_are_those_of_a_join_byte_for_byte() {
    let server = server(&[]).await;
    let raw = server.raw().await;
    let mut by_join = raw.join().await;
    by_join.frame(Frame::Join(plain_join("s")));
    let mut by_subscribe = raw.call(&format!("{SERVICE}/Subscribe")).await;
    by_subscribe.bytes(prefixed(&proto::SubscribeRequest { join: Some(plain_join("s")) }.encode_to_vec()), true);
    let ids = [by_join.joined().await, by_subscribe.joined().await].map(|joined| leave("s", &joined).connection_id);
    let (mut by_web, joined) = Page::of(&server).subscribe(plain_join("s")).await;

    // From here on all three are there.
    server.signaling().send_from_server(from_server("s", "begin")).await.unwrap();
    let mut other = server.join("s").window(Duration::from_secs(60)).data("other").enter().await;
    other.say("chat", &"long".repeat(1_500)).await;
    let sent = other.send_to(&[&ids[0], &ids[1], &leave("s", &joined).connection_id, "nobody"], "to you");
    other.outcome(sent).await.unwrap();
    let memory = other.lose_before(&mut server.join("s").enter().await).await;
    let other = server.join("s").resume(memory).enter().await;
    other.frame(Frame::Leave(proto::Leave {}));
    other.end().await;
    server.signaling().send_from_server(from_server("s", "end")).await.unwrap();

    let is = |message: &[u8], data: &str| {
        let event = proto::JoinResponse::decode(message).unwrap().event;
        matches!(event, Some(Event::Signal(signal)) if signal.signal.as_ref().unwrap().data == data)
    };
    let mut begun = [false; 3];
    let mut seen: [Vec<Vec<u8>>; 3] = Default::default();
    for at in 0..3 {
        loop {
            let message = match at {
                0 => by_join.next_message().await.unwrap().1.to_vec(),
                1 => by_subscribe.next_message().await.unwrap().1.to_vec(),
                _ => by_web.message().await.unwrap(),
            };
            begun[at] |= is(&message, "begin");
            let is_end = is(&message, "end");
            if begun[at] {
                seen[at].push(message);
            }
            if is_end {
                break;
            }
        }
    }
    assert!(seen[0].len() >= 7, "{} events", seen[0].len());
    assert!(seen[0] == seen[1] && seen[0] == seen[2]);
}

/// Over HTTP/2, which browsers speak over TLS.
#[tokio::test]
async fn grpc_web_is_served_over_http2_too() {
    let server = server(&[]).await;
    let raw = server.raw().await;
    let request = |path: &str, origin: &str| {
        let request = Request::post(format!("http://signalbox{SERVICE}/{path}"));
        request.header("content-type", "application/grpc-web+proto").header("origin", origin)
    };
    let mut stream = raw.request(request("Subscribe", ORIGIN)).await;
    stream.bytes(prefixed(&proto::SubscribeRequest { join: Some(join("s")) }.encode_to_vec()), true);
    let headers = stream.headers().await;
    assert_eq!(headers["access-control-allow-origin"], ORIGIN);
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/grpc-web"));
    let joined = stream.joined().await;

    let mut sent = raw.request(request("Send", ORIGIN)).await;
    sent.bytes(prefixed(&send("s", &joined, 1, "over HTTP/2").encode_to_vec()), true);
    let (_, message) = sent.next_message().await.unwrap();
    accepted(proto::SendResponse::decode(message).unwrap().results.remove(0));
    let (flags, trailers) = sent.next_message().await.unwrap();
    let status = status_of(std::str::from_utf8(&trailers).unwrap());
    assert_eq!((flags, status.code()), (TRAILERS, Code::Ok));
    assert!(matches!(stream.next().await, Some(Event::Signal(_))));

    let mut refused = raw.request(request("Send", "http://evil.example")).await;
    refused.bytes(Vec::new(), true);
    let (status, headers) = refused.head().await;
    assert_eq!((status, headers.get("access-control-allow-origin")), (403, None));
    let preflight = Request::options(format!("http://signalbox{SERVICE}/Send")).header("origin", ORIGIN);
    let mut preflight = raw.request(preflight.header("access-control-request-method", "POST")).await;
    preflight.bytes(Vec::new(), true);
    let (status, headers) = preflight.head().await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (200, &ORIGIN.parse().unwrap()));
    // Beside it, gRPC is what it was.
    server.join("s").enter().await.say("", "hello").await;
}

#[tokio::test]
async fn without_the_flag_there_is_no_grpc_web() {
    let server = TestServer::start().await;
    let mut tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
    tcp.write_all(format!("POST {SERVICE}/Send HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut said = Vec::new();
    // However it ends.
    let _ = soon("the end of the connection", tcp.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP/1"), "{said:?}");
    let request = Request::post(format!("http://signalbox{SERVICE}/Send"));
    let mut stream = server.raw().await.request(request.header("content-type", "application/grpc-web")).await;
    stream.bytes(Vec::new(), true);
    assert_eq!(stream.head().await.0, 415);
}

/// What begins as neither does is answered as without gRPC-Web.
#[tokio::test]
async fn garbage_is_told_so_in_http2() {
    let server = server(&[]).await;
    let mut tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
    tcp.write_all(b"\x16\x03\x01 or whatever it is, of some length").await.unwrap();
    let mut said = Vec::new();
    let _ = soon("the end of the connection", tcp.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP/1"), "{said:?}");
    // In pieces, a preface is still one.
    let mut tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.write_all(b"P").await.unwrap();
    tcp.write_all(b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 4];
    soon("the server's settings", tcp.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "{frame:?} is not of settings");
}

async fn ends_with(stream: Answer<TcpStream>) -> (Option<proto::Closing>, Status) {
    let mut stream = stream;
    let mut closing = None;
    while let Some(message) = stream.message().await {
        match proto::JoinResponse::decode(&message[..]).unwrap().event {
            Some(Event::Closing(last)) => closing = Some(last),
            event => assert!(closing.is_none(), "{event:?} after closing"),
        }
    }
    (closing, stream.end().await)
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream_with_its_reason() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let post = async |body: Vec<u8>| {
        let tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
        let length = body.len().to_string();
        let headers = [("content-type", "application/grpc-web"), ("content-length", &length)];
        ask(tcp, "POST", &format!("{SERVICE}/Subscribe"), &headers, &body).await
    };
    let message = prefixed(&proto::SubscribeRequest { join: Some(join("s")) }.encode_to_vec());
    let cases: [(Vec<u8>, &str, &'static str); 5] = [
        (Vec::new(), "JOIN_REQUIRED", "before a join frame"),
        (prefixed(&[]), "FRAME_INVALID", "empty or of an unknown kind"),
        (message[..message.len() - 1].to_vec(), "FRAME_INVALID", "inside a frame"),
        ([&message[..], &message[..]].concat(), "FRAME_INVALID", "Subscribe takes one"),
        (vec![0; 100_000], "FRAME_INVALID", "65536"),
    ];
    for (body, reason, says) in cases {
        let length = body.len();
        let (closing, status) = ends_with(post(body).await).await;
        assert_eq!((status.code(), reason_of(&status).as_str()), (Code::InvalidArgument, reason), "{length}");
        assert!(status.message().contains(says), "{status:?}");
        // What is too large doesn't come to a stream.
        assert_eq!(closing.is_some(), length != 100_000, "{reason}");
    }
    let bad = page.call("Subscribe", &proto::SubscribeRequest { join: Some(join("")) }).await;
    let (closing, status) = ends_with(bad).await;
    Wrong::argument("SESSION_ID_INVALID", "join.session_id", &["empty"]).check_status(&status);
    assert_eq!(closing.unwrap().action(), ClientAction::Stop);
}

#[tokio::test]
async fn a_page_that_is_closed_is_interrupted_at_once() {
    let server = server(&[]).await;
    let mut onlooker = server.join("s").enter().await;
    let (stream, joined) = Page::of(&server).subscribe(join("s")).await;
    drop(stream);
    let lost = onlooker.find("the interruption", |event| match event {
        Event::ConnectionInterrupted(lost) => Some(lost.connection_id.clone()),
        _ => None,
    });
    assert_eq!(lost.await, leave("s", &joined).connection_id);
}

#[tokio::test]
async fn a_drain_tells_pages_to_come_back() {
    let mut server = server(&[]).await;
    let page = Page::of(&server);
    let (stream, joined) = page.subscribe(join("s")).await;
    // A connection without a call doesn't hold it up.
    let idle = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
    let headers = [("content-length", "0")];
    let answered = ask(idle, "GET", "/", &headers, b"").await;
    assert_eq!(answered.status, 405);
    server.shut_down();
    let (closing, status) = ends_with(stream).await;
    let closing = closing.unwrap();
    assert_eq!((closing.reason.as_str(), closing.action()), ("GOING_AWAY", ClientAction::Resume));
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unavailable, "GOING_AWAY"));
    server.stopped().await;
    drop(joined);
}

/// Nothing is read of what a page doesn't take; what waits for it is bounded, and so is the
/// time.
#[tokio::test]
async fn a_page_that_takes_nothing_is_closed_and_then_cut() {
    let server = server(&["--reader-timeout", "1s", "--outbox-bytes", "100000"]).await;
    let mut onlooker = server.join("s").types(&["no"]).enter().await;
    let (stream, joined) = Page::of(&server).subscribe(plain_join("s")).await;
    let me = leave("s", &joined).connection_id;
    let flood = async {
        let mut client = server.signaling();
        loop {
            client.send_from_server(from_server("s", &"x".repeat(8_000))).await.unwrap();
        }
    };
    let gone = onlooker.find("the end of a slow reader", |event| match event {
        Event::ConnectionDestroyed(gone) if gone.connection_id == me => Some(gone.reason()),
        _ => None,
    });
    tokio::select! {
        reason = gone => assert_eq!(reason, proto::DisconnectReason::SlowConsumer),
        () = flood => {}
    }
    server.until_at_most("signalbox_streams", 1.0).await;
    drop(stream);
}

/// The same over HTTP/2, whose window is shut.
#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_closed_and_then_cut() {
    let server = server(&["--reader-timeout", "1s", "--outbox-bytes", "100000"]).await;
    let mut onlooker = server.join("s").types(&["no"]).enter().await;
    let raw = Raw::connect(server.address(), 1_000).await;
    let request = Request::post(format!("http://signalbox{SERVICE}/Subscribe"));
    let mut stream = raw.request(request.header("content-type", "application/grpc-web")).await;
    stream.bytes(prefixed(&proto::SubscribeRequest { join: Some(plain_join("s")) }.encode_to_vec()), true);
    stream.joined().await;
    let flood = async {
        let mut client = server.signaling();
        loop {
            client.send_from_server(from_server("s", &"x".repeat(8_000))).await.unwrap();
        }
    };
    let gone = onlooker.find("the end of a slow reader", |event| match event {
        Event::ConnectionDestroyed(gone) => Some(gone.reason()),
        _ => None,
    });
    tokio::select! {
        reason = gone => assert_eq!(reason, proto::DisconnectReason::SlowConsumer),
        () = flood => {}
    }
    server.until_at_most("signalbox_streams", 1.0).await;
}

#[tokio::test]
async fn a_peer_that_takes_too_long_for_a_request_is_cut() {
    let server = server(&[]).await;
    let beginnings = [
        "PR".to_owned(),
        "POS".to_owned(),
        format!("POST {SERVICE}/Send HTTP/1.1\r\nhost: x\r\ncont"),
        format!(
            "POST {SERVICE}/Subscribe HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web\r\n\
             content-length: 9\r\nconnection: close\r\n\r\n\0\0"
        ),
    ];
    let ended = beginnings.iter().map(async |beginning| {
        let mut tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
        tcp.write_all(beginning.as_bytes()).await.unwrap();
        let mut said = String::new();
        let _ = within(TOO_LONG, "the end of a slow peer", tcp.read_to_string(&mut said)).await;
        said
    });
    let said = futures_util::future::join_all(ended).await;
    assert!(said[3].starts_with("HTTP/1.1 408 "), "{said:?}");
}

/// A client of HTTP/2 whose requests are a browser's by their type alone.
#[tokio::test]
async fn what_is_too_large_is_refused_over_http2_too() {
    let server = server(&[]).await;
    let raw = Raw::connect(server.address(), 1 << 20).await;
    let request = Request::post(format!("http://signalbox{SERVICE}/Send"));
    let mut stream = raw.request(request.header("content-type", "application/grpc-web")).await;
    stream.bytes(vec![0; 60_000], false);
    stream.bytes(vec![0; 60_000], true);
    let status = stream.refusal().await;
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::InvalidArgument, "FRAME_INVALID"));
}
