//! Centrifugo over WebSocket, in its protobuf protocol.
//!
//! A session is a channel, a member's address another one. Centrifugo answers
//! each publication; there is no way to publish without. A backend would use its
//! HTTP or gRPC API; a publication over WebSocket costs it less than either.

use std::{io, net::SocketAddr};

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint};
use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

use super::{
    rest::{put_number, strange},
    websocket::{BINARY, Came, WebSocket, put_message, put_upgrade},
};

/// Fields of its `Command`.
mod command {
    pub(super) const ID: u32 = 1;
    pub(super) const CONNECT: u32 = 4;
    pub(super) const SUBSCRIBE: u32 = 5;
    pub(super) const PUBLISH: u32 = 7;
}

/// Fields of its `Reply`.
mod reply {
    pub(super) const ERROR: u32 = 2;
    pub(super) const PUSH: u32 = 4;
    pub(super) const SUBSCRIBE: u32 = 6;
    pub(super) const PUBLISH: u32 = 8;
}

/// Fields of its `PublishRequest` and `SubscribeRequest`.
const CHANNEL: u32 = 1;
const DATA: u32 = 2;

/// Fields on the way to a signal: `Push.pub` and `Publication.data`.
const PUSH_PUBLICATION: u32 = 4;
const PUBLICATION_DATA: u32 = 4;
const PUSH_DISCONNECT: u32 = 11;

#[derive(Debug)]
pub(crate) struct Centrifugo {
    pub(crate) address: SocketAddr,
    /// Whether members subscribe to a channel of their own.
    pub(crate) inboxes: bool,
}

impl Peer for Centrifugo {
    fn name(&self) -> &str {
        "Centrifugo"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        Box::new(CentrifugoWire {
            member: members.first().cloned(),
            inboxes: self.inboxes,
            // What connects has the first number.
            commands: 1,
            subscribed: 0,
            socket: WebSocket::default(),
            connected: false,
            waiting: Vec::new(),
        })
    }

    fn lacks(&self, work: Capability) -> bool {
        match work {
            Capability::Address => !self.inboxes,
            // A connection subscribes to a channel once.
            Capability::SharedConnection => true,
            // What it does to a client over a limit isn't looked at.
            Capability::Limits => true,
            Capability::Unary => false,
        }
    }
}

struct CentrifugoWire {
    member: Option<Member>,
    inboxes: bool,
    commands: u64,
    subscribed: usize,
    socket: WebSocket,
    connected: bool,
    /// Server signals from before the connection was there.
    waiting: Vec<u8>,
}

fn inbox(member: &Member) -> Vec<u8> {
    let mut name = b"i.".to_vec();
    put_number(member.number, &mut name);
    name
}

fn put_field(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_command(id: u64, field: u32, request: &[u8], out: &mut Vec<u8>) {
    // Every field of ours has a key of one byte.
    let length = 1 + encoded_len_varint(id) + 1 + encoded_len_varint(request.len() as u64) + request.len();
    encode_varint(length as u64, out);
    encode_key(command::ID, WireType::Varint, out);
    encode_varint(id, out);
    put_field(field, request, out);
}

fn put_publication(commands: &mut u64, channel: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let mut request = Vec::with_capacity(channel.len() + payload.len() + 8);
    put_field(CHANNEL, channel, &mut request);
    put_field(DATA, payload, &mut request);
    *commands += 1;
    let mut message = Vec::with_capacity(request.len() + 16);
    put_command(*commands, command::PUBLISH, &request, &mut message);
    put_message(BINARY, &[&message], out);
}

impl Wire for CentrifugoWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        put_upgrade("/connection/websocket", "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n", out);
    }

    fn broadcast(&mut self, _member: usize, payload: &[u8], out: &mut Vec<u8>) {
        if let Some(member) = &self.member {
            put_publication(&mut self.commands, member.session.as_bytes(), payload, out);
        }
    }

    fn address(&mut self, _member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        put_publication(&mut self.commands, to, payload, out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        let out = if self.connected { out } else { &mut self.waiting };
        put_publication(&mut self.commands, session.as_bytes(), payload, out);
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        let Self { member, inboxes, commands, subscribed, socket, connected, waiting } = self;
        socket.receive(bytes, out, |came, out| match came {
            Came::Upgraded => {
                let mut message = Vec::new();
                put_command(1, command::CONNECT, b"", &mut message);
                if let Some(member) = member {
                    let inbox = inboxes.then(|| inbox(member));
                    for channel in [Some(member.session.as_bytes()), inbox.as_deref()].into_iter().flatten() {
                        let mut request = Vec::new();
                        put_field(CHANNEL, channel, &mut request);
                        *commands += 1;
                        put_command(*commands, command::SUBSCRIBE, &request, &mut message);
                    }
                }
                put_message(BINARY, &[&message], out);
                *connected = true;
                out.append(waiting);
                Ok(())
            }
            Came::Message(mut replies) => {
                while !replies.is_empty() {
                    let Some(reply) = take_bytes(&mut replies) else { return Err(strange("a reply", replies)) };
                    if reply.is_empty() {
                        // Its ping, answered by an empty command.
                        put_message(BINARY, &[&[0]], out);
                    }
                    for (field, value) in Fields(reply) {
                        match field {
                            reply::PUSH => push(value, seen)?,
                            reply::PUBLISH => seen.answered(0, Ok(())),
                            reply::SUBSCRIBE => {
                                *subscribed += 1;
                                let wanted = 1 + usize::from(*inboxes);
                                if let Some(member) = member.as_ref().filter(|_| *subscribed == wanted) {
                                    seen.ready(0, &inbox(member));
                                }
                            }
                            reply::ERROR => return Err(strange("success", value)),
                            _ => {}
                        }
                    }
                }
                Ok(())
            }
        })
    }
}

fn push(push: &[u8], seen: &mut dyn Seen) -> io::Result<()> {
    for (field, value) in Fields(push) {
        match field {
            PUSH_PUBLICATION => {
                let data = Fields(value).find(|(field, _)| *field == PUBLICATION_DATA);
                seen.signal(0, data.ok_or_else(|| strange("a publication", push))?.1);
            }
            PUSH_DISCONNECT => seen.ended(0, String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// A message's fields and the bytes of each; numbers have none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (field, kind) = decode_key(&mut self.0).ok()?;
        match kind {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                Some((field, b""))
            }
            WireType::LengthDelimited => Some((field, take_bytes(&mut self.0)?)),
            // The protocol has no others.
            _ => None,
        }
    }
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = decode_varint(from).ok()? as usize;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}
