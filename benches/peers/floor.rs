//! The floor, over the frames of its own.

use std::{io, net::SocketAddr};

use signalbox::bench::wire::{Member, Peer, Seen, Wire};

use super::{
    frames,
    rest::{Rest, strange},
};

#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) address: SocketAddr,
}

impl Peer for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        let sessions = members.iter().map(|member| member.session.clone()).collect();
        Box::new(FloorWire { sessions, rest: Rest::default() })
    }
}

struct FloorWire {
    sessions: Vec<String>,
    rest: Rest,
}

impl Wire for FloorWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        for session in &self.sessions {
            frames::begin(frames::JOIN, session.len(), out);
            out.extend_from_slice(session.as_bytes());
        }
    }

    fn broadcast(&mut self, member: usize, payload: &[u8], out: &mut Vec<u8>) {
        frames::begin(frames::BROADCAST, 4 + payload.len(), out);
        out.extend_from_slice(&(member as u32).to_le_bytes());
        out.extend_from_slice(payload);
    }

    fn address(&mut self, member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        frames::begin(frames::ADDRESS, 4 + to.len() + payload.len(), out);
        out.extend_from_slice(&(member as u32).to_le_bytes());
        out.extend_from_slice(to);
        out.extend_from_slice(payload);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        frames::begin(frames::SERVER_SIGNAL, 1 + session.len() + payload.len(), out);
        out.push(session.len() as u8);
        out.extend_from_slice(session.as_bytes());
        out.extend_from_slice(payload);
    }

    fn receive(&mut self, bytes: &[u8], _out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        self.rest.feed(bytes, |unread| {
            let Some((kind, body, length)) = frames::first(unread) else { return Ok(0) };
            let member = || Some(u32::from_le_bytes(*body.first_chunk()?) as usize);
            match (kind, member()) {
                (frames::SIGNAL, Some(member)) if body.len() >= frames::SIGNAL_FACTS => {
                    seen.signal(member, &body[frames::SIGNAL_FACTS..]);
                }
                (frames::READY, Some(member)) => seen.ready(member, &body[4..]),
                (frames::ANSWER, _) => seen.answered(0, Ok(())),
                _ => return Err(strange("a frame of the floor's", &unread[..length])),
            }
            Ok(length)
        })
    }
}
