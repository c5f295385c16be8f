//! Losing the stream, and coming back.

use std::time::Duration;

use futures_util::future::join_all;
use signalbox::client::{Action, Event, JoinOptions, Lost, Over, SendError, Signal};

use crate::support::{Event as Wire, Member, Relay, TestServer, from_server, soon};

use super::App;

/// A member through a relay, and somebody who sees what the others see.
pub(super) async fn relayed(flags: &[&str]) -> (TestServer, Relay, Member, App) {
    let server = TestServer::with(flags).await;
    let mut onlooker = server.join("s").enter().await;
    let relay = Relay::to(server.address()).await;
    let app = App::through(&relay).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionCreated(_)));
    (server, relay, onlooker, app)
}

async fn interrupted(onlooker: &mut Member) {
    let is = |event: &Wire| matches!(event, Wire::ConnectionInterrupted(_)).then_some(());
    onlooker.find("the interruption", is).await;
}

#[tokio::test]
async fn a_member_resumes_after_a_cut_and_has_what_it_missed_in_order_and_once() {
    let (server, relay, mut onlooker, mut app) = relayed(&[]).await;
    let id = app.id();
    for round in 0..3 {
        onlooker.say("", "before").await;
        relay.cut();
        interrupted(&mut onlooker).await;
        for number in 0..10 {
            onlooker.say("", &format!("{round}-{number}")).await;
        }
        assert_eq!(app.heard().await, "before");
        assert!(matches!(app.lost().await, Lost::Broken(_)));
        relay.mend();
        let back = app.back().await;
        assert_eq!((back.gap, &back.connection.connection_id), (false, &id));
        let here: Vec<_> = back.connections.into_iter().map(|one| one.connection_id).collect();
        assert_eq!(here, [onlooker.id(), id.clone()]);
        for number in 0..10 {
            assert_eq!(app.heard().await, format!("{round}-{number}"));
        }
        let is = |event: &Wire| matches!(event, Wire::ConnectionRestored(_)).then_some(());
        onlooker.find("the return", is).await;
    }
    server.signaling().send_from_server(from_server("s", "last")).await.unwrap();
    assert_eq!(app.heard().await, "last");
}

#[tokio::test]
async fn what_is_sent_while_disconnected_waits_and_arrives_in_order() {
    let (_server, relay, mut onlooker, mut app) = relayed(&[]).await;
    relay.cut();
    app.lost().await;
    let mut sends: Vec<_> = (0..10).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    let to = [onlooker.id()];
    sends.push(app.session.signal(Signal::new("", "to one").to(to)));
    relay.mend();
    assert!(!app.back().await.gap);
    for number in 0..10 {
        assert_eq!(onlooker.heard().await, number.to_string());
        assert_eq!(app.heard().await, number.to_string());
    }
    assert_eq!(onlooker.heard().await, "to one");
    assert!(soon("outcomes", join_all(sends)).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_is_not_to_wait_fails_at_once_and_never_arrives() {
    let (server, relay, mut onlooker, mut app) = relayed(&[]).await;
    let now_or_never = || Signal::new("", "now or never").retry_after_reconnect(false);
    soon("an outcome", app.session.signal(now_or_never())).await.unwrap();
    assert_eq!(app.heard().await, "now or never");
    assert_eq!(onlooker.heard().await, "now or never");
    relay.cut();
    app.lost().await;
    assert_eq!(soon("an outcome", app.session.signal(now_or_never())).await, Err(SendError::Disconnected));
    let later = app.session.signal(Signal::new("", "later"));
    relay.mend();
    assert!(!app.back().await.gap);
    soon("an outcome", later).await.unwrap();
    assert_eq!(app.heard().await, "later");
    assert_eq!(onlooker.heard().await, "later");
    interrupted(&mut onlooker).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionRestored(_)));
    server.nothing_reached(&mut onlooker, "s").await;
}

#[tokio::test]
async fn a_send_whose_outcome_was_lost_is_decided_once() {
    let (server, relay, mut onlooker, mut app) = relayed(&[]).await;
    // The first reaches the server, its outcome doesn't come back; nor does
    // that of one that is not to be sent again.
    relay.hold_answers();
    let first = app.session.signal(Signal::new("", "first"));
    let once = app.session.signal(Signal::new("", "once").retry_after_reconnect(false));
    assert_eq!(onlooker.heard().await, "first");
    let place = onlooker.signal().await.sequence;
    // The others don't even get there.
    relay.hold();
    let second = app.session.signal(Signal::new("", "second"));
    let never = app.session.signal(Signal::new("", "never").retry_after_reconnect(false));
    relay.cut();
    app.lost().await;
    relay.release();
    relay.mend();
    assert!(!app.back().await.gap);
    assert_eq!(soon("an outcome", first).await.unwrap().sequence, place - 1);
    assert_eq!(soon("an outcome", once).await.unwrap().sequence, place);
    let second = soon("an outcome", second).await.unwrap();
    assert_eq!(soon("an outcome", never).await, Err(SendError::Disconnected));
    for expected in ["first", "once", "second"] {
        assert_eq!(app.heard().await, expected);
    }
    interrupted(&mut onlooker).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionRestored(_)));
    let event = onlooker.next().await;
    assert!(matches!(&event, Wire::Signal(signal) if signal.sequence == second.sequence), "{event:?}");
    server.nothing_reached(&mut onlooker, "s").await;
}

#[tokio::test]
async fn every_send_is_decided_once_over_many_cuts() {
    let (server, relay, mut onlooker, app) = relayed(&["--signals-per-second", "0"]).await;
    drop(app.events);
    let mut sends = Vec::new();
    for round in 0..20 {
        for number in 0..10 {
            sends.push(app.session.signal(Signal::new("", (round * 10 + number).to_string())));
            tokio::task::yield_now().await;
        }
        relay.cut();
        relay.mend();
    }
    let mut last = 0;
    for (number, outcome) in soon("outcomes", join_all(sends)).await.into_iter().enumerate() {
        let heard = onlooker.signal().await;
        assert_eq!(heard.signal.unwrap().data, number.to_string());
        assert_eq!(outcome.unwrap().sequence, heard.sequence);
        assert!(heard.sequence > last);
        last = heard.sequence;
    }
    soon("the end", app.session.leave()).await;
    let gone = |event: &Wire| matches!(event, Wire::ConnectionDestroyed(_)).then_some(());
    onlooker.find("the departure", gone).await;
    drop(server);
}

#[tokio::test]
async fn a_half_open_connection_is_found_by_its_silence() {
    let (_server, relay, mut onlooker, mut app) = relayed(&["--heartbeat-interval", "200ms"]).await;
    relay.hold();
    onlooker.say("", "meanwhile").await;
    let send = app.session.signal(Signal::new("", "into silence"));
    assert_eq!(app.lost().await, Lost::Silent);
    relay.release();
    assert!(!app.back().await.gap);
    assert_eq!(app.heard().await, "meanwhile");
    assert_eq!(app.heard().await, "into silence");
    soon("an outcome", send).await.unwrap();
    for expected in ["meanwhile", "into silence"] {
        assert_eq!(onlooker.heard().await, expected);
    }
}

#[tokio::test]
async fn heartbeats_keep_a_quiet_connection() {
    let (server, _relay, _onlooker, mut app) = relayed(&["--heartbeat-interval", "100ms"]).await;
    // As long as it takes a member that hears nothing else to give it up.
    let quiet = server.join("quiet").enter();
    let mut quiet = quiet.await;
    for _ in 0..5 {
        assert!(matches!(quiet.next().await, Wire::Heartbeat(_)));
    }
    server.signaling().send_from_server(from_server("s", "still here")).await.unwrap();
    assert_eq!(app.heard().await, "still here");
}

#[tokio::test]
async fn what_the_log_no_longer_holds_is_a_gap_with_a_fresh_view() {
    let (server, relay, mut onlooker, mut app) = relayed(&["--log-events", "3"]).await;
    let id = app.id();
    relay.cut();
    app.lost().await;
    interrupted(&mut onlooker).await;
    let visitor = server.join("s").enter().await;
    let mut last = 0;
    for number in 0..10 {
        last = onlooker.say("", &number.to_string()).await;
    }
    let queued = app.session.signal(Signal::new("", "queued"));
    relay.mend();
    let back = app.back().await;
    assert_eq!((back.gap, back.connection.connection_id), (true, id.clone()));
    let here: Vec<_> = back.connections.into_iter().map(|one| one.connection_id).collect();
    assert_eq!(here, [onlooker.id(), id.clone(), visitor.id()]);
    let here: Vec<_> = app.session.connections().into_iter().map(|one| one.connection_id).collect();
    assert_eq!(here, [onlooker.id(), id, visitor.id()]);
    let heard = app.signal().await;
    assert_eq!(heard.data, "queued");
    assert_eq!(soon("an outcome", queued).await.unwrap().sequence, heard.sequence);
    assert!(heard.sequence > last);
}

#[tokio::test]
async fn a_server_that_restarted_knows_nothing_any_more() {
    let (old, relay, mut onlooker, mut app) = relayed(&[]).await;
    let (id, epoch) = (app.id(), onlooker.joined.epoch);
    relay.hold_answers();
    let in_flight = app.session.signal(Signal::new("", "in flight"));
    assert_eq!(onlooker.heard().await, "in flight");
    relay.cut();
    app.lost().await;
    let queued: Vec<_> = (0..3).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    drop(old);
    let new = TestServer::start().await;
    relay.lead_to(new.address());
    relay.release();
    relay.mend();
    let back = app.back().await;
    assert!(back.gap && back.epoch != epoch);
    assert_ne!(back.connection.connection_id, id);
    assert_eq!(back.connection.connection_id, app.id());
    assert_eq!(back.connections, app.session.connections());
    assert_eq!(back.connections.len(), 1);
    assert_eq!(soon("an outcome", in_flight).await, Err(SendError::Unknown));
    for (number, send) in queued.into_iter().enumerate() {
        let heard = app.signal().await;
        assert_eq!((heard.data, heard.from), (number.to_string(), Some(app.id())));
        let accepted = soon("an outcome", send).await.unwrap();
        assert_eq!((accepted.sequence, accepted.epoch), (heard.sequence, back.epoch));
    }
    // It resumes there, too.
    relay.cut();
    app.lost().await;
    relay.mend();
    assert!(!app.back().await.gap);
    soon("an outcome", app.session.signal(Signal::new("", "again"))).await.unwrap();
    assert_eq!(app.heard().await, "again");
}

#[tokio::test]
async fn without_a_window_every_loss_is_a_gap() {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let client = App::impatient([relay.endpoint()]);
    let mut app = App::join(&client, JoinOptions::new("s").resume_window(Duration::ZERO).connection_data("me")).await;
    let id = app.id();
    relay.cut();
    app.lost().await;
    relay.mend();
    let back = app.back().await;
    assert!(back.gap && back.connection.connection_id != id);
    assert_eq!(back.connection.data, "me");
}

#[tokio::test]
async fn a_member_that_can_not_come_back_gives_up() {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let client = signalbox::client::Client::builder()
        .endpoint(relay.endpoint())
        .back_off(Duration::from_millis(5), Duration::from_millis(20))
        .give_up_after(Duration::from_millis(200));
    let mut app = App::join(&client.build().unwrap(), JoinOptions::new("s")).await;
    relay.hold_answers();
    let sent = app.session.signal(Signal::new("", "sent"));
    relay.cut();
    app.lost().await;
    let queued = app.session.signal(Signal::new("", "queued"));
    let (reason, action) = app.out().await;
    assert!(matches!(&reason, Over::GaveUp(last) if !last.is_empty()), "{reason:?}");
    assert_eq!(action, Action::Rejoin);
    assert_eq!(soon("an outcome", sent).await, Err(SendError::Unknown));
    assert_eq!(soon("an outcome", queued).await, Err(SendError::Over));
    soon("the end", app.session.leave()).await;
}

#[tokio::test]
async fn the_next_endpoint_is_tried_when_one_fails() {
    let (first, second) = (TestServer::start().await, TestServer::start().await);
    let relay = Relay::to(first.address()).await;
    // A port that nobody listens on, for certain.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = [format!("http://{nobody}"), relay.endpoint(), format!("http://{}", second.address())];
    let mut app = App::join(&App::impatient(endpoints), JoinOptions::new("s")).await;
    let id = app.id();
    relay.cut();
    app.lost().await;
    let back = app.back().await;
    assert!(back.gap && back.connection.connection_id != id);
    let mut there = second.join("s").enter().await;
    assert_eq!(there.snapshot(), [app.id(), there.id()]);
    soon("an outcome", app.session.signal(Signal::new("", "over there"))).await.unwrap();
    assert_eq!(there.heard().await, "over there");
}

#[tokio::test]
async fn a_server_that_goes_away_sends_its_members_to_the_next() {
    let (mut first, second) = (TestServer::start().await, TestServer::start().await);
    let endpoints = [first.address().to_string(), second.address().to_string()];
    let mut app = App::join(&App::impatient(endpoints), JoinOptions::new("s")).await;
    let id = app.id();
    first.shut_down();
    let why = app.lost().await;
    let Lost::Closed { reason, retry_after } = why else { panic!("{why:?}") };
    assert_eq!(reason, "GOING_AWAY");
    assert!(retry_after.is_some_and(|after| after > Duration::ZERO));
    let queued = app.session.signal(Signal::new("", "queued"));
    let back = app.back().await;
    assert!(back.gap && back.connection.connection_id != id);
    assert_eq!(app.heard().await, "queued");
    soon("an outcome", queued).await.unwrap();
    first.stopped().await;
}

#[tokio::test]
async fn leaving_now_while_disconnected_needs_nobody() {
    let (_server, relay, _onlooker, mut app) = relayed(&[]).await;
    relay.cut();
    app.lost().await;
    let queued = app.session.signal(Signal::new("", "queued"));
    soon("the end", app.session.leave_now()).await;
    assert_eq!(soon("an outcome", queued).await, Err(SendError::Over));
    assert_eq!(app.out().await, (Over::Left, Action::Stop));
}

#[tokio::test]
async fn leaving_while_disconnected_waits_for_what_is_queued() {
    let (_server, relay, mut onlooker, mut app) = relayed(&[]).await;
    relay.cut();
    app.lost().await;
    let queued = app.session.signal(Signal::new("", "queued"));
    let session = app.session.clone();
    let leaving = tokio::spawn(async move { session.leave().await });
    relay.mend();
    soon("the end", leaving).await.unwrap();
    soon("an outcome", queued).await.unwrap();
    assert_eq!(onlooker.heard().await, "queued");
    assert!(!app.back().await.gap);
    assert_eq!(app.heard().await, "queued");
    assert_eq!(app.out().await, (Over::Left, Action::Stop));
}

#[tokio::test]
async fn a_member_without_events_comes_back_too() {
    let (_server, relay, mut onlooker, app) = relayed(&[]).await;
    drop(app.events);
    relay.cut();
    interrupted(&mut onlooker).await;
    relay.mend();
    soon("an outcome", app.session.signal(Signal::new("", "back"))).await.unwrap();
    assert_eq!(onlooker.heard().await, "back");
    assert!(matches!(onlooker.next().await, Wire::ConnectionRestored(_)));
    // Its view was never empty in between, and is whole.
    let here: Vec<_> = app.session.connections().into_iter().map(|one| one.connection_id).collect();
    assert_eq!(here, [onlooker.id(), app.session.connection_id()]);
}

#[tokio::test]
async fn a_loss_shows_in_the_events_only_while_it_lasts() {
    let (_server, relay, mut onlooker, mut app) = relayed(&[]).await;
    relay.cut();
    relay.mend();
    // However often it takes: losses and returns alternate.
    assert!(matches!(app.next().await, Event::Reconnecting { .. }));
    assert!(!app.back().await.gap);
    onlooker.say("", "after").await;
    assert_eq!(app.heard().await, "after");
}
