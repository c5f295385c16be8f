//! A client on a blocking socket, in another thread than the server's.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use prost::Message as _;
use signalbox::proto::{JoinResponse, join_response::Event};

use super::wire;

const SESSION: &str = "s";
const PREFIX_BYTES: usize = 5;
/// After it a test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One TCP connection with some `Join` streams.
pub(crate) struct Peer {
    socket: TcpStream,
    streams: usize,
    read: Vec<u8>,
    /// What came on each stream and isn't a whole message yet.
    messages: HashMap<u32, Vec<u8>>,
}

impl Peer {
    pub(crate) fn join(address: SocketAddr, streams: u32) -> Self {
        let socket = TcpStream::connect(address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let mut peer = Self { socket, streams: streams as usize, read: Vec::new(), messages: HashMap::new() };
        peer.write(&wire::hello());
        for number in 0..streams {
            peer.write(&wire::join(1 + 2 * number, SESSION));
        }
        peer.wait(peer.streams, |event| matches!(event, Event::Joined(_)));
        peer
    }

    /// Sends a signal on the first stream.
    pub(crate) fn send(&mut self, send_id: u64, data: &str) {
        self.write(&wire::send(1, send_id, data, &[]));
    }

    /// Waits for the outcome of a send, and for the signal itself.
    pub(crate) fn wait_for_own(&mut self) {
        self.wait(2, |event| matches!(event, Event::Signal(_) | Event::SendResult(_)));
    }

    /// Waits for a signal on every stream.
    pub(crate) fn wait_for_signals(&mut self) {
        self.wait(self.streams, |event| matches!(event, Event::Signal(_)));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    fn wait(&mut self, count: usize, is_wanted: fn(&Event) -> bool) {
        let mut seen = 0;
        while seen < count {
            let mut buffer = [0; 65_536];
            let length = self.socket.read(&mut buffer).expect("the server writes");
            assert_ne!(length, 0, "the server closed the connection");
            self.read.extend_from_slice(&buffer[..length]);
            let mut rest = &self.read[..];
            while let Some((stream, payload, after)) = wire::split(rest) {
                let message = self.messages.entry(stream).or_default();
                message.extend_from_slice(payload);
                seen += events(message).filter(is_wanted).count();
                rest = after;
            }
            let done = self.read.len() - rest.len();
            self.read.drain(..done);
        }
        assert_eq!(seen, count);
    }
}

/// Takes whole messages off the front.
fn events(bytes: &mut Vec<u8>) -> impl Iterator<Item = Event> {
    std::iter::from_fn(|| {
        let length = *bytes.get(1..)?.first_chunk::<4>()?;
        let end = PREFIX_BYTES + u32::from_be_bytes(length) as usize;
        let message = bytes.get(PREFIX_BYTES..end)?;
        let response = JoinResponse::decode(message).expect("a response");
        bytes.drain(..end);
        Some(response.event.expect("an event"))
    })
}
