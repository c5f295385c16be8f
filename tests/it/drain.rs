//! Going away: a drain as clients, load balancers and operators see it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{
    End, Event, Frame, Member, Raw, RawStream, Stuck, TestServer, Wrong, from_server, plain_join,
    proto::{self, ClientAction, watch_sessions_response::Event as Watched},
    reason_of, retry_of, soon,
};

const MINUTE: Duration = Duration::from_secs(60);
/// A drain that lasts until the test lets it end.
const LONG: [&str; 2] = ["--drain-timeout", "5m"];

fn going_away() -> Wrong {
    Wrong::new(Code::Unavailable, "GOING_AWAY", "", &["going away", "come back"])
}

/// How long a stream that ended in a drain is told to wait.
fn checked(end: &End, action: ClientAction) -> Duration {
    end.check(&going_away(), action);
    let after = retry_of(end.status.as_ref().unwrap()).expect("waiting helps");
    assert!(after > Duration::ZERO && after <= Duration::from_secs(31), "{after:?}");
    after
}

/// A server in the midst of its drain: a reader that is stuck holds it there.
async fn draining() -> (TestServer, Stuck) {
    let mut server = TestServer::with(&LONG).await;
    let stuck = Stuck::enter(&server, None).await;
    let member = server.join("s").enter().await;
    server.shut_down();
    checked(&member.end().await, ClientAction::Rejoin);
    (server, stuck)
}

async fn health(client: &mut HealthClient<Channel>, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn a_drain_shows_in_health_and_readiness_while_it_lasts() {
    const SERVICES: [&str; 3] = ["", "signalbox.v1.SignalingService", "signalbox.v1.SessionService"];
    let mut server = TestServer::with(&LONG).await;
    let stuck = Stuck::enter(&server, None).await;
    let member = server.join("s").enter().await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watches = Vec::new();
    for service in SERVICES {
        assert_eq!(health(&mut client, service).await, ServingStatus::Serving, "{service}");
        let request = HealthCheckRequest { service: service.into() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        assert_eq!(soon("health", watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
        watches.push(watch);
    }
    assert_eq!(server.get("/readyz").await.0, 200);

    server.shut_down();
    // Whoever is told to go must not be sent here again.
    checked(&member.end().await, ClientAction::Rejoin);
    for (service, watch) in SERVICES.iter().zip(&mut watches) {
        assert_eq!(health(&mut client, service).await, ServingStatus::NotServing, "{service}");
        assert_eq!(soon("health", watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
    assert_eq!(server.get("/readyz").await, (503, "draining\n".into()));
    assert_eq!(server.get("/livez").await.0, 200, "it must not be killed for it");
    stuck.vanish().await;
    server.stopped().await;
}

#[tokio::test]
async fn joins_are_refused_while_draining() {
    let (server, stuck) = draining().await;
    // Over old transports and new ones, anew and by a resume.
    for channel in [None, Some(server.channel().await)] {
        for resume in [None, Some(proto::Resume::default())] {
            let mut join = server.join("s").window(MINUTE);
            if let Some(channel) = &channel {
                join = join.over(channel.clone());
            }
            if let Some(resume) = resume {
                join = join.resume(resume);
            }
            checked(&join.refused().await, ClientAction::Rejoin);
        }
    }
    stuck.vanish().await;
    server.stopped().await;
}

#[tokio::test]
async fn nothing_is_accepted_any_more_that_could_not_be_delivered() {
    let (server, stuck) = draining().await;
    let status = server.signaling().send_from_server(from_server("s", "too late")).await.unwrap_err();
    going_away().check_status(&status);
    assert!(retry_of(&status).is_some());
    stuck.vanish().await;
    server.stopped().await;
}

#[tokio::test]
async fn everyone_is_told_to_come_back_and_when_and_not_all_at_once() {
    let mut server = TestServer::start().await;
    let mut ends = Vec::new();
    for number in 0..50 {
        let join = server.join(&format!("session-{}", number % 7)).without_connection_events();
        ends.push(if number % 2 == 0 {
            (join.window(MINUTE).enter().await, ClientAction::Resume)
        } else {
            (join.enter().await, ClientAction::Rejoin)
        });
    }
    server.shut_down();
    let told = join_all(ends.into_iter().map(|(member, action)| async move {
        let end = member.end().await;
        assert!(end.before.is_empty(), "{:?}", end.before);
        checked(&end, action)
    }));
    let waits: BTreeSet<_> = told.await.into_iter().collect();
    // Spread over a second or more, in milliseconds: some may be equal.
    assert!(waits.len() > 25, "{waits:?}");
    assert!(*waits.last().unwrap() - *waits.first().unwrap() > Duration::from_millis(300), "{waits:?}");
    server.stopped().await;
}

#[tokio::test]
async fn a_stream_that_has_not_joined_yet_is_told_too() {
    let mut server = TestServer::start().await;
    let mut stream = server.raw().await.join().await;
    stream.headers().await;
    server.shut_down();
    checked(&stream.end().await, ClientAction::Rejoin);
    server.stopped().await;
}

#[tokio::test]
async fn what_was_accepted_before_the_drain_reaches_everyone_before_its_end() {
    let mut server = TestServer::start().await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    let listeners = join_all((0..5).map(|_| server.join("s").without_connection_events().enter())).await;
    let sends: Vec<_> = (1..=90).map(|number| sender.send("", &number.to_string())).collect();
    for send in &sends {
        sender.accepted(*send).await;
    }
    server.shut_down();
    for listener in listeners {
        let end = listener.end().await;
        checked(&end, ClientAction::Rejoin);
        let heard = |event: &Event| match event {
            Event::Signal(heard) => heard.signal.as_ref().unwrap().data.parse().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(end.before.iter().map(heard).collect::<Vec<u64>>(), sends);
    }
    checked(&sender.end().await, ClientAction::Rejoin);
    server.stopped().await;
}

#[tokio::test]
async fn watches_end_with_going_away_too() {
    let mut server = TestServer::with(&LONG).await;
    let member = server.join("s").enter().await;
    let mut watches = Vec::new();
    for session_id in ["", "s", "nowhere"] {
        let request = proto::WatchSessionsRequest { session_id: session_id.into() };
        let mut watch = server.sessions().watch_sessions(request).await.unwrap().into_inner();
        while !matches!(
            soon("the snapshot", watch.message()).await.unwrap().unwrap().event,
            Some(Watched::SnapshotComplete(_))
        ) {}
        watches.push(watch);
    }
    server.shut_down();
    checked(&member.end().await, ClientAction::Rejoin);
    for mut watch in watches {
        let status = loop {
            match soon("the end of a watch", watch.message()).await {
                // The departures of the drain may be seen before.
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ended with OK"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unavailable, "GOING_AWAY"), "{status:?}");
    }
    server.stopped().await;
}

/// Peers that take no part in their end.
struct Silent {
    /// Connects, and says nothing.
    tcp: TcpStream,
    /// A member that answers nothing any more.
    _frozen: (Raw, RawStream),
}

impl Silent {
    async fn of(server: &TestServer, onlooker: &mut Member) -> Self {
        let tcp = TcpStream::connect(server.address()).await.unwrap();
        let frozen = server.raw().await;
        let mut stream = frozen.join().await;
        stream.frame(Frame::Join(plain_join("s")));
        stream.joined().await;
        assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
        frozen.freeze();
        Self { tcp, _frozen: (frozen, stream) }
    }

    /// Waits until the server has let the silent one go.
    async fn let_go(mut self) {
        let mut said = Vec::new();
        // However it ends, an error or not.
        let _ = soon("the end of a silent connection", self.tcp.read_to_end(&mut said)).await;
    }
}

#[tokio::test]
async fn silent_peers_do_not_hold_a_drain() {
    let mut server = TestServer::with(&LONG).await;
    let mut member = server.join("s").enter().await;
    let silent = Silent::of(&server, &mut member).await;
    server.shut_down();
    checked(&member.end().await, ClientAction::Rejoin);
    // Far sooner than its time is over.
    server.stopped().await;
    silent.let_go().await;
}

#[tokio::test]
async fn a_drain_ends_within_its_time_whoever_is_still_there() {
    for timeout in [Duration::ZERO, Duration::from_secs(2)] {
        let flag = format!("{}s", timeout.as_secs());
        let mut server = TestServer::with(&["--drain-timeout", &flag]).await;
        let mut member = server.join("s").enter().await;
        let stuck = Stuck::enter(&server, None).await;
        assert!(matches!(member.next().await, Event::ConnectionCreated(_)));
        let silent = Silent::of(&server, &mut member).await;
        let (transport, shut_out) = Raw::shut_out(server.address(), "s").await;
        assert!(matches!(member.next().await, Event::ConnectionCreated(_)));
        let begun = Instant::now();
        server.shut_down();
        server.stopped().await;
        let took = begun.elapsed();
        assert!(took >= timeout, "those who may still read have until then: {took:?}");
        assert!(took < timeout + Duration::from_secs(5), "{took:?}");
        silent.let_go().await;
        transport.cut_off().await;
        drop((shut_out, stuck));
    }
}
