//! The wire, against messages that prost encoded and frames cut anywhere.

use std::io;

use proptest::prelude::*;
use prost::Message;

use super::{
    Signalbox,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Head, MAX_FRAME, Messages, PADDED,
        PING, RST_STREAM, SETTINGS, Sink, WINDOW_UPDATE, frame,
    },
};
use crate::{
    bench::wire::{Member, Peer as _, Seen, Wire},
    proto::{self, join_request, join_response, send_result},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn wire(members: usize) -> Box<dyn Wire> {
    let member = |number| Member { session: format!("s{number}"), number };
    Signalbox::new(([127, 0, 0, 1], 1).into()).wire(&(0..members).map(member).collect::<Vec<_>>())
}

/// What a load was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told(Vec<String>);

impl Seen for Told {
    fn ready(&mut self, member: usize, address: &[u8]) {
        self.0.push(format!("{member} ready as {}", String::from_utf8_lossy(address)));
    }

    fn signal(&mut self, member: usize, payload: &[u8]) {
        self.0.push(format!("{member} got {}", String::from_utf8_lossy(payload)));
    }

    fn answered(&mut self, member: usize, outcome: Result<(), String>) {
        self.0.push(format!("{member} answered {outcome:?}"));
    }

    fn ended(&mut self, member: usize, reason: String) {
        self.0.push(format!("{member} ended {reason}"));
    }
}

fn message(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(message.encoded_len() as u32).to_be_bytes());
    message.encode(&mut bytes).unwrap();
    bytes
}

fn event(event: join_response::Event) -> Vec<u8> {
    message(&proto::JoinResponse { event: Some(event) })
}

fn joined(id: &str) -> Vec<u8> {
    let connection = proto::Connection { connection_id: id.to_owned(), data: "me".to_owned(), ..Default::default() };
    event(join_response::Event::Joined(proto::Joined {
        outcome: 1,
        connections: vec![connection.clone()],
        connection: Some(connection),
        epoch: 1 << 50,
        limits: Some(proto::Limits { max_data_bytes: 8_192, ..Default::default() }),
        ..Default::default()
    }))
}

fn signal(from: Option<&str>, kind: &str, data: &str) -> Vec<u8> {
    event(join_response::Event::Signal(proto::SignalReceived {
        sequence: 300,
        from_connection_id: from.map(str::to_owned),
        signal: Some(proto::Signal { r#type: kind.to_owned(), data: data.to_owned() }),
        sent_at: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
    }))
}

fn result(outcome: send_result::Outcome) -> Vec<u8> {
    event(join_response::Event::SendResult(proto::SendResult { send_id: 1, outcome: Some(outcome) }))
}

/// A header block without any table, as `name`, `value`, …
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Everything that a server may say to three members, and what they are told.
fn conversation() -> (Vec<u8>, Vec<String>) {
    let mut bytes = Vec::new();
    let mut say = |kind, flags, stream, payload: &[u8]| frame(kind, flags, stream, payload, &mut bytes);
    say(SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0, 0, 3, 0, 0, 3, 232]);
    say(SETTINGS, ACK, 0, &[]);
    for stream in [1, 3, 5] {
        say(HEADERS, END_HEADERS, stream, &[0x20, 0x88]);
    }
    say(DATA, 0, 1, &joined("a"));
    // Several messages in a frame, and one in two frames with another's between.
    let several = [joined("b"), signal(Some("a"), "t", "one"), signal(None, "", "two")].concat();
    let (first, second) = several.split_at(several.len() - 3);
    say(DATA, 0, 3, first);
    say(PING, 0, 0, b"12345678");
    say(DATA, 0, 5, &joined("c"));
    say(DATA, 0, 3, &[]);
    say(DATA, 0, 3, second);
    let accepted = result(send_result::Outcome::Accepted(proto::Accepted { sequence: 7, ..Default::default() }));
    let refused = result(send_result::Outcome::Error(proto::SendError {
        code: 8,
        reason: "RATE_LIMITED".to_owned(),
        message: "50 a second".to_owned(),
        ..Default::default()
    }));
    let heartbeat = event(join_response::Event::Heartbeat(proto::Heartbeat { sequence: 9 }));
    let long = "x".repeat(8_192);
    let mut padded = vec![3];
    padded.extend_from_slice(&[accepted, refused, heartbeat, signal(None, "", &long)].concat());
    padded.extend_from_slice(&[0; 3]);
    say(DATA, PADDED, 1, &padded);
    say(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    say(200, 0, 0, b"nobody knows this frame");
    let closing = proto::Closing { reason: "GOING_AWAY".to_owned(), action: 2, retry_after: None };
    say(DATA, 0, 1, &event(join_response::Event::Closing(closing)));
    let trailers = block(&[("grpc-status", "14"), ("grpc-message", "going away"), ("x", "y")]);
    say(HEADERS, END_STREAM, 1, &trailers[..10]);
    say(CONTINUATION, 0, 1, &trailers[10..20]);
    say(CONTINUATION, END_HEADERS, 1, &trailers[20..]);
    say(HEADERS, END_STREAM | END_HEADERS, 3, &block(&[("grpc-status", "0")]));
    say(RST_STREAM, 0, 5, &[0, 0, 0, 8]);
    say(GOAWAY, 0, 0, &[0; 8]);
    let told = [
        "0 ready as a".to_owned(),
        "1 ready as b".to_owned(),
        "1 got one".to_owned(),
        "2 ready as c".to_owned(),
        "1 got two".to_owned(),
        "0 answered Ok(())".to_owned(),
        "0 answered Err(\"RATE_LIMITED: 50 a second\")".to_owned(),
        format!("0 got {long}"),
        "0 ended GOING_AWAY: UNAVAILABLE: going away".to_owned(),
        "1 ended the server ended its stream".to_owned(),
        "2 ended the server reset the stream: CANCEL".to_owned(),
    ];
    (bytes, told.to_vec())
}

/// What a wire is told of these pieces, and what it answers.
fn told<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
    let mut wire = wire(3);
    wire.open(&mut Vec::new());
    let (mut told, mut out) = (Told::default(), Vec::new());
    for piece in pieces {
        wire.receive(piece, &mut out, &mut told).unwrap();
    }
    (told.0, out)
}

#[test]
fn all_that_a_server_says_is_told() {
    let (bytes, expected) = conversation();
    let (told, out) = told([&bytes[..]]);
    assert_eq!(told, expected);
    let mut answers = Vec::new();
    frame(SETTINGS, ACK, 0, &[], &mut answers);
    frame(PING, ACK, 0, b"12345678", &mut answers);
    assert_eq!(out, answers);
    assert_eq!(self::told(bytes.chunks(1)), (told, out));
}

proptest! {
    #[test]
    fn the_same_is_told_however_the_bytes_are_cut(mut cuts in prop::collection::vec(0..20_000_usize, 0..40)) {
        let (bytes, _) = conversation();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        let mut at = 0;
        for cut in cuts.into_iter().filter(|cut| *cut < bytes.len()) {
            let (piece, after) = rest.split_at(cut - at);
            (rest, at) = (after, cut);
            pieces.push(piece);
        }
        pieces.push(rest);
        prop_assert_eq!(told(pieces), told([&bytes[..]]));
    }

    #[test]
    fn what_is_no_answer_of_ours_is_an_error_or_nothing(bytes: Vec<u8>) {
        let mut wire = wire(2);
        wire.open(&mut Vec::new());
        let _ = wire.receive(&bytes, &mut Vec::new(), &mut Told::default());
    }

    #[test]
    fn sends_are_what_prost_reads(length in 0..20_000_usize, to in prop::option::of("[a-z0-9-]{0,200}"), before in 0..3_u64) {
        let data = "x".repeat(length);
        let mut wire = wire(2);
        for _ in 0..before {
            wire.broadcast(1, b"before", &mut Vec::new());
        }
        let mut out = Vec::new();
        match &to {
            Some(to) => wire.address(1, to.as_bytes(), data.as_bytes(), &mut out),
            None => wire.broadcast(1, data.as_bytes(), &mut out),
        }
        let sent: Vec<proto::JoinRequest> = Sent::read(&out).messages(3);
        let send = proto::SendSignal {
            send_id: before + 1,
            signal: Some(proto::Signal { r#type: String::new(), data }),
            to: to.map(|to| proto::Recipients { connection_ids: vec![to] }),
        };
        prop_assert_eq!(sent, vec![proto::JoinRequest { frame: Some(join_request::Frame::Send(send)) }]);
    }

    #[test]
    fn server_signals_are_what_prost_reads(length in 0..20_000_usize, session in "[a-z0-9-]{0,200}") {
        let data = "x".repeat(length);
        let mut wire = wire(1);
        let mut out = Vec::new();
        for _ in 0..2 {
            wire.server_signal(&session, data.as_bytes(), &mut out);
        }
        let request = proto::SendFromServerRequest {
            session_id: session,
            signal: Some(proto::Signal { r#type: String::new(), data }),
            ..Default::default()
        };
        let sent = Sent::read(&out);
        prop_assert_eq!(sent.messages::<proto::SendFromServerRequest>(3), vec![request.clone()]);
        prop_assert_eq!(sent.messages::<proto::SendFromServerRequest>(5), vec![request]);
        prop_assert_eq!(&sent.ended, &[3, 5]);
    }
}

/// What a client sent.
#[derive(Default)]
struct Sent {
    data: Vec<(u32, Vec<u8>)>,
    ended: Vec<u32>,
    frames: Vec<(Head, Vec<u8>)>,
}

impl Sent {
    fn read(bytes: &[u8]) -> Self {
        let mut sent = Self::default();
        Frames::default().take(bytes, &mut sent).unwrap();
        sent
    }

    /// How much of the windows it took.
    fn bytes(&self) -> usize {
        self.data.iter().map(|(_, part)| part.len()).sum()
    }

    fn messages<M: Message + Default>(&self, stream: u32) -> Vec<M> {
        let (mut all, mut messages) = (Vec::new(), Messages::default());
        for (_, part) in self.data.iter().filter(|(of, _)| *of == stream) {
            messages
                .take(part, |message| {
                    all.push(M::decode(message)?);
                    Ok(())
                })
                .unwrap();
        }
        all
    }
}

impl Sink for Sent {
    fn data(&mut self, stream: u32, part: &[u8], end: bool) -> io::Result<()> {
        assert!(part.len() <= MAX_FRAME);
        self.data.push((stream, part.to_vec()));
        self.ended.extend(end.then_some(stream));
        Ok(())
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> io::Result<()> {
        self.frames.push((head, payload.to_vec()));
        Ok(())
    }
}

#[test]
fn a_connection_opens_with_its_settings_and_its_members() {
    let (mut wire, mut out) = (wire(2), Vec::new());
    wire.open(&mut out);
    let sent = Sent::read(out.strip_prefix(PREFACE).unwrap());
    let kinds: Vec<_> = sent.frames.iter().map(|(head, _)| (head.kind, head.stream)).collect();
    assert_eq!(kinds, [(SETTINGS, 0), (WINDOW_UPDATE, 0), (HEADERS, 1), (HEADERS, 3)]);
    for (stream, session) in [(1, "s0"), (3, "s1")] {
        let join =
            proto::Join { session_id: session.to_owned(), suppress_connection_events: true, ..Default::default() };
        let request = proto::JoinRequest { frame: Some(join_request::Frame::Join(join)) };
        assert_eq!(sent.messages::<proto::JoinRequest>(stream), [request]);
    }
    assert!(sent.ended.is_empty());
}

#[test]
fn sends_stay_within_the_windows() {
    let (mut wire, mut out, mut told) = (wire(1), Vec::new(), Told::default());
    wire.open(&mut out);
    let joining = Sent::read(&out[PREFACE.len()..]).bytes();
    assert_eq!(wire.room(), 65_535 - joining);
    out.clear();
    wire.broadcast(0, &[b'x'; 8_192], &mut out);
    wire.address(0, b"somebody", &[b'x'; 20_000], &mut out);
    wire.server_signal("s", b"x", &mut out);
    // To the byte: a peer gives back what it took, and what is never given back
    // is missing in the end.
    let then = wire.room();
    assert_eq!(then, 65_535 - joining - Sent::read(&out).bytes());
    // More of a stream's window alone lets nothing more be sent.
    let mut more = Vec::new();
    frame(SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0], &mut more);
    wire.receive(&more, &mut out, &mut told).unwrap();
    assert_eq!(wire.room(), then);
    more.clear();
    frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0], &mut more);
    wire.receive(&more, &mut out, &mut told).unwrap();
    assert_eq!(wire.room(), then + 65_536);
}

#[test]
fn members_wait_until_there_is_room_to_join() {
    let (mut wire, mut out) = (wire(6_000), Vec::new());
    wire.open(&mut out);
    let joins = |bytes: &[u8]| Sent::read(bytes).frames.iter().filter(|(head, _)| head.kind == HEADERS).count();
    let first = joins(&out[PREFACE.len()..]);
    assert!(first > 1_000 && first < 6_000, "{first}");
    let mut more = Vec::new();
    frame(SETTINGS, 0, 0, &[], &mut more);
    frame(WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0], &mut more);
    out.clear();
    wire.receive(&more, &mut out, &mut Told::default()).unwrap();
    assert_eq!(first + joins(&out), 6_000);
    // A server that takes fewer streams can't have them all.
    more.clear();
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 3, 232], &mut more);
    let error = wire.receive(&more, &mut out, &mut Told::default()).unwrap_err().to_string();
    assert!(error.contains("1000") && error.contains("6000"), "{error}");
}

#[test]
fn calls_are_answered_in_the_order_of_their_sending() {
    let (mut wire, mut told) = (wire(0), Told::default());
    for _ in 0..3 {
        wire.server_signal("s", b"x", &mut Vec::new());
    }
    let answer = message(&proto::SendFromServerResponse { sequence: 1, ..Default::default() });
    let mut bytes = Vec::new();
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 3], &mut bytes);
    for stream in [3, 1] {
        frame(HEADERS, END_HEADERS, stream, &[0x88], &mut bytes);
        frame(DATA, 0, stream, &answer, &mut bytes);
        if stream == 3 {
            wire.receive(&bytes, &mut Vec::new(), &mut told).unwrap();
            assert_eq!((wire.room(), told.0.len()), (0, 0));
            bytes.clear();
        }
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("grpc-status", "0")]), &mut bytes);
    }
    let refused = [vec![0x88], block(&[("grpc-status", "5"), ("grpc-message", "nobody is in s")])].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, 5, &refused, &mut bytes);
    wire.receive(&bytes, &mut Vec::new(), &mut told).unwrap();
    let refused = "0 answered Err(\"NOT_FOUND: nobody is in s\")";
    assert_eq!(told.0, ["0 answered Ok(())", "0 answered Ok(())", refused]);
    assert!(wire.room() > 0);
}

#[test]
fn other_servers_are_known_as_such() {
    for (bytes, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], "does not speak HTTP/2"),
        (&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 0], "does not speak HTTP/2"),
        (
            &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0, 0, 0, 10, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, b'h', b'i'],
            "ENHANCE_YOUR_CALM hi",
        ),
        (
            &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0, 0, 0, 5, DATA, 0, 0, 0, 0, 1, b'<', b'h', b't', b'm', b'l'],
            "a message is compressed",
        ),
        (
            &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0, 0, 0, 6, DATA, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0xff],
            "no event of signalbox.v1",
        ),
    ] {
        let mut wire = wire(1);
        wire.open(&mut Vec::new());
        let error = wire.receive(bytes, &mut Vec::new(), &mut Told::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let mut wire = wire(1);
    wire.open(&mut Vec::new());
    let mut bytes = Vec::new();
    frame(SETTINGS, 0, 0, &[], &mut bytes);
    frame(HEADERS, END_HEADERS, 1, &[0x8d], &mut bytes);
    let mut told = Told::default();
    wire.receive(&bytes, &mut Vec::new(), &mut told).unwrap();
    assert_eq!(told.0, ["0 ended HTTP status 404: no gRPC server"]);
}
