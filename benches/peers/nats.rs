//! NATS over its text protocol.
//!
//! A session is a subject; a member's address is a subject of its own, which it
//! subscribes to only for work that addresses members. Nothing is acknowledged
//! (`verbose` off). A server signal is `PUB` and `PING`: the `PONG` says that the
//! publication was handled, as NATS's clients do to flush.

use std::{io, net::SocketAddr};

use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

use super::rest::{Rest, line, number, put_number, strange};

#[derive(Debug)]
pub(crate) struct Nats {
    pub(crate) address: SocketAddr,
    /// Whether members subscribe to a subject of their own.
    pub(crate) inboxes: bool,
}

impl Peer for Nats {
    fn name(&self) -> &str {
        "NATS"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        Box::new(NatsWire { members: members.to_vec(), inboxes: self.inboxes, joined: false, rest: Rest::default() })
    }

    fn lacks(&self, work: Capability) -> bool {
        work == Capability::Limits || work == Capability::Address && !self.inboxes
    }
}

struct NatsWire {
    members: Vec<Member>,
    inboxes: bool,
    joined: bool,
    rest: Rest,
}

fn put_inbox(member: &Member, out: &mut Vec<u8>) {
    out.extend_from_slice(b"i.");
    put_number(member.number, out);
}

/// Subscriptions are numbered so that the number gives the member: two each.
fn put_sub(subject: &[u8], id: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    put_number(id, out);
    out.extend_from_slice(b"\r\n");
}

fn put_pub(subject: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    put_number(payload.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

impl Wire for NatsWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"echo\":true,\
              \"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}\r\n",
        );
        let mut subject = Vec::new();
        for (place, member) in self.members.iter().enumerate() {
            put_sub(member.session.as_bytes(), 2 * place, out);
            if self.inboxes {
                subject.clear();
                put_inbox(member, &mut subject);
                put_sub(&subject, 2 * place + 1, out);
            }
        }
        out.extend_from_slice(b"PING\r\n");
    }

    fn broadcast(&mut self, member: usize, payload: &[u8], out: &mut Vec<u8>) {
        put_pub(self.members[member].session.as_bytes(), payload, out);
    }

    fn address(&mut self, _member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        put_pub(to, payload, out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        put_pub(session.as_bytes(), payload, out);
        out.extend_from_slice(b"PING\r\n");
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        let Self { members, joined, rest, .. } = self;
        rest.feed(bytes, |unread| take(unread, members, joined, out, seen))
    }
}

fn take(
    unread: &[u8],
    members: &[Member],
    joined: &mut bool,
    out: &mut Vec<u8>,
    seen: &mut dyn Seen,
) -> io::Result<usize> {
    let Some((head, length)) = line(unread) else { return Ok(0) };
    if let Some(facts) = head.strip_prefix(b"MSG ") {
        // MSG subject id size
        let mut facts = facts.rsplit(|&byte| byte == b' ');
        let (Some(size), Some(id)) = (facts.next(), facts.next()) else { return Err(strange("a message", head)) };
        let (size, member) = (number(size)?, number(id)? / 2);
        let Some(payload) = unread.get(length..length + size + 2) else { return Ok(0) };
        seen.signal(member, &payload[..size]);
        return Ok(length + size + 2);
    }
    if head == b"PONG" {
        // The first answers what joining ended with, later ones server signals.
        if *joined {
            seen.answered(0, Ok(()));
        }
        for (place, member) in members.iter().enumerate().filter(|_| !*joined) {
            let mut address = Vec::new();
            put_inbox(member, &mut address);
            seen.ready(place, &address);
        }
        *joined = true;
    } else if head == b"PING" {
        out.extend_from_slice(b"PONG\r\n");
    } else if !head.starts_with(b"INFO ") && head != b"+OK" {
        return Err(strange("a line of NATS", head));
    }
    Ok(length)
}
