//! The life of a `Join` stream, 1 and 2: the first frames, `joined`, and the
//! snapshot.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::support::{
    Event, Frame, Member, Raw, TestServer, Wrong, addressed, broadcast, from_wire, plain_join,
    proto::{self, ClientAction, ConnectionState, JoinOutcome, JoinRequest, Role},
};

#[tokio::test]
async fn the_server_sends_response_headers_before_it_reads_a_frame() {
    let server = TestServer::start().await;
    let raw = server.raw().await;
    let mut stream = raw.join().await;
    let headers = stream.headers().await;
    assert_eq!(headers["content-type"], "application/grpc");
    stream.frame(Frame::Join(plain_join("s")));
    assert_eq!(stream.joined().await.outcome(), JoinOutcome::New);
}

#[tokio::test]
async fn a_first_frame_that_is_not_join_ends_the_stream_with_join_required() {
    let server = TestServer::start().await;
    let disconnect = proto::DisconnectConnection { send_id: 1, connection_id: "x".into() };
    for (first, named) in [
        (broadcast(1, "", "hello"), "send"),
        (addressed(1, "hello", &["x"]), "send"),
        (Frame::Disconnect(disconnect), "disconnect"),
        (Frame::Leave(proto::Leave {}), "leave"),
    ] {
        let stream = Member::open(server.channel().await, first).await;
        let end = stream.end().await;
        end.check(&Wrong::argument("JOIN_REQUIRED", "frame", &["must be join"]), ClientAction::Stop);
        assert!(end.status.unwrap().message().contains(named));
        assert!(end.before.is_empty());
    }
}

#[tokio::test]
async fn requests_that_end_before_a_join_end_the_stream_with_join_required() {
    let server = TestServer::start().await;
    let mut stream = server.raw().await.join().await;
    stream.bytes("", true);
    stream.end().await.check(&Wrong::argument("JOIN_REQUIRED", "frame", &["ended before"]), ClientAction::Stop);
}

#[tokio::test]
async fn a_second_join_ends_the_stream_with_already_joined() {
    let server = TestServer::start().await;
    let member = server.join("s").enter().await;
    member.frame(Frame::Join(plain_join("s")));
    let wrong = Wrong::argument("ALREADY_JOINED", "frame", &["a second join"]);
    member.end().await.check(&wrong, ClientAction::Stop);
}

#[tokio::test]
async fn an_empty_frame_ends_the_stream_with_frame_invalid() {
    let server = TestServer::start().await;
    let member = server.join("s").enter().await;
    member.request(JoinRequest { frame: None });
    let wrong = Wrong::argument("FRAME_INVALID", "frame", &["join, send, disconnect or leave"]);
    member.end().await.check(&wrong, ClientAction::Stop);
}

#[tokio::test]
async fn an_unknown_frame_ends_the_stream_with_frame_invalid() {
    let server = TestServer::start().await;
    let mut stream = server.raw().await.join().await;
    stream.frame(Frame::Join(plain_join("s")));
    stream.joined().await;
    // Field 15, of a later version.
    stream.message(&[0x7a, 0]);
    let wrong = Wrong::argument("FRAME_INVALID", "frame", &["unknown kind"]);
    stream.end().await.check(&wrong, ClientAction::Stop);
}

#[tokio::test]
async fn joined_is_the_first_event_and_tells_everything() {
    let server = TestServer::start().await;
    let before = SystemTime::now();
    let member = server.join("s").data("me").window(Duration::from_secs(60)).enter().await;
    let joined = &member.joined;
    assert_eq!(joined.outcome(), JoinOutcome::New);
    let connection = joined.connection.as_ref().unwrap();
    assert_eq!((connection.data.as_str(), connection.state()), ("me", ConnectionState::Connected));
    // Without tokens everyone may do everything.
    assert_eq!(connection.role(), Role::Moderator);
    let created = SystemTime::try_from(connection.created_at.unwrap()).unwrap();
    assert!(created >= before - Duration::from_secs(1) && created <= SystemTime::now() + Duration::from_secs(1));
    assert_eq!(joined.connections, std::slice::from_ref(connection));
    assert!(joined.epoch > 0 && joined.epoch < 1 << 53);
    assert_eq!(joined.sequence, 1);
    assert!(!joined.resume_token.is_empty() && joined.resume_token.len() < 100 && joined.resume_token.is_ascii());
    assert_eq!(from_wire(joined.resume_window.as_ref().unwrap()), Duration::from_secs(60));
    assert_eq!(joined.last_send_id, 0);
    assert!(!joined.more_connections);
    let limits = joined.limits.as_ref().unwrap();
    assert_eq!((limits.max_data_bytes, limits.max_type_bytes, limits.max_recipients), (8_192, 128, 100));
    assert_eq!((limits.max_unresolved_sends, limits.signals_per_second, limits.signal_burst), (1_024, 50, 100));
    assert_eq!(from_wire(limits.heartbeat_interval.as_ref().unwrap()), Duration::from_secs(25));
}

#[tokio::test]
async fn the_limits_told_are_those_that_are_set() {
    let flags = ["--signals-per-second", "7", "--signal-burst", "9", "--heartbeat-interval", "3s"];
    let server = TestServer::with(&flags).await;
    let limits = server.join("s").enter().await.joined.limits.unwrap();
    assert_eq!((limits.signals_per_second, limits.signal_burst), (7, 9));
    assert_eq!(from_wire(limits.heartbeat_interval.as_ref().unwrap()), Duration::from_secs(3));
}

#[tokio::test]
async fn everyone_else_gets_connection_created() {
    let server = TestServer::start().await;
    let mut first = server.join("s").enter().await;
    let second = server.join("s").data("second").enter().await;
    let Event::ConnectionCreated(created) = first.next().await else { panic!("nobody was created") };
    assert_eq!(created.connection, second.joined.connection);
    assert_eq!(created.sequence, second.joined.sequence);
    assert_eq!(second.snapshot(), [first.id(), second.id()]);
}

#[tokio::test]
async fn the_snapshot_is_the_membership_exactly_as_of_its_sequence() {
    let server = TestServer::start().await;
    let mut observer = server.join("s").enter().await;
    // Joins at the same time, every second one leaving at once.
    let joins = (0..40).map(|number| {
        let join = server.join("s");
        async move {
            let member = join.enter().await;
            if number % 2 == 0 {
                member.frame(Frame::Leave(proto::Leave {}));
            }
            member
        }
    });
    let members = futures_util::future::join_all(joins).await;
    let mut present = BTreeSet::from([observer.id()]);
    let mut by_sequence = vec![(observer.sequence(), present.clone())];
    for _ in 0..60 {
        match observer.next().await {
            Event::ConnectionCreated(created) => {
                assert!(present.insert(created.connection.unwrap().connection_id));
                by_sequence.push((created.sequence, present.clone()));
            }
            Event::ConnectionDestroyed(destroyed) => assert!(present.remove(&destroyed.connection_id)),
            other => panic!("{other:?}"),
        }
    }
    for member in &members {
        let (_, as_of) = by_sequence.iter().find(|(sequence, _)| *sequence == member.joined.sequence).unwrap();
        assert_eq!(member.snapshot().into_iter().collect::<BTreeSet<_>>(), *as_of);
    }
}

#[tokio::test]
async fn with_suppressed_connection_events_the_snapshot_holds_only_the_connection_itself() {
    let server = TestServer::start().await;
    let _other = server.join("s").enter().await;
    let member = server.join("s").without_connection_events().enter().await;
    assert_eq!(member.snapshot(), [member.id()]);
}

#[tokio::test]
async fn a_large_snapshot_comes_in_pages_before_any_sequenced_event() {
    let server = TestServer::start().await;
    let data = "d".repeat(1_000);
    let join = || server.join("s").data(&data).without_connection_events();
    let members: Vec<_> = futures_util::future::join_all((0..600).map(|_| join().enter())).await;

    // A window with room for one page.
    let raw = Raw::connect(server.address(), 300_000).await;
    let mut stream = raw.join().await;
    stream.frame(Frame::Join(plain_join("s")));
    let joined = stream.joined().await;
    assert!(joined.more_connections);
    let mut pages = vec![joined.connections];
    // Comes while the pages are read, and must wait behind them.
    let mut members = members;
    let late = &mut members[0];
    let sent = late.send("", "late");
    late.accepted(sent).await;
    loop {
        stream.release();
        match stream.next().await {
            Some(Event::ConnectionsPage(page)) => {
                pages.push(page.connections);
                if !page.more {
                    break;
                }
            }
            other => panic!("{other:?} in the midst of a snapshot"),
        }
    }
    assert!(pages.len() >= 3);
    for page in &pages {
        let bytes: usize = page.iter().map(|connection| prost::Message::encoded_len(connection) + 10).sum();
        assert!(bytes <= 256 * 1_024, "a page of {bytes} bytes");
    }
    let ids: BTreeSet<_> = pages.iter().flatten().map(|connection| &connection.connection_id).collect();
    assert_eq!((ids.len(), pages.iter().flatten().count()), (601, 601));
    let next = stream.next().await;
    assert!(matches!(&next, Some(Event::Signal(signal)) if signal.sequence > joined.sequence), "{next:?}");
}

#[tokio::test]
async fn a_session_exists_as_long_as_somebody_is_in_it() {
    let server = TestServer::start().await;
    let get = || async {
        let request = proto::GetSessionRequest { session_id: "s".into() };
        server.sessions().get_session(request).await
    };
    assert!(get().await.is_err());
    let first = server.join("s").enter().await;
    assert_eq!(get().await.unwrap().into_inner().session.unwrap().connection_count, 1);
    let epoch = first.joined.epoch;
    first.frame(Frame::Leave(proto::Leave {}));
    assert!(first.end().await.status.is_none());
    assert!(get().await.is_err());
    // Another life is another order.
    let again = server.join("s").enter().await;
    assert!(again.joined.epoch > epoch);
    assert_eq!(again.joined.sequence, 1);
}

#[tokio::test]
async fn a_connection_id_is_unguessable_and_never_reused() {
    let server = TestServer::start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let member = server.join("s").enter().await;
        let id = Uuid::parse_str(&member.id()).unwrap();
        assert_eq!(id.get_version_num(), 4, "122 random bits");
        assert!(seen.insert(id));
        member.frame(Frame::Leave(proto::Leave {}));
        assert!(member.end().await.status.is_none());
    }
}
