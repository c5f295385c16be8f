//! Going, by oneself and by force.

use futures_util::FutureExt as _;
use signalbox::client::{Action, DisconnectReason, Event, Over, SendError, Signal};

use crate::support::{Event as Wire, Member, TestServer, proto, soon};

use super::App;

/// Waits until `id` is gone, by its own will.
async fn left(onlooker: &mut Member, id: &str) {
    let event = onlooker.next().await;
    let Wire::ConnectionDestroyed(gone) = &event else { panic!("{event:?} instead of a departure") };
    assert_eq!((gone.connection_id.as_str(), gone.reason()), (id, proto::DisconnectReason::ClientDisconnected));
}

async fn onlooked(flags: &[&str]) -> (TestServer, Member, App) {
    let server = TestServer::with(flags).await;
    let mut onlooker = server.join("s").enter().await;
    let app = App::of(&server).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionCreated(_)));
    (server, onlooker, app)
}

#[tokio::test]
async fn leaving_waits_for_every_outcome() {
    let (_server, mut onlooker, mut app) = onlooked(&["--signals-per-second", "100", "--signal-burst", "2"]).await;
    let id = app.id();
    let sends: Vec<_> = (0..20).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    soon("the end", app.session.leave()).await;
    for (number, send) in sends.into_iter().enumerate() {
        let outcome = send.now_or_never().expect("it was waited for");
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(onlooker.heard().await, number.to_string());
        assert_eq!(app.heard().await, number.to_string());
    }
    left(&mut onlooker, &id).await;
    assert_eq!(app.out().await, (Over::Left, Action::Stop));
    // What comes after has an outcome too.
    let late = soon("an outcome", app.session.signal(Signal::new("", "late"))).await;
    assert_eq!(late, Err(SendError::Over));
    assert_eq!(soon("an outcome", app.session.force_disconnect(onlooker.id())).await, Err(SendError::Over));
    soon("the end again", app.session.leave()).await;
    soon("the end again", app.session.leave_now()).await;
}

#[tokio::test]
async fn a_send_after_leaving_has_begun_fails() {
    let (_server, mut onlooker, mut app) = onlooked(&["--signals-per-second", "20", "--signal-burst", "1"]).await;
    let id = app.id();
    let sends: Vec<_> = (0..5).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    let session = app.session.clone();
    let leaving = session.leave();
    tokio::pin!(leaving);
    assert!(leaving.as_mut().now_or_never().is_none());
    let late = soon("an outcome", app.session.signal(Signal::new("", "late"))).await;
    assert_eq!(late, Err(SendError::Over));
    soon("the end", leaving).await;
    for (number, send) in sends.into_iter().enumerate() {
        send.await.unwrap();
        assert_eq!(onlooker.heard().await, number.to_string());
        assert_eq!(app.heard().await, number.to_string());
    }
    left(&mut onlooker, &id).await;
}

#[tokio::test]
async fn leaving_now_drops_what_was_not_sent_yet() {
    let (_server, mut onlooker, mut app) = onlooked(&["--signals-per-second", "1", "--signal-burst", "1"]).await;
    let id = app.id();
    let sends: Vec<_> = (0..3).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    soon("the end", app.session.leave_now()).await;
    let outcomes: Vec<_> = sends.into_iter().map(|send| send.now_or_never().expect("it is over")).collect();
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Err(SendError::Over), Err(SendError::Over)]);
    assert_eq!(onlooker.heard().await, "0");
    left(&mut onlooker, &id).await;
    assert_eq!(app.heard().await, "0");
    assert_eq!(app.out().await, (Over::Left, Action::Stop));
}

#[tokio::test]
async fn a_session_whose_last_handle_is_dropped_leaves_after_its_sends() {
    let (_server, mut onlooker, mut app) = onlooked(&[]).await;
    let id = app.id();
    let clone = app.session.clone();
    drop(app.session);
    soon("an outcome", clone.signal(Signal::new("", "still here"))).await.unwrap();
    assert_eq!(onlooker.heard().await, "still here");
    drop(clone.signal(Signal::new("", "last")));
    drop(clone);
    assert_eq!(onlooker.heard().await, "last");
    left(&mut onlooker, &id).await;
    // Its events go on to their end.
    for _ in ["still here", "last"] {
        assert!(matches!(soon("an event", app.events.next()).await, Some(Event::Signal(_))));
    }
    let end = soon("an event", app.events.next()).await;
    assert!(matches!(end, Some(Event::Disconnected { reason: Over::Left, action: Action::Stop })), "{end:?}");
    assert_eq!(soon("the end", app.events.next()).await, None);
}

#[tokio::test]
async fn an_application_that_drops_everything_leaves() {
    let (_server, mut onlooker, app) = onlooked(&[]).await;
    let id = app.id();
    drop(app);
    left(&mut onlooker, &id).await;
}

#[tokio::test]
async fn who_is_disconnected_by_force_is_told_and_stays_out() {
    let (server, mut onlooker, mut victim) = onlooked(&[]).await;
    let mut app = App::of(&server).await;
    assert!(matches!(onlooker.next().await, Wire::ConnectionCreated(_)));
    assert!(matches!(victim.next().await, Event::ConnectionCreated { .. }));
    let id = victim.id();
    let accepted = soon("an outcome", app.session.force_disconnect(&id)).await.unwrap();

    let (reason, action) = victim.out().await;
    let Over::Closed(refusal) = reason else { panic!("{reason:?}") };
    assert_eq!((refusal.reason.as_str(), action), ("FORCE_DISCONNECTED", Action::Stop));
    let late = soon("an outcome", victim.session.signal(Signal::new("", "late"))).await;
    assert_eq!(late, Err(SendError::Over));

    let event = app.next().await;
    let Event::ConnectionDestroyed { sequence, connection_id, reason } = event else { panic!("{event:?}") };
    assert_eq!((sequence, &connection_id), (accepted.sequence, &id));
    assert_eq!(reason, DisconnectReason::ForceDisconnected);
    assert!(matches!(onlooker.next().await, Wire::ConnectionDestroyed(_)));
    let again = soon("an outcome", app.session.force_disconnect(&id)).await;
    let Err(SendError::Refused(refusal)) = again else { panic!("{again:?}") };
    assert_eq!(refusal.reason, "CONNECTION_NOT_FOUND");
    server.nothing_reached(&mut onlooker, "s").await;
}

#[tokio::test]
async fn a_join_that_is_given_up_leaves_nobody_behind() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let client = App::impatient([server.address().to_string()]);
    for _ in 0..20 {
        let join = client.join(signalbox::client::JoinOptions::new("s"));
        // Whichever is first.
        tokio::select! {
            biased;
            event = onlooker.next() => assert!(matches!(event, Wire::ConnectionCreated(_)), "{event:?}"),
            joined = join => {
                drop(joined);
                assert!(matches!(onlooker.next().await, Wire::ConnectionCreated(_)));
            }
        }
        let event = onlooker.next().await;
        assert!(matches!(event, Wire::ConnectionDestroyed(_)), "{event:?}");
    }
}
