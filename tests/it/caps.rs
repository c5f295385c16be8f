//! What one peer, or all of them, may take from the server: whoever hits a cap is
//! told which, and nobody else notices.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::Code;

use crate::support::{
    Event, Frame, Member, Stuck, TestServer, Wrong, from_server,
    proto::{self, ClientAction},
    retry_of, soon,
};

fn hits(cap: &str) -> String {
    format!("signalbox_cap_hits_total{{cap=\"{cap}\"}}")
}

async fn leave(member: Member) {
    member.frame(Frame::Leave(proto::Leave {}));
    assert!(member.end().await.status.is_none());
}

/// What a TCP connection is told before it is closed.
async fn told(server: &TestServer) -> String {
    let mut tcp = soon("a connection", TcpStream::connect(server.address())).await.unwrap();
    let mut bytes = Vec::new();
    soon("the end of the connection", tcp.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_tcp_connection_too_many_is_told_so_and_closed_until_another_goes() {
    for (flag, cap, whose) in [
        ("--max-transports", "transports", "the server"),
        ("--max-transports-per-address", "transports_per_address", "your address"),
    ] {
        let server = TestServer::with(&[flag, "2"]).await;
        let mut bystander = server.join("s").without_connection_events().enter().await;
        let second = server.raw().await;
        // The member shows that the second is in, not on its way.
        let mut stream = second.join().await;
        stream.headers().await;
        for count in 1..=3 {
            let told = told(&server).await;
            assert!(told.contains(&format!("{whose} has 2 TCP connections; the limit is 2")), "{told:?}");
            assert!(told.contains("come back in a second"), "{told:?}");
            assert_eq!(server.metric(&hits(cap)).await, f64::from(count));
        }
        second.vanish().await;
        server.until_at_most("signalbox_streams", 1.0).await;
        server.join("s").over(server.channel().await).enter().await;
        server.nothing_reached(&mut bystander, "s").await;
    }
}

#[tokio::test]
async fn who_sends_too_much_waits_and_loses_nothing() {
    let flags = ["--signals-per-second", "0", "--transport-messages-per-second", "1000", "--outbox-events", "0"];
    let server = TestServer::with(&flags).await;
    let mut bystander = server.join("s").without_connection_events().enter().await;
    let mut busy = server.join("s").over(server.channel().await).enter().await;
    let sent: Vec<_> = (0..2_500).map(|number| busy.send("", &number.to_string())).collect();
    for number in 0..sent.len() {
        assert_eq!(bystander.heard().await, number.to_string());
    }
    for send_id in sent {
        busy.accepted(send_id).await;
    }
    assert!(server.metric(&hits("transport_pace")).await >= 1.0);
    // Bytes have a bound of their own.
    let flags = ["--signals-per-second", "0", "--transport-bytes-per-second", "100000", "--outbox-bytes", "0"];
    let server = TestServer::with(&flags).await;
    let mut busy = server.join("s").enter().await;
    let data = "d".repeat(8_000);
    let sent: Vec<_> = (0..25).map(|_| busy.send("", &data)).collect();
    for send_id in sent {
        busy.accepted(send_id).await;
    }
    assert!(server.metric(&hits("transport_pace")).await >= 1.0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_closed_as_slow() {
    let server = TestServer::with(&["--reader-timeout", "1s"]).await;
    let wrong = Wrong::new(Code::ResourceExhausted, "SLOW_CONSUMER", "", &[]);
    let mut bystander = server.join("s").enter().await;
    let stuck = Stuck::enter(&server, Some(Duration::from_secs(60))).await;
    let id = stuck.id();
    assert!(matches!(bystander.next().await, Event::ConnectionCreated(_)));
    let event = bystander.next().await;
    assert!(matches!(&event, Event::ConnectionInterrupted(slow) if slow.connection_id == id), "{event:?}");
    server.until_at_most("signalbox_streams", 1.0).await;
    assert_eq!(server.metric(&hits("slow_reader")).await, 1.0);
    // It reads again, and finds that there is nothing more: the message that it
    // had in part stays without its rest, which is why only the status is looked at.
    wrong.check_status(&stuck.stream.trailers().await);
    server.nothing_reached(&mut bystander, "s").await;
}

#[tokio::test]
async fn without_memory_for_more_newcomers_are_refused_and_members_stay() {
    let server = TestServer::with(&["--memory-for-signals", "1000000"]).await;
    let mut member = server.join("s").without_connection_events().window(Duration::from_secs(60)).enter().await;
    let raw = server.raw().await;
    let mut others = Vec::new();
    let refusal = loop {
        assert!(others.len() < 300, "there is no bound");
        let mut stream = raw.join().await;
        stream.frame(Frame::Join(proto::Join {
            session_id: "t".into(),
            suppress_connection_events: true,
            ..proto::Join::default()
        }));
        match stream.next().await {
            Some(Event::Joined(_)) => others.push(stream),
            Some(Event::Closing(closing)) => {
                assert_eq!(closing.action(), ClientAction::Rejoin);
                assert!(closing.retry_after.is_some());
                break stream.trailers().await;
            }
            other => panic!("{other:?}"),
        }
    };
    let says = &["memory for signals", "750000"];
    Wrong::new(Code::ResourceExhausted, "SERVER_FULL", "", says).check_status(&refusal);
    assert!(retry_of(&refusal).unwrap() > Duration::ZERO);
    assert!(others.len() > 100, "{} fit", others.len());
    assert!(server.metric(&hits("memory_for_signals")).await >= 1.0);
    assert!(server.metric("signalbox_memory_relief_total{by=\"joins\"}").await >= 1.0);
    server.nothing_reached(&mut member, "s").await;
    raw.vanish().await;
    server.until_at_most("signalbox_memory_bytes{for=\"streams\"}", 0.0).await;
    leave(server.join("t").enter().await).await;
}

#[tokio::test]
async fn a_reader_with_more_than_its_share_waiting_goes_before_others_are_harmed() {
    let server = TestServer::with(&["--memory-for-signals", "400000"]).await;
    let mut bystander = server.join("s").without_connection_events().enter().await;
    let stuck = Stuck::enter(&server, None).await;
    let data = "d".repeat(8_000);
    for _ in 0..100 {
        server.signaling().send_from_server(from_server("s", &data)).await.unwrap();
        assert_eq!(bystander.heard().await, data);
        let waiting = server.metric("signalbox_memory_bytes{for=\"waiting\"}").await;
        let logs = server.metric("signalbox_memory_bytes{for=\"logs\"}").await;
        assert!(waiting + logs <= 400_000.0, "{waiting} and {logs}");
    }
    let wrong = Wrong::new(Code::ResourceExhausted, "SLOW_CONSUMER", "", &[]);
    wrong.check_status(stuck.stream.end().await.status.as_ref().unwrap());
    server.nothing_reached(&mut bystander, "s").await;
}
