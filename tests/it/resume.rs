//! The life of a `Join` stream, 2, 5 and 6, and promises 2 and 4: coming back
//! after a stream was lost.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    Event, Frame, Member, TestServer, Wrong, from_server, from_wire,
    proto::{self, ClientAction, ConnectionState, JoinOutcome},
    recipients, signal,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Somebody who stays, and somebody with a window whose coming it saw.
async fn onlooker_of(server: &TestServer) -> (Member, Member) {
    let mut onlooker = server.join("s").enter().await;
    let member = server.join("s").window(MINUTE).enter().await;
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    (onlooker, member)
}

fn restated(event: &Event) -> u64 {
    match event {
        Event::SendResult(result) => result.send_id,
        other => panic!("{other:?} instead of an outcome"),
    }
}

#[tokio::test]
async fn a_resume_restates_outcomes_first_and_then_replays_the_missed_events_in_order() {
    let server = TestServer::start().await;
    let (mut onlooker, mut member) = onlooker_of(&server).await;
    let first = member.joined.clone();
    for data in ["one", "two", "three"] {
        member.send("", data);
    }
    // It learns of its first send only, though all three are decided.
    let place = member.accepted(1).await;
    for data in ["one", "two", "three"] {
        assert_eq!(onlooker.heard().await, data);
    }
    let memory = member.lose_before(&mut onlooker).await;
    assert_eq!((memory.last_sequence, memory.last_result_send_id), (place, 1));
    onlooker.say("", "four").await;

    let mut back = server.join("s").window(MINUTE).resume(memory).enter().await;
    let joined = &back.joined;
    assert_eq!(joined.outcome(), JoinOutcome::Resumed);
    assert_eq!(joined.sequence, place);
    assert!(joined.connections.is_empty() && !joined.more_connections);
    assert_eq!((&joined.connection, joined.epoch), (&first.connection, first.epoch));
    assert_eq!((&joined.limits, joined.resume_window), (&first.limits, first.resume_window));
    assert_eq!(joined.last_send_id, 3);
    assert_eq!(restated(&back.next().await), 2);
    assert_eq!(restated(&back.next().await), 3);
    for data in ["two", "three", "four"] {
        let event = back.next().await;
        assert!(matches!(&event, Event::Signal(heard) if heard.signal.as_ref().unwrap().data == data), "{event:?}");
    }
    server.nothing_reached(&mut back, "s").await;
}

#[tokio::test]
async fn a_resume_replays_missed_connection_events_in_their_place() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    onlooker.say("", "before").await;
    let visitor = server.join("s").window(MINUTE).enter().await;
    onlooker.say("", "with a visitor").await;
    let visit = visitor.lose();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::ConnectionInterrupted(_))) {
        seen.push(onlooker.next().await);
    }
    let visitor = server.join("s").resume(visit).enter().await;
    onlooker.say("", "with the visitor back").await;
    visitor.frame(Frame::Leave(proto::Leave {}));
    assert!(visitor.end().await.status.is_none());
    onlooker.say("", "after").await;
    while seen.len() < 8 {
        seen.push(onlooker.next().await);
    }
    let kinds: Vec<_> = seen
        .iter()
        .map(|event| match event {
            Event::Signal(_) => 's',
            Event::ConnectionCreated(_) => 'c',
            Event::ConnectionInterrupted(_) => 'i',
            Event::ConnectionRestored(_) => 'r',
            Event::ConnectionDestroyed(_) => 'd',
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ['s', 'c', 's', 'i', 'r', 's', 'd', 's']);

    let mut back = server.join("s").resume(memory).enter().await;
    for event in seen {
        assert_eq!(back.next().await, event);
    }
    server.nothing_reached(&mut back, "s").await;
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_over_many_losses() {
    const SIGNALS: usize = 400;
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    let mut sender = server.join("s").without_connection_events().enter().await;
    let join = || server.join("s").without_connection_events().window(MINUTE);
    let mut member = join().enter().await;
    let sending = async {
        for number in 0..SIGNALS {
            sender.say("", &number.to_string()).await;
        }
    };
    let receiving = async {
        let mut losses = 0;
        for number in 0..SIGNALS {
            let Event::Signal(heard) = member.next().await else { panic!("only signals are sent") };
            assert_eq!(heard.signal.unwrap().data, number.to_string());
            // Over the same transport, and now and then over a new one.
            if number % 7 == 3 || number % 11 == 0 {
                losses += 1;
                let over = if losses % 8 == 0 { join().over(server.channel().await) } else { join() };
                let memory = member.lose();
                member = over.resume(memory).enter().await;
                assert_eq!(member.joined.outcome(), JoinOutcome::Resumed);
            }
        }
        member
    };
    let ((), mut member) = tokio::join!(sending, receiving);
    server.nothing_reached(&mut member, "s").await;
}

#[tokio::test]
async fn the_resume_token_stays_the_same_so_that_a_lost_answer_locks_nobody_out() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    onlooker.say("", "missed").await;
    // By what the first stream told, again and again: the later answers may
    // have been lost on the way.
    for _ in 0..4 {
        let mut back = server.join("s").window(MINUTE).resume(memory.clone()).enter().await;
        assert_eq!(back.joined.outcome(), JoinOutcome::Resumed);
        assert_eq!(back.joined.resume_token, memory.resume_token);
        assert_eq!(back.heard().await, "missed");
        back.lose_before(&mut onlooker).await;
    }
}

#[tokio::test]
async fn a_resumes_filters_and_window_replace_the_old_ones() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    let visitor = server.join("s").enter().await;
    for kind in ["a", "b"] {
        onlooker.say(kind, "missed").await;
    }
    drop(visitor);
    onlooker.find("the departure", |event| matches!(event, Event::ConnectionDestroyed(_)).then_some(())).await;
    let join = server.join("s").window(Duration::from_secs(7)).types(&["b"]);
    let mut back = join.without_connection_events().without_own_signals().resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::Resumed);
    assert_eq!(from_wire(back.joined.resume_window.as_ref().unwrap()), Duration::from_secs(7));
    back.say("b", "its own").await;
    for (kind, recipients) in [("a", 1), ("b", 2)] {
        let request = proto::SendFromServerRequest { signal: Some(signal(kind, "live")), ..from_server("s", "") };
        let sent = server.signaling().send_from_server(request).await.unwrap().into_inner();
        assert_eq!(sent.recipient_count, recipients);
    }
    let event = back.next().await;
    assert!(matches!(event, Event::Signal(missed) if missed.signal == Some(signal("b", "missed"))));
    let event = back.next().await;
    assert!(matches!(event, Event::Signal(live) if live.signal == Some(signal("b", "live"))));

    // And without a window at all it dies with its next stream.
    let id = back.id();
    let memory = back.lose_before(&mut onlooker).await;
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(from_wire(back.joined.resume_window.as_ref().unwrap()), Duration::ZERO);
    drop(back);
    let wanted = |event: &Event| matches!(event, Event::ConnectionDestroyed(gone) if gone.connection_id == id);
    onlooker.find("the departure", |event| wanted(event).then_some(())).await;
}

#[tokio::test]
async fn a_resumes_connection_data_is_ignored() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let member = server.join("s").data("first").window(MINUTE).enter().await;
    let connection = member.joined.connection.clone();
    let mut memory = member.lose_before(&mut onlooker).await;
    for data in ["second".to_owned(), "d".repeat(1_001)] {
        let back = server.join("s").data(&data).window(MINUTE).resume(memory).enter().await;
        assert_eq!((back.joined.outcome(), &back.joined.connection), (JoinOutcome::Resumed, &connection));
        memory = back.lose_before(&mut onlooker).await;
    }
}

#[tokio::test]
async fn a_resume_that_cannot_be_honoured_joins_anew_and_the_answer_does_not_say_why() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    let elsewhere = server.join("another").window(MINUTE).enter().await;
    let over = server.join("s").window(Duration::from_millis(10)).enter().await.lose();
    let gone = |event: &Event| matches!(event, Event::ConnectionDestroyed(_)).then_some(());
    onlooker.find("the end of a window", gone).await;

    let with_id = |id: &str| proto::Resume { connection_id: id.into(), ..memory.clone() };
    let with_token = |token: &str| proto::Resume { resume_token: token.into(), ..memory.clone() };
    let cases = [
        ("nothing", proto::Resume::default()),
        ("an unknown connection", with_id("1b4e28ba-2fa1-41d2-883f-0016d3cca427")),
        ("what is no connection's id", with_id("me")),
        ("an id in another spelling", with_id(&memory.connection_id.to_uppercase())),
        ("a window that is over", over),
        ("no token", with_token("")),
        ("a wrong token", with_token(&memory.resume_token.chars().rev().collect::<String>())),
        ("another connection's token", with_token(&onlooker.joined.resume_token)),
        ("another session's token", with_token(&elsewhere.joined.resume_token)),
        ("another session's connection", elsewhere.memory()),
    ];
    let here = [onlooker.id(), memory.connection_id.clone()];
    for (what, resume) in cases {
        let mut anew = server.join("s").data("anew").resume(resume.clone()).enter().await;
        let joined = &anew.joined;
        assert_eq!((joined.outcome(), joined.last_send_id), (JoinOutcome::New, 0), "{what}");
        assert!(joined.resume_token != resume.resume_token, "{what}");
        assert_eq!(joined.connection.as_ref().unwrap().data, "anew", "{what}");
        assert_eq!(anew.snapshot(), [here[0].clone(), here[1].clone(), anew.id()], "{what}");
        server.nothing_reached(&mut anew, "s").await;
        anew.frame(Frame::Leave(proto::Leave {}));
        assert!(anew.end().await.status.is_none());
    }
    // None of it cost the connection that it was about.
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::Resumed);
}

#[tokio::test]
async fn a_resume_names_the_same_session() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    let anew = server.join("another").resume(memory.clone()).enter().await;
    assert_eq!(anew.joined.outcome(), JoinOutcome::New);
    assert_eq!(anew.snapshot(), [anew.id()]);
    assert_ne!(anew.id(), memory.connection_id);
}

#[tokio::test]
async fn a_resume_that_joins_anew_is_held_to_a_joins_limits() {
    let server = TestServer::start().await;
    let nobody = proto::Resume { connection_id: "nobody".into(), ..proto::Resume::default() };
    let end = server.join("s").data(&"d".repeat(1_001)).resume(nobody).refused().await;
    let wrong = Wrong::argument("CONNECTION_DATA_TOO_LARGE", "join.connection_data", &["1001", "1000"]);
    end.check(&wrong, ClientAction::Stop);
}

#[tokio::test]
async fn a_resume_takes_over_a_stream_that_still_looks_alive() {
    let server = TestServer::start().await;
    let (mut onlooker, mut member) = onlooker_of(&server).await;
    member.say("", "before").await;
    assert_eq!(onlooker.heard().await, "before");
    let join = server.join("s").over(server.channel().await).window(MINUTE);
    let mut back = join.resume(member.memory()).enter().await;
    assert_eq!((back.joined.outcome(), back.id()), (JoinOutcome::Resumed, member.id()));
    let sent = back.send("", "from the new stream");
    assert_eq!(sent, 2, "the ids go on");
    back.accepted(sent).await;
    for member in [&mut onlooker, &mut back] {
        assert_eq!(member.heard().await, "from the new stream");
    }
    let wrong = Wrong::new(Code::Aborted, "CONNECTION_TAKEN_OVER", "", &["another stream"]);
    member.end().await.check(&wrong, ClientAction::Stop);
    // The end of the old stream is none of the connection, as the others see.
    server.nothing_reached(&mut onlooker, "s").await;
    assert_eq!(back.heard().await, "marker");
}

#[tokio::test]
async fn an_interrupted_connection_counts_and_gets_on_its_resume_what_it_was_sent() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    let id = memory.connection_id.as_str();
    let late = server.join("s").enter().await;
    let view = late.joined.connections.iter().find(|connection| connection.connection_id == id).unwrap();
    assert_eq!(view.state(), ConnectionState::Interrupted);
    let request = proto::GetSessionRequest { session_id: "s".into() };
    let session = server.sessions().get_session(request).await.unwrap().into_inner().session.unwrap();
    assert_eq!(session.connection_count, 3);

    let to_all = server.signaling().send_from_server(from_server("s", "to all")).await.unwrap().into_inner();
    assert_eq!(to_all.recipient_count, 3);
    let to_it = proto::SendFromServerRequest { to: Some(recipients(&[id])), ..from_server("s", "to it") };
    let to_it = server.signaling().send_from_server(to_it).await.unwrap().into_inner();
    assert_eq!((to_it.recipient_count, to_it.not_connected_ids), (1, Vec::new()));
    let sent = onlooker.send_to(&[id], "from a member");
    assert!(onlooker.outcome(sent).await.unwrap().not_connected_ids.is_empty());

    let mut back = server.join("s").resume(memory).enter().await;
    for data in ["to all", "to it", "from a member"] {
        assert_eq!(back.heard().await, data);
    }
}

#[tokio::test]
async fn a_resume_that_the_log_does_not_reach_back_to_says_so_with_a_fresh_snapshot() {
    // The interruption takes a place in the log too.
    for (flags, size, missed, reached) in [
        (["--log-events", "5"], 1, 4, true),
        (["--log-events", "5"], 1, 5, false),
        (["--log-bytes", "20000"], 8_000, 2, true),
        (["--log-bytes", "20000"], 8_000, 3, false),
    ] {
        let server = TestServer::with(&flags).await;
        let (mut onlooker, mut member) = onlooker_of(&server).await;
        let mut visitor = server.join("s").enter().await;
        assert_eq!(member.send("", "said before"), 1);
        assert_eq!(visitor.heard().await, "said before");
        // Gone before it has heard any of that.
        let sequence = visitor.sequence();
        let memory = member.lose_before(&mut onlooker).await;
        let memory = proto::Resume { last_sequence: sequence, last_result_send_id: 0, ..memory };
        let data = "d".repeat(size);
        for _ in 0..missed {
            onlooker.say("", &data).await;
        }
        let mut back = server.join("s").resume(memory.clone()).enter().await;
        let joined = &back.joined;
        assert_eq!((back.id(), &joined.resume_token), (memory.connection_id.clone(), &memory.resume_token));
        assert_eq!(joined.last_send_id, 1);
        if reached {
            assert_eq!((joined.outcome(), joined.sequence), (JoinOutcome::Resumed, sequence), "{flags:?}");
        } else {
            assert_eq!(joined.outcome(), JoinOutcome::ResumedWithGap, "{flags:?}");
            assert!(joined.sequence > sequence + missed);
            assert_eq!(back.snapshot(), [onlooker.id(), back.id(), visitor.id()]);
            let connected = |connection: &proto::Connection| connection.state() == ConnectionState::Connected;
            assert!(back.joined.connections.iter().all(connected));
        }
        assert_eq!(restated(&back.next().await), 1);
        for _ in 0..if reached { missed } else { 0 } {
            assert!(matches!(back.next().await, Event::Signal(heard) if heard.signal.as_ref().unwrap().data == data));
        }
        server.nothing_reached(&mut back, "s").await;
    }
}

#[tokio::test]
async fn a_place_from_the_future_or_another_epoch_is_a_gap() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server).await;
    let memory = member.lose_before(&mut onlooker).await;
    let (sequence, epoch) = (memory.last_sequence, memory.epoch);
    for (what, last_sequence, epoch) in [
        ("a sequence from the future", sequence + 1_000, epoch),
        ("the last sequence there is", u64::MAX, epoch),
        ("an earlier epoch", sequence, epoch - 1),
        ("no epoch", sequence, 0),
        ("a later epoch", sequence, epoch + 1),
    ] {
        let resume = proto::Resume { last_sequence, epoch, ..memory.clone() };
        let mut back = server.join("s").window(MINUTE).resume(resume).enter().await;
        assert_eq!(back.joined.outcome(), JoinOutcome::ResumedWithGap, "{what}");
        assert_eq!((back.joined.epoch, back.id()), (memory.epoch, memory.connection_id.clone()), "{what}");
        assert_eq!(back.snapshot(), [onlooker.id(), back.id()], "{what}");
        server.nothing_reached(&mut back, "s").await;
        back.lose_before(&mut onlooker).await;
    }
}
