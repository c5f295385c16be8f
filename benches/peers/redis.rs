//! Redis pub/sub over RESP3, in which a connection that subscribes may publish
//! too: one connection for each member.
//!
//! A session is a channel, a member's address another one. Redis answers each
//! `PUBLISH` with the number of receivers; there is no way to publish without.

use std::{io, net::SocketAddr};

use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

use super::rest::{Rest, line, number, put_number, strange};

#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    /// Whether members subscribe to a channel of their own.
    pub(crate) inboxes: bool,
}

impl Peer for Redis {
    fn name(&self) -> &str {
        "Redis"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        Box::new(RedisWire {
            member: members.first().cloned(),
            inboxes: self.inboxes,
            subscribed: 0,
            rest: Rest::default(),
        })
    }

    fn lacks(&self, work: Capability) -> bool {
        match work {
            Capability::Address => !self.inboxes,
            // A channel reaches a connection once, however many subscribe there.
            Capability::SharedConnection => true,
            // What it does to a client over a limit isn't looked at.
            Capability::Limits => true,
            Capability::Unary => false,
        }
    }
}

struct RedisWire {
    member: Option<Member>,
    inboxes: bool,
    subscribed: usize,
    rest: Rest,
}

fn inbox(member: &Member) -> Vec<u8> {
    let mut name = b"i.".to_vec();
    put_number(member.number, &mut name);
    name
}

fn put_command(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'*');
    put_number(parts.len(), out);
    for part in parts {
        out.extend_from_slice(b"\r\n$");
        put_number(part.len(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

impl Wire for RedisWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        put_command(&[b"HELLO", b"3"], out);
        if let Some(member) = &self.member {
            let inbox = inbox(member);
            let channels: [&[u8]; 3] = [b"SUBSCRIBE", member.session.as_bytes(), &inbox];
            put_command(&channels[..2 + usize::from(self.inboxes)], out);
        }
    }

    fn broadcast(&mut self, _member: usize, payload: &[u8], out: &mut Vec<u8>) {
        if let Some(member) = &self.member {
            put_command(&[b"PUBLISH", member.session.as_bytes(), payload], out);
        }
    }

    fn address(&mut self, _member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        put_command(&[b"PUBLISH", to, payload], out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        put_command(&[b"PUBLISH", session.as_bytes(), payload], out);
    }

    fn receive(&mut self, bytes: &[u8], _out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        let Self { member, inboxes, subscribed, rest } = self;
        rest.feed(bytes, |unread| {
            let Some((head, length)) = line(unread) else { return Ok(0) };
            match head.split_first() {
                Some((b':', _)) => {
                    seen.answered(0, Ok(()));
                    Ok(length)
                }
                Some((b'-', reason)) => Err(strange("an answer of Redis's", reason)),
                Some((b'%', _)) => skip(unread),
                Some((b'>', _)) => {
                    let Some(push) = Push::first(&unread[length..])? else { return Ok(0) };
                    match push.parts {
                        [b"message", _, payload] => seen.signal(0, payload),
                        [b"subscribe", ..] => {
                            *subscribed += 1;
                            if let Some(member) = member.as_ref().filter(|_| *subscribed == 1 + usize::from(*inboxes)) {
                                seen.ready(0, &inbox(member));
                            }
                        }
                        [kind, ..] => return Err(strange("a push of Redis's", kind)),
                    }
                    Ok(length + push.length)
                }
                _ => Err(strange("a line of Redis's", head)),
            }
        })
    }
}

/// What a push brings: three parts, the count that ends a subscription as its
/// digits.
struct Push<'a> {
    parts: [&'a [u8]; 3],
    length: usize,
}

impl<'a> Push<'a> {
    /// The one whose head is just before.
    fn first(unread: &'a [u8]) -> io::Result<Option<Self>> {
        let mut push = Self { parts: [b""; 3], length: 0 };
        for part in &mut push.parts {
            let unread = &unread[push.length..];
            let Some((head, size)) = line(unread) else { return Ok(None) };
            push.length += match head.split_first() {
                Some((b'$', digits)) => {
                    let end = size + number(digits)?;
                    if unread.len() < end + 2 {
                        return Ok(None);
                    }
                    *part = &unread[size..end];
                    end + 2
                }
                Some((b':', digits)) => {
                    *part = digits;
                    size
                }
                _ => return Err(strange("a part of Redis's", head)),
            };
        }
        Ok(Some(push))
    }
}

/// The length of one value of any kind, or 0 when it isn't whole: what `HELLO`
/// answers, which nobody looks at.
fn skip(unread: &[u8]) -> io::Result<usize> {
    let Some((head, mut length)) = line(unread) else { return Ok(0) };
    let Some((kind, digits)) = head.split_first() else { return Err(strange("a value", head)) };
    let values = match kind {
        b'%' => 2 * number(digits)?,
        b'*' | b'~' | b'>' => number(digits)?,
        b'$' => {
            length += number(digits)? + 2;
            return Ok(if length <= unread.len() { length } else { 0 });
        }
        _ => 0,
    };
    for _ in 0..values {
        match skip(&unread[length..])? {
            0 => return Ok(0),
            more => length += more,
        }
    }
    Ok(length)
}
