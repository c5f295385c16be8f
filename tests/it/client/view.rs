//! Who is in the session, as the client has it.

use std::time::Duration;

use signalbox::client::{Connection, Event, Signal};

use crate::support::{Frame, TestServer, from_server, proto, soon};

use super::App;

/// A second fold of the events, to check the client's by.
fn fold(all: &mut Vec<(String, bool)>, event: &Event) {
    match event {
        Event::Joined { connections, .. } | Event::Reconnected { connections, .. } => *all = short(connections),
        Event::ConnectionCreated { connection, .. } => all.push((connection.connection_id.clone(), false)),
        Event::ConnectionDestroyed { connection_id, .. } => all.retain(|(id, _)| id != connection_id),
        Event::ConnectionInterrupted { connection_id, .. } => {
            all.iter_mut().filter(|(id, _)| id == connection_id).for_each(|one| one.1 = true);
        }
        Event::ConnectionRestored { connection_id, .. } => {
            all.iter_mut().filter(|(id, _)| id == connection_id).for_each(|one| one.1 = false);
        }
        Event::Disconnected { .. } => all.clear(),
        _ => {}
    }
}

fn short(connections: &[Connection]) -> Vec<(String, bool)> {
    connections.iter().map(|one| (one.connection_id.clone(), one.interrupted)).collect()
}

#[tokio::test]
async fn the_view_is_the_fold_of_the_events_that_were_taken() {
    let server = TestServer::start().await;
    let first = server.join("s").data("first").enter().await;
    let mut app = App::of(&server).await;
    let mut all = vec![(first.id(), false), (app.id(), false)];
    assert_eq!(short(&app.session.connections()), all);
    assert_eq!(app.session.connections()[0].data, "first");

    let minute = Duration::from_secs(60);
    let visitor = server.join("s").window(minute).enter().await;
    let memory = visitor.lose();
    // Its interruption must have its place before its return.
    let mut onlooker = server.join("s").enter().await;
    let signals = server.signaling();
    let interrupted = onlooker.joined.connections.iter().any(|one| one.state() == proto::ConnectionState::Interrupted);
    if !interrupted {
        onlooker
            .find("the interruption", |event| {
                matches!(event, crate::support::Event::ConnectionInterrupted(_)).then_some(())
            })
            .await;
    }
    let back = server.join("s").window(minute).resume(memory).enter().await;
    first.frame(Frame::Leave(proto::Leave {}));
    first.end().await;
    signals.clone().send_from_server(from_server("s", "marker")).await.unwrap();

    // All of it has arrived by the time that its own send is decided; none of
    // it was taken.
    soon("an outcome", app.session.signal(Signal::new("", "barrier"))).await.unwrap();
    assert_eq!(short(&app.session.connections()), all);
    let mut kinds = Vec::new();
    loop {
        let event = app.next().await;
        fold(&mut all, &event);
        assert_eq!(short(&app.session.connections()), all, "after {event:?}");
        match event {
            Event::ConnectionCreated { .. } => kinds.push("created"),
            Event::ConnectionInterrupted { .. } => kinds.push("interrupted"),
            Event::ConnectionRestored { .. } => kinds.push("restored"),
            Event::ConnectionDestroyed { .. } => kinds.push("destroyed"),
            Event::Signal(signal) if signal.data == "barrier" => break,
            _ => {}
        }
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["created", "created", "destroyed", "interrupted", "restored"]);
    let here = [app.id(), back.id(), onlooker.id()].map(|id| (id, false));
    assert_eq!(short(&app.session.connections()), here);

    app.session.leave().await;
    while app.events.next().await.is_some() {}
    assert!(app.session.connections().is_empty());
}

#[tokio::test]
async fn without_anybody_to_take_events_the_view_follows_by_itself() {
    let server = TestServer::start().await;
    let app = App::of(&server).await;
    let before = server.join("s").enter().await;
    soon("an outcome", app.session.signal(Signal::new("", "barrier"))).await.unwrap();
    drop(app.events);
    // What nobody took before counts too.
    let until = async |expected: &[String]| {
        soon("the view to follow", async {
            while app.session.connections().iter().map(|one| &one.connection_id).ne(expected) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    until(&[app.session.connection_id(), before.id()]).await;
    let after = server.join("s").enter().await;
    until(&[app.session.connection_id(), before.id(), after.id()]).await;
    before.frame(Frame::Leave(proto::Leave {}));
    before.end().await;
    until(&[app.session.connection_id(), after.id()]).await;
}

/// The events' end and the driver race for what is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_event_misses_the_view_when_events_are_dropped_in_the_midst() {
    let server = TestServer::start().await;
    for _ in 0..20 {
        let app = App::of(&server).await;
        let visitors: Vec<_> = (0..5).map(|_| server.join("s").enter()).collect();
        let visitors = tokio::spawn(futures_util::future::join_all(visitors));
        let events = app.events;
        let dropped = tokio::task::spawn_blocking(move || drop(events));
        let visitors = visitors.await.unwrap();
        dropped.await.unwrap();
        soon("the view to follow", async {
            let here = |id| app.session.connections().iter().any(|one| one.connection_id == id);
            while !visitors.iter().all(|one| here(one.id())) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        app.session.leave().await;
        for visitor in visitors {
            visitor.frame(Frame::Leave(proto::Leave {}));
            visitor.end().await;
        }
    }
}
