//! The life of a `Join` stream, 4 and 6 to 8: how it ends, and what the others
//! see of it.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::support::{
    Event, Frame, Member, TestServer, Wrong, from_server, from_wire,
    proto::{self, ClientAction, ConnectionState, DisconnectReason, JoinOutcome},
};

const MINUTE: Duration = Duration::from_secs(60);

fn destroyed(event: &Event) -> (&str, DisconnectReason) {
    match event {
        Event::ConnectionDestroyed(destroyed) => (&destroyed.connection_id, destroyed.reason()),
        other => panic!("{other:?} instead of a departure"),
    }
}

/// Somebody who has seen that `Member` come.
async fn onlooker_of(server: &TestServer, window: Option<Duration>) -> (Member, Member) {
    let mut onlooker = server.join("s").enter().await;
    let join = server.join("s");
    let member = match window {
        Some(window) => join.window(window).enter().await,
        None => join.enter().await,
    };
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    (onlooker, member)
}

#[tokio::test]
async fn a_half_close_means_nothing_more_to_send_and_the_connection_receives_on() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let sent = member.send("", "last words");
    member.half_close();
    member.accepted(sent).await;
    assert_eq!(member.heard().await, "last words");
    for number in 0..10 {
        let data = number.to_string();
        server.signaling().send_from_server(from_server("s", &data)).await.unwrap();
        assert_eq!(member.heard().await, data);
    }
}

#[tokio::test]
async fn leave_is_taken_after_the_sends_before_it_and_ends_the_stream_with_ok() {
    let server = TestServer::start().await;
    let (mut onlooker, mut member) = onlooker_of(&server, Some(MINUTE)).await;
    for number in 0..50 {
        member.send("", &number.to_string());
    }
    member.frame(Frame::Leave(proto::Leave {}));
    let id = member.id();
    let end = member.end().await;
    assert!(end.status.is_none(), "{:?}", end.status);
    assert!(end.closing.is_none(), "the client asked for it");
    let accepted = |event: &&Event| matches!(event, Event::SendResult(result) if matches!(result.outcome, Some(proto::send_result::Outcome::Accepted(_))));
    assert_eq!(end.before.iter().filter(accepted).count(), 50);
    for number in 0..50 {
        assert_eq!(onlooker.heard().await, number.to_string());
    }
    // At once, whatever the window.
    assert_eq!(destroyed(&onlooker.next().await), (id.as_str(), DisconnectReason::ClientDisconnected));
}

#[tokio::test]
async fn what_comes_after_leave_is_not_taken() {
    let server = TestServer::start().await;
    let (mut onlooker, mut member) = onlooker_of(&server, None).await;
    member.frame(Frame::Leave(proto::Leave {}));
    member.send("", "too late");
    assert!(member.end().await.status.is_none());
    assert_eq!(destroyed(&onlooker.next().await).1, DisconnectReason::ClientDisconnected);
    let sent = onlooker.send("", "marker");
    onlooker.accepted(sent).await;
    assert_eq!(onlooker.heard().await, "marker");
}

#[tokio::test]
async fn a_stream_that_breaks_without_a_window_is_destroyed_at_once() {
    let server = TestServer::start().await;
    for window in [None, Some(Duration::ZERO)] {
        let (mut onlooker, member) = onlooker_of(&server, window).await;
        assert_eq!(from_wire(member.joined.resume_window.as_ref().unwrap()), Duration::ZERO);
        let id = member.id();
        drop(member);
        assert_eq!(destroyed(&onlooker.next().await), (id.as_str(), DisconnectReason::NetworkDisconnected));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_to_the_others_at_once_and_its_return_too() {
    let server = TestServer::start().await;
    let (mut onlooker, member) = onlooker_of(&server, Some(MINUTE)).await;
    let id = member.id();
    let memory = member.lose();
    let begun = Instant::now();
    assert!(
        matches!(onlooker.next().await, Event::ConnectionInterrupted(interrupted) if interrupted.connection_id == id)
    );
    assert!(begun.elapsed() < MINUTE / 6, "not only when the window is over");
    let late = server.join("s").enter().await;
    let view = late.joined.connections.iter().find(|connection| connection.connection_id == id).unwrap();
    assert_eq!(view.state(), ConnectionState::Interrupted);
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::Resumed);
    assert!(matches!(onlooker.next().await, Event::ConnectionRestored(restored) if restored.connection_id == id));
}

#[tokio::test]
async fn connection_destroyed_comes_only_when_the_window_is_over() {
    let server = TestServer::start().await;
    let window = Duration::from_millis(300);
    let (mut onlooker, member) = onlooker_of(&server, Some(window)).await;
    let id = member.id();
    let begun = Instant::now();
    drop(member);
    assert!(matches!(onlooker.next().await, Event::ConnectionInterrupted(_)));
    assert_eq!(destroyed(&onlooker.next().await), (id.as_str(), DisconnectReason::NetworkDisconnected));
    assert!(begun.elapsed() >= window, "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn the_window_granted_is_at_most_the_servers_maximum() {
    for (flags, most) in [(&[][..], 120), (&["--max-resume-window", "7s"], 7)] {
        let server = TestServer::with(flags).await;
        for (asked, granted) in [(5, 5), (most, most), (86_400, most)] {
            let member = server.join("s").window(Duration::from_secs(asked)).enter().await;
            assert_eq!(from_wire(member.joined.resume_window.as_ref().unwrap()), Duration::from_secs(granted));
        }
    }
}

#[tokio::test]
async fn a_moderator_disconnects_another_for_good() {
    let server = TestServer::start().await;
    let (mut moderator, mut target) = onlooker_of(&server, Some(MINUTE)).await;
    let (id, memory) = (target.id(), target.memory());
    let sent = moderator.disconnect(&id);
    let place = moderator.accepted(sent).await;
    let event = moderator.next().await;
    assert_eq!(destroyed(&event), (id.as_str(), DisconnectReason::ForceDisconnected));
    assert_eq!(moderator.sequence(), place);
    target.half_close();
    let wrong = Wrong::new(Code::Aborted, "FORCE_DISCONNECTED", "", &["disconnected"]);
    target.end().await.check(&wrong, ClientAction::Stop);
    let back = server.join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), JoinOutcome::New);
    assert_ne!(back.id(), id);
}

#[tokio::test]
async fn disconnecting_somebody_who_is_not_there_fails_and_the_stream_goes_on() {
    let server = TestServer::start().await;
    let mut moderator = server.join("s").enter().await;
    let elsewhere = server.join("another").enter().await;
    let wrong = Wrong::new(Code::NotFound, "CONNECTION_NOT_FOUND", "connection_id", &["not in the session"]);
    for nobody in ["", "nobody", &elsewhere.id()] {
        let sent = moderator.disconnect(nobody);
        wrong.check_error(&moderator.refusal(sent).await);
    }
    let sent = moderator.send("", "still here");
    moderator.accepted(sent).await;
}

#[tokio::test]
async fn one_who_disconnects_itself_gets_the_outcome_first() {
    let server = TestServer::start().await;
    let mut member = server.join("s").enter().await;
    let id = member.id();
    member.disconnect(&id);
    let end = member.end().await;
    assert!(matches!(end.before.as_slice(), [Event::SendResult(result)] if result.send_id == 1));
    end.check(&Wrong::new(Code::Aborted, "FORCE_DISCONNECTED", "", &[]), ClientAction::Stop);
}

#[tokio::test]
async fn a_disconnect_takes_a_send_id_like_a_signal() {
    let server = TestServer::start().await;
    let (mut moderator, target) = onlooker_of(&server, Some(MINUTE)).await;
    let id = target.id();
    let sent = moderator.disconnect(&id);
    let place = moderator.accepted(sent).await;
    // The same id again repeats the outcome, though nobody is there any more.
    moderator.frame(Frame::Disconnect(proto::DisconnectConnection { send_id: sent, connection_id: id }));
    assert_eq!(moderator.accepted(sent).await, place);
}
