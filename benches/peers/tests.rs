//! The drivers understand their peer however its bytes are cut, and ratios are
//! made within rounds.

mod centrifugo;
mod floor;
#[path = "../floor/frames.rs"]
mod frames;
#[allow(dead_code, reason = "servers are not started here")]
mod machine;
mod mosquitto;
mod nats;
mod redis;
mod rest;
#[allow(dead_code, reason = "nothing is written here")]
mod results;
#[allow(dead_code, reason = "servers are not started here")]
mod servers;
mod socketio;
mod websocket;
#[allow(dead_code, reason = "nothing is measured here")]
mod works;

use std::net::{Ipv4Addr, SocketAddr};

use signalbox::bench::wire::{Member, Peer, Seen};

use results::{Metric, Results, Row, Sample};
use servers::{Kind, Program};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What a load client saw, as text.
#[derive(Default)]
struct Told(Vec<String>);

impl Seen for Told {
    fn ready(&mut self, member: usize, address: &[u8]) {
        self.0.push(format!("{member} ready at {}", address.escape_ascii()));
    }

    fn signal(&mut self, member: usize, payload: &[u8]) {
        self.0.push(format!("{member} got {}", payload.escape_ascii()));
    }

    fn answered(&mut self, member: usize, outcome: Result<(), String>) {
        self.0.push(format!("{member} answered {outcome:?}"));
    }

    fn ended(&mut self, member: usize, reason: String) {
        self.0.push(format!("{member} ended: {reason}"));
    }
}

/// What a client of one member sees when the server sends `bytes`, in pieces of
/// every size: always the same.
fn told(peer: &dyn Peer, bytes: &[u8]) -> Vec<String> {
    let members = [Member { session: "s".into(), number: 7 }];
    let mut always: Option<(Vec<String>, Vec<u8>)> = None;
    for size in 1..=bytes.len() {
        let (mut wire, mut out, mut told) = (peer.wire(&members), Vec::new(), Told::default());
        wire.open(&mut out);
        for piece in bytes.chunks(size) {
            wire.receive(piece, &mut out, &mut told).unwrap();
        }
        match &always {
            None => always = Some((told.0, out)),
            Some(first) => assert_eq!(*first, (told.0, out), "in pieces of {size}"),
        }
    }
    always.unwrap().0
}

/// What a client of one member sends, once greeted: one signal of each kind.
fn sent(peer: &dyn Peer, greeting: &[u8]) -> Vec<u8> {
    let (mut wire, mut out) = (peer.wire(&[Member { session: "s".into(), number: 7 }]), Vec::new());
    wire.open(&mut out);
    wire.receive(greeting, &mut out, &mut Told::default()).unwrap();
    out.clear();
    wire.broadcast(0, b"one", &mut out);
    wire.address(0, b"i.8", b"two", &mut out);
    wire.server_signal("t", b"three", &mut out);
    out
}

/// A frame as a server sends it: without a mask.
fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    [&[head, body.len() as u8], body].concat()
}

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn nats() {
    let peer = nats::Nats { address: NOWHERE, inboxes: true };
    let bytes = b"INFO {}\r\nPING\r\nPONG\r\nMSG s 0 5\r\nhe\r\no\r\nMSG i.7 1 0\r\n\r\nPONG\r\n";
    assert_eq!(told(&peer, bytes), ["0 ready at i.7", r"0 got he\r\no", "0 got ", "0 answered Ok(())"]);
    assert_eq!(sent(&peer, b""), b"PUB s 3\r\none\r\nPUB i.8 3\r\ntwo\r\nPUB t 5\r\nthree\r\nPING\r\n");
}

#[test]
fn an_error_of_nats_ends_its_connection() {
    let mut wire = nats::Nats { address: NOWHERE, inboxes: false }.wire(&[]);
    let failed = wire.receive(b"-ERR 'no'\r\n", &mut Vec::new(), &mut Told::default());
    assert!(failed.unwrap_err().to_string().contains("-ERR 'no'"));
}

#[test]
fn redis() {
    let peer = redis::Redis { address: NOWHERE, inboxes: true };
    let bytes = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n\
                  >3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$3\r\ni.7\r\n:2\r\n\
                  >3\r\n$7\r\nmessage\r\n$1\r\ns\r\n$5\r\nhe\r\no\r\n:3\r\n";
    assert_eq!(told(&peer, bytes), ["0 ready at i.7", r"0 got he\r\no", "0 answered Ok(())"]);
    assert_eq!(
        sent(&peer, b""),
        b"*3\r\n$7\r\nPUBLISH\r\n$1\r\ns\r\n$3\r\none\r\n*3\r\n$7\r\nPUBLISH\r\n$3\r\ni.8\r\n$3\r\ntwo\r\n\
          *3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$5\r\nthree\r\n"
    );
}

#[test]
fn mosquitto() {
    let peer = mosquitto::Mosquitto { address: NOWHERE, inboxes: true };
    let long = [b'x'; 200];
    let mut bytes = b"\x20\x02\x00\x00\x90\x04\x00\x01\x00\x00\x30\x05\x00\x01she\x40\x02\x00\x01".to_vec();
    bytes.extend_from_slice(b"\x30\xcb\x01\x00\x01s");
    bytes.extend_from_slice(&long);
    assert_eq!(
        told(&peer, &bytes),
        ["0 ready at i/7", "0 got he", "0 answered Ok(())", &format!("0 got {}", long.escape_ascii())]
    );
    assert_eq!(sent(&peer, b""), b"\x30\x06\x00\x01sone\x30\x08\x00\x03i.8two\x32\x0a\x00\x01t\x00\x01three");
}

#[test]
fn socketio() {
    let peer = socketio::SocketIo { address: NOWHERE };
    let mut bytes = UPGRADED.to_vec();
    for message in [r#"0{"sid":"e"}"#, r#"40{"sid":"a-b_c"}"#, "2", r#"42["m","hello"]"#, "430[]"] {
        bytes.extend(frame(0x81, message.as_bytes()));
    }
    assert_eq!(told(&peer, &bytes), ["0 ready at a-b_c", "0 got hello", "0 answered Ok(())"]);
    let masked = |text: &str| [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
    assert_eq!(
        sent(&peer, &bytes),
        [masked(r#"42["b","one"]"#), masked(r#"42["a","i.8","two"]"#), masked(r#"420["s","t","three"]"#)].concat()
    );
}

#[test]
fn a_server_signal_waits_for_the_upgrade() {
    for peer in [
        &socketio::SocketIo { address: NOWHERE } as &dyn Peer,
        &centrifugo::Centrifugo { address: NOWHERE, inboxes: false },
    ] {
        let (mut wire, mut out) = (peer.wire(&[]), Vec::new());
        wire.server_signal("t", b"three", &mut out);
        assert!(out.is_empty());
        wire.receive(UPGRADED, &mut out, &mut Told::default()).unwrap();
        wire.receive(&frame(0x81, br#"40{"sid":"a"}"#), &mut out, &mut Told::default()).unwrap_or_default();
        assert!(out.windows(5).any(|sent| sent == b"three"));
    }
}

#[test]
fn messages_in_fragments_and_between_pings() {
    let peer = socketio::SocketIo { address: NOWHERE };
    let mut bytes = UPGRADED.to_vec();
    bytes.extend(frame(0x01, br#"42["m","#));
    bytes.extend(frame(0x89, b"?"));
    bytes.extend(frame(0x80, br#""hello"]"#));
    assert_eq!(told(&peer, &bytes), ["0 got hello"]);
}

#[test]
fn centrifugo() {
    let peer = centrifugo::Centrifugo { address: NOWHERE, inboxes: true };
    // Replies to connect and both subscriptions in one message, a ping, a
    // publication, and the answer to one.
    let mut bytes = UPGRADED.to_vec();
    bytes.extend(frame(0x82, b"\x04\x08\x01\x2a\x00\x04\x08\x02\x32\x00\x04\x08\x03\x32\x00"));
    bytes.extend(frame(0x82, b"\x00"));
    bytes.extend(frame(0x82, b"\x0e\x22\x0c\x12\x01s\x22\x07\x22\x05hello"));
    bytes.extend(frame(0x82, b"\x04\x08\x04\x42\x00"));
    assert_eq!(told(&peer, &bytes), ["0 ready at i.7", "0 got hello", "0 answered Ok(())"]);
}

#[test]
fn the_floor() {
    let peer = floor::Floor { address: NOWHERE };
    let mut bytes = Vec::new();
    frames::begin(frames::READY, 12, &mut bytes);
    bytes.extend_from_slice(&[0, 0, 0, 0, b'a', b'd', b'd', b'r', b'e', b's', b's', b'.']);
    frames::begin(frames::SIGNAL, frames::SIGNAL_FACTS + 5, &mut bytes);
    bytes.extend_from_slice(&[0; frames::SIGNAL_FACTS]);
    bytes.extend_from_slice(b"hello");
    frames::begin(frames::ANSWER, 0, &mut bytes);
    assert_eq!(told(&peer, &bytes), ["0 ready at address.", "0 got hello", "0 answered Ok(())"]);
}

#[test]
fn a_ratio_is_the_median_of_the_rounds() {
    let sample = |cpu| Some(Sample { cpu: Some(cpu), ..Sample::default() });
    // The second round was slow for both; the third failed for one.
    let ours = vec![sample(1.0), sample(4.0), sample(9.0), sample(3.0)];
    let nats = vec![sample(2.0), sample(8.0), None, sample(3.0)];
    let row = Row { job: works::JOBS[0], samples: vec![(Kind::Signalbox, ours), (Kind::Nats, nats)] };
    assert_eq!(row.ratio(Kind::Signalbox, Kind::Nats, Metric::Cpu), Some(0.5));
    assert_eq!(row.median(Kind::Signalbox, Metric::Cpu), Some(3.5));
    assert_eq!(row.ratio(Kind::Signalbox, Kind::Floor, Metric::Cpu), None);
    assert_eq!(row.median(Kind::Nats, Metric::P99), None);
}

#[test]
fn results_are_read_as_they_were_written() {
    let sample = Sample { cpu: Some(0.25), rate: Some(4e6), ..Sample::default() };
    let row = Row { job: works::JOBS[0], samples: vec![(Kind::Floor, vec![Some(sample), None])] };
    let results = Results {
        machine: "one".into(),
        busy: None,
        taken: "today".into(),
        runs: 2,
        programs: vec![Program::named(Kind::Floor, "1".into())],
        absent: vec!["NATS was not found".into()],
        rows: vec![row],
    };
    let json = results.json();
    assert_eq!(Results::read(&json).unwrap().json(), json);
    assert!(Results::read(&serde_json::json!({})).is_none());
}
