//! The machine under test, and what stands in for a peer.

mod any_input;
mod client;
mod hostile;
mod hpack;
mod output;
mod rules;
mod sizes;

use std::io::IoSlice;

use super::{
    Connection, Error, ErrorCode, Event, Settings, StreamId,
    frame::{FrameHead, HEAD_BYTES, PREFACE, flag, kind},
};

/// An event that outlives its input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Request(StreamId, String, Vec<(String, Vec<u8>)>, bool),
    Data(StreamId, Vec<u8>, bool),
    Reset(StreamId, ErrorCode),
    Window(Option<StreamId>),
    Pong,
    GoAway,
}

impl<S> From<Event<'_, S>> for Seen {
    fn from(event: Event<'_, S>) -> Self {
        match event {
            Event::Request { stream, head, end } => {
                let path = String::from_utf8_lossy(head.path()).into_owned();
                let fields = head.fields().map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.to_vec()));
                Self::Request(stream, path, fields.collect(), end)
            }
            Event::Data { stream, data, end } => Self::Data(stream, data.to_vec(), end),
            Event::Reset { stream, code, .. } => Self::Reset(stream, code),
            Event::Window { stream } => Self::Window(stream),
            Event::Pong => Self::Pong,
            Event::GoAway => Self::GoAway,
        }
    }
}

/// Feeds bytes; every request is accepted, all data consumed.
fn feed(connection: &mut Connection<StreamId>, mut bytes: &[u8]) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    while let Some(event) = connection.next(&mut bytes)? {
        match event {
            Event::Request { stream, .. } => connection.accept(stream, stream),
            Event::Data { stream, data, .. } => connection.consumed(stream, data.len()),
            _ => {}
        }
        seen.push(event.into());
    }
    assert!(bytes.is_empty());
    Ok(seen)
}

/// Everything that waits for the socket, which takes it.
fn drain<S>(connection: &mut Connection<S>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !connection.output().is_empty() {
        let output = connection.output();
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = output.slices(&mut slices);
        let before = bytes.len();
        slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
        let written = bytes.len() - before;
        output.advance(written);
    }
    bytes
}

type Frame = (u8, u8, StreamId, Vec<u8>);

/// The frames that wait for the socket, which takes them.
fn sent<S>(connection: &mut Connection<S>) -> Vec<Frame> {
    let bytes = drain(connection);
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let head = FrameHead::parse(head);
        let (payload, after) = after.split_at(head.length as usize);
        frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    frames
}

fn frame(kind: u8, flags: u8, stream: StreamId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A block of fields, none of which any table remembers.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| super::hpack::encode(name, value.as_bytes(), &mut block));
    block
}

const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "x")];

/// A HEADERS frame in one piece.
fn headers(stream: StreamId, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | u8::from(end), stream, &block(fields))
}

fn post(stream: StreamId, end: bool) -> Vec<u8> {
    headers(stream, &POST, end)
}

fn data(stream: StreamId, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(kind::DATA, u8::from(end), stream, bytes)
}

fn reset(stream: StreamId) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A connection whose peer has said no more than it must.
fn connection_with(settings: Settings) -> Connection<StreamId> {
    let mut connection = Connection::new(settings);
    feed(&mut connection, PREFACE).unwrap();
    feed(&mut connection, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    drain(&mut connection);
    connection
}

fn connection() -> Connection<StreamId> {
    connection_with(Settings::default())
}

/// Answers a stream with 200 and nothing more.
fn answer(connection: &mut Connection<StreamId>, stream: StreamId) {
    connection.send_headers(stream, &block(&[(":status", "200")]), true);
    assert_eq!(connection.finish(stream), Some(stream));
}

fn code_of<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.unwrap_err().code
}

fn rst(stream: StreamId, code: ErrorCode) -> Frame {
    (kind::RST_STREAM, 0, stream, code.0.to_be_bytes().to_vec())
}
