//! Looking from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::StreamExt as _;
use signalbox::{
    domain::{ConnectionId, Ending, Event, Limits, Named, Reason, SessionId},
    engine::{Change, Stats, Watch},
    session::{Command, Join},
};

use super::bed::{MakeBed, server_send, session};

pub(super) async fn sessions_page_by_id_without_repeats(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut streams = Vec::new();
    for number in (0..25).rev() {
        streams.push(bed.join(&format!("s{number:02}")).await);
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = bed.engine.sessions(after.clone(), 10).await.unwrap();
        listed.extend(page.items.iter().map(|(id, _)| id.to_string()));
        assert!(page.items.iter().all(|(_, facts)| facts.connections == 1 && facts.sequence == 1));
        if !page.more {
            break;
        }
        assert_eq!(page.items.len(), 10);
        after = page.items.last().map(|(id, _)| id.clone());
    }
    let expected: Vec<_> = (0..25).map(|number| format!("s{number:02}")).collect();
    assert_eq!(listed, expected);
}

pub(super) async fn connections_page_in_the_order_of_joining(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut ids = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..7 {
        let stream = bed.join("many").await;
        ids.push(stream.id());
        streams.push(stream);
    }
    streams[3].link.detach(Ending::Broken);
    while streams[0].entry().await.event != Event::Interrupted(ids[3]) {}
    let first = bed.engine.connections(session("many"), 0, 4).await.unwrap();
    assert_eq!(first.epoch, streams[0].admission.epoch);
    assert!(first.page.more && first.page.items[3].1.interrupted && !first.page.items[2].1.interrupted);
    let last = first.page.items[3].0;
    let rest = bed.engine.connections(session("many"), last, 4).await.unwrap();
    assert!(!rest.page.more);
    let listed: Vec<_> = first.page.items.iter().chain(&rest.page.items).map(|(_, view)| view.info.id).collect();
    assert_eq!(listed, ids);
}

pub(super) async fn what_does_not_exist_is_not_found(bed: MakeBed) {
    let bed = bed(Limits::default());
    let nobody = Named::Other("nobody".into());
    let reasons = [
        bed.engine.session(session("void")).await.unwrap_err().reason,
        bed.engine.connections(session("void"), 0, 10).await.unwrap_err().reason,
        bed.engine.send_from_server(session("void"), server_send("x")).await.unwrap_err().reason,
        bed.engine.disconnect(session("void"), nobody.clone()).await.unwrap_err().reason,
    ];
    assert_eq!(reasons, [Reason::SessionNotFound; 4]);
    let _somebody = bed.join("void").await;
    let refused = bed.engine.disconnect(session("void"), nobody).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ConnectionNotFound);
}

pub(super) async fn a_session_that_starts_again_has_a_higher_epoch(bed: MakeBed) {
    let bed = bed(Limits::default());
    let mut epoch = 0;
    for _ in 0..20 {
        let mut stream = bed.join("again").await;
        assert_eq!(stream.admission.sequence, 1);
        assert!(stream.admission.epoch > epoch && stream.admission.epoch < 1 << 53);
        epoch = stream.admission.epoch;
        stream.link.submit(Command::Leave);
        stream.released().await;
        assert_eq!(bed.engine.session(session("again")).await.unwrap_err().reason, Reason::SessionNotFound);
    }
}

/// What a watch's changes add up to.
#[derive(Default, PartialEq, Debug)]
struct Folded(BTreeMap<SessionId, BTreeSet<ConnectionId>>);

impl Folded {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::SessionStarted(id, ..) => {
                assert!(self.0.insert(id.clone(), BTreeSet::new()).is_none(), "{id} started twice");
            }
            Change::SessionEnded(id, _) => assert_eq!(self.0.remove(id), Some(BTreeSet::new()), "{id} ended"),
            Change::ConnectionCreated(id, _, view) => {
                assert!(self.0.get_mut(id).expect("its session started").insert(view.info.id), "created twice");
            }
            Change::ConnectionDestroyed(id, _, connection, _) => {
                assert!(self.0.get_mut(id).expect("its session started").remove(connection), "destroyed unknown");
            }
            Change::SnapshotComplete => {}
        }
    }
}

async fn next(watch: &mut Watch) -> Change {
    let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    next.expect("a change came in time").expect("a watch lasts").unwrap()
}

pub(super) async fn a_watch_has_no_gap_under_churn(bed: MakeBed) {
    let bed = std::sync::Arc::new(bed(Limits::default()));
    let churn: Vec<_> = (0..4)
        .map(|task: usize| {
            let bed = bed.clone();
            tokio::spawn(async move {
                let mut kept = Vec::new();
                for round in 0..150 {
                    let stream = bed.join(&format!("w{}", (task + round * 7) % 11)).await;
                    if round % 3 == 0 {
                        kept.push(stream);
                    } else {
                        stream.link.submit(Command::Leave);
                    }
                    tokio::task::yield_now().await;
                }
                kept
            })
        })
        .collect();
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(bed.engine.watch(None).await.unwrap());
        tokio::task::yield_now().await;
    }
    let following: Vec<_> = watches
        .into_iter()
        .map(|mut watch| {
            tokio::spawn(async move {
                let mut folded = Folded::default();
                let mut complete = 0;
                loop {
                    let change = next(&mut watch).await;
                    complete += usize::from(change == Change::SnapshotComplete);
                    folded.apply(&change);
                    if matches!(&change, Change::SessionStarted(id, ..) if id.as_str() == "zz-end") {
                        break;
                    }
                }
                assert_eq!(complete, 1);
                folded.0.remove(&session("zz-end"));
                folded
            })
        })
        .collect();
    let mut truth = Folded::default();
    let mut kept = Vec::new();
    for task in churn {
        kept.extend(task.await.unwrap());
    }
    let mut after = None;
    loop {
        let page = bed.engine.sessions(after.clone(), 100).await.unwrap();
        for (id, _) in &page.items {
            let listed = bed.engine.connections(id.clone(), 0, 1_000).await.unwrap();
            truth.0.insert(id.clone(), listed.page.items.iter().map(|(_, view)| view.info.id).collect());
        }
        if !page.more {
            break;
        }
        after = page.items.last().map(|(id, _)| id.clone());
    }
    assert_eq!(truth.0.values().map(BTreeSet::len).sum::<usize>(), kept.len());
    let _end = bed.join("zz-end").await;
    for following in following {
        assert_eq!(following.await.unwrap(), truth);
    }
}

pub(super) async fn a_watch_of_one_session_sees_only_that(bed: MakeBed) {
    let bed = bed(Limits::default());
    let _other = bed.join("other").await;
    let mut watch = bed.engine.watch(Some(session("one"))).await.unwrap();
    assert_eq!(next(&mut watch).await, Change::SnapshotComplete, "a session need not exist to be watched");
    let _elsewhere = bed.join("elsewhere").await;
    let none = Join { window: Duration::ZERO, ..bed.wish() };
    let stream = bed.join_with("one", none, usize::MAX).await.unwrap();
    stream.link.detach(Ending::Broken);
    let epoch = stream.admission.epoch;
    assert!(
        matches!(next(&mut watch).await, Change::SessionStarted(id, life, _) if id == session("one") && life == epoch)
    );
    assert!(matches!(next(&mut watch).await, Change::ConnectionCreated(_, 1, view) if view.info.id == stream.id()));
    assert!(matches!(next(&mut watch).await, Change::ConnectionDestroyed(_, 2, id, _) if id == stream.id()));
    assert_eq!(next(&mut watch).await, Change::SessionEnded(session("one"), epoch));
}

pub(super) async fn stats_count_what_is_there(bed: MakeBed) {
    let bed = bed(Limits::default());
    assert_eq!(bed.engine.stats(), Stats::default());
    let (mut one, two, mut three) = (bed.join("a").await, bed.join("a").await, bed.join("b").await);
    two.link.detach(Ending::Broken);
    while one.entry().await.event != Event::Interrupted(two.id()) {}
    // Where there are many nodes, who is on none of them is counted by none.
    let detached = usize::from(!bed.has_many_nodes());
    assert_eq!(bed.engine.stats(), Stats { sessions: 2, attached: 2, detached });
    three.link.submit(Command::Leave);
    three.released().await;
    bed.engine.disconnect(session("a"), Named::Id(two.id())).await.unwrap();
    bed.engine.disconnect(session("a"), Named::Id(one.id())).await.unwrap();
    one.released().await;
    assert_eq!(bed.engine.stats(), Stats::default());
}
