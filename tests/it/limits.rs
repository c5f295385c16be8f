//! The limits on sends, and promise 7: one that breaks a limit is told so and
//! costs only itself.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    Event, Frame, Stuck, TestServer, Wrong, broadcast, from_server, from_wire,
    proto::{self, Signal},
    recipients, signal,
};

/// What a send and a server signal have in common: the signal and its
/// recipients.
type Content = (Option<Signal>, Option<proto::Recipients>);

fn to(ids: &[&str]) -> Option<proto::Recipients> {
    Some(recipients(ids))
}

/// Every content that is refused, with what the sender must be told.
fn bad_contents() -> Vec<(Content, Wrong)> {
    let typed = |kind: &str| (Some(signal(kind, "data")), None);
    let holding = |data: &str| (Some(signal("", data)), None);
    let going = |ids: &[&str]| (Some(signal("", "data")), to(ids));
    let forbidden = |says| Wrong::argument("SIGNAL_TYPE_INVALID", "signal.type", says);
    vec![
        (typed("not allowed"), forbidden(&["' '", "byte 3", "A-Z a-z 0-9 - _ ~"])),
        (typed("a.b"), forbidden(&["'.'", "byte 1", "A-Z a-z 0-9 - _ ~"])),
        (typed("line\n"), forbidden(&["'\\n'", "byte 4"])),
        (typed("naïve"), forbidden(&["'ï'", "byte 2"])),
        (
            typed(&"t".repeat(129)),
            Wrong::argument("SIGNAL_TYPE_TOO_LARGE", "signal.type", &["129 bytes", "the limit is 128"]),
        ),
        (
            holding(&"d".repeat(8_193)),
            Wrong::argument("SIGNAL_DATA_TOO_LARGE", "signal.data", &["8193 bytes", "the limit is 8192"]),
        ),
        // Half as many characters as the limit, and one.
        (
            holding(&"é".repeat(4_097)),
            Wrong::argument("SIGNAL_DATA_TOO_LARGE", "signal.data", &["8194 bytes", "the limit is 8192"]),
        ),
        (
            going(&[]),
            Wrong::argument("RECIPIENTS_INVALID", "to.connection_ids", &["0 recipients", "1 to 100", "a broadcast"]),
        ),
        (
            going(&["nobody"; 101]),
            Wrong::argument("RECIPIENTS_INVALID", "to.connection_ids", &["101 recipients", "the limit is 100"]),
        ),
        (
            going(&[&"n".repeat(129)]),
            Wrong::argument("RECIPIENTS_INVALID", "to.connection_ids", &["129 bytes", "the limit is 128"]),
        ),
        (
            going(&["nobody"]),
            Wrong::new(Code::NotFound, "CONNECTION_NOT_FOUND", "to.connection_ids", &["the recipient named is not"]),
        ),
        ((None, None), Wrong::argument("FRAME_INVALID", "signal", &["no signal", "must be set"])),
    ]
}

/// Contents that reach their limits, and the data that `listener` must hear.
fn good_contents(listener: &str) -> Vec<(Content, String)> {
    let (kind, data, wide) = ("~".repeat(128), "d".repeat(8_192), "é".repeat(4_096));
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~";
    let others: Vec<_> = (0..99).map(|number| format!("{number:0>128}")).collect();
    let mut ids: Vec<_> = others.iter().map(String::as_str).collect();
    ids.push(listener);
    vec![
        ((Some(signal(&kind, &data)), None), data),
        ((Some(signal(alphabet, &wide)), None), wide),
        ((Some(signal("", "to 100")), to(&ids)), "to 100".into()),
    ]
}

#[tokio::test]
async fn a_send_that_breaks_a_limit_is_refused_and_the_stream_goes_on() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let mut bystander = server.join("s").enter().await;
    for (send_id, ((signal, to), wrong)) in (1..).step_by(2).zip(bad_contents()) {
        sender.frame(Frame::Send(proto::SendSignal { send_id, signal, to }));
        sender.frame(broadcast(send_id + 1, "", wrong.reason));
        let error = sender.refusal(send_id).await;
        wrong.check_error(&error);
        assert_eq!(error.retry_after, None, "waiting doesn't help");
        let place = sender.accepted(send_id + 1).await;
        let event = bystander.next().await;
        assert!(matches!(&event, Event::Signal(signal) if signal.sequence == place), "{event:?}");
    }
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn a_server_signal_that_breaks_a_limit_is_refused() {
    let server = TestServer::start().await;
    let mut bystander = server.join("s").enter().await;
    let mut cases: Vec<_> = bad_contents()
        .into_iter()
        .map(|((signal, to), wrong)| (proto::SendFromServerRequest { signal, to, ..from_server("s", "") }, wrong))
        .collect();
    let session_id = |says| Wrong::argument("SESSION_ID_INVALID", "session_id", says);
    cases.push((from_server("", "data"), session_id(&["empty", "1 to 255"])));
    cases.push((from_server(&"s".repeat(256), "data"), session_id(&["256 bytes", "the limit is 255"])));
    cases.push((from_server("a room", "data"), session_id(&["' '", "byte 1", "visible ASCII"])));
    cases.push((
        proto::SendFromServerRequest { idempotency_key: "k".repeat(129), ..from_server("s", "data") },
        Wrong::argument("IDEMPOTENCY_KEY_INVALID", "idempotency_key", &["129 bytes", "the limit is 128"]),
    ));
    cases.push((
        from_server("nowhere", "data"),
        Wrong::new(Code::NotFound, "SESSION_NOT_FOUND", "session_id", &["nobody is in the session"]),
    ));
    for (request, wrong) in cases {
        wrong.check_status(&server.signaling().send_from_server(request).await.unwrap_err());
        server.nothing_reached(&mut bystander, "s").await;
    }
}

#[tokio::test]
async fn what_just_reaches_a_limit_is_accepted() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let mut listener = server.join("s").enter().await;
    for (send_id, ((signal, to), data)) in (1..).zip(good_contents(&listener.id())) {
        sender.frame(Frame::Send(proto::SendSignal { send_id, signal: signal.clone(), to: to.clone() }));
        sender.accepted(send_id).await;
        assert_eq!(listener.heard().await, data);
        let idempotency_key = format!("{send_id:0>128}");
        let request = proto::SendFromServerRequest { session_id: "s".into(), signal, to, idempotency_key };
        server.signaling().send_from_server(request).await.unwrap();
        assert_eq!(listener.heard().await, data);
    }
}

#[tokio::test]
async fn a_limit_that_is_set_is_the_one_that_holds() {
    let server = TestServer::with(&["--max-recipients", "2", "--max-session-id-bytes", "4"]).await;
    let mut member = server.join("s").enter().await;
    let id = member.id();
    let sent = member.send_to(&[&id, "a", "b"], "");
    let wrong = Wrong::argument("RECIPIENTS_INVALID", "to.connection_ids", &["3 recipients", "the limit is 2"]);
    wrong.check_error(&member.refusal(sent).await);
    let sent = member.send_to(&[&id, "a"], "");
    member.accepted(sent).await;
    let wrong = Wrong::argument("SESSION_ID_INVALID", "session_id", &["5 bytes", "the limit is 4"]);
    wrong.check_status(&server.signaling().send_from_server(from_server("abcde", "")).await.unwrap_err());
}

#[tokio::test]
async fn a_send_id_that_goes_backwards_is_refused() {
    let server = TestServer::start().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let mut bystander = server.join("s").enter().await;
    sender.frame(broadcast(10, "", "tenth"));
    sender.accepted(10).await;
    assert_eq!(bystander.heard().await, "tenth");
    sender.frame(broadcast(9, "", "backwards"));
    Wrong::argument("SEND_ID_INVALID", "send_id", &["send_id 9", "above 10"]).check_error(&sender.refusal(9).await);
    sender.frame(broadcast(11, "", "onwards"));
    sender.accepted(11).await;
    assert_eq!(bystander.heard().await, "onwards");
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn a_connection_over_its_rate_is_told_when_to_try_again() {
    let server = TestServer::with(&["--signals-per-second", "1", "--signal-burst", "3"]).await;
    let mut fast = server.join("s").without_own_signals().enter().await;
    let mut bystander = server.join("s").without_own_signals().enter().await;
    // At once, so that even a slow machine brings too many of them in time.
    let sends: Vec<_> = (0..10).map(|number| fast.send("", &number.to_string())).collect();
    let wrong = Wrong::new(Code::ResourceExhausted, "RATE_LIMITED", "", &["1 per second", "3 at once", "one more"]);
    let mut wait = None;
    for send in sends {
        match fast.outcome(send).await {
            Ok(accepted) => assert_eq!(bystander.signal().await.sequence, accepted.sequence),
            Err(error) => {
                assert!(send > 3, "the burst is 3, not {send}");
                wrong.check_error(&error);
                let after = from_wire(error.retry_after.as_ref().expect("waiting helps"));
                assert!(after > Duration::ZERO && after <= Duration::from_secs(1), "{after:?}");
                wait = Some(after);
            }
        }
    }
    // What is wrong anyway says so, and takes nothing from the rate.
    let bad = fast.send("not allowed", "");
    assert_eq!(fast.refusal(bad).await.reason, "SIGNAL_TYPE_INVALID");
    // The limit is each connection's own, and backends have none.
    bystander.say("", "within its rate").await;
    for _ in 0..10 {
        server.nothing_reached(&mut bystander, "s").await;
    }
    // Waiting as told is enough.
    tokio::time::sleep(wait.expect("none of ten was over the rate")).await;
    fast.say("", "after waiting").await;
    assert_eq!(bystander.heard().await, "after waiting");
}

#[tokio::test]
async fn a_resume_brings_no_new_burst() {
    let server = TestServer::with(&["--signals-per-second", "1", "--signal-burst", "40"]).await;
    let join = || server.join("s").without_own_signals().window(Duration::from_secs(60));
    let mut member = join().enter().await;
    for send in 1..=40 {
        member.send("", "");
        member.accepted(send).await;
    }
    let mut back = join().resume(member.lose()).enter().await;
    let sends: Vec<_> = (0..40).map(|_| back.send("", "")).collect();
    let mut refused = 0;
    for send in sends {
        if let Err(error) = back.outcome(send).await {
            assert_eq!(error.reason, "RATE_LIMITED");
            refused += 1;
        }
    }
    // Some may be accepted on a machine so slow that seconds have passed.
    assert!(refused > 0);
}

#[tokio::test]
async fn a_rate_or_a_burst_of_0_is_no_limit() {
    for flag in ["--signals-per-second", "--signal-burst"] {
        let server = TestServer::with(&[flag, "0"]).await;
        let mut fast = server.join("s").without_own_signals().enter().await;
        let sends: Vec<_> = (0..300).map(|_| fast.send("", "")).collect();
        for send in sends {
            fast.accepted(send).await;
        }
    }
}

#[tokio::test]
async fn too_many_sends_whose_outcomes_are_not_taken_are_refused() {
    let server = TestServer::with(&["--max-unresolved-sends", "4"]).await;
    let mut bystander = server.join("s").enter().await;
    let mut sender = Stuck::enter(&server, None).await;
    assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
    for send_id in 1..=6 {
        sender.stream.frame(broadcast(send_id, "", &send_id.to_string()));
    }
    for send_id in 1..=4 {
        assert_eq!(bystander.heard().await, send_id.to_string());
    }
    server.nothing_reached(&mut bystander, "s").await;

    let wrong = Wrong::new(Code::ResourceExhausted, "TOO_MANY_UNRESOLVED_SENDS", "", &["the limit is 4"]);
    let mut results = Vec::new();
    while results.len() < 6 {
        if let Event::SendResult(result) = sender.next().await {
            results.push(result);
        }
    }
    for (send_id, result) in (1..).zip(results) {
        assert_eq!(result.send_id, send_id);
        match result.outcome.unwrap() {
            proto::send_result::Outcome::Accepted(_) => assert!(send_id <= 4, "send {send_id} is over the limit"),
            proto::send_result::Outcome::Error(error) => {
                assert!(send_id > 4 && error.message.contains(&format!("{send_id} sends")), "{error:?}");
                wrong.check_error(&error);
            }
        }
    }
    // They are taken, so there is room again.
    sender.stream.frame(broadcast(7, "", "seven"));
    assert_eq!(bystander.heard().await, "seven");
    server.nothing_reached(&mut bystander, "s").await;
}
