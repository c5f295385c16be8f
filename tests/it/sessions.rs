//! `SessionService`: looking at sessions and connections, and disconnecting.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::support::{
    Event, Frame, Member, TestServer, Wrong,
    proto::{self, ClientAction, ConnectionState, DisconnectReason, JoinOutcome},
};

const MINUTE: Duration = Duration::from_secs(60);
const NOT_FOUND: Wrong = Wrong::new(Code::NotFound, "SESSION_NOT_FOUND", "session_id", &["nobody is in the session"]);
const WRONG_TOKEN: Wrong = Wrong::argument("PAGE_TOKEN_INVALID", "page_token", &["page token"]);

async fn get(server: &TestServer, session: &str) -> Result<proto::Session, Status> {
    let request = proto::GetSessionRequest { session_id: session.into() };
    Ok(server.sessions().get_session(request).await?.into_inner().session.unwrap())
}

async fn sessions(server: &TestServer, size: u32, token: &str) -> Result<proto::ListSessionsResponse, Status> {
    let request = proto::ListSessionsRequest { page_size: size, page_token: token.into() };
    Ok(server.sessions().list_sessions(request).await?.into_inner())
}

async fn connections(
    server: &TestServer,
    session: &str,
    size: u32,
    token: &str,
) -> Result<proto::ListConnectionsResponse, Status> {
    let request =
        proto::ListConnectionsRequest { session_id: session.into(), page_size: size, page_token: token.into() };
    Ok(server.sessions().list_connections(request).await?.into_inner())
}

async fn disconnect(server: &TestServer, session: &str, connection: &str) -> Result<(), Status> {
    let request =
        proto::DisconnectConnectionRequest { session_id: session.into(), connection_id: connection.to_owned() };
    server.sessions().disconnect_connection(request).await.map(drop)
}

fn names(page: &proto::ListSessionsResponse) -> Vec<&str> {
    page.sessions.iter().map(|session| session.session_id.as_str()).collect()
}

fn ids(page: &proto::ListConnectionsResponse) -> Vec<String> {
    page.connections.iter().map(|connection| connection.connection_id.clone()).collect()
}

/// Leaves, and waits until it is gone.
async fn leave(member: Member) {
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
}

/// Joins sessions that nobody says anything in.
async fn quiet(server: &TestServer, sessions: impl Iterator<Item = String>) -> Vec<Member> {
    join_all(sessions.map(|session| server.join(&session).without_connection_events().enter())).await
}

#[tokio::test]
async fn a_session_shows_its_count_its_life_and_its_newest_sequence() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let lost = server.join("s").window(MINUTE).enter().await;
    lost.lose();
    // Its join, the other's, and the other's interruption.
    member.find("the interruption", |event| matches!(event, Event::ConnectionInterrupted(_)).then_some(())).await;
    let sent = member.send("", "the newest");
    let place = member.accepted(sent).await;
    let session = get(&server, "s").await.unwrap();
    assert_eq!(session.session_id, "s");
    assert_eq!(session.connection_count, 2, "the interrupted one counts");
    assert_eq!((session.epoch, session.sequence), (member.joined.epoch, place));
    assert_eq!(session.created_at, member.joined.connection.as_ref().unwrap().created_at);
    assert_eq!(sessions(&server, 0, "").await.unwrap().sessions, [session]);
}

#[tokio::test]
async fn a_session_that_nobody_is_in_is_not_found() {
    let server = TestServer::start().await;
    let member = server.join("over").enter().await;
    assert!(get(&server, "over").await.is_ok());
    leave(member).await;
    for session in ["never", "over"] {
        NOT_FOUND.check_status(&get(&server, session).await.unwrap_err());
        NOT_FOUND.check_status(&connections(&server, session, 0, "").await.unwrap_err());
        NOT_FOUND.check_status(&disconnect(&server, session, "somebody").await.unwrap_err());
    }
    assert!(sessions(&server, 0, "").await.unwrap().sessions.is_empty());
}

#[tokio::test]
async fn a_session_id_that_cannot_be_one_is_refused_by_every_call() {
    let server = TestServer::start().await;
    let long = "x".repeat(256);
    for (session, says) in [("", &["1 to 255"][..]), ("a b", &["visible ASCII"]), (&long, &["255", "256"])] {
        let wrong = Wrong { says, ..Wrong::argument("SESSION_ID_INVALID", "session_id", &[]) };
        wrong.check_status(&get(&server, session).await.unwrap_err());
        wrong.check_status(&connections(&server, session, 0, "").await.unwrap_err());
        wrong.check_status(&disconnect(&server, session, "somebody").await.unwrap_err());
        // To a watch, the empty one means all.
        if !session.is_empty() {
            let request = proto::WatchSessionsRequest { session_id: session.into() };
            wrong.check_status(&server.sessions().watch_sessions(request).await.unwrap_err());
        }
    }
}

#[tokio::test]
async fn a_page_has_100_sessions_when_not_asked_otherwise_and_1000_at_most() {
    let server = TestServer::with(&["--max-streams-per-transport", "0"]).await;
    let expected: Vec<_> = (0..1_005).map(|number| format!("s{number:04}")).collect();
    let _members = quiet(&server, expected.iter().rev().cloned()).await;
    for (asked, given) in [(0, 100), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000), (u32::MAX, 1_000)] {
        let page = sessions(&server, asked, "").await.unwrap();
        assert_eq!(names(&page), expected[..given], "{asked} asked for");
        let rest = sessions(&server, 1_000, &page.next_page_token).await.unwrap();
        let until = expected.len().min(given + 1_000);
        assert_eq!(names(&rest), expected[given..until], "after {asked} asked for");
        assert_eq!(rest.next_page_token.is_empty(), until == expected.len());
    }
}

#[tokio::test]
async fn a_page_has_100_connections_when_not_asked_otherwise_and_1000_at_most() {
    let server = TestServer::with(&["--max-streams-per-transport", "0"]).await;
    let members = quiet(&server, (0..1_005).map(|_| "s".to_owned())).await;
    let mut expected: Vec<_> = members.iter().map(|member| (member.joined.sequence, member.id())).collect();
    expected.sort_unstable();
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
    for (asked, given) in [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (u32::MAX, 1_000)] {
        let page = connections(&server, "s", asked, "").await.unwrap();
        assert_eq!(ids(&page), expected[..given], "{asked} asked for");
        let rest = connections(&server, "s", 1_000, &page.next_page_token).await.unwrap();
        let until = expected.len().min(given + 1_000);
        assert_eq!(ids(&rest), expected[given..until], "after {asked} asked for");
        assert_eq!(rest.next_page_token.is_empty(), until == expected.len());
    }
}

#[tokio::test]
async fn a_page_that_is_just_full_is_the_last() {
    let server = TestServer::start().await;
    let _members = quiet(&server, ["a", "a", "b", "b"].map(str::to_owned).into_iter()).await;
    let page = sessions(&server, 2, "").await.unwrap();
    assert_eq!((names(&page), page.next_page_token.as_str()), (vec!["a", "b"], ""));
    let page = connections(&server, "a", 2, "").await.unwrap();
    assert_eq!((page.connections.len(), page.next_page_token.as_str()), (2, ""));
}

#[tokio::test]
async fn sessions_are_listed_by_id_each_once_while_others_come_and_go() {
    let server = TestServer::start().await;
    let lasting: Vec<_> = (0..20).map(|number| format!("s{number:02}")).collect();
    let _members = quiet(&server, lasting.iter().cloned()).await;
    let mut visitors = quiet(&server, ["s03~", "s06~"].map(str::to_owned).into_iter()).await;
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let page = sessions(&server, 4, &token).await.unwrap();
        assert!(page.sessions.len() <= 4);
        listed.extend(names(&page).into_iter().map(str::to_owned));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
        // Those seen go, the last of the page perhaps among them; others come
        // before the next page and in it.
        for visitor in std::mem::take(&mut visitors) {
            leave(visitor).await;
        }
        let last = listed.last().unwrap().trim_end_matches('~').to_owned();
        visitors = quiet(&server, ["a".to_owned(), format!("{last}~~")].into_iter()).await;
    }
    assert!(listed.is_sorted_by(|one, next| one < next), "{listed:?}");
    let seen: Vec<_> = listed.iter().filter(|session| !session.ends_with('~')).collect();
    assert_eq!(seen, lasting.iter().collect::<Vec<_>>());
    assert!(listed.iter().any(|session| session.ends_with("~~")), "one that came in time is listed");
}

#[tokio::test]
async fn connections_are_listed_in_the_order_of_joining_each_once_while_others_come_and_go() {
    let server = TestServer::start().await;
    let (mut lasting, mut passing) = (Vec::new(), Vec::new());
    for number in 0..16 {
        let member = server.join("s").without_connection_events().enter().await;
        if number % 4 == 3 { passing.push(member) } else { lasting.push(member) }
    }
    let (mut listed, mut token, mut late) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = connections(&server, "s", 4, &token).await.unwrap();
        listed.extend(ids(&page));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
        // The last of the page goes; one comes, at the end.
        if !passing.is_empty() {
            leave(passing.remove(0)).await;
            late.push(server.join("s").without_connection_events().enter().await);
        }
    }
    let once: BTreeSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "{listed:?}");
    let stayed: Vec<_> = lasting.iter().chain(&late).map(Member::id).collect();
    let seen: Vec<_> = listed.into_iter().filter(|id| stayed.contains(id)).collect();
    assert_eq!(seen, stayed);
}

#[tokio::test]
async fn interrupted_connections_are_listed_in_their_place() {
    let server = TestServer::start().await;
    let mut first = server.join("s").data("first").enter().await;
    let lost = server.join("s").data("lost").window(MINUTE).enter().await;
    let third = server.join("s").data("third").enter().await;
    let memory = lost.lose();
    first.find("the interruption", |event| matches!(event, Event::ConnectionInterrupted(_)).then_some(())).await;
    let listed = connections(&server, "s", 2, "").await.unwrap();
    let rest = connections(&server, "s", 2, &listed.next_page_token).await.unwrap();
    let all: Vec<_> = listed.connections.iter().chain(&rest.connections).cloned().collect();
    let shown: Vec<_> = all.iter().map(|one| (one.data.as_str(), one.state())).collect();
    let (connected, interrupted) = (ConnectionState::Connected, ConnectionState::Interrupted);
    assert_eq!(shown, [("first", connected), ("lost", interrupted), ("third", connected)]);
    assert_eq!(all[2], third.joined.connection.clone().unwrap());

    let _back = server.join("s").resume(memory).enter().await;
    let again = connections(&server, "s", 0, "").await.unwrap();
    assert_eq!((again.connections[1].data.as_str(), again.connections[1].state()), ("lost", connected));
}

#[tokio::test]
async fn a_token_that_no_listing_gave_is_refused() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let garbage =
        ["?", "s", "AAAA", "not base64", &encoded("s"), &encoded("sa b"), &encoded("c1"), &encoded("cx:y"), "\u{e9}"];
    for token in garbage {
        WRONG_TOKEN.check_status(&sessions(&server, 0, token).await.unwrap_err());
        WRONG_TOKEN.check_status(&connections(&server, "s", 0, token).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_token_of_another_listing_is_refused() {
    let server = TestServer::start().await;
    let _members = quiet(&server, ["a", "a", "b", "b"].map(str::to_owned).into_iter()).await;
    let of_sessions = sessions(&server, 1, "").await.unwrap().next_page_token;
    let of_connections = connections(&server, "a", 1, "").await.unwrap().next_page_token;
    WRONG_TOKEN.check_status(&connections(&server, "a", 1, &of_sessions).await.unwrap_err());
    WRONG_TOKEN.check_status(&sessions(&server, 1, &of_connections).await.unwrap_err());
    WRONG_TOKEN.check_status(&connections(&server, "b", 1, &of_connections).await.unwrap_err());
    // Each is good where it comes from.
    assert_eq!(names(&sessions(&server, 1, &of_sessions).await.unwrap()), ["b"]);
    assert_eq!(connections(&server, "a", 1, &of_connections).await.unwrap().connections.len(), 1);
}

#[tokio::test]
async fn a_token_of_an_earlier_life_of_the_session_is_refused() {
    let server = TestServer::start().await;
    let members = quiet(&server, ["s", "s"].map(str::to_owned).into_iter()).await;
    let token = connections(&server, "s", 1, "").await.unwrap().next_page_token;
    for member in members {
        leave(member).await;
    }
    let _again = quiet(&server, ["s", "s"].map(str::to_owned).into_iter()).await;
    WRONG_TOKEN.check_status(&connections(&server, "s", 1, &token).await.unwrap_err());
}

#[tokio::test]
async fn a_backend_disconnects_a_connection_for_good() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let target = server.join("s").window(MINUTE).enter().await;
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    let (id, memory) = (target.id(), target.memory());
    disconnect(&server, "s", &id).await.unwrap();
    // It took its place in the order before the call returned.
    let session = get(&server, "s").await.unwrap();
    assert_eq!(session.connection_count, 1);
    let Event::ConnectionDestroyed(destroyed) = onlooker.next().await else { panic!("nobody was destroyed") };
    assert_eq!((&destroyed.connection_id, destroyed.sequence), (&id, session.sequence));
    assert_eq!(destroyed.reason(), DisconnectReason::ForceDisconnected);
    target.end().await.check(&Wrong::new(Code::Aborted, "FORCE_DISCONNECTED", "", &["backend"]), ClientAction::Stop);
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::New);
    assert_ne!(back.id(), id);
}

#[tokio::test]
async fn a_backend_disconnects_an_interrupted_connection_too() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let target = server.join("s").window(MINUTE).enter().await;
    let id = target.id();
    let memory = target.lose();
    onlooker.find("the interruption", |event| matches!(event, Event::ConnectionInterrupted(_)).then_some(())).await;
    disconnect(&server, "s", &id).await.unwrap();
    let gone = |event: &Event| match event {
        Event::ConnectionDestroyed(destroyed) => Some(destroyed.clone()),
        _ => None,
    };
    let destroyed = onlooker.find("the departure", gone).await;
    assert_eq!((destroyed.connection_id.as_str(), destroyed.reason()), (&*id, DisconnectReason::ForceDisconnected));
    assert_eq!(ids(&connections(&server, "s", 0, "").await.unwrap()), [onlooker.id()]);
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::New);
}

#[tokio::test]
async fn disconnecting_the_last_one_ends_the_session() {
    let server = TestServer::start().await;
    let member = server.join("s").enter().await;
    disconnect(&server, "s", &member.id()).await.unwrap();
    NOT_FOUND.check_status(&get(&server, "s").await.unwrap_err());
}

#[tokio::test]
async fn a_connection_that_is_not_in_the_session_cannot_be_disconnected() {
    let server = TestServer::start().await;
    let member = server.join("s").enter().await;
    let elsewhere = server.join("another").enter().await;
    let wrong = Wrong::new(Code::NotFound, "CONNECTION_NOT_FOUND", "connection_id", &["not in the session"]);
    let shouted = member.id().to_uppercase();
    for nobody in ["", "nobody", &elsewhere.id(), &shouted] {
        wrong.check_status(&disconnect(&server, "s", nobody).await.unwrap_err());
    }
    for session in ["s", "another"] {
        assert_eq!(get(&server, session).await.unwrap().connection_count, 1);
    }
}
