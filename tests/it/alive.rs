//! Who is still there: time-outs and heartbeats. These tests wait longest, and
//! their name makes them begin first.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::support::{
    Event, Frame, TestServer, Wrong, plain_join,
    proto::{ClientAction, DisconnectReason},
    within,
};

#[tokio::test]
async fn a_dead_peer_is_found_within_30_seconds() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("s").enter().await;
    let raw = server.raw().await;
    let mut stream = raw.join().await;
    stream.frame(Frame::Join(plain_join("s")));
    let id = stream.joined().await.connection.unwrap().connection_id;
    let begun = Instant::now();
    raw.freeze();
    assert!(matches!(onlooker.next().await, Event::ConnectionCreated(_)));
    let event = loop {
        match onlooker.next_within(Duration::from_secs(35)).await {
            Event::Heartbeat(_) => {}
            event => break event,
        }
    };
    let Event::ConnectionDestroyed(destroyed) = event else { panic!("{event:?}") };
    assert_eq!(
        (destroyed.connection_id.as_str(), destroyed.reason()),
        (id.as_str(), DisconnectReason::NetworkDisconnected)
    );
    assert!(begun.elapsed() < Duration::from_secs(32), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn no_join_within_10_seconds_ends_the_stream_with_join_timeout() {
    let server = TestServer::start().await;
    let mut stream = server.raw().await.join().await;
    stream.patience = Duration::from_secs(15);
    let begun = Instant::now();
    let end = stream.end().await;
    end.check(&Wrong::new(Code::DeadlineExceeded, "JOIN_TIMEOUT", "", &["10 s"]), ClientAction::Rejoin);
    assert!(begun.elapsed() >= Duration::from_secs(9), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_heartbeat_comes_when_nothing_else_was_sent_for_its_interval() {
    let server = TestServer::with(&["--heartbeat-interval", "200ms"]).await;
    let begun = Instant::now();
    let mut member = server.join("s").enter().await;
    for beats in 1..=2 {
        let Event::Heartbeat(heartbeat) = member.next().await else { panic!("nothing else is sent") };
        assert_eq!(heartbeat.sequence, member.joined.sequence);
        assert!(begun.elapsed() >= Duration::from_millis(200) * beats);
    }
}

#[tokio::test]
async fn a_heartbeat_tells_the_sessions_newest_sequence_past_holes() {
    let server = TestServer::with(&["--heartbeat-interval", "100ms"]).await;
    let mut member = server.join("s").without_connection_events().enter().await;
    let mut other = server.join("s").enter().await;
    let own = other.id();
    let sent = other.send_to(&[&own], "a secret");
    let place = other.accepted(sent).await;
    while member.sequence() < place {
        let event = member.next().await;
        assert!(matches!(event, Event::Heartbeat(_)), "{event:?}");
    }
    assert_eq!(member.sequence(), place);
}

#[tokio::test]
async fn a_peer_that_connects_and_says_nothing_is_let_go_after_10_seconds() {
    let server = TestServer::start().await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let mut said = Vec::new();
    // However it ends: the server's first frames may come before.
    let _ = within(Duration::from_secs(15), "the end of the connection", silent.read_to_end(&mut said)).await;
    assert!(begun.elapsed() >= Duration::from_secs(9), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn headers_that_never_end_are_let_go_after_10_seconds_however_slowly_they_go_on() {
    let server = TestServer::start().await;
    let begun = Instant::now();
    let (mut said, mut listen) = (Vec::new(), [0; 1_024]);
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    // The preface, settings, and headers that are to be of 100 bytes. Source: RFC
    // 9113, 3.4, 4.1 and 6.2.
    slow.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x64\x01\x04\0\0\0\x01").await.unwrap();
    loop {
        let read = tokio::time::timeout(Duration::from_millis(500), slow.read(&mut listen));
        match within(Duration::from_secs(30), "an answer, or none", read).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(read)) => said.extend_from_slice(&listen[..read]),
            // A byte of them, a literal field without end.
            Err(_) => slow.write_all(&[0x40]).await.unwrap(),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still there");
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "after {:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("take too long to come"), "{said:?}");
}
