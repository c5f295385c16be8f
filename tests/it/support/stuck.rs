//! A member that has stopped reading.

use std::time::Duration;

use super::{Event, Frame, Raw, RawStream, TestServer, from_server, proto, recipients, to_wire};

/// What it takes before it stops: more than one signal of the largest, and less
/// than two.
const WINDOW: u32 = 16_384;

/// A member of the session `s` whose window is used up: what is for it now
/// waits in its outbox. It gets neither connection events nor its own signals.
pub(crate) struct Stuck {
    pub(crate) stream: RawStream,
    pub(crate) joined: proto::Joined,
    /// The places of the signals that have left its outbox.
    pub(crate) taken: [u64; 3],
    transport: Raw,
}

impl Stuck {
    pub(crate) async fn enter(server: &TestServer, window: Option<Duration>) -> Self {
        let transport = Raw::connect(server.address(), WINDOW).await;
        let mut stream = transport.join().await;
        stream.frame(Frame::Join(proto::Join {
            session_id: "s".into(),
            resume_window: window.map(to_wire),
            suppress_connection_events: true,
            suppress_own_signals: true,
            ..proto::Join::default()
        }));
        let joined = stream.joined().await;
        let id = joined.connection.as_ref().unwrap().connection_id.clone();
        let give = async |data: &str| {
            let request = proto::SendFromServerRequest { to: Some(recipients(&[&id])), ..from_server("s", data) };
            server.signaling().send_from_server(request).await.unwrap().into_inner().sequence
        };
        let data = "d".repeat(8_192);
        let (first, second) = (give(&data).await, give(&data).await);
        stream.stall(WINDOW as usize).await;
        // The server takes one thing more out of the outbox, and only then
        // finds that there is no room for it.
        let third = give("").await;
        server.until_at_most("signalbox_outbox_events", 0.0).await;
        Self { stream, joined, taken: [first, second, third], transport }
    }

    pub(crate) fn id(&self) -> String {
        self.joined.connection.as_ref().unwrap().connection_id.clone()
    }

    /// Reads on: the next event.
    pub(crate) async fn next(&mut self) -> Event {
        self.stream.release();
        self.stream.next().await.expect("the stream goes on")
    }

    /// Drops its TCP connection.
    pub(crate) async fn vanish(self) {
        self.transport.vanish().await;
    }
}
