//! Who may do what, over the wire: tokens, roles and their end.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use signalbox::auth::{Audience, Claims, Secret, sign};
use tonic::Code;

use crate::support::{
    Event, Frame, JoinBuilder, Member, Raw, TestServer, Wrong, broadcast, from_server, plain_join, proto, reason_of,
    shown, soon,
};
use proto::{ClientAction, DisconnectReason, Role};

const SECRET: &str = "the secret of the tests, long enough";

/// A file of its own.
pub(crate) fn file(content: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("auth-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

async fn guarded() -> TestServer {
    guarded_with(&[]).await
}

async fn guarded_with(flags: &[&str]) -> TestServer {
    let secret = file(SECRET);
    let server = TestServer::with(&[&["--jwt-secret-file", secret.to_str().unwrap()], flags].concat()).await;
    fs::remove_file(secret).unwrap();
    server
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token_by(secret: &str, role: &str, change: impl FnOnce(&mut Claims)) -> String {
    let mut claims = Claims {
        aud: Some(Audience::One("signalbox".to_owned())),
        exp: Some((now() + 600).into()),
        session: (role != "server").then(|| "s".to_owned()),
        role: Some(role.to_owned()),
        ..Claims::default()
    };
    change(&mut claims);
    sign(&claims, &Secret::new(secret.as_bytes()).unwrap()).unwrap()
}

fn token(role: &str) -> String {
    token_by(SECRET, role, |_| {})
}

/// A token that opens nothing any more after so long: the leeway is over.
fn ending_in(left: u64) -> String {
    token_by(SECRET, "publisher", |claims| claims.exp = Some((now() + left - 30).into()))
}

fn join(server: &TestServer, token: &str) -> JoinBuilder {
    server.join("s").token(token)
}

#[tokio::test]
async fn roles_may_do_what_the_table_says_on_streams() {
    let server = guarded().await;
    for (role, shown_role, signals, disconnects) in [
        ("subscriber", Role::Subscriber, false, false),
        ("publisher", Role::Publisher, true, false),
        ("moderator", Role::Moderator, true, true),
    ] {
        let mut victim = join(&server, &token("subscriber")).enter().await;
        let mut member = join(&server, &token(role)).without_connection_events().enter().await;
        assert_eq!(member.joined.connection.as_ref().unwrap().role(), shown_role);
        member.frame(broadcast(1, "", "hello"));
        let outcome = member.outcome(1).await;
        member.frame(Frame::Disconnect(proto::DisconnectConnection { send_id: 2, connection_id: victim.id() }));
        let other = member.outcome(2).await;
        for (outcome, allowed) in [(&outcome, signals), (&other, disconnects)] {
            match outcome {
                Ok(_) => assert!(allowed, "{role}"),
                Err(error) => {
                    assert!(!allowed, "{role}: {error:?}");
                    Wrong::new(Code::PermissionDenied, "ROLE_FORBIDS", "", &["may not", "moderator"])
                        .check_error(error);
                }
            }
        }
        // A decision: its repeat repeats it.
        member.frame(broadcast(1, "", "again"));
        assert_eq!(member.outcome(1).await, outcome, "{role}");
        if signals {
            let said = |event: &Event| matches!(event, Event::Signal(_)).then_some(());
            victim.find("the signal", said).await;
        }
    }
}

#[tokio::test]
async fn a_disconnected_connection_can_not_resume() {
    let server = guarded().await;
    let (publisher, moderator) = (token("publisher"), token("moderator"));
    let victim = join(&server, &publisher).window(Duration::from_secs(60)).enter().await;
    let memory = victim.memory();
    let mut moderator = join(&server, &moderator).enter().await;
    moderator.frame(Frame::Disconnect(proto::DisconnectConnection { send_id: 1, connection_id: victim.id() }));
    moderator.accepted(1).await;
    let wrong = Wrong::new(Code::Aborted, "FORCE_DISCONNECTED", "", &[]);
    let end = victim.end().await;
    end.check(&wrong, ClientAction::Stop);
    let back = join(&server, &publisher).window(Duration::from_secs(60)).resume(memory.clone()).enter().await;
    assert_ne!(back.id(), memory.connection_id, "it joins anew");
}

#[tokio::test]
async fn the_token_opens_one_session_and_says_the_connections_data() {
    let server = guarded().await;
    let elsewhere = server.join("other").token(&token("publisher")).refused().await;
    let wrong = Wrong::new(Code::PermissionDenied, "SESSION_FORBIDDEN", "join.session_id", &["another session"]);
    elsewhere.check(&wrong, ClientAction::Stop);

    let says = token_by(SECRET, "publisher", |claims| claims.data = Some("from the token".to_owned()));
    let member = join(&server, &says).enter().await;
    assert_eq!(member.joined.connection.as_ref().unwrap().data, "from the token");
    let both = join(&server, &says).data("its own").refused().await;
    let wrong = Wrong::argument("FRAME_INVALID", "join.connection_data", &["the token says"]);
    both.check(&wrong, ClientAction::Stop);
    let own = join(&server, &token("publisher")).data("its own").enter().await;
    assert_eq!(own.joined.connection.as_ref().unwrap().data, "its own");
}

#[tokio::test]
async fn no_token_and_bad_tokens_are_refused_everywhere() {
    let server = guarded().await;
    let foreign = token_by("somebody else's secret, long enough", "publisher", |_| {});
    let expired = token_by(SECRET, "publisher", |claims| claims.exp = Some((now() - 31).into()));
    for (token, reason, action) in [
        (None, "TOKEN_MISSING", ClientAction::Stop),
        (Some("not.a.token"), "TOKEN_INVALID", ClientAction::Stop),
        (Some(foreign.as_str()), "TOKEN_INVALID", ClientAction::Stop),
        (Some(expired.as_str()), "TOKEN_EXPIRED", ClientAction::Rejoin),
    ] {
        let wrong = Wrong::new(Code::Unauthenticated, reason, "", &["token"]);
        let builder = match token {
            Some(token) => join(&server, token),
            None => server.join("s"),
        };
        builder.refused().await.check(&wrong, action);
        let mut sessions = server.sessions();
        let mut signaling = server.signaling();
        let refusals = [
            signaling.send_from_server(shown(from_server("s", "x"), token)).await.unwrap_err(),
            sessions.list_sessions(shown(proto::ListSessionsRequest::default(), token)).await.unwrap_err(),
            sessions.get_session(shown(proto::GetSessionRequest::default(), token)).await.unwrap_err(),
            sessions.list_connections(shown(proto::ListConnectionsRequest::default(), token)).await.unwrap_err(),
            sessions
                .disconnect_connection(shown(proto::DisconnectConnectionRequest::default(), token))
                .await
                .unwrap_err(),
            sessions.watch_sessions(shown(proto::WatchSessionsRequest::default(), token)).await.unwrap_err(),
        ];
        for status in refusals {
            wrong.check_status(&status);
        }
    }
}

#[tokio::test]
async fn what_is_for_backends_is_for_the_role_server_only() {
    let server = guarded().await;
    let _member = join(&server, &token("publisher")).enter().await;
    for role in ["subscriber", "publisher", "moderator", "server"] {
        let token = token(role);
        let token = Some(token.as_str());
        let (mut sessions, mut signaling) = (server.sessions(), server.signaling());
        let id = || proto::GetSessionRequest { session_id: "s".to_owned() };
        let list = || proto::ListConnectionsRequest { session_id: "s".to_owned(), ..Default::default() };
        let nobody =
            || proto::DisconnectConnectionRequest { session_id: "s".to_owned(), connection_id: "x".to_owned() };
        let reasons = [
            signaling.send_from_server(shown(from_server("s", "x"), token)).await.err(),
            sessions.list_sessions(shown(proto::ListSessionsRequest::default(), token)).await.err(),
            sessions.get_session(shown(id(), token)).await.err(),
            sessions.list_connections(shown(list(), token)).await.err(),
            sessions.disconnect_connection(shown(nobody(), token)).await.err(),
            sessions.watch_sessions(shown(proto::WatchSessionsRequest::default(), token)).await.err(),
        ]
        .map(|status| status.map(|status| reason_of(&status)));
        let forbidden = Some("ROLE_FORBIDS".to_owned());
        if role == "server" {
            let absent = Some("CONNECTION_NOT_FOUND".to_owned());
            assert_eq!(reasons, [None, None, None, None, absent, None]);
        } else {
            assert!(reasons.iter().all(|reason| *reason == forbidden), "{role}: {reasons:?}");
        }
    }
    let wrong = Wrong::new(Code::PermissionDenied, "ROLE_FORBIDS", "", &["a server", "join", "publisher"]);
    join(&server, &token("server")).refused().await.check(&wrong, ClientAction::Stop);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_the_others_are_told_why() {
    let server = guarded().await;
    let mut onlooker = join(&server, &token("subscriber")).enter().await;
    let member = join(&server, &ending_in(2)).window(Duration::from_secs(60)).enter().await;
    let memory = member.memory();
    let wrong = Wrong::new(Code::Unauthenticated, "TOKEN_EXPIRED", "", &["expired", "new one"]);
    member.end().await.check(&wrong, ClientAction::Rejoin);
    let gone = |event: &Event| match event {
        Event::ConnectionInterrupted(_) => panic!("it can't come back"),
        Event::ConnectionDestroyed(gone) => Some((gone.connection_id.clone(), gone.reason())),
        _ => None,
    };
    let (id, reason) = onlooker.find("the departure", gone).await;
    assert_eq!((id, reason), (memory.connection_id.clone(), DisconnectReason::TokenExpired));
    // With a new token it joins anew, as it was told.
    let back = join(&server, &token("publisher")).resume(memory.clone()).enter().await;
    assert_ne!(back.id(), memory.connection_id);
}

#[tokio::test]
async fn a_stream_that_was_taken_over_with_a_new_token_goes_on() {
    let server = guarded().await;
    let mut onlooker = join(&server, &token("subscriber")).enter().await;
    let old = join(&server, &ending_in(2)).window(Duration::from_secs(60)).enter().await;
    let memory = old.memory();
    let mut new =
        join(&server, &token("publisher")).window(Duration::from_secs(60)).resume(memory.clone()).enter().await;
    assert_eq!(new.id(), memory.connection_id);
    old.end().await.check(&Wrong::new(Code::Aborted, "CONNECTION_TAKEN_OVER", "", &[]), ClientAction::Stop);
    // Another, as short-lived and not renewed, shows when the old one's is over.
    let short = join(&server, &ending_in(2)).enter().await;
    assert!(short.end().await.status.is_some());
    new.frame(broadcast(1, "", "still here"));
    new.accepted(1).await;
    let said = |event: &Event| match event {
        Event::ConnectionDestroyed(gone) => {
            assert_ne!(gone.connection_id, memory.connection_id);
            None
        }
        Event::Signal(signal) => Some(signal.signal.clone().unwrap().data),
        _ => None,
    };
    assert_eq!(onlooker.find("the signal", said).await, "still here");
}

#[tokio::test]
async fn a_reader_that_reads_nothing_ends_with_its_token_too() {
    let server = guarded().await;
    let mut onlooker = join(&server, &token("publisher")).enter().await;
    let stuck = Raw::connect(server.address(), 1_000).await.with_token(&ending_in(2));
    let mut stream = stuck.join().await;
    stream.frame(Frame::Join(plain_join("s")));
    stream.joined().await;
    // More than its window takes, which it opens no further.
    for send_id in 1..=3 {
        onlooker.frame(broadcast(send_id, "", &"x".repeat(1_000)));
        onlooker.accepted(send_id).await;
    }
    let gone = |event: &Event| match event {
        Event::ConnectionDestroyed(gone) => Some(gone.reason()),
        _ => None,
    };
    assert_eq!(onlooker.find("the departure", gone).await, DisconnectReason::TokenExpired);
}

#[tokio::test]
async fn keys_are_read_again_when_their_file_changes_and_streams_stay() {
    let secret = file(SECRET);
    let server = TestServer::with(&["--jwt-secret-file", secret.to_str().unwrap()]).await;
    let mut member = join(&server, &token("publisher")).enter().await;
    let new = "another secret of the tests, long enough";
    let with_new = token_by(new, "publisher", |_| {});
    fs::write(&secret, new).unwrap();
    soon("the new key", async {
        while server
            .signaling()
            .send_from_server(shown(from_server("s", "x"), Some(&token_by(new, "server", |_| {}))))
            .await
            .is_err()
        {}
    })
    .await;
    drop(join(&server, &with_new).enter().await);
    join(&server, &token("publisher")).refused().await;
    member.frame(broadcast(1, "", "still here"));
    member.accepted(1).await;
    fs::remove_file(secret).unwrap();
}

#[tokio::test]
async fn health_and_reflection_are_open_and_reflection_can_be_turned_off() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    for (flags, reflects) in [(&[][..], true), (&["--no-reflection"], false)] {
        let server = guarded_with(flags).await;
        let channel = server.channel().await;
        let health =
            HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "SERVING");
        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answer = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(asked)).await;
        match answer {
            Ok(answer) => {
                assert!(reflects);
                assert!(answer.into_inner().message().await.unwrap().is_some());
            }
            Err(status) => assert_eq!((reflects, status.code()), (false, Code::Unimplemented)),
        }
    }
}

#[tokio::test]
async fn a_member_with_a_token_is_a_member_like_others() {
    let server = guarded().await;
    let mut one: Member = join(&server, &token("publisher")).enter().await;
    let mut other = join(&server, &token("subscriber")).enter().await;
    one.frame(broadcast(1, "chat", "hello"));
    one.accepted(1).await;
    assert_eq!(other.heard().await, "hello");
}

/// `Send` and `Leave` are held to the token that they show, as frames are to their stream's.
#[tokio::test]
async fn roles_may_do_the_same_beside_their_stream() {
    let server = guarded().await;
    let mut client = server.signaling();
    let member = join(&server, &token("subscriber")).enter().await;
    let asks = |frame| proto::SendRequest {
        session_id: "s".into(),
        connection_id: member.id(),
        resume_token: member.joined.resume_token.clone(),
        frames: vec![proto::SendFrame { frame: Some(frame) }],
    };
    let Frame::Send(hello) = broadcast(1, "", "hello") else { panic!("a send") };
    let send = |send_id| asks(proto::send_frame::Frame::Send(proto::SendSignal { send_id, ..hello.clone() }));
    let disconnect = |send_id| {
        let frame = proto::DisconnectConnection { send_id, connection_id: "nobody".into() };
        asks(proto::send_frame::Frame::Disconnect(frame))
    };
    let leave = || {
        let proto::SendRequest { session_id, connection_id, resume_token, .. } = send(0);
        proto::LeaveRequest { session_id, connection_id, resume_token }
    };

    // No call of its own at all.
    for (token, code, reason) in [
        (None, Code::Unauthenticated, "TOKEN_MISSING"),
        (Some("nonsense".to_owned()), Code::Unauthenticated, "TOKEN_INVALID"),
        (Some(token("server")), Code::PermissionDenied, "ROLE_FORBIDS"),
        (
            Some(token_by(SECRET, "moderator", |claims| claims.session = Some("t".to_owned()))),
            Code::PermissionDenied,
            "SESSION_FORBIDDEN",
        ),
    ] {
        let refused = client.send(shown(send(1), token.as_deref())).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (code, reason));
        let refused = client.leave(shown(leave(), token.as_deref())).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (code, reason));
    }
    // What a role may not do is the outcome of that send.
    for (at, role, signals, disconnects) in
        [(1, "subscriber", false, false), (3, "publisher", true, false), (5, "moderator", true, true)]
    {
        let token = token(role);
        for (request, may) in [(send(at), signals), (disconnect(at + 1), disconnects)] {
            let mut response = client.send(shown(request, Some(&token))).await.unwrap().into_inner();
            let reason = match response.results.remove(0).outcome.unwrap() {
                proto::send_result::Outcome::Accepted(_) => String::new(),
                proto::send_result::Outcome::Error(error) => error.reason,
            };
            assert_eq!(reason != "ROLE_FORBIDS", may, "{role}: {reason}");
        }
    }
    client.leave(shown(leave(), Some(&token("subscriber")))).await.unwrap();
    assert!(member.end().await.status.is_none());
}
