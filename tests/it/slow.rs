//! Promise 6: a slow reader harms only itself.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    Event, Member, Stuck, TestServer, Wrong, broadcast, from_server,
    proto::{self, ClientAction, DisconnectReason, JoinOutcome},
};

const MINUTE: Duration = Duration::from_secs(60);
fn slow() -> Wrong {
    Wrong::new(Code::ResourceExhausted, "SLOW_CONSUMER", "", &["faster than they were read", "outbox"])
}

/// The places of signals.
fn places(events: &[Event]) -> Vec<u64> {
    let place = |event: &Event| match event {
        Event::Signal(signal) => signal.sequence,
        other => panic!("{other:?} instead of a signal"),
    };
    events.iter().map(place).collect()
}

/// What a stuck reader remembers that has seen everything up to a place.
fn memory(stuck: &Stuck, last_sequence: u64) -> proto::Resume {
    proto::Resume {
        connection_id: stuck.id(),
        resume_token: stuck.joined.resume_token.clone(),
        epoch: stuck.joined.epoch,
        last_sequence,
        last_result_send_id: 0,
    }
}

/// Reads to the end. What had left its outbox before it overflowed is all that
/// it gets before it is told.
async fn told(stuck: Stuck) -> proto::Resume {
    let memory = memory(&stuck, stuck.taken[2]);
    let end = stuck.stream.end().await;
    end.check(&slow(), ClientAction::Resume);
    assert_eq!(places(&end.before), stuck.taken);
    memory
}

/// Everybody else: in the slow reader's session and in another.
struct Others {
    here: Member,
    elsewhere: Member,
}

impl Others {
    async fn enter(server: &TestServer) -> Self {
        Self { here: server.join("s").enter().await, elsewhere: server.join("another").enter().await }
    }

    /// Sends to both sessions, and hears it in both.
    async fn go_on(&mut self, server: &TestServer, data: &str) {
        for (session, member) in [("s", &mut self.here), ("another", &mut self.elsewhere)] {
            let place = server.signaling().send_from_server(from_server(session, data)).await.unwrap();
            let event = member.next().await;
            let place = place.into_inner().sequence;
            assert!(matches!(&event, Event::Signal(signal) if signal.sequence == place), "{event:?}");
        }
    }
}

fn numbered(number: usize, size: usize) -> String {
    format!("{number:0>size$}")
}

/// Each bound of an outbox, the size of the signals, and how many of them just
/// fit in.
const BOUNDS: [([&str; 4], usize, usize); 2] = [
    (["--outbox-events", "8", "--outbox-bytes", "0"], 10, 8),
    (["--outbox-events", "0", "--outbox-bytes", "50000"], 8_000, 6),
];

#[tokio::test]
async fn a_slow_reader_with_a_window_is_closed_and_resumes_with_nothing_lost_or_repeated() {
    for (flags, size, fit) in BOUNDS {
        let server = TestServer::with(&flags).await;
        let mut others = Others::enter(&server).await;
        let stuck = Stuck::enter(&server, Some(MINUTE)).await;
        let id = stuck.id();
        assert!(matches!(others.here.next().await, Event::ConnectionCreated(_)));
        // While its outbox holds them, and while they overflow it: the others
        // get one after the other.
        for number in 0..=fit {
            others.go_on(&server, &numbered(number, size)).await;
        }
        let event = others.here.next().await;
        assert!(matches!(&event, Event::ConnectionInterrupted(slow) if slow.connection_id == id), "{event:?}");
        for number in fit + 1..fit + 5 {
            others.go_on(&server, &numbered(number, size)).await;
        }

        let memory = told(stuck).await;
        let join = server.join("s").without_connection_events().window(MINUTE);
        let mut back = join.resume(memory).enter().await;
        assert_eq!((back.joined.outcome(), back.id()), (JoinOutcome::Resumed, id));
        for number in 0..fit + 5 {
            assert_eq!(back.heard().await, numbered(number, size));
        }
        assert!(matches!(others.here.next().await, Event::ConnectionRestored(_)));
        server.nothing_reached(&mut back, "s").await;
        assert_eq!(others.here.heard().await, "marker");
        server.nothing_reached(&mut others.elsewhere, "another").await;
        assert_eq!(server.metric("signalbox_closes_total{reason=\"SLOW_CONSUMER\"}").await.to_string(), "1");
    }
}

#[tokio::test]
async fn a_reader_that_reads_again_in_time_is_not_slow() {
    for (flags, size, fit) in BOUNDS {
        let server = TestServer::with(&flags).await;
        let mut others = Others::enter(&server).await;
        let mut stuck = Stuck::enter(&server, None).await;
        assert!(matches!(others.here.next().await, Event::ConnectionCreated(_)));
        for number in 0..fit {
            others.go_on(&server, &numbered(number, size)).await;
        }
        let mut heard = Vec::new();
        while heard.len() < fit + 3 {
            heard.push(stuck.next().await);
        }
        assert_eq!(places(&heard[..3]), stuck.taken);
        for (number, event) in heard[3..].iter().enumerate() {
            let expected = numbered(number, size);
            assert!(matches!(event, Event::Signal(heard) if heard.signal.as_ref().unwrap().data == expected));
        }
        // There is room again, for as many.
        stuck.stream.release();
        for number in 0..fit {
            others.go_on(&server, &numbered(number, size)).await;
        }
        server.nothing_reached(&mut others.here, "s").await;
    }
}

#[tokio::test]
async fn a_reader_that_is_stuck_comes_back_on_another_stream_before_it_is_slow() {
    let server = TestServer::start().await;
    let mut others = Others::enter(&server).await;
    let stuck = Stuck::enter(&server, Some(MINUTE)).await;
    assert!(matches!(others.here.next().await, Event::ConnectionCreated(_)));
    for number in 0..20 {
        others.go_on(&server, &numbered(number, 10)).await;
    }
    // It has seen nothing yet: all of it left the outbox or waits there.
    let mut back = server.join("s").resume(memory(&stuck, stuck.joined.sequence)).enter().await;
    assert_eq!((back.joined.outcome(), back.id()), (JoinOutcome::Resumed, stuck.id()));
    for place in stuck.taken {
        assert_eq!(back.signal().await.sequence, place);
    }
    for number in 0..20 {
        assert_eq!(back.heard().await, numbered(number, 10));
    }
    server.nothing_reached(&mut back, "s").await;
    // What waited is the new stream's now.
    let end = stuck.stream.end().await;
    end.check(&Wrong::new(Code::Aborted, "CONNECTION_TAKEN_OVER", "", &["another stream"]), ClientAction::Stop);
    assert_eq!(places(&end.before), stuck.taken);
}

#[tokio::test]
async fn a_slow_reader_without_a_window_is_destroyed_with_that_reason() {
    for (flags, size, fit) in BOUNDS {
        let server = TestServer::with(&flags).await;
        let mut others = Others::enter(&server).await;
        let stuck = Stuck::enter(&server, None).await;
        let id = stuck.id();
        assert!(matches!(others.here.next().await, Event::ConnectionCreated(_)));
        for number in 0..=fit {
            others.go_on(&server, &numbered(number, size)).await;
        }
        let Event::ConnectionDestroyed(destroyed) = others.here.next().await else { panic!("it is still there") };
        assert_eq!((&destroyed.connection_id, destroyed.reason()), (&id, DisconnectReason::SlowConsumer));
        others.go_on(&server, "afterwards").await;

        // Its resume finds nothing.
        let memory = told(stuck).await;
        let anew = server.join("s").resume(memory).enter().await;
        assert_eq!(anew.joined.outcome(), JoinOutcome::New);
        assert_ne!(anew.id(), id);
    }
}

#[tokio::test]
async fn a_sender_that_never_takes_its_outcomes_is_slow_too_and_finds_them_on_its_resume() {
    let server = TestServer::with(&["--max-unresolved-sends", "4"]).await;
    let mut others = Others::enter(&server).await;
    let mut stuck = Stuck::enter(&server, Some(MINUTE)).await;
    assert!(matches!(others.here.next().await, Event::ConnectionCreated(_)));
    // Four that are accepted, four that are over the limit, and the one for
    // whose outcome there is no room.
    for send_id in 1..=4 {
        stuck.stream.frame(broadcast(send_id, "", "accepted"));
        assert_eq!(others.here.heard().await, "accepted");
    }
    for send_id in 5..=9 {
        stuck.stream.frame(broadcast(send_id, "", "refused"));
    }
    assert!(matches!(others.here.next().await, Event::ConnectionInterrupted(_)));
    others.go_on(&server, "meanwhile").await;

    let memory = told(stuck).await;
    let mut back = server.join("s").without_own_signals().resume(memory).enter().await;
    assert_eq!((back.joined.outcome(), back.joined.last_send_id), (JoinOutcome::Resumed, 9));
    for send_id in 1..=9 {
        let outcome = back.outcome(send_id).await;
        match outcome {
            Ok(_) => assert!(send_id <= 4, "send {send_id} was over the limit"),
            Err(error) => assert!(send_id > 4 && error.reason == "TOO_MANY_UNRESOLVED_SENDS", "{error:?}"),
        }
    }
    assert_eq!(back.heard().await, "meanwhile");
}
