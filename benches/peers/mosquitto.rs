//! Mosquitto over MQTT 3.1.1.
//!
//! A session is a topic, a member's address another one. Signals are of QoS 0,
//! which nobody acknowledges; a server signal is of QoS 1, whose acknowledgement
//! is its answer, and reaches the subscribers with their QoS, 0.

use std::{io, net::SocketAddr};

use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

use super::rest::{Rest, put_number, strange};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

#[derive(Debug)]
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    /// Whether members subscribe to a topic of their own.
    pub(crate) inboxes: bool,
}

impl Peer for Mosquitto {
    fn name(&self) -> &str {
        "Mosquitto"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        Box::new(MqttWire { member: members.first().cloned(), inboxes: self.inboxes, packet: 0, rest: Rest::default() })
    }

    fn lacks(&self, work: Capability) -> bool {
        match work {
            Capability::Address => !self.inboxes,
            // A topic reaches a connection once, however many subscribe there.
            Capability::SharedConnection => true,
            // What it does to a client over a limit isn't looked at.
            Capability::Limits => true,
            Capability::Unary => false,
        }
    }
}

struct MqttWire {
    member: Option<Member>,
    inboxes: bool,
    packet: u16,
    rest: Rest,
}

fn inbox(member: &Member) -> Vec<u8> {
    let mut name = b"i/".to_vec();
    put_number(member.number, &mut name);
    name
}

fn put_head(kind: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push(kind);
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn put_publish(topic: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    put_head(PUBLISH, 2 + topic.len() + payload.len(), out);
    put_text(topic, out);
    out.extend_from_slice(payload);
}

impl Wire for MqttWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        // A clean session, no time-out, and an id of the server's choice.
        let connect = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
        put_head(CONNECT, connect.len(), out);
        out.extend_from_slice(connect);
        if let Some(member) = &self.member {
            let mut body = vec![0, 1];
            put_text(member.session.as_bytes(), &mut body);
            body.push(0);
            if self.inboxes {
                put_text(&inbox(member), &mut body);
                body.push(0);
            }
            put_head(SUBSCRIBE, body.len(), out);
            out.extend_from_slice(&body);
        }
    }

    fn broadcast(&mut self, _member: usize, payload: &[u8], out: &mut Vec<u8>) {
        if let Some(member) = &self.member {
            put_publish(member.session.as_bytes(), payload, out);
        }
    }

    fn address(&mut self, _member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        put_publish(to, payload, out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        put_head(PUBLISH_QOS_1, 4 + session.len() + payload.len(), out);
        put_text(session.as_bytes(), out);
        out.extend_from_slice(&self.packet.to_be_bytes());
        out.extend_from_slice(payload);
    }

    fn receive(&mut self, bytes: &[u8], _out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        let Self { member, rest, .. } = self;
        rest.feed(bytes, |unread| {
            let Some((kind, body, length)) = packet(unread) else { return Ok(0) };
            match (kind & 0xf0, body) {
                (CONNACK, [_, 0]) => {}
                (PUBLISH, [high, low, rest @ ..]) => {
                    let topic = usize::from(u16::from_be_bytes([*high, *low]));
                    let payload = rest.get(topic..).ok_or_else(|| strange("a publication", body))?;
                    seen.signal(0, payload);
                }
                (SUBACK, _) => {
                    if let Some(member) = member {
                        seen.ready(0, &inbox(member));
                    }
                }
                (PUBACK, _) => seen.answered(0, Ok(())),
                _ => return Err(strange("a packet of MQTT", &unread[..length])),
            }
            Ok(length)
        })
    }
}

/// The first packet: its kind, what follows its head, and its whole length.
fn packet(unread: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&kind, rest) = unread.split_first()?;
    let (mut length, mut place) = (0, 0);
    loop {
        let byte = *rest.get(place)?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        place += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = rest.get(place..place + length)?;
    Some((kind, body, 1 + place + length))
}
