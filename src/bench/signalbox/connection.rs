//! One connection of a load client to a Signalbox server: its streams, and the
//! windows in both directions.

use std::{collections::VecDeque, io, sync::Arc};

use crate::{
    bench::wire::{Member, Seen, Wire},
    domain::MAX_FRAME_BYTES,
    http2::ErrorCode,
    proto,
};
use prost::Message as _;

use super::{
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Head, Messages, PADDED, PING,
        PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, Sink, WINDOW_UPDATE, frame, no_http2,
    },
    headers::{Status, is_ok},
    messages::{Event, Send, event, write, write_from_server},
};

/// The window that both sides begin with.
const FIRST_WINDOW: i64 = 65_535;
/// What we grant: the most there is.
const GRANTED: u32 = 0x7fff_ffff;
/// As much is granted again when this part of it was taken.
const REFUND: u32 = 4;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A connection.
pub(super) struct Connection {
    frames: Frames,
    streams: Streams,
}

/// All but what finds the frames, which hands them to this.
struct Streams {
    members: Vec<Stream>,
    /// How many members have been joined; the others wait for room.
    joined: usize,
    /// The unary calls whose outcome has not been told, oldest first.
    calls: VecDeque<Call>,
    /// The stream of the oldest.
    first_call: u32,
    join_headers: Arc<[u8]>,
    call_headers: Arc<[u8]>,
    suppress: bool,
    /// How much the peer lets be sent: on all streams, and on a new one.
    room: i64,
    stream_room: i64,
    most_streams: usize,
    /// What we grant each stream.
    granted: u32,
    /// What came since the last grant.
    received: u32,
    /// A header block that has only begun.
    block: Option<(Head, Vec<u8>)>,
    greeted: bool,
}

struct Stream {
    member: Member,
    messages: Messages,
    last_send: u64,
    room: i64,
    received: u32,
    closing: Option<String>,
    over: bool,
}

#[derive(Default)]
struct Call {
    /// Whether a message came: only those that succeed have one.
    message: bool,
    outcome: Option<Result<(), String>>,
}

impl Connection {
    pub(super) fn new(members: &[Member], join: Arc<[u8]>, call: Arc<[u8]>, suppress: bool) -> Self {
        let stream = |member: &Member| Stream {
            member: member.clone(),
            messages: Messages::default(),
            last_send: 0,
            room: FIRST_WINDOW,
            received: 0,
            closing: None,
            over: false,
        };
        let streams = Streams {
            first_call: stream_of(members.len()),
            members: members.iter().map(stream).collect(),
            joined: 0,
            calls: VecDeque::new(),
            join_headers: join,
            call_headers: call,
            suppress,
            room: FIRST_WINDOW,
            stream_room: FIRST_WINDOW,
            most_streams: usize::MAX,
            granted: GRANTED,
            received: 0,
            block: None,
            greeted: false,
        };
        Self { frames: Frames::default(), streams }
    }
}

/// The stream of a member, and of the calls after the last one's.
fn stream_of(place: usize) -> u32 {
    u32::try_from(2 * place + 1).expect("a connection has few members")
}

impl Wire for Connection {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = Vec::new();
        for (name, value) in [(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, self.streams.granted)] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame(SETTINGS, 0, 0, &settings, out);
        frame(WINDOW_UPDATE, 0, 0, &(GRANTED - FIRST_WINDOW as u32).to_be_bytes(), out);
        self.streams.join(out);
    }

    fn broadcast(&mut self, member: usize, payload: &[u8], out: &mut Vec<u8>) {
        self.streams.send(member, payload, None, out);
    }

    fn address(&mut self, member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        self.streams.send(member, payload, Some(to), out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        let streams = &mut self.streams;
        let stream = streams.first_call + 2 * streams.calls.len() as u32;
        streams.calls.push_back(Call::default());
        frame(HEADERS, END_HEADERS, stream, &streams.call_headers, out);
        streams.room -= write_from_server(stream, session, payload, out);
    }

    fn grant_little(&mut self) {
        self.streams.granted = FIRST_WINDOW as u32;
    }

    fn oversize(&mut self, member: usize, out: &mut Vec<u8>) {
        let streams = &mut self.streams;
        let length = MAX_FRAME_BYTES + 1;
        let sent = write(stream_of(member), 0, length, out, |out| out.resize(out.len() + length, 0));
        streams.room -= sent;
        streams.members[member].room -= sent;
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        self.frames.take(bytes, &mut Taking { streams: &mut self.streams, out, seen })
    }

    fn room(&self) -> usize {
        let streams = &self.streams;
        // Those of members are open; only a backend's calls open more.
        if streams.members.is_empty() && streams.calls.len() >= streams.most_streams {
            return 0;
        }
        let least = streams.members.iter().map(|member| member.room).min().unwrap_or(streams.stream_room);
        usize::try_from(least.min(streams.room)).unwrap_or(0)
    }
}

impl Streams {
    /// Joins those who are not in yet, as far as there is room.
    fn join(&mut self, out: &mut Vec<u8>) {
        while let Some(next) = self.members.get_mut(self.joined) {
            let join = proto::Join {
                session_id: next.member.session.clone(),
                suppress_connection_events: self.suppress,
                ..proto::Join::default()
            };
            let frame_of = proto::join_request::Frame::Join(join);
            let request = proto::JoinRequest { frame: Some(frame_of) }.encode_to_vec();
            let needs = (request.len() + 5) as i64;
            if self.room < needs || self.joined >= self.most_streams {
                return;
            }
            let stream = stream_of(self.joined);
            frame(HEADERS, END_HEADERS, stream, &self.join_headers, out);
            let sent = write(stream, 0, request.len(), out, |out| out.extend_from_slice(&request));
            (self.room, next.room) = (self.room - sent, next.room - sent);
            self.joined += 1;
        }
    }

    fn send(&mut self, member: usize, data: &[u8], to: Option<&[u8]>, out: &mut Vec<u8>) {
        let stream = &mut self.members[member];
        stream.last_send += 1;
        let sent = Send { id: stream.last_send, data, to }.write(stream_of(member), out);
        (self.room, stream.room) = (self.room - sent, stream.room - sent);
    }

    /// The member of a stream.
    fn member(&mut self, stream: u32) -> Option<(usize, &mut Stream)> {
        let place = stream as usize / 2;
        (stream % 2 == 1).then_some(())?;
        self.members.get_mut(place).map(|member| (place, member))
    }

    fn call(&mut self, stream: u32) -> Option<&mut Call> {
        let after = stream.checked_sub(self.first_call)?;
        self.calls.get_mut(after as usize / 2)
    }

    /// A stream has ended.
    fn ended(&mut self, stream: u32, outcome: Result<(), String>, seen: &mut dyn Seen) {
        if let Some((place, member)) = self.member(stream) {
            if member.over {
                return;
            }
            member.over = true;
            let closing = member.closing.take().filter(|closing| !closing.is_empty());
            let reason = match (closing, outcome) {
                (Some(closing), Err(why)) => format!("{closing}: {why}"),
                (Some(why), Ok(())) | (None, Err(why)) => why,
                (None, Ok(())) => "the server ended its stream".to_owned(),
            };
            seen.ended(place, reason);
            return;
        }
        if let Some(call) = self.call(stream) {
            call.outcome.get_or_insert(outcome);
        }
        // An answer counts when all those before it are in.
        while self.calls.front().is_some_and(|call| call.outcome.is_some()) {
            let outcome = self.calls.pop_front().and_then(|call| call.outcome);
            self.first_call += 2;
            seen.answered(0, outcome.unwrap_or(Ok(())));
        }
    }

    fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                MAX_CONCURRENT_STREAMS => self.most_streams = value as usize,
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.stream_room;
                    self.stream_room += change;
                    self.members.iter_mut().for_each(|member| member.room += change);
                }
                _ => {}
            }
        }
        if self.most_streams < self.members.len() {
            let (most, members) = (self.most_streams, self.members.len());
            return Err(io::Error::other(format!(
                "the server takes {most} streams on a connection, and {members} members are to share one"
            )));
        }
        Ok(())
    }
}

/// A connection while it takes what came.
struct Taking<'a> {
    streams: &'a mut Streams,
    out: &'a mut Vec<u8>,
    seen: &'a mut dyn Seen,
}

impl Sink for Taking<'_> {
    fn data(&mut self, stream: u32, part: &[u8], end: bool) -> io::Result<()> {
        let taken = part.len() as u32;
        self.refund(taken);
        let much = self.streams.granted / REFUND;
        if let Some((place, member)) = self.streams.member(stream) {
            member.received += taken;
            let (closing, seen) = (&mut member.closing, &mut *self.seen);
            member.messages.take(part, |message| {
                match event(message).ok_or_else(no_event)? {
                    Event::Signal(data) => seen.signal(place, data),
                    Event::Accepted => seen.answered(place, Ok(())),
                    Event::Refused(why) => seen.answered(place, Err(why)),
                    Event::Joined(connection) => seen.ready(place, connection),
                    Event::Closing(reason) => *closing = Some(String::from_utf8_lossy(reason).into_owned()),
                    Event::Other => {}
                }
                Ok(())
            })?;
            if !end && member.received >= much {
                let received = std::mem::take(&mut member.received);
                frame(WINDOW_UPDATE, 0, stream, &received.to_be_bytes(), self.out);
            }
        } else if let Some(call) = self.streams.call(stream) {
            call.message |= taken > 0;
        }
        if end {
            self.streams.ended(stream, Err("the call ended without a gRPC status".to_owned()), self.seen);
        }
        Ok(())
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> io::Result<()> {
        if !std::mem::replace(&mut self.streams.greeted, true) && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(no_http2());
        }
        match head.kind {
            SETTINGS if !head.has(ACK) => {
                self.streams.settings(payload)?;
                frame(SETTINGS, ACK, 0, &[], self.out);
                self.streams.join(self.out);
            }
            PING if !head.has(ACK) => frame(PING, ACK, 0, payload, self.out),
            WINDOW_UPDATE => {
                let more = i64::from(word(payload)? & 0x7fff_ffff);
                if head.stream == 0 {
                    self.streams.room += more;
                    self.streams.join(self.out);
                } else if let Some((_, member)) = self.streams.member(head.stream) {
                    member.room += more;
                }
            }
            DATA => {
                let (padding, data) = unpadded(payload).ok_or_else(no_http2)?;
                self.refund(padding);
                self.data(head.stream, data, head.has(END_STREAM))?;
            }
            HEADERS => {
                let mut block = payload;
                if head.has(PADDED) {
                    (_, block) = unpadded(payload).ok_or_else(no_http2)?;
                }
                if head.has(PRIORITY) {
                    block = block.get(5..).ok_or_else(no_http2)?;
                }
                if head.has(END_HEADERS) {
                    self.block(head, block);
                } else {
                    self.streams.block = Some((head, block.to_vec()));
                }
            }
            CONTINUATION => {
                let (first, mut block) = self.streams.block.take().ok_or_else(no_http2)?;
                block.extend_from_slice(payload);
                if head.has(END_HEADERS) {
                    self.block(first, &block);
                } else {
                    self.streams.block = Some((first, block));
                }
            }
            RST_STREAM => {
                let code = word(payload)?;
                // After a whole answer it only says that nothing more is taken.
                self.streams.ended(
                    head.stream,
                    Err(format!("the server reset the stream: {}", ErrorCode(code))),
                    self.seen,
                );
            }
            GOAWAY => return going(payload),
            PUSH_PROMISE => return Err(no_http2()),
            _ => {}
        }
        Ok(())
    }
}

impl Taking<'_> {
    /// Grants the connection again what was taken, when it has become much.
    fn refund(&mut self, taken: u32) {
        self.streams.received += taken;
        if self.streams.received >= GRANTED / REFUND {
            let received = std::mem::take(&mut self.streams.received);
            frame(WINDOW_UPDATE, 0, 0, &received.to_be_bytes(), self.out);
        }
    }

    /// A whole header block.
    fn block(&mut self, head: Head, block: &[u8]) {
        let end = head.has(END_STREAM);
        if !end && is_ok(block) {
            return;
        }
        // A call that was answered by a message went well: only then is there one.
        let answered = self.streams.call(head.stream).is_some_and(|call| call.message);
        if end && answered {
            self.streams.ended(head.stream, Ok(()), self.seen);
            return;
        }
        let unreadable = || Err("the call ended with headers that can't be read".to_owned());
        let outcome = Status::read(block).map_or_else(unreadable, Status::outcome);
        if end || outcome.as_ref().is_err_and(|why| why.starts_with("HTTP status")) {
            self.streams.ended(head.stream, outcome, self.seen);
        }
    }
}

/// A payload without its padding, and how many bytes that was.
fn unpadded(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (&padding, rest) = payload.split_first()?;
    let data = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
    Some((u32::from(padding) + 1, data))
}

fn word(payload: &[u8]) -> io::Result<u32> {
    let word = payload.first_chunk().ok_or_else(no_http2)?;
    Ok(u32::from_be_bytes(*word))
}

fn no_event() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came on a stream is no event of signalbox.v1")
}

/// Whether the peer may go on after GOAWAY: streams that are open stay so when
/// nothing is wrong.
fn going(payload: &[u8]) -> io::Result<()> {
    let code = payload.get(4..).ok_or_else(no_http2).and_then(word)?;
    if code == 0 {
        return Ok(());
    }
    let more = String::from_utf8_lossy(&payload[8..]).into_owned();
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("the server sent GOAWAY {} {more}", ErrorCode(code))))
}
