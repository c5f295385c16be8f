//! Signals: who gets them, in which order, and what the sender learns.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tonic::Code;

use crate::support::{Event, TestServer, Wrong, from_server, proto, recipients, signal};

#[tokio::test]
async fn a_broadcast_reaches_every_connection_the_senders_own_included() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").enter().await;
    let mut others = join_all((0..3).map(|_| server.join("s").enter())).await;
    let mut elsewhere = server.join("another").enter().await;
    let before = SystemTime::now();
    let sent = sender.send("greeting", "hello");
    let sequence = sender.accepted(sent).await;
    let own = sender.signal().await;
    assert_eq!(own.sequence, sequence);
    assert_eq!(own.from_connection_id, Some(sender.id()));
    assert_eq!(own.signal, Some(signal("greeting", "hello")));
    let sent_at = SystemTime::try_from(own.sent_at.unwrap()).unwrap();
    assert!(sent_at >= before - Duration::from_secs(1) && sent_at <= SystemTime::now() + Duration::from_secs(1));
    for other in &mut others {
        assert_eq!(other.signal().await, own);
    }
    // Another session heard nothing of it.
    let marker = elsewhere.send("", "marker");
    elsewhere.accepted(marker).await;
    assert_eq!(elsewhere.heard().await, "marker");
}

#[tokio::test]
async fn each_send_gets_exactly_one_result_by_its_send_id() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().enter().await;
    for _ in 0..20 {
        member.send("", "good");
        member.send("not allowed", "bad");
    }
    for send_id in 1..=40 {
        let Event::SendResult(result) = member.next().await else { panic!("only results were asked for") };
        assert_eq!(result.send_id, send_id);
        let accepted = matches!(result.outcome, Some(proto::send_result::Outcome::Accepted(_)));
        assert_eq!(accepted, send_id % 2 == 1);
    }
}

#[tokio::test]
async fn a_signal_to_some_reaches_them_and_leaves_holes_for_the_others() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").enter().await;
    let mut named = server.join("s").enter().await;
    let mut spared = server.join("s").enter().await;
    let to = [named.id(), sender.id()];
    let sent = sender.send_to(&[&to[0], &to[1]], "for two");
    let place = sender.accepted(sent).await;
    let sent = sender.send("", "for all");
    assert_eq!(sender.accepted(sent).await, place + 1);
    for member in [&mut sender, &mut named] {
        assert_eq!(member.heard().await, "for two");
        assert_eq!(member.heard().await, "for all");
    }
    let heard = spared.signal().await;
    assert_eq!((heard.signal.unwrap().data.as_str(), heard.sequence), ("for all", place + 1));
}

#[tokio::test]
async fn a_connection_named_twice_gets_the_signal_once() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let id = member.id();
    let sent = member.send_to(&[&id, &id], "once");
    let place = member.accepted(sent).await;
    let sent = member.send("", "marker");
    assert_eq!(member.accepted(sent).await, place + 1);
    assert_eq!(member.heard().await, "once");
    assert_eq!(member.heard().await, "marker");
}

#[tokio::test]
async fn recipients_that_are_not_connected_are_listed() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let elsewhere = server.join("another").enter().await.id();
    let id = member.id();
    let sent = member.send_to(&["nobody", &id, &elsewhere], "partly");
    let accepted = member.outcome(sent).await.unwrap();
    assert_eq!(accepted.not_connected_ids, ["nobody".to_owned(), elsewhere.clone()]);
    assert_eq!(member.heard().await, "partly");

    let request =
        proto::SendFromServerRequest { to: Some(recipients(&[&elsewhere, &id])), ..from_server("s", "from outside") };
    let response = server.signaling().send_from_server(request).await.unwrap().into_inner();
    assert_eq!(response.not_connected_ids, [elsewhere]);
    assert_eq!(response.recipient_count, 1);
    assert_eq!(member.heard().await, "from outside");
}

#[tokio::test]
async fn when_no_recipient_is_connected_nothing_was_sent() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let place = member.sequence();
    let wrong =
        Wrong::new(Code::NotFound, "CONNECTION_NOT_FOUND", "to.connection_ids", &["none of the 2", "nothing was sent"]);
    let sent = member.send_to(&["nobody", "nobody else"], "lost");
    wrong.check_error(&member.refusal(sent).await);
    let request =
        proto::SendFromServerRequest { to: Some(recipients(&["nobody", "nobody else"])), ..from_server("s", "lost") };
    wrong.check_status(&server.signaling().send_from_server(request).await.unwrap_err());
    // Neither took a place in the order.
    let sent = member.send("", "next");
    assert_eq!(member.accepted(sent).await, place + 1);
}

#[tokio::test]
async fn a_server_signal_has_no_sender() {
    let server = TestServer::start().await;
    let mut members = join_all((0..3).map(|_| server.join("s").enter())).await;
    let response = server.signaling().send_from_server(from_server("s", "news")).await.unwrap().into_inner();
    assert_eq!(response.recipient_count, 3);
    assert!(response.not_connected_ids.is_empty());
    for member in &mut members {
        let heard = member.signal().await;
        assert_eq!((heard.from_connection_id, heard.sequence), (None, response.sequence));
        assert_eq!(heard.signal, Some(signal("", "news")));
    }
}

#[tokio::test]
async fn type_and_data_may_both_be_empty() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let sent = member.send("", "");
    member.accepted(sent).await;
    assert_eq!(member.signal().await.signal, Some(signal("", "")));
}

#[tokio::test]
async fn signal_types_filter_what_is_received_the_empty_type_too() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let mut chat = server.join("s").types(&["chat", "typing"]).enter().await;
    let mut untyped = server.join("s").types(&[""]).enter().await;
    let mut all = server.join("s").enter().await;
    for kind in ["chat", "Chat", "", "typing", "chat-2"] {
        let sent = sender.send(kind, kind);
        sender.accepted(sent).await;
    }
    let request = proto::SendFromServerRequest { signal: Some(signal("chat", "last")), ..from_server("s", "") };
    let response = server.signaling().send_from_server(request).await.unwrap().into_inner();
    assert_eq!(response.recipient_count, 3, "one filters it out");
    for kind in ["chat", "typing", "last"] {
        assert_eq!(chat.heard().await, kind);
    }
    for kind in ["chat", "Chat", "", "typing", "chat-2", "last"] {
        assert_eq!(all.heard().await, kind);
    }
    let request = proto::SendFromServerRequest { signal: Some(signal("", "end")), ..from_server("s", "") };
    server.signaling().send_from_server(request).await.unwrap();
    assert_eq!(untyped.heard().await, "");
    assert_eq!(untyped.heard().await, "end");
}

#[tokio::test]
async fn suppressed_own_signals_do_not_come_back_whoever_they_are_for() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().enter().await;
    let mut other = server.join("s").enter().await;
    let (id, other_id) = (member.id(), other.id());
    for sent in [member.send("", "for all"), member.send_to(&[&id, &other_id], "for us")] {
        member.accepted(sent).await;
    }
    for data in ["for all", "for us"] {
        assert_eq!(other.heard().await, data);
    }
    let sent = other.send("", "from the other");
    other.accepted(sent).await;
    assert_eq!(member.heard().await, "from the other");
}

#[tokio::test]
async fn connection_events_are_suppressed_all_four_of_them() {
    let server = TestServer::start().await;
    let mut spared = server.join("s").without_connection_events().enter().await;
    let mut told = server.join("s").enter().await;
    let visitor = server.join("s").window(Duration::from_secs(60)).enter().await;
    let memory = visitor.lose();
    assert!(matches!(told.next().await, Event::ConnectionCreated(_)));
    assert!(matches!(told.next().await, Event::ConnectionInterrupted(_)));
    let visitor = server.join("s").resume(memory).enter().await;
    assert!(matches!(told.next().await, Event::ConnectionRestored(_)));
    drop(visitor);
    assert!(matches!(told.next().await, Event::ConnectionDestroyed(_)));
    let sent = told.send("", "marker");
    let place = told.accepted(sent).await;
    assert!(matches!(spared.next().await, Event::Signal(signal) if signal.sequence == place));
}

#[tokio::test]
async fn everyone_sees_the_same_events_in_one_total_order() {
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    let observers = join_all((0..4).map(|_| server.join("s").without_own_signals().enter())).await;
    let senders = (0..5).map(|_| async {
        let mut sender = server.join("s").enter().await;
        for number in 0..40 {
            let sent = sender.send("", &number.to_string());
            sender.accepted(sent).await;
        }
        sender
    });
    let senders = join_all(senders).await;
    let mut server_calls = server.signaling();
    let last = server_calls.send_from_server(from_server("s", "last")).await.unwrap().into_inner().sequence;
    let first = observers.iter().map(super::support::Member::sequence).max().unwrap();
    let mut seen = Vec::new();
    for mut observer in observers {
        let mut events = Vec::new();
        while observer.sequence() < last {
            let event = observer.next().await;
            if observer.sequence() > first {
                events.push(event);
            }
        }
        seen.push(events);
    }
    // Five joins, two hundred signals, and the last.
    assert_eq!(seen[0].len(), 206);
    assert!(seen.iter().all(|events| *events == seen[0]));
    drop(senders);
}
