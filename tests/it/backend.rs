//! The client of backends: signals that are safe to repeat, sessions and
//! watches.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use signalbox::client::{
    CallError, Client, ClientBuilder, ConnectError, DisconnectReason, Refusal, ServerClient, Signal, Token, Watch,
    WatchEvent,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{Event, Frame, Lossy, Member, Peer, TestServer, from_server, proto, recipients, signal, soon};

/// For those that say nothing: each test waits for it.
const SHORT: Duration = Duration::from_millis(300);

/// A client that loses no time between attempts.
fn hasty<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> ClientBuilder {
    let pause = Duration::from_millis(5);
    Client::builder().endpoints(endpoints).back_off(pause, pause)
}

fn backend(server: &TestServer) -> ServerClient {
    hasty([server.address().to_string()]).build().unwrap().server()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Refusal {
    match answer {
        Err(CallError::Refused(refusal)) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// A refusal as a server sends it.
fn refusal(code: Code, reason: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "signalbox", HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, "", details)
}

/// Waits until the server has put a connection out.
async fn departed(onlooker: &mut Member, id: &str) {
    let gone =
        |event: &Event| matches!(event, Event::ConnectionDestroyed(gone) if gone.connection_id == id).then_some(());
    onlooker.find("a departure", gone).await;
}

#[tokio::test]
async fn a_server_signal_reaches_everyone_or_those_named() {
    let server = TestServer::start().await;
    let mut one = server.join("s").enter().await;
    let mut other = server.join("s").enter().await;
    let backend = backend(&server);
    let sent = backend.send_from_server("s", Signal::new("t", "all")).await.unwrap();
    assert_eq!((sent.sequence, sent.recipient_count, sent.not_connected_ids.len()), (3, 2, 0));
    let to_one = Signal::new("t", "one").to([one.id(), "nobody".to_owned()]);
    let sent = backend.send_from_server("s", to_one).await.unwrap();
    assert_eq!((sent.recipient_count, sent.not_connected_ids), (1, vec!["nobody".to_owned()]));
    assert_eq!([one.heard().await, one.heard().await], ["all", "one"]);
    assert_eq!(other.heard().await, "all");
    server.nothing_reached(&mut other, "s").await;
}

#[tokio::test]
async fn a_key_repeated_repeats_the_answer_and_sends_nothing() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let backend = backend(&server);
    let send = |data: &str| backend.send_from_server("s", Signal::new("", data)).idempotency_key("k");
    let first = send("once").await.unwrap();
    // A crash forgets the client, and not the key.
    assert_eq!(send("once").await.unwrap(), first);
    let anew = Client::new([server.address().to_string()]).unwrap().server();
    assert_eq!(anew.send_from_server("s", Signal::new("", "once")).idempotency_key("k").await.unwrap(), first);
    assert_eq!(member.heard().await, "once");
    server.nothing_reached(&mut member, "s").await;
}

#[tokio::test]
async fn calls_without_a_key_are_signals_of_their_own() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let backend = backend(&server);
    for key in ["", ""] {
        backend.send_from_server("s", Signal::new("", "same")).idempotency_key(key).await.unwrap();
        backend.send_from_server("s", Signal::new("", "same")).await.unwrap();
    }
    for _ in 0..4 {
        assert_eq!(member.heard().await, "same");
    }
}

#[tokio::test]
async fn a_signal_whose_answer_is_lost_is_sent_once_all_the_same() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let lossy = Lossy::to(server.address()).await;
    let backend = hasty([lossy.endpoint()]).build().unwrap().server();
    backend.get_session("s").await.unwrap();

    lossy.hold_answers();
    let sending = tokio::spawn(backend.send_from_server("s", Signal::new("", "once")).into_future());
    let signal = member.signal().await;
    lossy.cut();
    let sent = soon("the second answer", sending).await.unwrap().unwrap();
    assert_eq!((sent.sequence, sent.recipient_count), (signal.sequence, 1));
    server.nothing_reached(&mut member, "s").await;
}

#[tokio::test]
async fn a_disconnection_whose_answer_is_lost_is_success_when_it_is_repeated() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let target = server.join("s").enter().await;
    let lossy = Lossy::to(server.address()).await;
    let backend = hasty([lossy.endpoint()]).build().unwrap().server();
    backend.get_session("s").await.unwrap();

    lossy.hold_answers();
    let (asking, id) = (backend.clone(), target.id());
    let disconnecting = tokio::spawn(async move { asking.disconnect_connection("s", id).await });
    departed(&mut onlooker, &target.id()).await;
    lossy.cut();
    soon("the second answer", disconnecting).await.unwrap().unwrap();
    // Asked for on its own, it is not there.
    assert_eq!(refused(backend.disconnect_connection("s", target.id()).await).reason, "CONNECTION_NOT_FOUND");
}

#[tokio::test]
async fn a_call_waits_for_a_server_that_was_there_before() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let mut lossy = Lossy::to(server.address()).await;
    let backend = hasty([lossy.endpoint()]).build().unwrap().server();
    backend.get_session("s").await.unwrap();
    lossy.down();
    let sending = tokio::spawn(backend.send_from_server("s", Signal::new("", "late")).into_future());
    lossy.missed().await;
    lossy.cut();
    soon("the answer", sending).await.unwrap().unwrap();
    assert_eq!(member.heard().await, "late");
}

#[tokio::test]
async fn a_call_gives_up_in_time_and_tells_why() {
    let mut server = TestServer::start().await;
    let address = server.address().to_string();
    let backend = hasty([&address]).give_up_after(Duration::from_millis(50)).build().unwrap().server();
    assert!(backend.list_sessions().all().await.unwrap().is_empty());
    server.shut_down();
    server.stopped().await;
    let error = soon("giving up", backend.get_session("s")).await.unwrap_err();
    assert_eq!(error, CallError::Connect(ConnectError::ConnectionRefused { endpoint: format!("http://{address}") }));
}

#[tokio::test]
async fn calls_at_the_same_time_share_one_connection_and_clones_too() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    let before = server.metric("signalbox_tcp_accepts_total").await;
    let backend = backend(&server);
    let calls = (0..50).map(|_| {
        let backend = backend.clone();
        async move { backend.send_from_server("s", Signal::new("", "")).await }
    });
    let sent = futures_util::future::try_join_all(calls).await.unwrap();
    assert_eq!(sent.len(), 50);
    assert_eq!(server.metric("signalbox_tcp_accepts_total").await - before, 1.0);
}

#[tokio::test]
async fn a_connection_that_ended_between_two_calls_is_replaced_unnoticed() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    let lossy = Lossy::to(server.address()).await;
    let backend = hasty([lossy.endpoint()]).build().unwrap().server();
    for _ in 0..3 {
        backend.get_session("s").await.unwrap();
        lossy.cut();
    }
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_is_not_there_or_goes_away() {
    let absent = Peer::refusing();
    let going = refusal(Code::Unavailable, "GOING_AWAY", None);
    let draining = Peer::http2(move |_| Some(going.clone().into_http::<()>())).await;
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let endpoints = [absent.endpoint(), draining.endpoint(), format!("http://{}", server.address())];
    // Without a pause: whoever asks elsewhere need not wait.
    let hour = Duration::from_secs(3_600);
    let backend = Client::builder().endpoints(endpoints).back_off(hour, hour).build().unwrap().server();
    for data in ["first", "second"] {
        soon("an answer", backend.send_from_server("s", Signal::new("", data)).into_future()).await.unwrap();
        assert_eq!(member.heard().await, data);
    }
}

#[tokio::test]
async fn no_attempt_is_made_sooner_than_the_server_asks_and_none_that_would_be_too_late() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let going = refusal(Code::Unavailable, "GOING_AWAY", Some(Duration::from_secs(60)));
    let peer = Peer::http2(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(going.clone().into_http::<()>())
    })
    .await;
    let backend = hasty([peer.endpoint()]).build().unwrap().server();
    let refusal = refused(soon("an end", backend.send_from_server("s", Signal::new("", "")).into_future()).await);
    assert_eq!((refusal.reason.as_str(), refusal.retry_after), ("GOING_AWAY", Some(Duration::from_secs(60))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_that_takes_a_call_and_never_answers_leaves_a_signal_in_doubt_and_no_look() {
    let mute = Peer::http2(|_| None).await;
    let client = hasty([mute.endpoint()]).connect_timeout(SHORT).give_up_after(Duration::ZERO).build().unwrap();
    let last = ConnectError::TimedOut { endpoint: mute.endpoint(), after: SHORT };
    let looked = soon("a look", client.server().get_session("s")).await;
    assert_eq!(looked.unwrap_err(), CallError::Connect(last.clone()));
    let sent = soon("a send", client.server().send_from_server("s", Signal::new("", "")).into_future()).await;
    let error = sent.unwrap_err();
    assert_eq!(error, CallError::Unknown { last });
    assert!(error.to_string().contains("repeat it"), "{error}");
}

#[tokio::test]
async fn what_no_server_would_take_is_refused_here_in_its_words() {
    let server = TestServer::start().await;
    let _member = server.join("s").enter().await;
    let nobody = Peer::refusing();
    let offline = Client::new([nobody.endpoint()]).unwrap().server();
    let base = from_server("s", "");
    for request in [
        proto::SendFromServerRequest { session_id: String::new(), ..base.clone() },
        proto::SendFromServerRequest { session_id: "a b".into(), ..base.clone() },
        proto::SendFromServerRequest { signal: Some(signal("a b", "")), ..base.clone() },
        proto::SendFromServerRequest { signal: Some(signal(&"t".repeat(129), "")), ..base.clone() },
        proto::SendFromServerRequest { signal: Some(signal("", &"d".repeat(8_193))), ..base.clone() },
        proto::SendFromServerRequest { to: Some(recipients(&[])), ..base.clone() },
        proto::SendFromServerRequest { to: Some(recipients(&[&"x".repeat(129)])), ..base.clone() },
        proto::SendFromServerRequest { idempotency_key: "k".repeat(129), ..base.clone() },
    ] {
        let status = server.signaling().send_from_server(request.clone()).await.unwrap_err();
        let details = status.get_error_details();
        let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());

        let wanted = request.signal.unwrap();
        let mut wanted = Signal::new(wanted.r#type, wanted.data);
        if let Some(to) = request.to {
            wanted = wanted.to(to.connection_ids);
        }
        let send = offline.send_from_server(request.session_id, wanted).idempotency_key(request.idempotency_key);
        let refusal = refused(send.await);
        assert_eq!(refusal.code, status.code());
        assert_eq!(refusal.reason, details.error_info().unwrap().reason);
        assert_eq!((refusal.message.as_str(), refusal.field), (status.message(), field));
    }
    for empty in [
        refused(offline.get_session("").await),
        refused(offline.list_connections("").all().await),
        refused(offline.disconnect_connection("", "x").await),
        refused(offline.watch_sessions(Some("")).await),
    ] {
        assert_eq!(empty.reason, "SESSION_ID_INVALID");
    }
}

#[tokio::test]
async fn limits_that_a_server_sets_are_left_to_it() {
    let server = TestServer::with(&["--max-session-id-bytes", "300", "--max-recipients", "101"]).await;
    let session = "s".repeat(300);
    let member = server.join(&session).enter().await;
    let backend = backend(&server);
    let many = |count: usize| (0..count).map(|number| if number == 0 { member.id() } else { number.to_string() });
    let sent = backend.send_from_server(&session, Signal::new("", "").to(many(101))).await.unwrap();
    assert_eq!((sent.recipient_count, sent.not_connected_ids.len()), (1, 100));
    let refusal = refused(backend.send_from_server(&session, Signal::new("", "").to(many(102))).await);
    assert_eq!(refusal.reason, "RECIPIENTS_INVALID");
    assert_eq!(refused(backend.get_session("s".repeat(301)).await).reason, "SESSION_ID_INVALID");
}

#[tokio::test]
async fn sessions_and_connections_are_listed_page_by_page_or_at_once() {
    let server = TestServer::start().await;
    let backend = backend(&server);
    assert!(backend.list_sessions().all().await.unwrap().is_empty());
    let mut members = Vec::new();
    for session in ["a", "b", "c", "c", "c"] {
        members.push(server.join(session).data(session).enter().await);
    }
    let mut listing = backend.list_sessions().page_size(2);
    let mut pages = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        pages.push(page.into_iter().map(|session| session.session_id).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c"]]);

    let seen = backend.get_session("c").await.unwrap();
    assert_eq!((seen.connection_count, seen.sequence, seen.epoch), (3, 3, members[2].joined.epoch));
    assert!(seen.created_at.is_some());
    assert_eq!(backend.list_sessions().all().await.unwrap()[2], seen);

    let connections = backend.list_connections("c").page_size(2).all().await.unwrap();
    let ids: Vec<_> = connections.iter().map(|connection| connection.connection_id.clone()).collect();
    assert_eq!(ids, members[2..].iter().map(Member::id).collect::<Vec<_>>());
    assert!(connections.iter().all(|connection| connection.data == "c" && !connection.interrupted));

    assert_eq!(refused(backend.get_session("z").await).reason, "SESSION_NOT_FOUND");
    assert_eq!(refused(backend.list_connections("z").all().await).reason, "SESSION_NOT_FOUND");
}

#[tokio::test]
async fn a_connection_that_is_disconnected_is_out() {
    let server = TestServer::start().await;
    let target = server.join("s").enter().await;
    let backend = backend(&server);
    backend.disconnect_connection("s", target.id()).await.unwrap();
    assert_eq!(target.end().await.status.unwrap().code(), Code::Aborted);
    assert_eq!(refused(backend.disconnect_connection("s", "x").await).reason, "SESSION_NOT_FOUND");
}

async fn seen(watch: &mut Watch) -> WatchEvent {
    soon("an event", watch.next()).await.expect("the watch goes on").unwrap()
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_changes() {
    let server = TestServer::start().await;
    let member = server.join("a").data("Ada").enter().await;
    let _elsewhere = server.join("b").enter().await;
    let mut watch = backend(&server).watch_sessions(Some("a")).await.unwrap();
    let epoch = member.joined.epoch;
    let started = seen(&mut watch).await;
    assert!(
        matches!(&started, WatchEvent::SessionStarted { session_id, epoch: of, created_at: Some(_) }
            if session_id == "a" && *of == epoch),
        "{started:?}"
    );
    let created = seen(&mut watch).await;
    assert!(
        matches!(&created, WatchEvent::ConnectionCreated { session_id, sequence: 1, connection }
            if session_id == "a" && connection.connection_id == member.id() && connection.data == "Ada"),
        "{created:?}"
    );
    assert_eq!(seen(&mut watch).await, WatchEvent::SnapshotComplete);
    let connection_id = member.id();
    member.frame(Frame::Leave(proto::Leave {}));
    let reason = DisconnectReason::ClientDisconnected;
    let gone = WatchEvent::ConnectionDestroyed { session_id: "a".into(), sequence: 2, connection_id, reason };
    assert_eq!(seen(&mut watch).await, gone);
    assert_eq!(seen(&mut watch).await, WatchEvent::SessionEnded { session_id: "a".into(), epoch });
}

#[tokio::test]
async fn a_watch_that_the_server_ends_ends_with_its_reason_once() {
    let mut server = TestServer::start().await;
    let mut watch = backend(&server).watch_sessions(None).await.unwrap();
    assert_eq!(seen(&mut watch).await, WatchEvent::SnapshotComplete);
    server.shut_down();
    assert_eq!(refused(soon("the end", watch.next()).await.unwrap()).reason, "GOING_AWAY");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_whose_connection_breaks_ends_and_the_next_has_a_fresh_view() {
    let server = TestServer::start().await;
    let lossy = Lossy::to(server.address()).await;
    let backend = hasty([lossy.endpoint()]).build().unwrap().server();
    let mut watch = backend.watch_sessions(None).await.unwrap();
    assert_eq!(seen(&mut watch).await, WatchEvent::SnapshotComplete);
    lossy.cut();
    let error = soon("the end", watch.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::Connect(ConnectError::Lost { endpoint, .. }) if *endpoint == lossy.endpoint()),
        "{error:?}"
    );
    assert_eq!(watch.next().await, None);
    let _member = server.join("s").enter().await;
    let mut watch = soon("another watch", backend.watch_sessions(None)).await.unwrap();
    assert!(matches!(seen(&mut watch).await, WatchEvent::SessionStarted { .. }));
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_no_session_is_named_for_it() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    let expired = refusal(Code::Unauthenticated, "TOKEN_EXPIRED", None);
    let peer = Peer::http2(move |headers| {
        seen.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
        Some(expired.clone().into_http::<()>())
    })
    .await;
    let made = Arc::new(AtomicUsize::new(0));
    let client = hasty([peer.endpoint()]).token_with(move |session_id| {
        assert_eq!(session_id, None);
        let number = made.fetch_add(1, Ordering::Relaxed);
        async move { Ok(Token::new(format!("t{number}"))) }
    });
    let refusal = refused(client.build().unwrap().server().get_session("s").await);
    assert_eq!(refusal.reason, "TOKEN_EXPIRED");
    assert_eq!(*shown.lock().unwrap(), ["Bearer t0", "Bearer t1"]);
}
