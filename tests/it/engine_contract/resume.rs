//! Losing the stream and coming back.

use std::time::Duration;

use signalbox::{
    domain::{DisconnectReason, Ending, Event, Limits, Reason, ResumeToken},
    session::{Command, Join, Outcome, Resume},
};

use super::bed::{MakeBed, server_send, session, signal};

fn places(stream: &super::bed::Stream) -> Vec<u64> {
    stream.admission.missed.iter().map(|entry| entry.sequence).collect()
}

pub(super) async fn a_resume_misses_nothing_and_repeats_nothing(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut stays, drops) = (bed.join("back").await, bed.join("back").await);
    let start = drops.admission.sequence;
    for _ in 0..3 {
        stays.send(0, "seen");
        assert_eq!(stays.data().await, "seen");
    }
    drops.link.detach(Ending::Broken);
    assert_eq!(stays.entry().await.event, Event::Interrupted(drops.id()));
    for _ in 0..3 {
        stays.send(0, "missed");
        assert_eq!(stays.data().await, "missed");
    }
    let mut resumed = bed.resume("back", drops.ticket(start + 3)).await;
    assert_eq!(resumed.admission.outcome, Outcome::Resumed);
    assert_eq!((resumed.id(), resumed.admission.sequence), (drops.id(), start + 3));
    // 4 is its own interruption, which it isn't told.
    assert_eq!(places(&resumed), [start + 5, start + 6, start + 7]);
    assert!(resumed.admission.snapshot.is_empty());
    stays.send(0, "live");
    assert_eq!(resumed.data().await, "live");
    assert_eq!(stays.entry().await.event, Event::Restored(drops.id()));
}

pub(super) async fn a_resume_restates_the_outcomes_that_the_client_lacks(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut drops = bed.join("restate").await;
    for id in [2, 4, 6] {
        drops.send(id, "x");
        drops.outcome().await;
    }
    drops.link.detach(Ending::Broken);
    let ticket = Resume { last_result_send_id: 2, ..drops.ticket(drops.admission.sequence) };
    let mut resumed = bed.resume("restate", ticket).await;
    let restated: Vec<_> = resumed.admission.restated.iter().map(|result| result.send_id).collect();
    assert_eq!(restated, [4, 6]);
    assert_eq!(resumed.admission.last_send_id, 6);
    resumed.send(6, "again");
    assert_eq!(resumed.outcome().await, resumed.admission.restated[1], "decided for the connection's whole life");
}

pub(super) async fn a_wrong_token_or_session_joins_anew(bed: MakeBed) {
    let bed = bed(Limits::default());
    let stream = bed.join("mine").await;
    let foreign = bed.join("theirs").await;
    stream.link.detach(Ending::Broken);
    let ticket = stream.ticket(stream.admission.sequence);
    let forged = Resume { token: ResumeToken::presented("forged".into()), ..ticket.clone() };
    let swapped = Resume { token: foreign.admission.token.clone(), ..ticket.clone() };
    let unknown = Resume { connection: None, ..ticket.clone() };
    for (name, wrong) in [("mine", forged), ("mine", swapped), ("mine", unknown), ("theirs", ticket.clone())] {
        let joined = bed.resume(name, wrong).await;
        assert_eq!(joined.admission.outcome, Outcome::New);
        assert_ne!(joined.id(), stream.id());
    }
    let resumed = bed.resume("mine", ticket).await;
    assert_eq!(resumed.admission.outcome, Outcome::Resumed, "failed attempts take nothing away");
}

pub(super) async fn a_log_that_does_not_reach_back_says_so(bed: MakeBed) {
    let bed = bed(Limits { log_events: 5, ..Limits::default() });
    let (_stays, drops) = (bed.join("log").await, bed.join("log").await);
    let start = drops.admission.sequence;
    drops.link.detach(Ending::Broken);
    let send = || bed.engine.send_from_server(session("log"), server_send("x"));
    for _ in 0..4 {
        send().await.unwrap();
    }
    let mut resumed = bed.resume("log", drops.ticket(start)).await;
    assert_eq!(resumed.admission.outcome, Outcome::Resumed, "the interruption and four signals are five");
    resumed.link.detach(Ending::Broken);
    let last = start + 6;
    for _ in 0..5 {
        send().await.unwrap();
    }
    resumed = bed.resume("log", drops.ticket(last)).await;
    assert_eq!(resumed.admission.outcome, Outcome::ResumedWithGap);
    assert_eq!((resumed.id(), resumed.admission.snapshot.len()), (drops.id(), 2));
    assert!(resumed.admission.missed.is_empty());
    let after = send().await.unwrap().sequence;
    assert_eq!(after, resumed.admission.sequence + 1);
    assert_eq!(resumed.entry().await.sequence, after);
}

pub(super) async fn another_epoch_or_a_future_place_is_a_gap(bed: MakeBed) {
    let bed = bed(Limits::default());
    let stream = bed.join("lost").await;
    let ticket = stream.ticket(stream.admission.sequence);
    let epoch = Resume { epoch: ticket.epoch + 1, ..ticket.clone() };
    let future = Resume { last_sequence: ticket.last_sequence + 1_000, ..ticket };
    for lost in [epoch, future] {
        let resumed = bed.resume("lost", lost).await;
        assert_eq!(resumed.admission.outcome, Outcome::ResumedWithGap);
        assert_eq!(resumed.admission.epoch, stream.admission.epoch);
        assert_eq!(resumed.admission.snapshot.len(), 1);
    }
}

pub(super) async fn a_take_over_releases_the_old_stream_and_ignores_it(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut other, mut old) = (bed.join("over").await, bed.join("over").await);
    other.entry().await;
    let mut new = bed.resume("over", old.ticket(old.admission.sequence)).await;
    assert_eq!(new.admission.outcome, Outcome::Resumed);
    assert_eq!(old.released().await, Ending::TakenOver);
    old.send(1, "ghost");
    old.link.submit(Command::Leave);
    old.link.detach(Ending::Broken);
    new.send(2, "alive");
    assert_eq!(new.data().await, "alive");
    let entry = other.entry().await;
    assert!(matches!(&entry.event, Event::Signal { signal, .. } if signal.data() == "alive"), "{entry:?}");
}

pub(super) async fn only_a_resume_that_is_honoured_ignores_its_data(bed: MakeBed) {
    let bed = bed(Limits { max_connection_data_bytes: 20, ..Limits::default() });
    let first = bed.join("data").await;
    let ticket = first.ticket(first.admission.sequence);
    let long = |resume| Join { data: "d".repeat(21), resume: Some(resume), ..bed.wish() };
    let resumed = bed.join_with("data", long(ticket.clone()), usize::MAX).await.unwrap();
    assert_eq!(resumed.admission.info, first.admission.info);
    let refused = bed.join_with("another", long(ticket), usize::MAX).await.err().unwrap();
    assert_eq!(refused.reason, Reason::ConnectionDataTooLarge);
}

pub(super) async fn a_window_that_is_over_destroys(bed: MakeBed) {
    let bed = bed(Limits { max_resume_window: Duration::from_millis(50), ..Limits::default() });
    let (mut stays, drops) = (bed.join("window").await, bed.join("window").await);
    assert_eq!(drops.admission.window, Duration::from_millis(50), "granted at most the server's maximum");
    stays.entry().await;
    drops.link.detach(Ending::Broken);
    assert_eq!(stays.entry().await.event, Event::Interrupted(drops.id()));
    let gone = Event::Destroyed(drops.id(), DisconnectReason::NetworkDisconnected);
    assert_eq!(stays.entry().await.event, gone);
    let late = bed.resume("window", drops.ticket(drops.admission.sequence)).await;
    assert_eq!(late.admission.outcome, Outcome::New);
}

pub(super) async fn no_window_destroys_at_once(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut stays = bed.join("none").await;
    let none = Join { window: Duration::ZERO, ..bed.wish() };
    let drops = bed.join_with("none", none, usize::MAX).await.unwrap();
    drops.link.submit(Command::Send(1, Ok((signal("bye"), None))));
    drops.link.detach(Ending::Broken);
    stays.entry().await;
    assert_eq!(stays.data().await, "bye");
    let gone = Event::Destroyed(drops.id(), DisconnectReason::NetworkDisconnected);
    assert_eq!(stays.entry().await.event, gone);
}
