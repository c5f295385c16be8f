//! A peer below HTTP/2: it writes what it likes, and looks at what comes back.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use prost::Message as _;
use rustix::net::{RecvFlags, recv};

use signalbox::proto::{self, join_request::Frame};

/// Frame types. Source: RFC 9113, 6.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const JOIN: &str = "/signalbox.v1.SignalingService/Join";
pub(crate) const SEND: &str = "/signalbox.v1.SignalingService/SendFromServer";

/// What is before a gRPC message: a flag and its length.
const MESSAGE_HEAD: usize = 5;
/// How a `JoinResponse` with `joined` begins: the field's number, and that it has a
/// length.
const JOINED: u8 = 5 << 3 | 2;

/// How long a write may take before the peer counts as cut off.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A string of HPACK, not Huffman's. Source: RFC 7541, 5.2.
fn string(text: &str, into: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        into.push(length as u8);
    } else {
        into.push(127);
        length -= 127;
        while length >= 128 {
            into.push((length % 128) as u8 | 128);
            length /= 128;
        }
        into.push(length as u8);
    }
    into.extend_from_slice(text.as_bytes());
}

/// A field that goes into no table. Source: RFC 7541, 6.2.2.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    string(name, &mut bytes);
    string(value, &mut bytes);
    bytes
}

/// A field that goes into the table. Source: RFC 7541, 6.2.1.
pub(crate) fn kept_field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x40];
    string(name, &mut bytes);
    string(value, &mut bytes);
    bytes
}

/// The headers of a call.
pub(crate) fn headers(path: &str, token: Option<&str>) -> Vec<u8> {
    let mut bytes = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "signalbox"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat();
    if let Some(token) = token {
        bytes.extend(field("authorization", &format!("Bearer {token}")));
    }
    bytes
}

/// A gRPC message of so many bytes as its prefix says, whatever follows.
pub(crate) fn message(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![flag];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(bytes);
    message
}

/// A request frame of a `Join` stream.
pub(crate) fn request(frame: Frame) -> Vec<u8> {
    let bytes = proto::JoinRequest { frame: Some(frame) }.encode_to_vec();
    message(0, bytes.len() as u32, &bytes)
}

/// The frame that joins a session quietly: without others' comings and goings, and
/// its own signals.
pub(crate) fn quiet_join(session: &str) -> Vec<u8> {
    request(Frame::Join(proto::Join {
        session_id: session.to_owned(),
        suppress_connection_events: true,
        suppress_own_signals: true,
        ..proto::Join::default()
    }))
}

/// A signal to all.
pub(crate) fn signal(send_id: u64, data: &str) -> Vec<u8> {
    let signal = proto::Signal { r#type: String::new(), data: data.to_owned() };
    request(Frame::Send(proto::SendSignal { send_id, signal: Some(signal), to: None }))
}

/// A TCP connection that speaks HTTP/2 as it likes.
pub(crate) struct Peer {
    pub(crate) tcp: TcpStream,
    next: u32,
    /// What came of a frame whose end is still to come.
    rest: Vec<u8>,
    /// Why the server ended the connection, if it said so.
    pub(crate) goaway: Option<(u32, String)>,
    /// How many streams it reset, and ended otherwise.
    pub(crate) resets: u64,
    pub(crate) ended: u64,
    /// How many bytes of data came.
    pub(crate) data: u64,
    /// How many frames of data began with the event that tells of a join.
    pub(crate) joined: u64,
}

impl Peer {
    /// Connects, and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(Duration::from_millis(50)))?;
        Ok(tcp)
    }

    /// Connects and greets, with these settings.
    pub(crate) fn greet(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let tcp = Self::silent(address)?;
        let (rest, goaway) = (Vec::new(), None);
        let mut peer = Self { tcp, next: 1, rest, goaway, resets: 0, ended: 0, data: 0, joined: 0 };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        peer.write(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat())?;
        Ok(peer)
    }

    /// The number of a new stream.
    pub(crate) fn stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// A new stream for this call: its headers.
    pub(crate) fn open(&mut self, path: &str) -> (u32, Vec<u8>) {
        let stream = self.stream();
        (stream, frame(kind::HEADERS, END_HEADERS, stream, &headers(path, None)))
    }

    /// Writes all of it, reading meanwhile, so that nobody waits for the other.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            match self.tcp.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.read()?;
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there, without waiting.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1_024];
        loop {
            match recv(&self.tcp, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((length, _)) => self.digest(&buffer[..length]),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn digest(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(head) = self.rest.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = self.rest.get(at + 9..at + 9 + length) else { break };
            match head[3] {
                kind::DATA => {
                    self.data += length as u64;
                    self.joined += u64::from(payload.get(MESSAGE_HEAD) == Some(&JOINED));
                }
                kind::HEADERS if head[4] & END_STREAM != 0 => self.ended += 1,
                kind::RST_STREAM => self.resets += 1,
                kind::GOAWAY if length >= 8 => {
                    let code = u32::from_be_bytes(payload[4..8].try_into().expect("four bytes"));
                    self.goaway = Some((code, String::from_utf8_lossy(&payload[8..]).into_owned()));
                }
                _ => {}
            }
            at += 9 + length;
        }
        self.rest.drain(..at);
    }
}
