//! Who is in which session, and what waits to be written to whom.
//!
//! What one round of readiness brings is collected: per session, encoded once,
//! and per connection for what only one gets. [`Hub::flush`] then makes one
//! write per receiver. A session's batch is written from where it lies; a
//! receiver whose socket is full keeps a reference to it and no copy.

use std::{
    collections::{HashMap, VecDeque},
    io::IoSlice,
    mem,
    os::fd::OwnedFd,
    rc::Rc,
};

use rustix::io::{Errno, write, writev};
use slab::Slab;

use super::frames;

/// Buffers kept for the next round; more would only hold memory.
const SPARE_BUFFERS: usize = 64;
/// Pieces in one `writev`.
const PIECES: usize = 64;

/// One TCP connection. An idle one owns no buffer.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// The beginning of a frame whose end has not come.
    pub(crate) unread: Vec<u8>,
    /// What this round has for it alone.
    out: Vec<u8>,
    /// What its socket did not take yet.
    queue: VecDeque<Piece>,
    members: Vec<u32>,
}

struct Piece {
    bytes: Rc<Vec<u8>>,
    written: usize,
}

struct Member {
    connection: u32,
    /// Its place in [`Connection::members`].
    place: u32,
    session: u32,
    /// Its place in [`Session::members`].
    seat: u32,
}

struct Session {
    name: Vec<u8>,
    members: Vec<u32>,
    sequence: u64,
    batch: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) connections: Slab<Connection>,
    members: Slab<Member>,
    sessions: Slab<Session>,
    by_name: HashMap<Vec<u8>, u32>,
    sessions_to_flush: Vec<u32>,
    connections_to_flush: Vec<u32>,
    broken: Vec<u32>,
    spare: Vec<Vec<u8>>,
    /// The time that this round's signals carry.
    pub(crate) now: u64,
}

impl Hub {
    pub(crate) fn connect(&mut self, socket: OwnedFd) -> usize {
        self.connections.insert(Connection {
            socket,
            unread: Vec::new(),
            out: Vec::new(),
            queue: VecDeque::new(),
            members: Vec::new(),
        })
    }

    pub(crate) fn disconnect(&mut self, connection: usize) {
        let Some(gone) = self.connections.try_remove(connection) else { return };
        for member in gone.members {
            let Member { session, seat, .. } = self.members.remove(member as usize);
            let members = &mut self.sessions[session as usize].members;
            members.swap_remove(seat as usize);
            if let Some(&moved) = members.get(seat as usize) {
                self.members[moved as usize].seat = seat;
            } else if members.is_empty() {
                let Session { name, .. } = self.sessions.remove(session as usize);
                self.by_name.remove(&name);
            }
        }
    }

    /// Acts on a frame. What is not the protocol is `None`.
    pub(crate) fn take(&mut self, connection: usize, kind: u8, body: &[u8]) -> Option<()> {
        match kind {
            frames::JOIN => self.join(connection, body),
            frames::BROADCAST => {
                let (member, payload) = self.sender(connection, body)?;
                let session = self.members[member as usize].session;
                self.broadcast(session, u64::from(member), payload);
            }
            frames::ADDRESS => {
                let (member, rest) = self.sender(connection, body)?;
                let (&to, payload) = rest.split_first_chunk()?;
                self.address(u64::from(member), u64::from_le_bytes(to), payload);
            }
            frames::SERVER_SIGNAL => {
                let (&length, rest) = body.split_first()?;
                let (name, payload) = rest.split_at_checked(usize::from(length))?;
                if let Some(&session) = self.by_name.get(name) {
                    self.broadcast(session, u64::MAX, payload);
                }
                frames::begin(frames::ANSWER, 0, self.out(connection));
            }
            _ => return None,
        }
        Some(())
    }

    fn join(&mut self, connection: usize, name: &[u8]) {
        let session = match self.by_name.get(name) {
            Some(&session) => session,
            None => {
                let name = name.to_vec();
                let session = self.sessions.insert(Session {
                    name: name.clone(),
                    members: Vec::new(),
                    sequence: 0,
                    batch: Vec::new(),
                }) as u32;
                self.by_name.insert(name, session);
                session
            }
        };
        let place = self.connections[connection].members.len() as u32;
        let seat = self.sessions[session as usize].members.len() as u32;
        let member = self.members.insert(Member { connection: connection as u32, place, session, seat });
        self.sessions[session as usize].members.push(member as u32);
        let members = &mut self.connections[connection].members;
        // Most connections carry one member; the vector's own first step is four.
        members.reserve_exact(usize::from(members.is_empty()));
        members.push(member as u32);
        let out = self.out(connection);
        frames::begin(frames::READY, 12, out);
        out.extend_from_slice(&place.to_le_bytes());
        out.extend_from_slice(&(member as u64).to_le_bytes());
    }

    fn sender<'a>(&self, connection: usize, body: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (&place, rest) = body.split_first_chunk()?;
        let member = self.connections[connection].members.get(u32::from_le_bytes(place) as usize)?;
        Some((*member, rest))
    }

    fn broadcast(&mut self, session: u32, from: u64, payload: &[u8]) {
        let to = &mut self.sessions[session as usize];
        if to.batch.is_empty() {
            self.sessions_to_flush.push(session);
            to.batch = self.spare.pop().unwrap_or_default();
        }
        to.sequence += 1;
        put_signal(0, from, to.sequence, self.now, payload, &mut to.batch);
    }

    fn address(&mut self, from: u64, to: u64, payload: &[u8]) {
        // Whoever left gets nothing, and nobody is told: this is the floor.
        let Some(&Member { connection, place, session, .. }) = self.members.get(to as usize) else { return };
        let sequence = &mut self.sessions[session as usize].sequence;
        *sequence += 1;
        let (sequence, now) = (*sequence, self.now);
        put_signal(place, from, sequence, now, payload, self.out(connection as usize));
    }

    /// What this round has for one connection alone.
    fn out(&mut self, connection: usize) -> &mut Vec<u8> {
        let out = &mut self.connections[connection].out;
        if out.is_empty() {
            self.connections_to_flush.push(connection as u32);
            if out.capacity() == 0 {
                *out = self.spare.pop().unwrap_or_default();
            }
        }
        out
    }

    /// Writes what the round has brought.
    pub(crate) fn flush(&mut self) {
        let mut sessions = mem::take(&mut self.sessions_to_flush);
        for session in sessions.drain(..) {
            self.flush_session(session);
        }
        self.sessions_to_flush = sessions;
        let mut connections = mem::take(&mut self.connections_to_flush);
        for connection in connections.drain(..) {
            let Some(to) = self.connections.get_mut(connection as usize) else { continue };
            let bytes = Rc::new(mem::take(&mut to.out));
            if to.write(&bytes).is_err() {
                self.broken.push(connection);
            }
            self.recycle(bytes);
        }
        self.connections_to_flush = connections;
        while let Some(connection) = self.broken.pop() {
            self.disconnect(connection as usize);
        }
    }

    fn flush_session(&mut self, session: u32) {
        let Some(to) = self.sessions.get_mut(session as usize) else { return };
        let batch = Rc::new(mem::take(&mut to.batch));
        for &member in &to.members {
            let Member { connection, place, .. } = self.members[member as usize];
            let receiver = &mut self.connections[connection as usize];
            if receiver.members.len() == 1 {
                if receiver.write(&batch).is_err() {
                    self.broken.push(connection);
                }
            } else {
                // On a shared connection each member's frames bear its place.
                if receiver.out.is_empty() {
                    self.connections_to_flush.push(connection);
                }
                put_for(place, &batch, &mut receiver.out);
            }
        }
        self.recycle(batch);
    }

    /// Keeps a buffer that nobody waits for any more.
    fn recycle(&mut self, bytes: Rc<Vec<u8>>) {
        if self.spare.len() < SPARE_BUFFERS
            && let Ok(mut buffer) = Rc::try_unwrap(bytes)
        {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Connection {
    fn write(&mut self, bytes: &Rc<Vec<u8>>) -> Result<(), Errno> {
        let written = if self.queue.is_empty() {
            match write(&self.socket, bytes) {
                Err(Errno::AGAIN) => 0,
                written => written?,
            }
        } else {
            0
        };
        if written < bytes.len() {
            self.queue.push_back(Piece { bytes: bytes.clone(), written });
        }
        Ok(())
    }

    /// Goes on where the socket was full.
    pub(crate) fn go_on(&mut self) -> Result<(), Errno> {
        while !self.queue.is_empty() {
            let pieces: Vec<_> =
                self.queue.iter().take(PIECES).map(|piece| IoSlice::new(&piece.bytes[piece.written..])).collect();
            let mut written = match writev(&self.socket, &pieces) {
                Err(Errno::AGAIN) => return Ok(()),
                written => written?,
            };
            while let Some(piece) = self.queue.front_mut() {
                let left = piece.bytes.len() - piece.written;
                if written < left {
                    piece.written += written;
                    break;
                }
                written -= left;
                self.queue.pop_front();
            }
        }
        // What a burst made it grow to is not kept while it idles.
        self.queue = VecDeque::new();
        Ok(())
    }
}

fn put_signal(member: u32, from: u64, sequence: u64, time: u64, payload: &[u8], out: &mut Vec<u8>) {
    frames::begin(frames::SIGNAL, frames::SIGNAL_FACTS + payload.len(), out);
    out.extend_from_slice(&member.to_le_bytes());
    out.extend_from_slice(&[0; 28]);
    out.extend_from_slice(&from.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&time.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Puts a batch made for the first member of a connection as another's.
fn put_for(place: u32, batch: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(batch);
    let mut copy = &mut out[begin..];
    while let Some((_, _, size)) = frames::first(copy) {
        let (frame, rest) = copy.split_at_mut(size);
        frame[5..9].copy_from_slice(&place.to_le_bytes());
        copy = rest;
    }
}
