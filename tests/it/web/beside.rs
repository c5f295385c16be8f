//! `Send` and `Leave`: what a connection asks for beside its stream.

use proto::{DisconnectReason, send_frame::Frame, subscribe_response::Event as Subscribed};
use tonic::Code;

use super::{Page, accepted, asks, join, leave, memory, refused, send, server};
use crate::support::{Event, TestServer, Wrong, proto, redis::RedisServer, soon};

const NOT_FOUND: Wrong =
    Wrong::new(Code::NotFound, "CONNECTION_NOT_FOUND", "connection_id", &["no such connection", "resume token"]);

fn destroyed(event: &Event) -> Option<(String, DisconnectReason)> {
    match event {
        Event::ConnectionDestroyed(gone) => Some((gone.connection_id.clone(), gone.reason())),
        _ => None,
    }
}

fn interrupted(event: &Event) -> Option<String> {
    match event {
        Event::ConnectionInterrupted(lost) => Some(lost.connection_id.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn a_send_is_decided_once_also_across_a_resume() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let mut onlooker = server.join("s").enter().await;
    let (mut stream, joined) = page.subscribe(join("s")).await;

    let first = accepted(page.send(&send("s", &joined, 1, "one")).await.unwrap());
    assert_eq!(accepted(page.send(&send("s", &joined, 1, "one, again")).await.unwrap()), first);
    // Its stream has the signal, and is not told the outcome.
    assert!(matches!(stream.event().await, Event::Signal(signal) if signal.sequence == first.sequence));
    // Ids go upwards.
    let five = accepted(page.send(&send("s", &joined, 5, "five")).await.unwrap());
    let skipped = refused(page.send(&send("s", &joined, 3, "three")).await.unwrap());
    Wrong::argument("SEND_ID_INVALID", "send_id", &["send_id 3", "5"]).check_error(&skipped);

    drop(stream);
    onlooker.find("the interruption", interrupted).await;
    // An interrupted connection still counts, and may still send.
    let six = accepted(page.send(&send("s", &joined, 6, "six")).await.unwrap());
    assert!(six.sequence > five.sequence);
    let resume = proto::Join { resume: Some(memory(&joined, first.sequence, 1)), ..join("s") };
    let (mut stream, resumed) = page.subscribe(resume).await;
    assert_eq!((resumed.outcome(), resumed.last_send_id), (proto::JoinOutcome::Resumed, 6));
    for (id, place) in [(5, five.sequence), (6, six.sequence)] {
        let Event::SendResult(result) = stream.event().await else { panic!("no restated outcome of {id}") };
        assert_eq!((result.send_id, accepted(result).sequence), (id, place));
    }
    assert_eq!((stream.heard().await, stream.heard().await), ("five".to_owned(), "six".to_owned()));
    assert_eq!(accepted(page.send(&send("s", &joined, 6, "six, again")).await.unwrap()), six);
    for wanted in ["one", "five", "six"] {
        assert_eq!(onlooker.heard().await, wanted);
    }
    // By a stream of frames it is the same connection, with the same ids.
    let mut member = server.join("s").resume(memory(&joined, six.sequence, 6)).enter().await;
    assert_eq!(member.joined.last_send_id, 6);
    let seven = member.say("", "seven").await;
    assert_eq!(accepted(page.send(&send("s", &joined, 7, "seven, again")).await.unwrap()).sequence, seven);
    assert_eq!(onlooker.heard().await, "seven");
    assert_eq!(stream.end().await.code(), Code::Aborted);
}

#[tokio::test]
async fn only_the_connections_own_token_sends_and_leaves() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let mut onlooker = server.join("s").enter().await;
    let (mut stream, joined) = page.subscribe(join("s")).await;
    let (_other_stream, other) = page.subscribe(join("t")).await;
    let right = send("s", &joined, 1, "hello");
    let wrong = [
        proto::SendRequest { resume_token: other.resume_token.clone(), ..right.clone() },
        proto::SendRequest { resume_token: String::new(), ..right.clone() },
        proto::SendRequest { connection_id: other.connection.unwrap().connection_id, ..right.clone() },
        proto::SendRequest { connection_id: onlooker.id(), ..right.clone() },
        proto::SendRequest { connection_id: "nobody".into(), ..right.clone() },
        proto::SendRequest { session_id: "t".into(), ..right.clone() },
        proto::SendRequest { session_id: "not there".replace(' ', "-"), ..right.clone() },
    ];
    for request in wrong {
        NOT_FOUND.check_status(&page.send(&request).await.unwrap_err());
        let proto::SendRequest { session_id, connection_id, resume_token, .. } = request;
        let request = proto::LeaveRequest { session_id, connection_id, resume_token };
        NOT_FOUND.check_status(&page.leave(&request).await.unwrap_err());
    }
    let bad = proto::SendRequest { session_id: String::new(), ..right.clone() };
    Wrong::argument("SESSION_ID_INVALID", "session_id", &["empty"]).check_status(&page.send(&bad).await.unwrap_err());
    let unknown = proto::SendRequest { frames: vec![proto::SendFrame::default()], ..right.clone() };
    let wrong = Wrong::argument("FRAME_INVALID", "frames", &["neither a send nor a disconnect"]);
    wrong.check_status(&page.send(&unknown).await.unwrap_err());
    for (count, says) in [(0, &["0 frames", "1 to 64"]), (65, &["65 frames", "1 to 64"])] {
        let frames = vec![right.frames[0].clone(); count];
        let status = page.send(&proto::SendRequest { frames, ..right.clone() }).await.unwrap_err();
        Wrong::argument("FRAME_INVALID", "frames", says).check_status(&status);
    }

    accepted(page.send(&right).await.unwrap());
    assert_eq!((stream.heard().await, onlooker.heard().await), ("hello".to_owned(), "hello".to_owned()));
    page.leave(&leave("s", &joined)).await.unwrap();
    assert_eq!(stream.end().await.code(), Code::Ok);
    let gone = onlooker.find("the departure", destroyed).await;
    assert_eq!(gone, (leave("s", &joined).connection_id, DisconnectReason::ClientDisconnected));
    NOT_FOUND.check_status(&page.send(&right).await.unwrap_err());
    NOT_FOUND.check_status(&page.leave(&leave("s", &joined)).await.unwrap_err());
}

#[tokio::test]
async fn who_is_interrupted_may_leave() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let mut onlooker = server.join("s").enter().await;
    let (stream, joined) = page.subscribe(join("s")).await;
    drop(stream);
    onlooker.find("the interruption", interrupted).await;
    page.leave(&leave("s", &joined)).await.unwrap();
    let (_, reason) = onlooker.find("the departure", destroyed).await;
    assert_eq!(reason, DisconnectReason::ClientDisconnected);
    // There is nothing to come back to.
    let resume = proto::Join { resume: Some(memory(&joined, joined.sequence, 0)), ..join("s") };
    assert_eq!(page.subscribe(resume).await.1.outcome(), proto::JoinOutcome::New);
}

#[tokio::test]
async fn limits_and_rates_are_those_of_a_stream() {
    let server = server(&["--signal-burst", "3", "--signals-per-second", "1"]).await;
    let page = Page::of(&server);
    let (_stream, joined) = page.subscribe(join("s")).await;
    let large = refused(page.send(&send("s", &joined, 1, &"x".repeat(8_193))).await.unwrap());
    Wrong::argument("SIGNAL_DATA_TOO_LARGE", "signal.data", &["8193", "8192"]).check_error(&large);
    assert_eq!(refused(page.send(&send("s", &joined, 1, "fits now")).await.unwrap()), large);
    // At once, however slow this machine is.
    let hello = |send_id| {
        let signal = Some(proto::Signal { data: "hello".into(), ..Default::default() });
        Frame::Send(proto::SendSignal { send_id, signal, to: None })
    };
    let mut results = page.send_all(&asks("s", &joined, (2..=5).map(hello))).await.unwrap();
    let fast = refused(results.pop().unwrap());
    results.into_iter().for_each(|result| drop(accepted(result)));
    assert_eq!((fast.reason.as_str(), fast.retry_after.is_some()), ("RATE_LIMITED", true));
    let recipients = Some(proto::Recipients::default());
    let to_nobody = proto::SendSignal { send_id: 6, signal: Some(proto::Signal::default()), to: recipients };
    let nobody = refused(page.send(&asks("s", &joined, [Frame::Send(to_nobody)])).await.unwrap());
    assert_eq!(nobody.reason, "RECIPIENTS_INVALID");
}

#[tokio::test]
async fn a_moderator_disconnects_another() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let (mut stream, joined) = page.subscribe(join("s")).await;
    let victim = server.join("s").enter().await;
    let disconnect = |send_id, whom: &str| {
        let frame = proto::DisconnectConnection { send_id, connection_id: whom.to_owned() };
        asks("s", &joined, [Frame::Disconnect(frame)])
    };
    let place = accepted(page.send(&disconnect(1, &victim.id())).await.unwrap()).sequence;
    assert_eq!(accepted(page.send(&disconnect(1, &victim.id())).await.unwrap()).sequence, place);
    let missing = refused(page.send(&disconnect(2, &victim.id())).await.unwrap());
    assert_eq!(missing.reason, "CONNECTION_NOT_FOUND");
    assert_eq!(victim.end().await.closing.unwrap().reason, "FORCE_DISCONNECTED");
    loop {
        if let Some((_, reason)) = destroyed(&stream.event().await) {
            assert_eq!(reason, DisconnectReason::ForceDisconnected);
            break;
        }
    }
    // Itself, too: it is answered, and its stream ends.
    let me = leave("s", &joined).connection_id;
    accepted(page.send(&disconnect(3, &me)).await.unwrap());
    assert_eq!(stream.end().await.code(), Code::Aborted);
}

/// Several at once take their places in their order, and each has its outcome.
#[tokio::test]
async fn frames_of_one_call_are_decided_in_their_order() {
    let server = server(&[]).await;
    let page = Page::of(&server);
    let (mut stream, joined) = page.subscribe(join("s")).await;
    let frame = |send_id, data: &str| {
        let signal = Some(proto::Signal { data: data.into(), ..Default::default() });
        Frame::Send(proto::SendSignal { send_id, signal, to: None })
    };
    let large = "x".repeat(8_193);
    let frames = || [frame(1, "one"), frame(2, &large), frame(3, "three"), frame(3, "again"), frame(2, "again")];
    let results = page.send_all(&asks("s", &joined, frames())).await.unwrap();
    assert_eq!(results.iter().map(|result| result.send_id).collect::<Vec<_>>(), [1, 2, 3, 3, 2]);
    assert_eq!(page.send_all(&asks("s", &joined, frames())).await.unwrap(), results);
    assert_eq!(results[4], results[1]);
    let places = [&results[0], &results[2], &results[3]].map(|result| accepted(result.clone()).sequence);
    assert_eq!(places, [places[0], places[0] + 1, places[0] + 1]);
    assert_eq!(refused(results[1].clone()).reason, "SIGNAL_DATA_TOO_LARGE");
    assert_eq!((stream.heard().await, stream.heard().await), ("one".to_owned(), "three".to_owned()));
    // After it is gone by one of them, the others are not looked at.
    let me = proto::DisconnectConnection { send_id: 5, connection_id: leave("s", &joined).connection_id };
    let frames = [frame(4, "four"), Frame::Disconnect(me), frame(6, "six")];
    let results = page.send_all(&asks("s", &joined, frames)).await.unwrap();
    assert_eq!(results.into_iter().map(accepted).count(), 2);
    assert_eq!(stream.heard().await, "four");
    assert_eq!(stream.end().await.code(), Code::Aborted);
}

/// Without gRPC-Web, too: the methods are the service's.
#[tokio::test]
async fn the_three_are_plain_grpc_as_well() {
    let server = TestServer::start().await;
    let mut client = server.signaling();
    let request = proto::SubscribeRequest { join: Some(join("s")) };
    let mut stream = soon("a stream", client.subscribe(request)).await.unwrap().into_inner();
    let event = soon("joined", stream.message()).await.unwrap().unwrap().event;
    let Some(Subscribed::Joined(joined)) = event else { panic!("{event:?}") };
    let mut response = client.send(send("s", &joined, 1, "hello")).await.unwrap().into_inner();
    let place = accepted(response.results.remove(0)).sequence;
    let event = soon("the signal", stream.message()).await.unwrap().unwrap().event;
    assert!(matches!(event, Some(Subscribed::Signal(signal)) if signal.sequence == place));
    client.leave(leave("s", &joined)).await.unwrap();
    assert!(soon("the end", stream.message()).await.unwrap().is_none());
}

/// The stream is on one node, the calls go to another.
#[tokio::test]
async fn any_node_takes_what_is_asked_beside_a_stream() {
    let Some(redis) = RedisServer::start() else { return };
    let flags = ["--cors-origin", super::ORIGIN];
    let (here, there) = (TestServer::on(&redis, &flags).await, TestServer::on(&redis, &flags).await);
    let (page, elsewhere) = (Page::of(&here), Page::of(&there));
    let mut onlooker = there.join("s").enter().await;
    let (mut stream, joined) = page.subscribe(join("s")).await;
    let place = accepted(elsewhere.send(&send("s", &joined, 1, "from there")).await.unwrap()).sequence;
    assert_eq!((stream.heard().await, onlooker.heard().await), ("from there".to_owned(), "from there".to_owned()));
    assert_eq!(accepted(page.send(&send("s", &joined, 1, "again")).await.unwrap()).sequence, place);
    let wrong = proto::SendRequest { resume_token: "wrong".into(), ..send("s", &joined, 2, "no") };
    NOT_FOUND.check_status(&elsewhere.send(&wrong).await.unwrap_err());

    elsewhere.leave(&leave("s", &joined)).await.unwrap();
    assert_eq!(stream.end().await.code(), Code::Ok);
    let (_, reason) = onlooker.find("the departure", destroyed).await;
    assert_eq!(reason, DisconnectReason::ClientDisconnected);
    NOT_FOUND.check_status(&page.send(&send("s", &joined, 3, "gone")).await.unwrap_err());
}
