//! What a client of the data path says, as bytes: no HTTP/2 library, whose own
//! work would be measured too.

use prost::Message;
use signalbox::{
    http2::hpack,
    proto::{Join, JoinRequest, Recipients, SendSignal, Signal, join_request::Frame},
};

const JOIN: &str = "/signalbox.v1.SignalingService/Join";

/// Bytes of a frame's header.
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_WINDOW: u32 = i32::MAX as u32;
/// What every connection begins with.
const FIRST_WINDOW: u32 = 65_535;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What begins a connection: with windows that no run fills.
pub(crate) fn hello() -> Vec<u8> {
    let mut window = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    window.extend(MAX_WINDOW.to_be_bytes());
    let more = (MAX_WINDOW - FIRST_WINDOW).to_be_bytes();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &window));
    bytes.extend(frame(SETTINGS, ACK, 0, &[]));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &more));
    bytes
}

/// Begins a call.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "signalbox"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    for (name, value) in fields {
        hpack::encode(name, value.as_bytes(), &mut block);
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A message in a frame of its own, with gRPC's prefix.
pub(crate) fn message(stream: u32, message: &impl Message, end: bool) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut payload = vec![0];
    payload.extend(u32::try_from(message.len()).expect("a message's length").to_be_bytes());
    payload.extend(message);
    frame(DATA, if end { END_STREAM } else { 0 }, stream, &payload)
}

/// Opens a `Join` stream, and joins.
pub(crate) fn join(stream: u32, session: &str) -> Vec<u8> {
    let join = Join { session_id: session.to_owned(), suppress_connection_events: true, ..Join::default() };
    let mut bytes = call(stream, JOIN);
    bytes.extend(message(stream, &JoinRequest { frame: Some(Frame::Join(join)) }, false));
    bytes
}

/// Sends a signal on a `Join` stream; to everyone when `to` is empty.
pub(crate) fn send(stream: u32, send_id: u64, data: &str, to: &[String]) -> Vec<u8> {
    let signal = Some(Signal { r#type: "chat".to_owned(), data: data.to_owned() });
    let to = (!to.is_empty()).then(|| Recipients { connection_ids: to.to_vec() });
    message(stream, &JoinRequest { frame: Some(Frame::Send(SendSignal { send_id, signal, to })) }, false)
}

/// The stream, the payload and what follows of the first frame that is there as
/// a whole; only of DATA is there a payload.
pub(crate) fn split(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((stream, if head[3] == DATA { payload } else { &[] }, rest))
}
