//! Promise 3: every send has one outcome, however often it is asked.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    Event, Frame, Member, TestServer, Wrong, broadcast, from_server,
    proto::{self, JoinOutcome},
    recipients,
};

const MINUTE: Duration = Duration::from_secs(60);
/// How many outcomes the server keeps.
const KEPT: u64 = 1_024;

fn too_old() -> Wrong {
    Wrong::argument("SEND_ID_INVALID", "send_id", &["send_id", "the newest 1024"])
}

fn keyed(session: &str, key: &str, data: &str) -> proto::SendFromServerRequest {
    proto::SendFromServerRequest { idempotency_key: key.into(), ..from_server(session, data) }
}

/// The ids of the outcomes that come before anything else.
async fn restated(server: &TestServer, back: &mut Member) -> Vec<u64> {
    server.signaling().send_from_server(from_server("s", "marker")).await.unwrap();
    let mut ids = Vec::new();
    loop {
        match back.next().await {
            Event::SendResult(result) => ids.push(result.send_id),
            Event::Signal(signal) if signal.signal.as_ref().unwrap().data == "marker" => return ids,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn send_ids_increase_strictly_and_gaps_are_allowed() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().enter().await;
    let mut listener = server.join("s").enter().await;
    for id in [1, 2, 7, 1_000_000, u64::MAX] {
        member.frame(broadcast(id, "", &id.to_string()));
        member.accepted(id).await;
        assert_eq!(listener.heard().await, id.to_string());
    }
    // What was skipped is not there to be used later.
    for id in [3, 6, 8, u64::MAX - 1] {
        member.frame(broadcast(id, "", "skipped"));
        too_old().check_error(&member.refusal(id).await);
    }
    server.nothing_reached(&mut listener, "s").await;
}

#[tokio::test]
async fn repeating_an_accepted_send_repeats_its_outcome_and_sends_nothing() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().enter().await;
    let mut listener = server.join("s").enter().await;
    let id = listener.id();
    let sent = member.send_to(&[&id, "nobody"], "once");
    let outcome = member.outcome(sent).await;
    assert_eq!(outcome.as_ref().unwrap().not_connected_ids, ["nobody"]);
    assert_eq!(listener.heard().await, "once");
    let later = member.send("", "later");
    let later_outcome = member.outcome(later).await;
    assert_eq!(listener.heard().await, "later");
    // Whatever it says this time, and whether or not that would be allowed.
    for data in ["once".to_owned(), "another".to_owned(), "d".repeat(8_193)] {
        member.frame(broadcast(sent, "", &data));
        assert_eq!(member.outcome(sent).await, outcome);
        member.frame(broadcast(later, "", &data));
        assert_eq!(member.outcome(later).await, later_outcome);
    }
    server.nothing_reached(&mut listener, "s").await;
}

#[tokio::test]
async fn repeating_a_refused_send_repeats_its_outcome_and_sends_nothing() {
    let server = TestServer::with(&["--signals-per-second", "1", "--signal-burst", "1"]).await;
    let mut member = server.join("s").without_own_signals().enter().await;
    let mut listener = server.join("s").enter().await;
    let mut refused = Vec::new();
    for send in [member.send("not allowed", ""), member.send_to(&[], "")] {
        refused.push((send, member.refusal(send).await));
    }
    let nobody = member.send_to(&["nobody"], "");
    refused.push((nobody, member.refusal(nobody).await));
    let too_fast = loop {
        let send = member.send("", "fast");
        match member.outcome(send).await {
            Ok(_) => assert_eq!(listener.heard().await, "fast"),
            Err(error) => break (send, error),
        }
    };
    assert_eq!(too_fast.1.reason, "RATE_LIMITED");
    refused.push(too_fast);
    // Good this time, but decided already: a retry takes a new id.
    for (send, error) in refused {
        member.frame(broadcast(send, "", "good"));
        assert_eq!(member.refusal(send).await, error);
    }
    server.nothing_reached(&mut listener, "s").await;
}

#[tokio::test]
async fn the_outcomes_of_the_newest_1024_sends_are_kept_and_older_ids_refused() {
    let server = TestServer::with(&["--signals-per-second", "0", "--max-unresolved-sends", "0"]).await;
    let mut member = server.join("s").without_own_signals().window(MINUTE).enter().await;
    let mut outcomes = Vec::new();
    for id in 1..=KEPT + 2 {
        // Every third is refused, which is an outcome like any other.
        member.send(if id % 3 == 0 { "not allowed" } else { "" }, "");
        outcomes.push(member.outcome(id).await);
    }
    for (id, outcome) in (1..).zip(outcomes) {
        member.frame(broadcast(id, "", "again"));
        let again = member.outcome(id).await;
        if id <= 2 {
            too_old().check_error(&again.unwrap_err());
        } else {
            assert_eq!(again, outcome, "send {id}");
        }
    }
    // A resume states the same ones, and no refusal of an old id among them.
    let memory = proto::Resume { last_result_send_id: 0, ..member.lose() };
    let mut back = server.join("s").without_own_signals().resume(memory).enter().await;
    assert_eq!(back.joined.last_send_id, KEPT + 2);
    assert_eq!(restated(&server, &mut back).await, (3..=KEPT + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_a_resume_the_outcomes_newer_than_the_clients_are_stated_again() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().window(MINUTE).enter().await;
    member.send("", "accepted");
    member.send("not allowed", "refused");
    member.frame(broadcast(5, "", "after a gap"));
    let outcomes = [member.outcome(1).await, member.outcome(2).await, member.outcome(5).await];
    let mut memory = member.memory();
    for (known, expected) in [(0, &[1, 2, 5][..]), (1, &[2, 5]), (2, &[5]), (3, &[5]), (5, &[]), (9, &[])] {
        memory.last_result_send_id = known;
        let join = server.join("s").without_own_signals().window(MINUTE);
        let mut back = join.resume(memory.clone()).enter().await;
        assert_eq!((back.joined.outcome(), back.joined.last_send_id), (JoinOutcome::Resumed, 5));
        for send in expected {
            let event = back.next().await;
            let Event::SendResult(result) = &event else { panic!("{event:?}") };
            assert_eq!(result.send_id, *send, "knowing {known}");
            let outcome = match result.outcome.clone().unwrap() {
                proto::send_result::Outcome::Accepted(accepted) => Ok(accepted),
                proto::send_result::Outcome::Error(error) => Err(error),
            };
            assert_eq!(outcome, outcomes[[1, 2, 5].iter().position(|id| id == send).unwrap()]);
        }
        assert_eq!(restated(&server, &mut back).await, [0; 0], "knowing {known}");
        memory = back.memory();
    }
}

#[tokio::test]
async fn what_is_sent_again_after_every_loss_arrives_exactly_once_and_in_order() {
    const SENDS: u64 = 300;
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    let mut listener = server.join("s").without_connection_events().enter().await;
    let join = || server.join("s").without_own_signals().without_connection_events().window(MINUTE);
    let mut member = join().enter().await;
    let (mut resolved, mut losses) = (0, 0);
    while resolved < SENDS {
        // As a client does: everything that the server hasn't decided, of a
        // batch that is longer every time.
        let decided = member.joined.last_send_id;
        for id in decided + 1..=(decided + 5 + losses).min(SENDS) {
            member.frame(broadcast(id, "", &id.to_string()));
        }
        // Lost in the midst of the outcomes, restated ones among them.
        for _ in 0..=losses % 4 {
            let Event::SendResult(result) = member.next().await else { panic!("only outcomes are for it") };
            assert_eq!(result.send_id, resolved + 1);
            assert!(matches!(result.outcome, Some(proto::send_result::Outcome::Accepted(_))));
            resolved += 1;
            if resolved == SENDS {
                break;
            }
        }
        losses += 1;
        let memory = member.lose();
        member = join().resume(memory).enter().await;
        assert_eq!(member.joined.outcome(), JoinOutcome::Resumed);
    }
    for id in 1..=SENDS {
        assert_eq!(listener.heard().await, id.to_string());
    }
    server.nothing_reached(&mut listener, "s").await;
}

#[tokio::test]
async fn send_id_0_asks_for_no_deduplication_and_the_result_still_comes() {
    let server = TestServer::start().await;
    let mut member = server.join("s").without_own_signals().window(MINUTE).enter().await;
    let mut listener = server.join("s").enter().await;
    member.send("", "numbered");
    member.accepted(1).await;
    let mut places = Vec::new();
    for _ in 0..3 {
        member.frame(broadcast(0, "", "unnumbered"));
        places.push(member.accepted(0).await);
    }
    assert!(places.is_sorted_by(|earlier, later| earlier < later), "{places:?}");
    member.frame(broadcast(0, "not allowed", ""));
    assert_eq!(member.refusal(0).await.reason, "SIGNAL_TYPE_INVALID");
    for data in ["numbered", "unnumbered", "unnumbered", "unnumbered"] {
        assert_eq!(listener.heard().await, data);
    }
    let memory = proto::Resume { last_result_send_id: 0, ..member.lose() };
    let mut back = server.join("s").without_own_signals().resume(memory).enter().await;
    assert_eq!(back.joined.last_send_id, 1);
    assert_eq!(restated(&server, &mut back).await, [1]);
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_first_response_and_sends_nothing() {
    let server = TestServer::start().await;
    let mut listener = server.join("s").enter().await;
    let mut calls = server.signaling();
    let to = [listener.id(), "nobody".into()];
    let to = Some(recipients(&[&to[0], &to[1]]));
    let first = proto::SendFromServerRequest { to, ..keyed("s", "key", "once") };
    let response = calls.send_from_server(first.clone()).await.unwrap().into_inner();
    assert_eq!((response.recipient_count, response.not_connected_ids.as_slice()), (1, &["nobody".to_owned()][..]));
    assert_eq!(listener.heard().await, "once");
    let mut late = server.join("s").enter().await;
    assert!(matches!(listener.next().await, Event::ConnectionCreated(_)));
    // Whatever it asks for this time, and whoever is there.
    for again in [first, keyed("s", "key", "another")] {
        assert_eq!(calls.send_from_server(again).await.unwrap().into_inner(), response);
    }
    server.nothing_reached(&mut listener, "s").await;
    assert_eq!(late.heard().await, "marker");
    // Another key, or none, is another call.
    for key in ["KEY", "", ""] {
        let other = calls.send_from_server(keyed("s", key, "another")).await.unwrap().into_inner();
        assert!(other.sequence > response.sequence);
        assert_eq!((other.recipient_count, listener.heard().await), (2, "another".to_owned()));
    }
}

#[tokio::test]
async fn an_idempotency_key_is_scoped_to_its_session() {
    let server = TestServer::start().await;
    for session in ["one", "two"] {
        let mut listener = server.join(session).enter().await;
        server.signaling().send_from_server(keyed(session, "key", session)).await.unwrap();
        assert_eq!(listener.heard().await, session);
    }
}

#[tokio::test]
async fn a_response_is_kept_when_everybody_has_left() {
    let server = TestServer::start().await;
    let mut calls = server.signaling();
    let member = server.join("s").enter().await;
    let response = calls.send_from_server(keyed("s", "key", "once")).await.unwrap().into_inner();
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
    // The backend that didn't get the answer asks again, too late for a new
    // signal, not for the old answer.
    assert_eq!(calls.send_from_server(keyed("s", "key", "once")).await.unwrap().into_inner(), response);
    let wrong = Wrong::new(Code::NotFound, "SESSION_NOT_FOUND", "session_id", &["nobody is in the session"]);
    wrong.check_status(&calls.send_from_server(keyed("s", "new", "twice")).await.unwrap_err());
}

#[tokio::test]
async fn a_refused_call_leaves_its_idempotency_key_unused() {
    let server = TestServer::start().await;
    let mut calls = server.signaling();
    assert!(calls.send_from_server(keyed("s", "key", "too early")).await.is_err());
    let mut listener = server.join("s").enter().await;
    calls.send_from_server(keyed("s", "key", "in time")).await.unwrap();
    assert_eq!(listener.heard().await, "in time");
}
