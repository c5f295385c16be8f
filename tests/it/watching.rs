//! `SessionService.WatchSessions`: what is there, the marker, then the changes,
//! with no gap between and nothing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use tonic::{Code, Streaming, transport::Channel};

use crate::support::{
    Event as JoinEvent, Frame, Member, TestServer, Wrong,
    proto::{
        self, ConnectionState, DisconnectReason, WatchSessionsResponse, session_service_client::SessionServiceClient,
        watch_sessions_response::Event,
    },
    soon,
};

/// A watch, and what its events add up to.
struct Watch {
    events: Streaming<WatchSessionsResponse>,
    there: BTreeMap<String, Life>,
    /// The newest epoch of each session that was ever seen.
    epochs: BTreeMap<String, u64>,
    complete: bool,
}

/// A session, as a watch tells of it.
struct Life {
    epoch: u64,
    connections: BTreeSet<String>,
    /// The newest sequence, once changes come.
    sequence: u64,
}

impl Watch {
    async fn open(server: &TestServer, session: &str) -> Self {
        Self::by(server.sessions(), session).await
    }

    async fn by(mut client: SessionServiceClient<Channel>, session: &str) -> Self {
        let request = proto::WatchSessionsRequest { session_id: session.into() };
        let response = soon("the headers of a watch", client.watch_sessions(request)).await;
        let events = response.unwrap().into_inner();
        Self { events, there: BTreeMap::new(), epochs: BTreeMap::new(), complete: false }
    }

    /// One past its marker.
    async fn complete(server: &TestServer, session: &str) -> Self {
        let mut watch = Self::open(server, session).await;
        while !watch.complete {
            watch.next().await;
        }
        watch
    }

    /// The next event, which must fit those before it: nothing starts, ends,
    /// comes or goes twice, and the changes of one session are in its order.
    async fn next(&mut self) -> Event {
        let response = soon("an event of the watch", self.events.message()).await.unwrap();
        let event = response.expect("a watch lasts").event.unwrap();
        match &event {
            Event::SessionStarted(started) => {
                let life = Life { epoch: started.epoch, connections: BTreeSet::new(), sequence: 0 };
                assert!(self.there.insert(started.session_id.clone(), life).is_none(), "{started:?} again");
                let before = self.epochs.insert(started.session_id.clone(), started.epoch);
                assert!(before.is_none_or(|before| before < started.epoch), "{started:?} after {before:?}");
            }
            Event::SessionEnded(ended) => {
                let life = self.there.remove(&ended.session_id).unwrap_or_else(|| panic!("{ended:?} is not there"));
                assert_eq!((life.epoch, life.connections.len()), (ended.epoch, 0), "{ended:?}");
            }
            Event::ConnectionCreated(created) => {
                let life = self.of(&created.session_id, created.sequence);
                let id = created.connection.as_ref().unwrap().connection_id.clone();
                assert!(life.connections.insert(id), "{created:?} again");
            }
            Event::ConnectionDestroyed(destroyed) => {
                let life = self.of(&destroyed.session_id, destroyed.sequence);
                assert!(life.connections.remove(&destroyed.connection_id), "{destroyed:?} is not there");
                assert!(self.complete, "{destroyed:?} in the snapshot");
            }
            Event::SnapshotComplete(_) => {
                assert!(!self.complete, "a second marker");
                self.complete = true;
            }
        }
        event
    }

    /// The session that something happens in, at this place of its order.
    fn of(&mut self, session: &str, sequence: u64) -> &mut Life {
        let life = self.there.get_mut(session).unwrap_or_else(|| panic!("{session} has not started"));
        assert!(sequence > life.sequence, "{session}: {sequence} after {}", life.sequence);
        life.sequence = sequence;
        life
    }

    /// Follows until it is past its marker and adds up to `expected`.
    async fn until(&mut self, expected: &BTreeMap<String, BTreeSet<String>>) {
        while !self.complete || self.fold() != *expected {
            self.next().await;
        }
    }

    /// Who is where.
    fn fold(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.there.iter().map(|(session, life)| (session.clone(), life.connections.clone())).collect()
    }
}

/// Who is where, as listing says.
async fn listed(server: &TestServer) -> BTreeMap<String, BTreeSet<String>> {
    let mut client = server.sessions();
    let request = proto::ListSessionsRequest { page_size: 1_000, ..proto::ListSessionsRequest::default() };
    let page = client.list_sessions(request).await.unwrap().into_inner();
    assert!(page.next_page_token.is_empty());
    let mut listed = BTreeMap::new();
    for session in page.sessions {
        let session_id = session.session_id;
        let request = proto::ListConnectionsRequest { session_id: session_id.clone(), ..Default::default() };
        let page = client.list_connections(request).await.unwrap().into_inner();
        assert!(page.next_page_token.is_empty());
        let ids = page.connections.into_iter().map(|connection| connection.connection_id).collect();
        listed.insert(session_id, ids);
    }
    listed
}

async fn leave(member: Member) {
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
}

fn started(event: &Event) -> (&str, u64) {
    let Event::SessionStarted(started) = event else { panic!("{event:?} instead of a start") };
    (&started.session_id, started.epoch)
}

fn created(event: &Event) -> &proto::ConnectionCreatedInSession {
    let Event::ConnectionCreated(created) = event else { panic!("{event:?} instead of a coming") };
    created
}

fn destroyed(event: &Event) -> &proto::ConnectionDestroyedInSession {
    let Event::ConnectionDestroyed(destroyed) = event else { panic!("{event:?} instead of a going") };
    destroyed
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_the_marker_then_the_changes() {
    let server = TestServer::start().await;
    let a = server.join("a").data("first").enter().await;
    let mut onlooker = server.join("b").enter().await;
    let lost = server.join("b").window(Duration::from_secs(60)).enter().await;
    let (lost_id, _) = (lost.id(), lost.lose());
    onlooker.find("the interruption", |event| matches!(event, JoinEvent::ConnectionInterrupted(_)).then_some(())).await;

    let mut watch = Watch::open(&server, "").await;
    let Event::SessionStarted(start) = watch.next().await else { panic!("a snapshot begins with a session") };
    assert_eq!((start.session_id.as_str(), start.epoch), ("a", a.joined.epoch));
    assert_eq!(start.created_at, a.joined.connection.as_ref().unwrap().created_at);
    let event = watch.next().await;
    assert_eq!(created(&event).connection, a.joined.connection);
    assert_eq!((created(&event).session_id.as_str(), created(&event).sequence), ("a", 1));
    assert_eq!(started(&watch.next().await), ("b", onlooker.joined.epoch));
    assert_eq!(created(&watch.next().await).connection, onlooker.joined.connection);
    let event = watch.next().await;
    let interrupted = created(&event).connection.as_ref().unwrap();
    assert_eq!((interrupted.connection_id.as_str(), interrupted.state()), (&*lost_id, ConnectionState::Interrupted));
    assert!(matches!(watch.next().await, Event::SnapshotComplete(complete) if complete.session_id.is_empty()));

    let late = server.join("a").enter().await;
    let event = watch.next().await;
    assert_eq!(created(&event).connection, late.joined.connection);
    assert_eq!(created(&event).sequence, late.joined.sequence);
    let request = proto::DisconnectConnectionRequest { session_id: "b".into(), connection_id: lost_id.clone() };
    server.sessions().disconnect_connection(request).await.unwrap();
    let event = watch.next().await;
    assert_eq!((&*destroyed(&event).connection_id, destroyed(&event).session_id.as_str()), (&*lost_id, "b"));
    assert_eq!(destroyed(&event).reason(), DisconnectReason::ForceDisconnected);
    leave(onlooker).await;
    assert_eq!(destroyed(&watch.next().await).reason(), DisconnectReason::ClientDisconnected);
    assert!(matches!(watch.next().await, Event::SessionEnded(ended) if ended.session_id == "b"));
}

#[tokio::test]
async fn where_nothing_is_a_watch_begins_with_its_marker() {
    let server = TestServer::start().await;
    let mut watch = Watch::open(&server, "").await;
    assert!(matches!(watch.next().await, Event::SnapshotComplete(_)));
    let member = server.join("s").enter().await;
    assert_eq!(started(&watch.next().await), ("s", member.joined.epoch));
    assert_eq!(created(&watch.next().await).connection, member.joined.connection);
}

#[tokio::test]
async fn one_session_can_be_watched_before_it_exists_and_the_others_are_not_told() {
    let server = TestServer::start().await;
    let _elsewhere = server.join("another").enter().await;
    let mut watch = Watch::open(&server, "s").await;
    assert!(matches!(watch.next().await, Event::SnapshotComplete(complete) if complete.session_id == "s"));
    // The names around it too.
    let mut others = Vec::new();
    for session in ["another", "r", "s~", "t"] {
        others.push(server.join(session).enter().await);
    }
    let member = server.join("s").enter().await;
    assert_eq!(started(&watch.next().await), ("s", member.joined.epoch));
    assert_eq!(created(&watch.next().await).connection, member.joined.connection);
    for other in others {
        leave(other).await;
    }
    leave(member).await;
    assert!(matches!(watch.next().await, Event::ConnectionDestroyed(_)));
    assert!(matches!(watch.next().await, Event::SessionEnded(_)));

    let _member = server.join("s").enter().await;
    let late = Watch::complete(&server, "s").await;
    assert_eq!(late.fold().into_keys().collect::<Vec<_>>(), ["s"]);
}

#[tokio::test]
async fn two_lives_of_one_session_are_told_apart() {
    let server = TestServer::start().await;
    let mut watch = Watch::complete(&server, "").await;
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let member = server.join("s").enter().await;
        let (epoch, id) = (member.joined.epoch, member.id());
        leave(member).await;
        assert_eq!(started(&watch.next().await), ("s", epoch));
        assert_eq!(created(&watch.next().await).sequence, 1);
        let event = watch.next().await;
        assert_eq!((destroyed(&event).connection_id.as_str(), destroyed(&event).sequence), (&*id, 2));
        assert!(matches!(watch.next().await, Event::SessionEnded(ended) if ended.epoch == epoch));
        epochs.push(epoch);
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
}

#[tokio::test]
async fn a_session_that_signals_pass_through_is_watched_in_its_order() {
    let server = TestServer::start().await;
    let mut watch = Watch::complete(&server, "").await;
    let mut member = server.join("s").enter().await;
    for _ in 0..3 {
        let sent = member.send("", "between");
        member.accepted(sent).await;
    }
    let late = server.join("s").enter().await;
    assert_eq!(started(&watch.next().await).0, "s");
    assert_eq!(created(&watch.next().await).sequence, 1);
    // The signals are holes.
    assert_eq!(created(&watch.next().await).sequence, late.joined.sequence);
    assert_eq!(late.joined.sequence, 5);
}

#[tokio::test]
async fn under_churn_every_watch_adds_up_to_what_listing_says_and_nothing_else_comes() {
    let server = TestServer::start().await;
    let churn = join_all((0..6).map(|task| {
        let server = &server;
        async move {
            let mut staying = Vec::new();
            for round in 0..40 {
                // Several tasks meet in each of a few sessions.
                let session = format!("s{}", (task + round) % 5);
                let member = server.join(&session).without_connection_events().enter().await;
                match round % 4 {
                    0 | 1 => leave(member).await,
                    2 => drop(member),
                    _ => staying.push(member),
                }
            }
            for member in staying.drain(5..) {
                leave(member).await;
            }
            staying
        }
    }));
    // Watches that begin at different times of it.
    let watches = join_all((0..8).map(|number| {
        let server = &server;
        async move {
            for _ in 0..number * 8 {
                let request = proto::GetSessionRequest { session_id: "s0".into() };
                // There or not: it is for the time it takes.
                let _ = server.sessions().get_session(request).await;
            }
            Watch::complete(server, "").await
        }
    }));
    let (watches, staying) = tokio::join!(watches, churn);
    // A stream that broke is gone when the server notices.
    let mut calm = Watch::complete(&server, "").await;
    let remain = |watch: &Watch| watch.fold().values().map(BTreeSet::len).sum::<usize>();
    let expected = staying.iter().map(Vec::len).sum::<usize>();
    assert_eq!(expected, 30);
    while remain(&calm) > expected {
        calm.next().await;
    }
    // Before it comes, a watch may add up to the same by chance.
    let last = server.join("last").enter().await;
    let listed = listed(&server).await;
    let mut all = vec![calm];
    all.extend(watches);
    for watch in &mut all {
        watch.until(&listed).await;
    }
    let id = last.id();
    leave(last).await;
    for watch in &mut all {
        assert_eq!(destroyed(&watch.next().await).connection_id, id, "nothing is left over");
        assert!(matches!(watch.next().await, Event::SessionEnded(ended) if ended.session_id == "last"));
    }
}

#[tokio::test]
async fn a_snapshot_that_is_read_slowly_has_no_gap_to_the_changes_meanwhile() {
    let server = TestServer::start().await;
    let data = "d".repeat(1_000);
    let mut lasting = join_all((0..300).map(|number| {
        let join = server.join(&format!("s{number:03}")).data(&data);
        join.enter()
    }))
    .await;
    // With room for a fifth of it on the way.
    let endpoint = Channel::from_shared(format!("http://{}", server.address())).unwrap();
    let narrow = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let mut watch = Watch::by(SessionServiceClient::new(narrow), "").await;
    watch.next().await;
    for number in [0, 150, 299] {
        leave(server.join(&format!("s{number:03}~")).enter().await).await;
    }
    leave(lasting.remove(0)).await;
    leave(lasting.remove(298)).await;
    let _first = server.join("a").enter().await;
    let _last = server.join("z").enter().await;
    watch.until(&listed(&server).await).await;
    leave(lasting.remove(150)).await;
    assert!(matches!(watch.next().await, Event::ConnectionDestroyed(_)), "nothing is left over");
    assert!(matches!(watch.next().await, Event::SessionEnded(_)));
}

#[tokio::test]
async fn the_drain_ends_a_watch_with_going_away() {
    let mut server = TestServer::start().await;
    let mut watch = Watch::complete(&server, "").await;
    server.shut_down();
    let status = soon("the end of the watch", async {
        loop {
            if let Err(status) = watch.events.message().await {
                return status;
            }
        }
    })
    .await;
    Wrong::new(Code::Unavailable, "GOING_AWAY", "", &["watch again"]).check_status(&status);
    server.stopped().await;
}
