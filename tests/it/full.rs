//! The limits on how many may be in: `SESSION_FULL` and `SERVER_FULL`.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    End, Event, Frame, Member, Raw, TestServer, Wrong, from_server,
    proto::{self, ClientAction, JoinOutcome},
    retry_of,
};

fn full(reason: &'static str, says: &'static [&'static str]) -> Wrong {
    Wrong::new(Code::ResourceExhausted, reason, "", says)
}

/// A refusal for want of room: come back, but not at once.
fn check(end: &End, wrong: &Wrong) {
    end.check(wrong, ClientAction::Rejoin);
    assert!(retry_of(end.status.as_ref().unwrap()).unwrap() > Duration::ZERO);
}

async fn leave(member: Member) {
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
}

#[tokio::test]
async fn a_full_session_takes_nobody_but_who_comes_back() {
    let server = TestServer::with(&["--max-connections-per-session", "2"]).await;
    let mut bystander = server.join("s").enter().await;
    let member = server.join("s").window(Duration::from_secs(60)).enter().await;
    assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
    let wrong = full("SESSION_FULL", &["2 connections", "the limit is 2"]);
    check(&server.join("s").refused().await, &wrong);
    server.nothing_reached(&mut bystander, "s").await;
    // Another session has room, and backends need none.
    server.join("another").enter().await;
    server.signaling().send_from_server(from_server("s", "news")).await.unwrap();
    assert_eq!(bystander.heard().await, "news");

    // An interrupted connection keeps its place, for itself.
    let memory = member.lose_before(&mut bystander).await;
    check(&server.join("s").refused().await, &wrong);
    let stranger = proto::Resume { resume_token: "wrong".into(), ..memory.clone() };
    check(&server.join("s").resume(stranger).refused().await, &wrong);
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::Resumed);
    assert!(matches!(bystander.next().await, Event::ConnectionRestored(_)));
    leave(back).await;
    assert!(matches!(bystander.next().await, Event::ConnectionDestroyed(_)));
    server.join("s").enter().await;
}

#[tokio::test]
async fn a_full_server_or_address_takes_no_more_streams_until_one_ends() {
    for (flag, wrong) in [
        ("--max-connections", full("SERVER_FULL", &["the server has 2 streams", "the limit is 2"])),
        ("--max-connections-per-address", full("SERVER_FULL", &["your address has 2 streams", "the limit is 2"])),
    ] {
        let server = TestServer::with(&[flag, "2"]).await;
        let mut bystander = server.join("s").enter().await;
        let second = server.join("s").enter().await;
        assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
        // Whatever the session and the transport; and what is refused takes no
        // place.
        for _ in 0..3 {
            check(&server.join("another").over(server.channel().await).refused().await, &wrong);
        }
        server.nothing_reached(&mut bystander, "s").await;
        leave(second).await;
        server.until_at_most("signalbox_streams", 1.0).await;
        server.join("s").enter().await;
    }
}

#[tokio::test]
async fn a_stream_that_has_not_joined_yet_takes_a_place_in_the_server_too() {
    let server = TestServer::with(&["--max-connections", "1"]).await;
    let raw = server.raw().await;
    let mut silent = raw.join().await;
    silent.headers().await;
    check(&server.join("s").refused().await, &full("SERVER_FULL", &["1 streams", "the limit is 1"]));
    raw.vanish().await;
    server.until_at_most("signalbox_streams", 0.0).await;
    server.join("s").enter().await;
}

#[tokio::test]
async fn one_transport_carries_as_many_streams_as_it_is_told() {
    let server = TestServer::with(&["--max-streams-per-transport", "3"]).await;
    let raw = Raw::connect(server.address(), 65_535).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = raw.join().await;
        stream.frame(Frame::Join(proto::Join { session_id: "s".into(), ..proto::Join::default() }));
        stream.joined().await;
        streams.push(stream);
    }
    assert_eq!(raw.streams_allowed(), 3);
    // Another transport has room of its own.
    server.join("s").over(server.channel().await).enter().await;
}
