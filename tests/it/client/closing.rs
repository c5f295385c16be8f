//! How streams end and don't begin, and what the client makes of it.

use std::time::Duration;

use futures_util::FutureExt as _;
use signalbox::client::{Action, ClientBuilder, ConnectError, Event, JoinOptions, Lost, Over, SendError, Signal};
use tokio::time::Instant;
use tonic::Code;

use crate::support::{
    Event as Wire, Frame,
    proto::{self, ClientAction, JoinOutcome, JoinResponse},
    to_wire,
};

use super::{
    App,
    fake::{Fake, FakeStream, connection, joined, refused_connection, soon, status},
};

const SECOND: Duration = Duration::from_secs(1);

async fn joined_by(builder: ClientBuilder, fake: &mut Fake) -> (FakeStream, App) {
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let stream = fake.stream().await;
    stream.let_in();
    (stream, soon("a join", joining).await.unwrap())
}

/// In.
async fn entered() -> (Fake, FakeStream, App) {
    let (mut fake, builder) = Fake::new();
    let (stream, app) = joined_by(builder, &mut fake).await;
    (fake, stream, app)
}

#[tokio::test(start_paused = true)]
async fn what_this_version_does_not_know_is_passed_over() {
    let (mut fake, builder) = Fake::new();
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let stream = fake.stream().await;
    stream.respond(JoinResponse { event: None });
    stream.let_in();
    let mut app = joining.await.unwrap();
    stream.respond(JoinResponse { event: None });
    // A second `joined` would be no less strange.
    stream.let_in();
    stream.signal(11, "known");
    assert_eq!(app.heard().await, "known");
    // An outcome of an unknown kind is an outcome.
    let strange = app.session.signal(Signal::new("", ""));
    stream.tell(Wire::SendResult(proto::SendResult { send_id: 1, outcome: None }));
    assert_eq!(soon("an outcome", strange).await, Err(SendError::Unknown));
    // And one of what nobody sent is nobody's.
    stream.accepted(1, 12);
    stream.accepted(99, 13);
    stream.signal(14, "last");
    assert_eq!(app.heard().await, "last");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_twice_or_backwards() {
    let (_fake, stream, mut app) = entered().await;
    for (sequence, data) in [(11, "11"), (11, "11 again"), (15, "15"), (14, "14, late"), (16, "16")] {
        stream.signal(sequence, data);
    }
    for expected in ["11", "15", "16"] {
        assert_eq!(app.heard().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_counts_as_seen() {
    let (mut fake, stream, mut app) = entered().await;
    stream.tell(Wire::Heartbeat(proto::Heartbeat { sequence: 20 }));
    stream.fail(status(Code::Unavailable, ""));
    app.lost().await;
    assert_eq!(fake.stream().await.resume().last_sequence, 20);
}

#[tokio::test(start_paused = true)]
async fn closing_that_says_resume_or_rejoin_brings_it_back_whatever_the_reason() {
    for action in [ClientAction::Resume, ClientAction::Rejoin] {
        let (mut fake, stream, mut app) = entered().await;
        stream.closing("OF_THE_FUTURE", action.into(), Some(3 * SECOND));
        // The status would say otherwise.
        stream.fail(status(Code::PermissionDenied, "OF_THE_FUTURE"));
        let expected = Lost::Closed { reason: "OF_THE_FUTURE".to_owned(), retry_after: Some(3 * SECOND) };
        assert_eq!(app.lost().await, expected);
        let since = Instant::now();
        let stream = fake.stream().await;
        assert!(since.elapsed() >= 3 * SECOND, "{:?}", since.elapsed());
        stream.let_back_in();
        assert!(!app.back().await.gap);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_that_says_stop_is_the_end() {
    let (mut fake, stream, mut app) = entered().await;
    stream.closing("OF_THE_FUTURE", ClientAction::Stop.into(), None);
    // The status would say otherwise.
    let end = status(Code::Unavailable, "OF_THE_FUTURE");
    stream.fail(end.clone());
    assert_eq!(app.out().await, (Over::Closed(end), Action::Stop));
    assert!(fake.is_idle());

    // Without a status, too.
    let (mut fake, stream, mut app) = entered().await;
    stream.closing("OF_THE_FUTURE", ClientAction::Stop.into(), None);
    drop(stream);
    let (reason, action) = app.out().await;
    let Over::Closed(refusal) = reason else { panic!("{reason:?}") };
    assert_eq!((refusal.reason.as_str(), action), ("OF_THE_FUTURE", Action::Stop));
    assert!(fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_not_known_leaves_it_to_the_status() {
    for action in [0, 99] {
        let (mut fake, stream, mut app) = entered().await;
        stream.closing("OF_THE_FUTURE", action, None);
        stream.fail(status(Code::Unavailable, "OF_THE_FUTURE"));
        app.lost().await;
        let stream = fake.stream().await;
        stream.let_back_in();
        app.back().await;
        stream.closing("OF_THE_FUTURE", action, None);
        stream.fail(status(Code::Aborted, "OF_THE_FUTURE"));
        assert!(matches!(app.out().await, (Over::Closed(refusal), Action::Stop) if refusal.code == Code::Aborted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_without_closing_decides_by_its_code_and_reason() {
    let stops = [
        (Code::PermissionDenied, ""),
        (Code::Unauthenticated, "TOKEN_INVALID"),
        (Code::InvalidArgument, "FRAME_INVALID"),
        (Code::Aborted, "FORCE_DISCONNECTED"),
        (Code::Aborted, "CONNECTION_TAKEN_OVER"),
    ];
    for (code, reason) in stops {
        let (mut fake, stream, mut app) = entered().await;
        stream.fail(status(code, reason));
        assert_eq!(app.out().await, (Over::Closed(status(code, reason)), Action::Stop));
        assert!(fake.is_idle());
    }
    // Without a reason it is a proxy's, and passes.
    let passes = [
        (Code::Unavailable, ""),
        (Code::Unavailable, "GOING_AWAY"),
        (Code::Aborted, ""),
        (Code::NotFound, ""),
        (Code::Internal, ""),
        (Code::Unknown, ""),
        (Code::Cancelled, ""),
        (Code::ResourceExhausted, "SLOW_CONSUMER"),
    ];
    for (code, reason) in passes {
        let (mut fake, stream, mut app) = entered().await;
        stream.fail(status(code, reason));
        let lost = app.lost().await;
        assert_eq!(matches!(lost, Lost::Broken(_)), reason.is_empty(), "{lost:?}");
        fake.stream().await.let_back_in();
        assert!(!app.back().await.gap);
    }
    // An end with OK that nobody asked for is a loss as well.
    let (mut fake, stream, mut app) = entered().await;
    drop(stream);
    app.lost().await;
    fake.stream().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_a_status_asks_for_is_kept() {
    let (mut fake, stream, mut app) = entered().await;
    let wait = |seconds| {
        let mut full = status(Code::ResourceExhausted, "SERVER_FULL");
        full.retry_after = Some(seconds * SECOND);
        full
    };
    stream.fail(wait(20));
    app.lost().await;
    let since = Instant::now();
    let opening = fake.opening().await;
    assert!(since.elapsed() >= 20 * SECOND, "{:?}", since.elapsed());
    // The refusal of an attempt, too.
    opening.refuse(ConnectError::Rejected(wait(30)));
    let stream = fake.stream().await;
    assert!(since.elapsed() >= 50 * SECOND, "{:?}", since.elapsed());
    stream.let_back_in();
    app.back().await;
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_the_longest_and_the_last_attempt_is_when_time_is_up() {
    let (mut fake, builder) = Fake::new();
    let builder = builder.back_off(SECOND, 8 * SECOND).give_up_after(60 * SECOND);
    let (stream, mut app) = joined_by(builder, &mut fake).await;
    let lost = Instant::now();
    stream.fail(status(Code::Unavailable, ""));
    app.lost().await;
    let (mut last, mut pauses) = (lost, Vec::new());
    while last - lost < 60 * SECOND {
        let opening = fake.opening().await;
        pauses.push(last.elapsed());
        last = Instant::now();
        opening.refuse(refused_connection());
    }
    let (reason, action) = app.out().await;
    assert!(matches!(&reason, Over::GaveUp(last) if last.contains("connection refused")), "{reason:?}");
    assert_eq!(action, Action::Rejoin);
    assert!(last - lost < 61 * SECOND, "{:?}", last - lost);
    let slack = Duration::from_millis(10);
    for (at, pause) in pauses[..pauses.len() - 1].iter().enumerate() {
        let least = (SECOND * (1 << at.min(3))).min(8 * SECOND);
        assert!(*pause >= least && *pause <= least * 2 + slack, "pause {at}: {pause:?} of {pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_snapshot_comes_in_pages() {
    let (mut fake, builder) = Fake::new();
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await });
    let stream = fake.stream().await;
    let names: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    let page = |range: std::ops::Range<usize>| names[range].iter().map(|name| connection(name)).collect();
    let start = proto::Joined { connections: page(0..10), more_connections: true, ..joined(JoinOutcome::New) };
    stream.tell(Wire::Joined(start));
    // As long as it comes it may take its time.
    tokio::time::sleep(9 * SECOND).await;
    stream.tell(Wire::ConnectionsPage(proto::ConnectionsPage { connections: page(10..20), more: true }));
    tokio::time::sleep(9 * SECOND).await;
    assert!(!joining.is_finished(), "it isn't in before it knows who is");
    stream.tell(Wire::ConnectionsPage(proto::ConnectionsPage { connections: page(20..30), more: false }));
    stream.signal(11, "first");
    let (session, mut events) = soon("a join", joining).await.unwrap().unwrap();
    let Some(Event::Joined { connections, .. }) = events.next().await else { panic!("it isn't in") };
    assert!(connections.iter().map(|one| &one.connection_id).eq(&names));
    assert_eq!(session.connections(), connections);
    assert!(matches!(events.next().await, Some(Event::Signal(_))));

    // With a gap as well.
    stream.fail(status(Code::Unavailable, ""));
    assert!(matches!(events.next().await, Some(Event::Reconnecting { .. })));
    let stream = fake.stream().await;
    let start = proto::Joined {
        connections: page(0..5),
        more_connections: true,
        sequence: 40,
        ..joined(JoinOutcome::ResumedWithGap)
    };
    stream.tell(Wire::Joined(start));
    stream.tell(Wire::ConnectionsPage(proto::ConnectionsPage { connections: page(5..10), more: false }));
    let Some(Event::Reconnected { gap: true, connections, sequence: 40, .. }) = events.next().await else {
        panic!("no gap")
    };
    assert!(connections.iter().map(|one| &one.connection_id).eq(&names[..10]));
    assert_eq!(session.connections(), connections);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_says_joined_times_out() {
    // Not opened, opened and silent, and silent in the midst of its snapshot.
    for stage in 0..3 {
        let (mut fake, builder) = Fake::new();
        let client = builder.connect_timeout(3 * SECOND).build().unwrap();
        let since = Instant::now();
        let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await });
        let opening = fake.opening().await;
        let endpoint = opening.endpoint.clone();
        assert_eq!(endpoint, "http://a");
        if stage == 0 {
            opening.given_up().await;
        } else {
            let stream = opening.accept().await;
            if stage == 2 {
                let start = proto::Joined { more_connections: true, ..joined(JoinOutcome::New) };
                stream.tell(Wire::Joined(start));
            }
            stream.given_up().await;
        }
        let error = soon("a join", joining).await.unwrap().unwrap_err();
        assert_eq!(error, ConnectError::TimedOut { endpoint, after: 3 * SECOND });
        assert!(since.elapsed() < 4 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_is_tried_once_and_the_last_error_told() {
    let (mut fake, builder) = Fake::new();
    let client = builder.endpoints(["b", "c"]).build().unwrap();
    let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await.map(|_| ()) });
    for endpoint in ["http://a", "http://b", "http://c"] {
        let opening = fake.opening().await;
        assert_eq!(opening.endpoint, endpoint);
        opening.refuse(ConnectError::Unreachable { endpoint: endpoint.to_owned(), why: "no route".to_owned() });
    }
    let error = soon("a join", joining).await.unwrap().unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable { endpoint, .. } if endpoint == "http://c"), "{error:?}");
    assert!(fake.is_idle());

    // A refusal that every server would give is told at once.
    let (mut fake, builder) = Fake::new();
    let client = builder.endpoints(["b", "c"]).build().unwrap();
    let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await.map(|_| ()) });
    let stream = fake.stream().await;
    let refused = status(Code::InvalidArgument, "SESSION_ID_INVALID");
    stream.closing("SESSION_ID_INVALID", ClientAction::Stop.into(), None);
    stream.fail(refused.clone());
    assert_eq!(soon("a join", joining).await.unwrap(), Err(ConnectError::Rejected(refused)));
    assert!(fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_dropped_leaves_nothing_running() {
    // Before it is opened, and before it is in.
    for opened in [false, true] {
        let (mut fake, builder) = Fake::new();
        let client = builder.build().unwrap();
        let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await.map(|_| ()) });
        let opening = fake.opening().await;
        if opened {
            let mut stream = opening.accept().await;
            joining.abort();
            assert_eq!(stream.frame().await, None);
            stream.given_up().await;
        } else {
            joining.abort();
            opening.given_up().await;
        }
        // The client was the connector's last owner.
        assert!(soon("the end of the client", fake.gone()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_waits_for_the_server_to_end_the_stream() {
    let (mut fake, mut stream, mut app) = entered().await;
    let sent = app.session.signal(Signal::new("", "before"));
    let session = app.session.clone();
    let leaving = tokio::spawn(async move { session.leave().await });
    assert_eq!(stream.sent().await.0, 1);
    tokio::time::sleep(SECOND).await;
    assert!(stream.is_quiet(), "its outcome is waited for");
    stream.accepted(1, 11);
    assert!(matches!(stream.frame().await, Some(Frame::Leave(_))));
    assert!(!leaving.is_finished());
    stream.signal(11, "before");
    drop(stream);
    soon("the end", leaving).await.unwrap();
    assert_eq!(soon("an outcome", sent).await.unwrap().sequence, 11);
    assert_eq!(app.heard().await, "before");
    assert_eq!(app.out().await, (Over::Left, Action::Stop));
    assert!(fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn leaving_now_does_not_come_back_to_say_so() {
    // Whether the stream takes the `leave` or closes, it is out when it breaks.
    for closing in [false, true] {
        let (mut fake, mut stream, mut app) = entered().await;
        if closing {
            stream.closing("GOING_AWAY", ClientAction::Resume.into(), None);
            tokio::time::sleep(SECOND).await;
        }
        let session = app.session.clone();
        let leaving = tokio::spawn(async move { session.leave_now().await });
        tokio::time::sleep(SECOND).await;
        assert_eq!(stream.is_quiet(), closing);
        stream.fail(status(Code::Unavailable, "GOING_AWAY"));
        soon("the end", leaving).await.unwrap();
        assert_eq!(app.out().await, (Over::Left, Action::Stop));
        assert!(fake.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_the_stream_closes_goes_on_the_next() {
    let (mut fake, mut stream, mut app) = entered().await;
    stream.closing("GOING_AWAY", ClientAction::Resume.into(), Some(SECOND));
    tokio::time::sleep(SECOND).await;
    let later = app.session.signal(Signal::new("", "later"));
    let never = app.session.signal(Signal::new("", "never").retry_after_reconnect(false));
    // Time goes on: the client sleeps meanwhile.
    tokio::time::sleep(SECOND).await;
    assert!(stream.is_quiet());
    stream.fail(status(Code::Unavailable, "GOING_AWAY"));
    app.lost().await;
    assert_eq!(soon("an outcome", never).await, Err(SendError::Disconnected));
    let mut stream = fake.stream().await;
    stream.let_back_in();
    assert_eq!(stream.sent().await, (1, "later".to_owned()));
    stream.accepted(1, 11);
    soon("an outcome", later).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silence_is_found_within_two_heartbeats() {
    let (mut fake, builder) = Fake::new();
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let stream = fake.stream().await;
    let limits = Some(proto::Limits { heartbeat_interval: Some(to_wire(10 * SECOND)), ..proto::Limits::default() });
    stream.tell(Wire::Joined(proto::Joined { limits, ..joined(JoinOutcome::New) }));
    let mut app = joining.await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(10 * SECOND).await;
        stream.tell(Wire::Heartbeat(proto::Heartbeat { sequence: 10 }));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let since = Instant::now();
    let event = soon("the loss", app.events.next()).await;
    assert_eq!(event, Some(Event::Reconnecting { why: Lost::Silent }));
    assert!(since.elapsed() >= 15 * SECOND && since.elapsed() <= 20 * SECOND, "{:?}", since.elapsed());
    stream.given_up().await;
    fake.stream().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_pauses_finds_its_way_back_however_long_it_takes() {
    let (mut fake, stream, mut app) = entered().await;
    // The loss comes when the application's events are full but for one: its
    // return is what waits.
    for number in 0..1_023 {
        stream.signal(11 + number, "");
    }
    tokio::time::sleep(SECOND).await;
    stream.fail(status(Code::Unavailable, ""));
    let stream = fake.stream().await;
    stream.let_back_in();
    stream.signal(2_000, "last");
    tokio::time::sleep(600 * SECOND).await;
    assert!(fake.is_idle(), "it is in, and stays in");
    for _ in 0..1_023 {
        app.signal().await;
    }
    app.lost().await;
    assert!(!app.back().await.gap);
    assert_eq!(app.heard().await, "last");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_pauses_while_its_stream_is_opened_does_not_give_up() {
    let (mut fake, stream, mut app) = entered().await;
    for number in 0..1_024 {
        stream.signal(11 + number, "");
    }
    tokio::time::sleep(SECOND).await;
    stream.fail(status(Code::Unavailable, ""));
    // The loss itself waits to be told.
    let opening = fake.opening().await;
    tokio::time::sleep(SECOND).await;
    opening.accept().await.let_back_in();
    tokio::time::sleep(600 * SECOND).await;
    assert!(fake.is_idle(), "it is in, and stays in");
    for _ in 0..1_024 {
        app.signal().await;
    }
    app.lost().await;
    assert!(!app.back().await.gap);
}

#[test]
fn nobody_waits_for_a_runtime_that_has_shut_down() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_fake, _stream, mut app) = runtime.block_on(entered());
    let mut chat = app.session.on_type("chat");
    let sent = app.session.signal(Signal::new("", "sent"));
    drop(runtime);
    assert_eq!(sent.now_or_never(), Some(Err(SendError::Unknown)));
    let late = app.session.signal(Signal::new("", "late"));
    assert_eq!(late.now_or_never(), Some(Err(SendError::Over)));
    assert!(app.session.leave().now_or_never().is_some());
    assert_eq!(app.events.next().now_or_never(), Some(None));
    assert_eq!(chat.next().now_or_never(), Some(None));
}
