//! `signalbox join` through a network that breaks, and past servers that go.

use super::{Process, client_at, json};
use crate::support::{Event, Relay, TestServer, from_server};

#[tokio::test]
async fn a_lost_connection_shows_comes_back_and_loses_nothing() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let relay = Relay::to(server.address()).await;
    let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo", "--stay"]));
    join.types("before\n").await;
    join.says("before").await;
    assert_eq!(onlooker.heard().await, "before");

    relay.cut();
    join.says("* reconnecting\u{2026}").await;
    join.types("one\ntwo\n").await;
    server.signaling().send_from_server(from_server("demo", "missed")).await.unwrap();
    relay.mend();
    let line = join.says("* reconnected").await;
    assert!(line.ends_with("* reconnected"), "nothing was missed: {line}");
    // What was missed, then what was typed meanwhile, each once.
    for says in ["server    missed", "you       one", "you       two"] {
        let line = join.line().await;
        assert!(line.ends_with(says), "{line}");
    }
    for data in ["missed", "one", "two"] {
        assert_eq!(onlooker.heard().await, data);
    }
    join.signal("INT").await;
    join.done().await.well();
}

#[tokio::test]
async fn with_json_both_ends_of_a_loss_are_events() {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo", "--json", "--stay"]));
    let joined = json(&join.line().await);
    relay.cut();
    let reconnecting = json(&join.line().await);
    assert_eq!(reconnecting["event"], "reconnecting");
    assert!(reconnecting["why"].is_string());
    relay.mend();
    let reconnected = json(&join.line().await);
    assert_eq!((&reconnected["event"], &reconnected["gap"]), (&"reconnected".into(), &false.into()));
    for same in ["epoch", "sequence", "connection", "connections"] {
        assert_eq!(reconnected[same], joined[same], "{same}");
    }

    // A server that knows nothing of it: a gap, and another connection.
    let other = TestServer::start().await;
    relay.lead_to(other.address());
    relay.cut();
    assert_eq!(json(&join.line().await)["event"], "reconnecting");
    relay.mend();
    let anew = json(&join.line().await);
    assert_eq!((&anew["event"], &anew["gap"]), (&"reconnected".into(), &true.into()));
    assert_ne!(anew["connection"]["connection_id"], joined["connection"]["connection_id"]);
    assert_ne!(anew["epoch"], joined["epoch"]);
}

#[tokio::test]
async fn a_gap_is_told_with_who_is_there_now() {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo"]));
    join.says("you are").await;
    let other = TestServer::start().await;
    let _there = other.join("demo").enter().await;
    relay.lead_to(other.address());
    relay.cut();
    join.says("* reconnecting\u{2026}").await;
    relay.mend();
    let line = join.says("* reconnected; events were missed").await;
    assert!(line.ends_with("with 1 other here"), "{line}");
    join.done().await.well();
}

#[tokio::test]
async fn the_end_of_the_input_waits_for_what_was_typed_while_it_was_away() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").without_connection_events().enter().await;
    let relay = Relay::to(server.address()).await;
    let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo"]));
    join.says("you are").await;
    relay.cut();
    join.says("* reconnecting\u{2026}").await;
    join.types("one\ntwo\n").await;
    join.input = None;
    relay.mend();
    join.done().await.well();
    for data in ["one", "two"] {
        assert_eq!(onlooker.heard().await, data);
    }
}

#[tokio::test]
async fn with_nothing_left_to_send_it_does_not_wait_to_get_back_in() {
    let server = TestServer::start().await;
    for leaves in ["", "/quit\n"] {
        let relay = Relay::to(server.address()).await;
        // JSON shows the outcome, which a cut could still take away.
        let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo", "--json"]));
        join.types("said\n").await;
        join.says("\"accepted\"").await;
        relay.cut();
        join.says("\"reconnecting\"").await;
        join.types(leaves).await;
        // All was sent: the code is 0.
        join.done().await.well();
    }
}

#[tokio::test]
async fn a_server_that_goes_for_good_is_told_with_what_was_not_sent() {
    let mut server = TestServer::start().await;
    let endpoint = format!("http://{}", server.address());
    let mut join = Process::start(client_at(&endpoint, &["join", "demo", "--stay", "--give-up-after", "2s"]));
    join.says("you are").await;
    server.shut_down();
    join.says("* reconnecting\u{2026} (the server closed it: GOING_AWAY").await;
    // Now: the time until it gives up runs.
    join.types("too late\n").await;
    server.stopped().await;
    let done = join.done().await;
    done.failed(1, &["not sent: ", "gave up reconnecting: ", "connection refused"]);
    assert!(done.out.contains("* disconnected: gave up reconnecting"), "{done:?}");
}

#[tokio::test]
async fn one_interrupt_leaves_while_it_reconnects() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let relay = Relay::to(server.address()).await;
    let mut join = Process::start(client_at(&relay.endpoint(), &["join", "demo", "--stay"]));
    join.says("you are").await;
    relay.cut();
    join.says("* reconnecting\u{2026}").await;
    let interrupted = |event: &Event| matches!(event, Event::ConnectionInterrupted(_)).then_some(());
    onlooker.find("the interruption", interrupted).await;
    join.signal("INT").await;
    join.done().await.well();
}
