//! Sends and what becomes of them.

use futures_util::future::join_all;
use signalbox::client::{Client, Event, JoinOptions, SendError, Signal};
use tonic::Code;

use crate::support::{Event as Wire, TestServer, soon};

use super::App;

#[tokio::test]
async fn a_program_of_ten_lines_joins_signals_and_hears() {
    let server = TestServer::start().await;
    let client = Client::new([server.address().to_string()]).unwrap();
    let (session, mut events) = client.join(JoinOptions::new("demo").connection_data("Ada")).await.unwrap();
    session.signal(Signal::new("chat", "hello")).await.unwrap();
    let mut heard = Vec::new();
    while let Some(event) = soon("an event", events.next()).await {
        if let Event::Joined { connection, connections, .. } = &event {
            assert_eq!((connection.data.as_str(), connections.len()), ("Ada", 1));
        } else if let Event::Signal(signal) = event {
            assert_eq!(signal.from, Some(session.connection_id()));
            heard.push((signal.kind, signal.data));
            session.leave().await;
        }
    }
    assert_eq!(heard, [("chat".to_owned(), "hello".to_owned())]);
}

#[tokio::test]
async fn the_outcome_of_a_signal_is_its_place_and_who_was_not_there() {
    let server = TestServer::start().await;
    let mut app = App::of(&server).await;
    let mut other = server.join("s").enter().await;
    let event = app.next().await;
    let Event::ConnectionCreated { connection, .. } = &event else { panic!("{event:?}") };
    assert_eq!(connection.connection_id, other.id());

    let everyone = soon("an outcome", app.session.signal(Signal::new("", "everyone"))).await.unwrap();
    let heard = app.signal().await;
    assert_eq!((heard.sequence, heard.data.as_str()), (everyone.sequence, "everyone"));
    assert!(everyone.not_connected_ids.is_empty());
    assert_eq!((other.signal().await.sequence, other.joined.epoch), (everyone.sequence, everyone.epoch));

    let one = soon("an outcome", app.session.signal(Signal::new("", "one").to([other.id()]))).await.unwrap();
    assert_eq!(other.signal().await.sequence, one.sequence);
    assert!(one.not_connected_ids.is_empty());

    let signal = Signal::new("", "some").to(["nobody".to_owned(), other.id(), "nowhere".to_owned()]);
    let some = soon("an outcome", app.session.signal(signal)).await.unwrap();
    assert_eq!(other.signal().await.sequence, some.sequence);
    assert_eq!(some.not_connected_ids, ["nobody", "nowhere"]);

    let refused = soon("an outcome", app.session.signal(Signal::new("", "none").to(["nobody"]))).await.unwrap_err();
    let SendError::Refused(refusal) = &refused else { panic!("{refused:?}") };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "CONNECTION_NOT_FOUND"));
    assert_eq!(refusal.field.as_deref(), Some("to.connection_ids"));
    // What was for others or refused didn't come here.
    app.session.signal(Signal::new("", "last")).await.unwrap();
    assert_eq!(app.heard().await, "last");
    assert_eq!(other.heard().await, "last");
}

#[tokio::test]
async fn a_signal_whose_outcome_nobody_waits_for_is_sent_all_the_same() {
    let server = TestServer::start().await;
    let mut other = server.join("s").enter().await;
    let app = App::of(&server).await;
    assert!(matches!(other.next().await, Wire::ConnectionCreated(_)));
    drop(app.session.signal(Signal::new("", "first")));
    // Nor does it matter that its outcome was waited for, for a while.
    let second = app.session.signal(Signal::new("", "second"));
    let _ = tokio::time::timeout(std::time::Duration::ZERO, second).await;
    for expected in ["first", "second"] {
        assert_eq!(other.heard().await, expected);
    }
}

#[tokio::test]
async fn clones_of_a_session_are_the_same_member() {
    let server = TestServer::start().await;
    let mut app = App::of(&server).await;
    let clone = app.session.clone();
    let sends: Vec<_> = (0..20)
        .map(|number| {
            let session = if number % 2 == 0 { &app.session } else { &clone };
            session.signal(Signal::new("", number.to_string()))
        })
        .collect();
    let outcomes = soon("outcomes", join_all(sends)).await;
    assert_eq!(clone.connection_id(), app.id());
    drop(std::mem::replace(&mut app.session, clone));
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let signal = app.signal().await;
        assert_eq!((signal.data, signal.from), (number.to_string(), Some(app.id())));
        assert_eq!(outcome.unwrap().sequence, signal.sequence);
    }
    soon("an outcome", app.session.signal(Signal::new("", "still here"))).await.unwrap();
}

#[tokio::test]
async fn sends_from_many_threads_each_have_their_own_outcome() {
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    let mut app = App::of(&server).await;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let session = app.session.clone();
            std::thread::spawn(move || {
                let send = |number| session.signal(Signal::new("", format!("{thread}-{number}")));
                (0..50).map(send).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut places = std::collections::BTreeMap::new();
    for (thread, sends) in threads.into_iter().enumerate() {
        let outcomes = soon("outcomes", join_all(sends.join().unwrap())).await;
        for (number, outcome) in outcomes.into_iter().enumerate() {
            places.insert(outcome.unwrap().sequence, format!("{thread}-{number}"));
        }
    }
    assert_eq!(places.len(), 200);
    for (place, data) in places {
        let signal = app.signal().await;
        assert_eq!((signal.sequence, signal.data), (place, data));
    }
}

#[tokio::test]
async fn more_signals_than_the_rate_allows_wait_and_none_is_refused() {
    let server = TestServer::with(&["--signals-per-second", "200", "--signal-burst", "5"]).await;
    let mut app = App::of(&server).await;
    let sends: Vec<_> = (0..200).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    for (number, outcome) in join_all(sends).await.into_iter().enumerate() {
        assert!(outcome.is_ok(), "{number}: {outcome:?}");
        assert_eq!(app.heard().await, number.to_string());
    }
}

#[tokio::test]
async fn a_burst_of_0_is_no_limit_to_wait_for() {
    let server = TestServer::with(&["--signals-per-second", "1", "--signal-burst", "0"]).await;
    let app = App::of(&server).await;
    let sends: Vec<_> = (0..50).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    assert!(soon("outcomes", join_all(sends)).await.iter().all(Result::is_ok));
}
