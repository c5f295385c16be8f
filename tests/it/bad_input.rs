//! Bad input that ends a stream or a call: joins that break a limit, and what
//! is no frame of the contract (promise 7's other half).

use std::time::Duration;

use prost::Message as _;

use crate::support::{
    Event, Frame, Member, TestServer, Wrong, broadcast, framed, from_server, from_wire, plain_join, prefixed,
    proto::{self, ClientAction, DisconnectReason, Join, JoinOutcome},
};

const SEND_FROM_SERVER: &str = "/signalbox.v1.SignalingService/SendFromServer";
const GET_SESSION: &str = "/signalbox.v1.SessionService/GetSession";

/// The most bytes of a message.
const MAX_FRAME: usize = 64 * 1_024;

/// The end of a connection, as the others see it.
async fn gone(bystander: &mut Member) -> (String, DisconnectReason) {
    match bystander.next().await {
        Event::ConnectionDestroyed(destroyed) => (destroyed.connection_id.clone(), destroyed.reason()),
        other => panic!("{other:?} instead of a departure"),
    }
}

/// Joins that are refused, with what the client must be told.
fn bad_joins() -> Vec<(Join, Wrong)> {
    let named = |id: &str| plain_join(id);
    let filtering =
        |types: &[&str]| Join { signal_types: types.iter().map(ToString::to_string).collect(), ..plain_join("s") };
    let lasting = |seconds, nanos| {
        let resume_window = Some(prost_types::Duration { seconds, nanos });
        Join { resume_window, ..plain_join("s") }
    };
    let telling = |data: String| Join { connection_data: data, ..plain_join("s") };
    let session_id = |says| Wrong::argument("SESSION_ID_INVALID", "join.session_id", says);
    let data = |says| Wrong::argument("CONNECTION_DATA_TOO_LARGE", "join.connection_data", says);
    let types = |reason, says| Wrong::argument(reason, "join.signal_types", says);
    let window = |says| Wrong::argument("FRAME_INVALID", "join.resume_window", says);
    vec![
        (Join::default(), session_id(&["empty", "1 to 255"])),
        (named(&"s".repeat(256)), session_id(&["256 bytes", "the limit is 255"])),
        (named("a room"), session_id(&["' '", "byte 1", "visible ASCII"])),
        (named("tab\t"), session_id(&["'\\t'", "byte 3", "visible ASCII"])),
        (named("café"), session_id(&["'é'", "byte 3", "visible ASCII"])),
        (telling("d".repeat(1_001)), data(&["1001 bytes", "the limit is 1000"])),
        // Half as many characters as the limit, and one.
        (telling("é".repeat(501)), data(&["1002 bytes", "the limit is 1000"])),
        (filtering(&["t"; 33]), types("SIGNAL_TYPE_INVALID", &["33 signal types", "the limit is 32"])),
        (filtering(&["good", "not good"]), types("SIGNAL_TYPE_INVALID", &["' '", "byte 3", "A-Z a-z 0-9 - _ ~"])),
        (filtering(&[&"t".repeat(129)]), types("SIGNAL_TYPE_TOO_LARGE", &["129 bytes", "the limit is 128"])),
        (lasting(-1, 0), window(&["-1 s", "negative"])),
        (lasting(0, -1), window(&["-1 ns", "negative"])),
    ]
}

#[tokio::test]
async fn a_join_that_breaks_a_limit_is_refused_and_nobody_notices() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    for (join, wrong) in bad_joins() {
        let end = Member::open(server.channel().await, Frame::Join(join)).await.end().await;
        end.check(&wrong, ClientAction::Stop);
        assert!(end.before.is_empty());
        server.nothing_reached(&mut bystander, "s").await;
    }
    assert!(server.metric("signalbox_sessions").await < 2.0, "only the bystander's is there");
}

#[tokio::test]
async fn a_join_that_just_reaches_its_limits_is_let_in() {
    let server = TestServer::start().await;
    let every = prost_types::Duration { seconds: 315_576_000_000, nanos: 999_999_999 };
    let join = Join {
        session_id: "~".repeat(255),
        connection_data: "é".repeat(500),
        resume_window: Some(every),
        signal_types: (0..32).map(|number| format!("{number:0>128}")).collect(),
        ..Join::default()
    };
    let mut stream = server.raw().await.join().await;
    stream.frame(Frame::Join(join));
    let joined = stream.joined().await;
    assert_eq!(joined.outcome(), JoinOutcome::New);
    assert_eq!(joined.connection.unwrap().data, "é".repeat(500));
    assert_eq!(from_wire(&joined.resume_window.unwrap()), Duration::from_secs(120));
}

#[tokio::test]
async fn limits_of_a_join_that_are_set_are_the_ones_that_hold() {
    let flags = ["--max-session-id-bytes", "4", "--max-connection-data-bytes", "5", "--max-signal-types", "1"];
    let server = TestServer::with(&flags).await;
    for (join, wrong) in [
        (server.join("abcde"), Wrong::argument("SESSION_ID_INVALID", "join.session_id", &["5 bytes", "limit is 4"])),
        (
            server.join("s").data("abcdef"),
            Wrong::argument("CONNECTION_DATA_TOO_LARGE", "join.connection_data", &["6 bytes", "limit is 5"]),
        ),
        (
            server.join("s").types(&["a", "b"]),
            Wrong::argument("SIGNAL_TYPE_INVALID", "join.signal_types", &["2 signal types", "limit is 1"]),
        ),
    ] {
        join.refused().await.check(&wrong, ClientAction::Stop);
    }
    server.join("abcd").data("abcde").types(&["a"]).enter().await;
}

/// Bytes that are no frame, with what is wrong about them.
fn bad_bytes() -> Vec<(Vec<u8>, &'static [&'static str])> {
    let mut compressed = framed(broadcast(1, "", "data"));
    compressed[0] = 1;
    let mut not_utf8 = framed(broadcast(1, "", "data"));
    *not_utf8.last_mut().unwrap() = 0xff;
    let too_large = framed(broadcast(1, "", &"d".repeat(70_000)));
    // Only announced: 4 GiB that never come.
    let announced = vec![0, 0xff, 0xff, 0xff, 0xff];
    vec![
        (prefixed(b"hello"), &["no JoinRequest in protobuf"]),
        (prefixed(&[0xff; 20]), &["no JoinRequest in protobuf"]),
        (not_utf8, &["no JoinRequest in protobuf"]),
        (prefixed(&[0; MAX_FRAME + 1]), &["65537 bytes", "the limit is 65536"]),
        (too_large, &["70014 bytes", "the limit is 65536"]),
        (announced, &["4294967295 bytes", "the limit is 65536"]),
        (compressed, &["compressed"]),
    ]
}

#[tokio::test]
async fn what_is_no_frame_ends_its_stream_and_no_other() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    // Over the same transport as all the bad ones.
    let raw = server.raw().await;
    let mut neighbour = raw.join().await;
    neighbour.frame(Frame::Join(plain_join("another")));
    neighbour.joined().await;
    for (bytes, says) in bad_bytes() {
        let wrong = Wrong::argument("FRAME_INVALID", "frame", says);
        // As the first frame, and nobody notices;
        let mut stream = raw.join().await;
        stream.bytes(bytes.clone(), false);
        stream.end().await.check(&wrong, ClientAction::Stop);
        server.nothing_reached(&mut bystander, "s").await;

        // and as a later one: what came before it is done, what comes after
        // it isn't, and the others see somebody go.
        let mut stream = raw.join().await;
        stream.frame(Frame::Join(plain_join("s")));
        let id = stream.joined().await.connection.unwrap().connection_id;
        assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
        let (before, after) = (framed(broadcast(1, "", "before")), framed(broadcast(2, "", "after")));
        stream.bytes([before, bytes, after].concat(), false);
        stream.end().await.check(&wrong, ClientAction::Stop);
        assert_eq!(bystander.heard().await, "before");
        assert_eq!(gone(&mut bystander).await, (id, DisconnectReason::NetworkDisconnected));
        server.nothing_reached(&mut bystander, "s").await;
    }
    neighbour.frame(broadcast(1, "", "still here"));
    assert!(matches!(neighbour.next().await, Some(Event::Signal(_))));
}

#[tokio::test]
async fn requests_that_end_inside_a_frame_end_their_stream() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let whole = framed(broadcast(1, "", "data"));
    for cut in [1, 4, 5, whole.len() - 1] {
        let mut stream = server.raw().await.join().await;
        stream.frame(Frame::Join(plain_join("s")));
        stream.joined().await;
        assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
        stream.bytes(whole[..cut].to_vec(), true);
        let wrong = Wrong::argument("FRAME_INVALID", "frame", &["ended inside a frame"]);
        let end = stream.end().await;
        end.check(&wrong, ClientAction::Stop);
        assert!(end.status.unwrap().message().contains(&format!("after {cut} bytes")));
        assert_eq!(gone(&mut bystander).await.1, DisconnectReason::NetworkDisconnected);
        server.nothing_reached(&mut bystander, "s").await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_inside_a_frame_is_gone_and_the_frame_with_it() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let whole = framed(broadcast(2, "", "half a signal"));
    for cut in [1, 5, whole.len() - 1] {
        let raw = server.raw().await;
        let mut stream = raw.join().await;
        stream.frame(Frame::Join(plain_join("s")));
        let id = stream.joined().await.connection.unwrap().connection_id;
        assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
        let before = framed(broadcast(1, "", "a whole signal"));
        stream.bytes([&before[..], &whole[..cut]].concat(), false);
        assert_eq!(bystander.heard().await, "a whole signal");
        raw.vanish().await;
        assert_eq!(gone(&mut bystander).await, (id, DisconnectReason::NetworkDisconnected));
        server.nothing_reached(&mut bystander, "s").await;
    }
}

#[tokio::test]
async fn a_frame_of_64_kib_is_parsed_and_refused_like_any_other() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let mut member = server.join("s").without_own_signals().enter().await;
    assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
    let sized = |data: usize| broadcast(1, "", &"d".repeat(data));
    let around = framed(sized(MAX_FRAME)).len() - 5 - MAX_FRAME;
    let largest = sized(MAX_FRAME - around);
    assert_eq!(proto::JoinRequest { frame: Some(largest.clone()) }.encoded_len(), MAX_FRAME);
    member.frame(largest);
    let wrong = Wrong::argument("SIGNAL_DATA_TOO_LARGE", "signal.data", &["bytes", "the limit is 8192"]);
    wrong.check_error(&member.refusal(1).await);
    member.frame(broadcast(2, "", "good"));
    member.accepted(2).await;
    assert_eq!(bystander.heard().await, "good");
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn a_call_whose_request_is_no_message_is_refused_with_frame_invalid() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let good = prefixed(&from_server("s", "data").encode_to_vec());
    let mut compressed = good.clone();
    compressed[0] = 1;
    let cases: [(Vec<u8>, &[&str]); 7] = [
        (prefixed(&[0xff; 20]), &["decode"]),
        // No message at all.
        (Vec::new(), &["request message"]),
        (good[..good.len() - 1].to_vec(), &["EOF"]),
        (good[..3].to_vec(), &["EOF"]),
        (prefixed(&[0; 70_000]), &["70000 bytes", "65536 bytes"]),
        // Only announced.
        (vec![0, 0xff, 0xff, 0xff, 0xff], &["4294967295 bytes", "65536 bytes"]),
        (compressed, &["compress"]),
    ];
    for (bytes, says) in cases {
        for method in [SEND_FROM_SERVER, GET_SESSION] {
            let mut call = server.raw().await.call(method).await;
            call.bytes(bytes.clone(), true);
            Wrong::argument("FRAME_INVALID", "", says).check_status(&call.refusal().await);
        }
        server.nothing_reached(&mut bystander, "s").await;
    }
}

#[tokio::test]
async fn a_call_that_is_too_large_is_told_how_large_it_may_be() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let says = &["70011 bytes", "65536 bytes"];
    let request = from_server("s", &"d".repeat(70_000));
    assert_eq!(request.encoded_len(), 70_011);
    let status = server.signaling().send_from_server(request).await.unwrap_err();
    Wrong::argument("FRAME_INVALID", "", says).check_status(&status);
    server.nothing_reached(&mut bystander, "s").await;
}
