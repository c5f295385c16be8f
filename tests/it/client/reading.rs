//! What an application takes, and what it is spared.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use signalbox::client::{Client, DisconnectReason, Event, JoinOptions, Lost, Over, Signal};

use crate::support::{Event as Wire, Member, TestServer, from_server, proto, recipients, signal, soon};

use super::App;

async fn join(server: &TestServer, options: JoinOptions) -> App {
    App::join(&Client::new([server.address().to_string()]).unwrap(), options).await
}

#[tokio::test]
async fn a_stream_of_one_type_has_only_that_and_events_have_all() {
    let server = TestServer::start().await;
    let mut app = App::of(&server).await;
    let chat = app.session.on_type("chat");
    let mut untyped = app.session.on_type("");
    for (kind, data) in [("chat", "1"), ("", "2"), ("cursor", "3"), ("chat", "4"), ("Chat", "5")] {
        soon("an outcome", app.session.signal(Signal::new(kind, data))).await.unwrap();
    }
    for data in ["1", "2", "3", "4", "5"] {
        assert_eq!(app.heard().await, data);
    }
    let late = app.session.on_type("chat");
    soon("an outcome", app.session.signal(Signal::new("chat", "6"))).await.unwrap();
    assert_eq!(app.heard().await, "6");
    assert_eq!(soon("a signal", untyped.next()).await.unwrap().data, "2");
    drop(untyped);
    soon("the end", app.session.leave()).await;
    assert_eq!(app.out().await.0, Over::Left);
    // They end when the session does.
    assert_eq!(soon("signals", chat.map(|signal| signal.data).collect::<Vec<_>>()).await, ["1", "4", "6"]);
    assert_eq!(soon("signals", late.map(|signal| signal.data).collect::<Vec<_>>()).await, ["6"]);
    assert_eq!(soon("the end", app.session.on_type("chat").next()).await, None);
}

#[tokio::test]
async fn streams_of_types_go_on_when_events_are_dropped() {
    let server = TestServer::start().await;
    let app = App::of(&server).await;
    let mut chat = app.session.on_type("chat");
    drop(app.events);
    for number in 0..10 {
        let request =
            proto::SendFromServerRequest { signal: Some(signal("chat", &number.to_string())), ..from_server("s", "") };
        server.signaling().send_from_server(request).await.unwrap();
        let heard = soon("a signal", chat.next()).await.unwrap();
        assert_eq!((heard.data, heard.from), (number.to_string(), None));
    }
}

#[tokio::test]
async fn the_server_sends_only_the_types_that_were_asked_for() {
    let server = TestServer::start().await;
    let mut app = join(&server, JoinOptions::new("s").signal_types(["chat", ""])).await;
    for (kind, data) in [("cursor", "1"), ("chat", "2"), ("cursor", "3"), ("", "4")] {
        soon("an outcome", app.session.signal(Signal::new(kind, data))).await.unwrap();
    }
    assert_eq!(app.heard().await, "2");
    assert_eq!(app.heard().await, "4");
}

#[tokio::test]
async fn own_signals_and_comings_and_goings_can_be_spared() {
    let server = TestServer::start().await;
    let before = server.join("s").enter().await;
    let options = JoinOptions::new("s").suppress_connection_events(true).suppress_own_signals(true);
    let mut app = join(&server, options).await;
    let mut visitor = server.join("s").enter().await;
    soon("an outcome", app.session.signal(Signal::new("", "own"))).await.unwrap();
    drop(before);
    visitor.say("", "visitor's").await;
    assert_eq!(app.heard().await, "visitor's");
    let here: Vec<_> = app.session.connections().into_iter().map(|one| one.connection_id).collect();
    assert_eq!(here, [app.id()]);
}

/// Gives `app` signals until the others have seen that it is slow; how many.
async fn flood(server: &TestServer, app: &App, onlooker: &mut Member) -> u64 {
    let data = "d".repeat(8_000);
    for number in 1.. {
        let request = proto::SendFromServerRequest {
            signal: Some(signal(&number.to_string(), &data)),
            to: Some(recipients(&[&app.id()])),
            ..from_server("s", "")
        };
        server.signaling().send_from_server(request).await.unwrap();
        if let Some(event) = onlooker.next().now_or_never() {
            assert!(matches!(event, Wire::ConnectionInterrupted(_)), "{event:?}");
            return number;
        }
    }
    unreachable!("the numbers are over")
}

/// Floods an application that takes nothing, then has it take everything:
/// whether there was a gap, and which signals came.
async fn slow(flags: &[&str]) -> (bool, Vec<u64>, u64) {
    let server = TestServer::with(&[&["--outbox-events", "16"], flags].concat()).await;
    let mut onlooker = server.join("s").enter().await;
    let mut app = join(&server, JoinOptions::new("s").resume_window(Duration::from_secs(60))).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionCreated(_)));
    let most = flood(&server, &app, &mut onlooker).await;
    let mut heard = Vec::new();
    let mut gap = None;
    server.signaling().send_from_server(from_server("s", "last")).await.unwrap();
    loop {
        match app.next().await {
            Event::Signal(signal) if signal.kind.is_empty() => break,
            Event::Signal(signal) => heard.push(signal.kind.parse().unwrap()),
            Event::Reconnecting { why: Lost::Closed { reason, .. } } => assert_eq!(reason, "SLOW_CONSUMER"),
            Event::Reconnected { gap: missed, .. } => {
                assert_eq!(gap, None, "back twice");
                gap = Some(missed);
                if missed {
                    // The last signal may be among what was missed.
                    server.signaling().send_from_server(from_server("s", "last")).await.unwrap();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    (gap.expect("it was closed as slow"), heard, most)
}

#[tokio::test]
async fn an_application_that_takes_no_events_is_closed_and_comes_back_with_everything() {
    let (gap, heard, most) = slow(&[]).await;
    assert!(!gap);
    assert_eq!(heard, (1..=most).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_application_that_was_too_slow_for_the_log_is_told_of_the_gap() {
    let (gap, heard, most) = slow(&["--log-events", "4"]).await;
    assert!(gap);
    assert_eq!(heard, (1..=heard.len() as u64).collect::<Vec<_>>());
    assert!((heard.len() as u64) < most);
}

#[tokio::test]
async fn a_gone_connection_is_told_with_its_reason() {
    let server = TestServer::start().await;
    let mut app = App::of(&server).await;
    let brief = server.join("s").enter().await;
    let id = brief.id();
    drop(brief);
    assert!(matches!(app.next().await, Event::ConnectionCreated { .. }));
    let event = app.next().await;
    let Event::ConnectionDestroyed { connection_id, reason, .. } = event else { panic!("{event:?}") };
    assert_eq!((connection_id, reason), (id, DisconnectReason::NetworkDisconnected));
}
