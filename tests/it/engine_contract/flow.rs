//! Joining, sending, leaving.

use signalbox::{
    domain::{DisconnectReason, Ending, Entry, Event, IdempotencyKey, Limits, Named, Reason, Recipients},
    session::{Command, Join, SendResult, View},
};

use super::bed::{MakeBed, Stream, Told, server_send, session, signal};

fn unlimited() -> Limits {
    Limits { signals_per_second: 0, ..Limits::default() }
}

/// Everything up to the signal that says `end`.
async fn until_end(stream: &mut Stream) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let entry = stream.entry().await;
        let ends = matches!(&entry.event, Event::Signal { signal, .. } if signal.data() == "end");
        entries.push(entry);
        if ends {
            return entries;
        }
    }
}

pub(super) async fn every_stream_sees_one_order(bed: MakeBed) {
    let bed = bed(unlimited());
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(bed.join("order").await);
    }
    let spared = View { suppress_connection_events: true, ..View::default() };
    let mut observer = bed.join_with("order", Join { view: spared, ..bed.wish() }, usize::MAX).await.unwrap();
    let senders = streams.iter().enumerate().map(|(number, stream)| {
        let link = stream.link.clone();
        tokio::spawn(async move {
            for id in 1..=200 {
                link.submit(Command::Send(id, Ok((signal(&format!("{number}:{id}")), None))));
                tokio::task::yield_now().await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    // Nothing waits for an engine to have done what it was asked.
    for _ in 0..1_000 {
        observer.data().await;
    }
    bed.engine.send_from_server(session("order"), server_send("end")).await.unwrap();

    let mut first = until_end(&mut streams[4]).await;
    first.retain(|entry| matches!(entry.event, Event::Signal { .. }));
    assert_eq!(first.len(), 1_001);
    assert!(first.windows(2).all(|two| two[0].sequence + 1 == two[1].sequence));
    for stream in &mut streams[..4] {
        let mut seen = until_end(stream).await;
        // The earlier ones also saw the later ones join.
        seen.retain(|entry| matches!(entry.event, Event::Signal { .. }));
        assert_eq!(seen, first);
    }
}

pub(super) async fn a_stream_receives_everything_after_its_admission(bed: MakeBed) {
    let bed = bed(unlimited());
    let sender = bed.join("busy").await;
    let link = sender.link.clone();
    let sending = tokio::spawn(async move {
        for id in 1..=2_000 {
            link.submit(Command::Send(id, Ok((signal("x"), None))));
            tokio::task::yield_now().await;
        }
        link.submit(Command::Send(2_001, Ok((signal("end"), None))));
    });
    let mut joined = Vec::new();
    for _ in 0..20 {
        joined.push(bed.join("busy").await);
        tokio::task::yield_now().await;
    }
    sending.await.unwrap();
    for stream in &mut joined {
        let mut place = stream.admission.sequence;
        if place > 2_001 {
            continue;
        }
        for entry in until_end(stream).await {
            assert_eq!(entry.sequence, place + 1, "nothing is between an admission and the first event");
            place = entry.sequence;
        }
    }
}

pub(super) async fn a_send_is_decided_once_however_often_it_is_asked(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut stream = bed.join("once").await;
    stream.send(7, "first");
    stream.send(7, "again");
    let outcome = stream.outcome().await;
    assert_eq!(stream.outcome().await, outcome);
    stream.link.submit(Command::Disconnect(7, Ok(Named::Id(stream.id()))));
    assert_eq!(stream.outcome().await, outcome, "whatever asks with the id");

    stream.send(9, "x");
    let after = stream.outcome().await.outcome.unwrap().sequence;
    assert_eq!(after, outcome.outcome.unwrap().sequence + 1, "the repeats took no place");

    stream.send(8, "backwards");
    assert_eq!(stream.outcome().await.outcome.unwrap_err().reason, Reason::SendIdInvalid);
    let none = Recipients::parse(vec!["nobody".into()], &Limits::default()).unwrap();
    stream.link.submit(Command::Send(10, Ok((signal("x"), Some(none)))));
    let refused = stream.outcome().await;
    assert_eq!(refused.outcome.as_ref().unwrap_err().reason, Reason::ConnectionNotFound);
    stream.send(10, "a refusal is a decision too");
    assert_eq!(stream.outcome().await, refused);
    for _ in 0..2 {
        stream.send(0, "not remembered");
        assert!(stream.outcome().await.outcome.is_ok());
    }
}

pub(super) async fn outcomes_come_in_the_order_asked(bed: MakeBed) {
    let bed = bed(unlimited());
    let mut stream = bed.join("asked").await;
    for id in 1..=500 {
        stream.send(id, "x");
    }
    let mut last = 0;
    for id in 1..=500 {
        let SendResult { send_id, outcome } = stream.outcome().await;
        let sequence = outcome.unwrap().sequence;
        assert!(send_id == id && sequence > last);
        last = sequence;
    }
}

pub(super) async fn what_was_submitted_before_a_detach_is_done_before_it(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut watcher = bed.join("last-words").await;
    let speaker = bed.join("last-words").await;
    speaker.send(1, "bye");
    speaker.link.detach(Ending::Broken);
    speaker.send(2, "ghost");
    assert!(matches!(watcher.entry().await.event, Event::Created(_)));
    assert_eq!(watcher.data().await, "bye");
    assert_eq!(watcher.entry().await.event, Event::Interrupted(speaker.id()));
    bed.engine.send_from_server(session("last-words"), server_send("end")).await.unwrap();
    assert_eq!(watcher.data().await, "end", "what comes after the detach is ignored");
}

pub(super) async fn a_key_repeats_the_first_response(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut stream = bed.join("key").await;
    let send = |data: &str, key: &str| {
        let mut send = server_send(data);
        send.key = IdempotencyKey::parse(key).unwrap();
        bed.engine.send_from_server(session("key"), send)
    };
    let first = send("one", "k").await.unwrap();
    assert_eq!(first.recipient_count, 1);
    assert_eq!(send("two", "k").await.unwrap(), first);
    let other = send("three", "l").await.unwrap();
    assert_eq!(other.sequence, first.sequence + 1);
    assert_eq!((stream.data().await, stream.data().await), ("one".into(), "three".into()));

    stream.link.submit(Command::Leave);
    assert_eq!(stream.released().await, Ending::Left);
    assert_eq!(send("four", "k").await.unwrap(), first, "a key outlives the session's life");
    assert_eq!(send("five", "m").await.unwrap_err().reason, Reason::SessionNotFound);
}

pub(super) async fn recipients_that_are_not_connected_are_listed(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut one, mut other) = (bed.join("some").await, bed.join("some").await);
    let names = vec!["nobody".to_owned(), other.id().to_string()];
    let to = Recipients::parse(names, &Limits::default()).unwrap();
    one.link.submit(Command::Send(1, Ok((signal("psst"), Some(to)))));
    let accepted = one.outcome().await.outcome.unwrap();
    assert_eq!(accepted.not_connected, [Named::Other("nobody".into())]);
    let entry = other.entry().await;
    assert_eq!(entry.sequence, accepted.sequence);
    assert!(!one.seen().iter().any(|told| matches!(told, Told::Entry(Entry { event: Event::Signal { .. }, .. }))));
}

pub(super) async fn an_outlet_that_overflows_is_detached_and_the_others_are_told(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut fast = bed.join("slow").await;
    let mut slow = bed.join_with("slow", bed.wish(), 2).await.unwrap();
    let doomed = Join { window: std::time::Duration::ZERO, ..bed.wish() };
    let mut doomed = bed.join_with("slow", doomed, 1).await.unwrap();
    for data in ["a", "b", "c", "d"] {
        fast.send(0, data);
    }
    let mut told = Vec::new();
    while told.len() < 8 {
        told.push(fast.entry().await.event);
    }
    assert!(told.contains(&Event::Interrupted(slow.id())));
    assert!(told.contains(&Event::Destroyed(doomed.id(), DisconnectReason::SlowConsumer)));
    assert_eq!(told.iter().filter(|event| matches!(event, Event::Signal { .. })).count(), 4);
    assert_eq!(slow.released().await, Ending::SlowConsumer);
    assert_eq!(doomed.released().await, Ending::SlowConsumer);
    let resumed = bed.resume("slow", slow.ticket(slow.admission.sequence)).await;
    assert_eq!(resumed.id(), slow.id());
    assert!(resumed.admission.missed.len() >= 4);
}

pub(super) async fn leaving_destroys_and_releases(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut stays, mut leaves) = (bed.join("leave").await, bed.join("leave").await);
    leaves.send(1, "before");
    leaves.link.submit(Command::Leave);
    assert_eq!(leaves.released().await, Ending::Left);
    assert!(matches!(stays.entry().await.event, Event::Created(_)));
    assert_eq!(stays.data().await, "before");
    let gone = Event::Destroyed(leaves.id(), DisconnectReason::ClientDisconnected);
    assert_eq!(stays.entry().await.event, gone);
}

pub(super) async fn a_backend_disconnects_for_good(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut stays = bed.join("force").await;
    let spared = View { suppress_connection_events: true, ..View::default() };
    let mut out = bed.join_with("force", Join { view: spared, ..bed.wish() }, usize::MAX).await.unwrap();
    let sequence = bed.engine.disconnect(session("force"), Named::Id(out.id())).await.unwrap();
    assert_eq!(out.released().await, Ending::ForceDisconnected);
    stays.entry().await;
    let entry = stays.entry().await;
    assert_eq!(entry.event, Event::Destroyed(out.id(), DisconnectReason::ForceDisconnected));
    assert_eq!(entry.sequence, sequence);
    let again = bed.engine.disconnect(session("force"), Named::Id(out.id())).await.unwrap_err();
    assert_eq!(again.reason, Reason::ConnectionNotFound);
    let resumed = bed.resume("force", out.ticket(out.admission.sequence)).await;
    assert_ne!(resumed.id(), out.id());
}

pub(super) async fn a_full_session_refuses_one_more(bed: MakeBed) {
    let bed = bed(Limits { max_connections_per_session: 2, ..Limits::default() });
    let first = bed.join("full").await;
    let _second = bed.join("full").await;
    let refused = bed.join_with("full", bed.wish(), usize::MAX).await.err().unwrap();
    assert_eq!(refused.reason, Reason::SessionFull);
    assert!(refused.message.contains("the limit is 2"));
    let resumed = bed.resume("full", first.ticket(first.admission.sequence)).await;
    assert_eq!(resumed.id(), first.id(), "who is in may come back");
}
