//! The server as a process: what SIGTERM and SIGINT do, and its exit code.

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{Event, Frame, Process, Raw, Wrong, plain_join, proto::ClientAction};

fn going_away() -> Wrong {
    Wrong::new(Code::Unavailable, "GOING_AWAY", "", &["going away"])
}

#[tokio::test]
async fn sigterm_and_sigint_drain_and_exit_with_0_in_time_whoever_is_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(&["--drain-timeout", "1s"]).await;
        let mut member = process.join("s").await.window(Duration::from_secs(60)).enter().await;
        let silent = TcpStream::connect(process.address()).await.unwrap();
        let frozen = Raw::connect(process.address(), 65_535).await;
        let mut stream = frozen.join().await;
        stream.frame(Frame::Join(plain_join("s")));
        stream.joined().await;
        frozen.freeze();
        let shut_out = Raw::shut_out(process.address(), "s").await;
        for _ in 0..2 {
            assert!(matches!(member.next().await, Event::ConnectionCreated(_)));
        }
        process.signal(signal);
        member.end().await.check(&going_away(), ClientAction::Resume);
        assert_eq!(process.ended().await.code(), Some(0));
        drop((silent, stream, shut_out));
    }
}

#[tokio::test]
async fn without_anybody_it_exits_at_once() {
    let process = Process::start(&["--drain-timeout", "5m"]).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_exits_at_once_with_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let process = Process::start(&["--drain-timeout", "5m"]).await;
        let mut member = process.join("s").await.enter().await;
        let shut_out = Raw::shut_out(process.address(), "s").await;
        assert!(matches!(member.next().await, Event::ConnectionCreated(_)));
        // The first may be the other one.
        process.signal(Signal::TERM);
        member.end().await.check(&going_away(), ClientAction::Rejoin);
        process.signal(signal);
        assert_eq!(process.ended().await.code(), Some(code));
        drop(shut_out);
    }
}
