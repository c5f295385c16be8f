//! How a load client speaks to a peer: the bytes it sends, and what it makes of
//! those that come back.
//!
//! One [`Wire`] is one TCP connection. It does no I/O and keeps no clock, so
//! that the same load runs against every peer, each over its own protocol. It
//! decodes only what the load must know.

use std::{io, net::SocketAddr};

/// A server to put load on. Some works have a thread more that calls it.
pub trait Peer: Sync {
    /// What tables call it.
    fn name(&self) -> &str;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// A connection that carries these members.
    fn wire(&self, members: &[Member]) -> Box<dyn Wire>;

    /// What this peer has no counterpart of; the load leaves it out.
    fn lacks(&self, work: Capability) -> bool {
        let _ = work;
        false
    }
}

/// What not every peer can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Addressing one member of a session.
    Address,
    /// A signal from a backend, answered.
    Unary,
    /// Many members on one connection.
    SharedConnection,
    /// Limits to what one client may do, told to it when it is over them.
    Limits,
}

/// One member of one session (a subscriber of one topic, for other peers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The session (topic, channel).
    pub session: String,
    /// A number of its own within the run; names its inbox where a peer has no
    /// addresses of its own.
    pub number: usize,
}

/// What a load client sees. Members are named by their place in the list that
/// the [`Wire`] was made with.
pub trait Seen {
    /// A member is in and receives. `address` is what [`Wire::address`] takes.
    fn ready(&mut self, member: usize, address: &[u8]);

    /// A signal reached a member. Only `payload` as it was sent.
    fn signal(&mut self, member: usize, payload: &[u8]);

    /// The peer took a member's send, or answered a unary call, in the order
    /// they were sent. Peers that don't answer sends never call it.
    fn answered(&mut self, member: usize, outcome: Result<(), String>);

    /// The peer ended this member, or asks it to go.
    fn ended(&mut self, member: usize, reason: String);
}

/// One connection of a load client.
pub trait Wire: Send {
    /// What to send first, once the TCP connection is there: greeting and
    /// joining of every member.
    fn open(&mut self, out: &mut Vec<u8>);

    /// A signal of a member's to everyone in its session. `payload` is ASCII
    /// without quotes and backslashes.
    fn broadcast(&mut self, member: usize, payload: &[u8], out: &mut Vec<u8>);

    /// A signal of a member's to one other, named by the address that it was
    /// [`Seen::ready`] with.
    fn address(&mut self, member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>);

    /// A signal from a backend to everyone in a session, answered by
    /// [`Seen::answered`] for member 0. A connection without members does it.
    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>);

    /// Makes a connection, before it is opened, one that grants the peer no more
    /// than a client of its protocol usually does: what it doesn't read then waits
    /// at the peer. Asked only of peers that have [`Capability::Limits`].
    fn grant_little(&mut self) {}

    /// A message of a member's that is over what the peer takes, whole. Asked
    /// only of peers that have [`Capability::Limits`].
    fn oversize(&mut self, member: usize, out: &mut Vec<u8>) {
        let _ = (member, out);
    }

    /// Takes what came. All of `bytes` is consumed: what is no whole message
    /// yet is kept. What must be answered at once (acknowledgements, pongs) is
    /// put in `out`.
    ///
    /// # Errors
    /// What came is not the peer's protocol, or the peer ended the connection.
    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()>;

    /// How many more bytes of signals the peer lets be sent now; sends wait
    /// while it is less than they need.
    fn room(&self) -> usize {
        usize::MAX
    }
}
