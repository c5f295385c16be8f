//! The machine by example: what the random histories can't see.

use std::time::Duration;

use crate::{
    client::{
        Event, JoinOptions, Lost, Over, SendError, Signal,
        machine::{End, Machine, Output, Settings, StreamId, Wanted},
    },
    proto::{
        self, ClientAction, JoinOutcome, JoinRequest, JoinResponse, join_request::Frame, join_response::Event as Wire,
    },
};

use super::broken;

const HEARTBEAT: Duration = Duration::from_secs(10);

fn machine(endpoints: usize) -> Machine<&'static str> {
    Machine::new(Settings {
        join: JoinOptions::new("s").join,
        endpoints: (0..endpoints).map(|n| format!("endpoint {n}")).collect(),
        connect_timeout: Duration::from_secs(5),
        back_off: (Duration::from_millis(100), Duration::from_secs(2)),
        give_up_after: Duration::from_secs(60),
        renewable: false,
        queue: (2, 1_000),
        seed: Some(7),
    })
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn outputs(machine: &mut Machine<&'static str>) -> Vec<Output<&'static str>> {
    std::iter::from_fn(|| machine.output()).collect()
}

fn opened(outputs: &[Output<&'static str>]) -> Option<(StreamId, usize)> {
    outputs.iter().find_map(|output| match output {
        Output::Open { stream, endpoint, .. } => Some((*stream, endpoint.strip_prefix("endpoint ")?.parse().ok()?)),
        _ => None,
    })
}

fn events(outputs: &[Output<&'static str>]) -> Vec<Event> {
    let event = |output: &Output<&'static str>| match output {
        Output::Event(event) => Some(event.clone()),
        _ => None,
    };
    outputs.iter().filter_map(event).collect()
}

fn frames(outputs: &[Output<&'static str>]) -> Vec<Frame> {
    let frame = |output: &Output<&'static str>| match output {
        Output::Frame(_, JoinRequest { frame }) => frame.clone(),
        _ => None,
    };
    outputs.iter().filter_map(frame).collect()
}

fn response(event: Wire) -> JoinResponse {
    JoinResponse { event: Some(event) }
}

fn joined(outcome: JoinOutcome, last_send_id: u64) -> JoinResponse {
    let me = proto::Connection { connection_id: "me".to_owned(), ..proto::Connection::default() };
    response(Wire::Joined(proto::Joined {
        outcome: outcome.into(),
        connection: Some(me.clone()),
        connections: vec![me],
        epoch: 1,
        sequence: 1,
        resume_token: "token".to_owned(),
        last_send_id,
        limits: Some(proto::Limits {
            heartbeat_interval: HEARTBEAT.try_into().ok(),
            max_recipients: 100,
            ..proto::Limits::default()
        }),
        ..proto::Joined::default()
    }))
}

fn closing(reason: &str, action: i32, retry_after: Option<Duration>) -> JoinResponse {
    let retry_after = retry_after.and_then(|after| after.try_into().ok());
    response(Wire::Closing(proto::Closing { reason: reason.to_owned(), action, retry_after }))
}

/// One that is in, at 1 s, on stream 1.
fn member(endpoints: usize) -> Machine<&'static str> {
    let mut machine = machine(endpoints);
    machine.start(at(1));
    machine.received(1, joined(JoinOutcome::New, 0), at(1));
    outputs(&mut machine);
    machine
}

#[test]
fn silence_is_found_within_two_heartbeats() {
    let mut machine = member(1);
    let wake = machine.wake_at().unwrap();
    assert!(wake > at(1) + HEARTBEAT && wake < at(1) + HEARTBEAT * 2);
    machine.received(1, response(Wire::Heartbeat(proto::Heartbeat { sequence: 1 })), at(11));
    machine.wake(wake);
    assert!(events(&outputs(&mut machine)).is_empty(), "it was heard of");
    let wake = machine.wake_at().unwrap();
    assert!(wake < at(11) + HEARTBEAT * 2);
    machine.wake(wake);
    assert_eq!(events(&outputs(&mut machine)), [Event::Reconnecting { why: Lost::Silent }]);
}

#[test]
fn silence_means_nothing_to_one_that_does_not_read() {
    let mut machine = member(1);
    machine.read(false, at(2));
    assert_eq!(machine.wake_at(), None);
    machine.read(true, at(500));
    assert!(machine.wake_at().unwrap() > at(500) + HEARTBEAT);
}

#[test]
fn retry_after_is_honoured_and_pauses_grow() {
    let mut machine = member(1);
    machine.received(1, closing("GOING_AWAY", ClientAction::Resume.into(), Some(at(30))), at(2));
    machine.ended(1, End::Status(broken()), at(2));
    outputs(&mut machine);
    assert_eq!(machine.wake_at(), Some(at(32)));

    let mut now = at(32);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        machine.wake(now);
        let (stream, _) = opened(&outputs(&mut machine)).unwrap();
        machine.ended(stream, End::Status(broken()), now);
        let next = machine.wake_at().unwrap();
        pauses.push(next - now);
        now = next;
    }
    for (pause, least) in pauses.iter().zip([200, 400, 800, 1_600, 2_000].map(Duration::from_millis)) {
        assert!((least..=least * 2).contains(pause), "{pauses:?}");
    }
}

#[test]
fn the_next_endpoint_is_tried_and_in_the_end_it_gives_up() {
    let mut machine = member(3);
    machine.ended(1, End::Status(broken()), at(2));
    assert_eq!(events(&outputs(&mut machine)).len(), 1);
    let mut tried = Vec::new();
    let given_up = loop {
        let now = machine.wake_at().expect("it tries or is over");
        assert!(now <= at(2 + 60), "no longer than it is to try");
        machine.wake(now);
        let (stream, endpoint) = opened(&outputs(&mut machine)).unwrap();
        tried.push(endpoint);
        machine.ended(stream, End::Status(broken()), now);
        let told = events(&outputs(&mut machine));
        if !told.is_empty() {
            break told;
        }
    };
    assert_eq!(tried[..4], [0, 1, 2, 0]);
    assert!(
        matches!(&given_up[..], [Event::Disconnected { reason: Over::GaveUp(_), action: ClientAction::Rejoin }]),
        "{given_up:?}"
    );
}

#[test]
fn every_action_leads_to_what_it_says() {
    for (action, stops) in [
        (ClientAction::Resume as i32, false),
        (ClientAction::Rejoin as i32, false),
        (ClientAction::Stop as i32, true),
        // One that this version doesn't know: the status decides.
        (99, false),
    ] {
        let mut machine = member(1);
        machine.received(1, closing("NEVER_HEARD_OF", action, None), at(2));
        machine.ended(1, End::Status(broken()), at(2));
        let told = events(&outputs(&mut machine));
        match &told[..] {
            [Event::Disconnected { reason: Over::Closed(refusal), action: ClientAction::Stop }] if stops => {
                assert_eq!(refusal.reason, "NEVER_HEARD_OF");
            }
            [Event::Reconnecting { why: Lost::Closed { reason, .. } }] if !stops => {
                assert_eq!(reason, "NEVER_HEARD_OF");
            }
            _ => panic!("{action}: {told:?}"),
        }
    }
}

#[test]
fn what_is_not_to_be_sent_later_is_not() {
    let mut machine = member(1);
    machine.send(Wanted::Signal(Signal::new("", "on its way").retry_after_reconnect(false)), "first", at(1)).unwrap();
    assert_eq!(frames(&outputs(&mut machine)).len(), 1);
    machine.ended(1, End::Status(broken()), at(2));
    let refused = machine.send(Wanted::Signal(Signal::new("", "").retry_after_reconnect(false)), "second", at(2));
    assert_eq!(refused, Err(("second", SendError::Disconnected)));
    machine.send(Wanted::Signal(Signal::new("", "queued")), "third", at(2)).unwrap();
    let now = machine.wake_at().unwrap();
    machine.wake(now);
    machine.received(2, joined(JoinOutcome::Resumed, 0), now);
    let done = outputs(&mut machine);
    let sent = frames(&done);
    assert!(
        matches!(&sent[..], [Frame::Send(send)] if send.signal.as_ref().is_some_and(|signal| signal.data == "queued")),
        "{sent:?}"
    );
    let decided = done.iter().any(|output| matches!(output, Output::Outcome("first", Err(SendError::Disconnected))));
    assert!(decided, "{done:?}");
}

#[test]
fn the_queue_is_bounded_by_count_and_bytes() {
    let mut machine = member(1);
    machine.ended(1, End::Status(broken()), at(2));
    machine.send(Wanted::Signal(Signal::new("", "one")), "one", at(2)).unwrap();
    let (_, full) = machine.send(Wanted::Signal(Signal::new("", "x".repeat(1_000))), "big", at(2)).unwrap_err();
    assert_eq!(full, SendError::QueueFull { sends: 1, bytes: 5, limits: (2, 1_000) });
    machine.send(Wanted::Signal(Signal::new("", "two")), "two", at(2)).unwrap();
    let (_, full) = machine.send(Wanted::Signal(Signal::new("", "")), "three", at(2)).unwrap_err();
    assert_eq!(full, SendError::QueueFull { sends: 2, bytes: 10, limits: (2, 1_000) });
}

#[test]
fn what_can_be_sent_at_once_needs_no_queue() {
    let mut machine = member(1);
    machine.send(Wanted::Signal(Signal::new("", "x".repeat(1_000))), "big", at(1)).unwrap();
    assert_eq!(frames(&outputs(&mut machine)).len(), 1);
}

#[test]
fn a_server_that_goes_away_is_not_asked_first() {
    let mut machine = member(2);
    machine.received(1, closing("GOING_AWAY", ClientAction::Resume.into(), None), at(2));
    machine.ended(1, End::Status(broken()), at(2));
    machine.wake(machine.wake_at().unwrap());
    assert_eq!(opened(&outputs(&mut machine)), Some((2, 1)));
}

#[test]
fn leaving_waits_for_outcomes_and_for_the_way_back() {
    let mut machine = member(1);
    machine.send(Wanted::Signal(Signal::new("", "last words")), "last", at(1)).unwrap();
    machine.leave(at(1));
    assert_eq!(frames(&outputs(&mut machine)).len(), 1, "the signal, and no leave yet");
    machine.ended(1, End::Status(broken()), at(2));
    let now = machine.wake_at().unwrap();
    machine.wake(now);
    outputs(&mut machine);
    machine.received(2, joined(JoinOutcome::Resumed, 0), now);
    let again = frames(&outputs(&mut machine));
    assert!(matches!(&again[..], [Frame::Send(send)] if send.send_id == 1), "{again:?}");
    let accepted = proto::send_result::Outcome::Accepted(proto::Accepted::default());
    let result = proto::SendResult { send_id: 1, outcome: Some(accepted) };
    machine.received(2, response(Wire::SendResult(result)), now);
    let done = outputs(&mut machine);
    assert!(matches!(frames(&done)[..], [Frame::Leave(_)]), "{done:?}");
    machine.ended(2, End::Well, now);
    let told = events(&outputs(&mut machine));
    assert_eq!(told, [Event::Disconnected { reason: Over::Left, action: ClientAction::Stop }]);
}

#[test]
fn one_that_was_never_in_leaves_at_once() {
    let mut machine = machine(1);
    machine.start(at(1));
    machine.leave(at(1));
    assert!(matches!(outputs(&mut machine).last(), Some(Output::Over)));
}

#[test]
fn a_gap_may_bring_another_order_which_counts_from_its_own_beginning() {
    let mut machine = member(1);
    let signal = |sequence, data: &str| {
        let signal = Some(proto::Signal { r#type: String::new(), data: data.to_owned() });
        response(Wire::Signal(proto::SignalReceived { sequence, signal, ..proto::SignalReceived::default() }))
    };
    machine.received(1, signal(500, "old"), at(1));
    machine.ended(1, End::Status(broken()), at(2));
    outputs(&mut machine);
    let now = machine.wake_at().unwrap();
    machine.wake(now);
    let mut answer = joined(JoinOutcome::ResumedWithGap, 0);
    if let Some(Wire::Joined(joined)) = &mut answer.event {
        (joined.epoch, joined.sequence) = (2, 3);
    }
    machine.received(2, answer, now);
    machine.received(2, signal(4, "new"), now);
    let told = events(&outputs(&mut machine));
    assert!(
        matches!(
            &told[..],
            [Event::Reconnected { gap: true, epoch: 2, sequence: 3, .. }, Event::Signal(signal)] if signal.data == "new"
        ),
        "{told:?}"
    );

    // And it resumes from there.
    machine.ended(2, End::Status(broken()), now);
    let next = machine.wake_at().unwrap();
    machine.wake(next);
    let resume = outputs(&mut machine).into_iter().find_map(|output| match output {
        Output::Open { join, .. } => join.resume,
        _ => None,
    });
    let resume = resume.unwrap();
    assert_eq!((resume.epoch, resume.last_sequence), (2, 4));
}
