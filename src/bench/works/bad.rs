//! The bad clients of `mixed`: what each does, and what becomes of it.

use std::io;

use crate::bench::{
    drive::{AROUND, session},
    net::{Net, Wrong, nanos},
    report::Fates,
    wire::{Member, Peer},
    work::Mixed,
};

/// How long a slow reader leaves everything in its socket: a flooder in its
/// session overflows its outbox in about a second.
const STALL: u64 = 1_500_000_000;
/// How long it then reads, to learn what became of it.
const LOOK: u64 = 200_000_000;
const NEVER: u64 = u64::MAX;

/// All bad clients of a run.
pub(super) struct Bad<'a> {
    peer: &'a dyn Peer,
    clients: Vec<Client>,
    /// Which client a connection is, by its number; the first is the one after
    /// the good ones'.
    owners: Vec<usize>,
    good: usize,
    flood: Vec<u8>,
    interval: u64,
    pause: u64,
    pub(super) fates: Fates,
}

struct Client {
    kind: Kind,
    member: Member,
    state: State,
    connection: usize,
    /// When it does something next.
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Joins and reads no more.
    Slow,
    /// Sends far over the rate limit.
    Flood,
    /// Sends a message over the limit, and again.
    Oversize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Without a connection.
    Away,
    /// Not in yet.
    Coming,
    In,
    /// In, and reads nothing.
    Stalled,
    /// In, and reads what was left.
    Looking,
    /// Ended by the server.
    Ended,
}

impl<'a> Bad<'a> {
    /// Three to a session, one of each kind: what a slow reader doesn't read is
    /// a flooder's.
    pub(super) fn new(peer: &'a dyn Peer, work: &Mixed, run: &str) -> Self {
        let sessions = work.members.div_ceil(work.per_session);
        let client = |place: usize| Client {
            kind: [Kind::Slow, Kind::Flood, Kind::Oversize][place % 3],
            member: Member { session: session(run, place / 3 % sessions), number: work.members + place },
            state: State::Away,
            connection: 0,
            next: NEVER,
        };
        Self {
            peer,
            clients: (0..work.bad).map(client).collect(),
            owners: Vec::new(),
            good: work.members,
            // No digits: not to be taken for a good one's.
            flood: vec![b'x'; work.flood_size],
            interval: (1e9 / work.flood_rate) as u64,
            pause: nanos(work.pause),
            fates: Fates::default(),
        }
    }

    /// All come.
    pub(super) fn come(&mut self, now: u64) {
        self.clients.iter_mut().for_each(|client| client.next = now);
    }

    /// The slow readers look what became of them, and the others go.
    pub(super) fn look(&mut self, net: &mut Net) -> io::Result<()> {
        for client in &mut self.clients {
            client.next = NEVER;
            match client.state {
                State::Stalled | State::Looking => {
                    net.stall(client.connection, false)?;
                    client.state = State::Looking;
                }
                State::Away => {}
                _ => client.leave(net),
            }
        }
        Ok(())
    }

    /// All are gone.
    pub(super) fn go(&mut self, net: &mut Net) {
        for client in &mut self.clients {
            client.next = NEVER;
            self.fates.slow_kept += u64::from(client.state == State::Looking);
            if client.state != State::Away {
                client.leave(net);
            }
        }
    }

    /// Does what is to be done by now; when the next is.
    pub(super) fn act(&mut self, net: &mut Net, now: u64) -> io::Result<u64> {
        for place in 0..self.clients.len() {
            if self.clients[place].next <= now {
                self.act_one(place, net, now)?;
            }
        }
        Ok(self.clients.iter().map(|client| client.next).min().unwrap_or(NEVER))
    }

    fn act_one(&mut self, place: usize, net: &mut Net, now: u64) -> io::Result<()> {
        let client = &mut self.clients[place];
        let number = client.connection;
        client.next = NEVER;
        match (client.state, client.kind) {
            (State::Away, _) => {
                let mut wire = self.peer.wire(std::slice::from_ref(&client.member));
                let slow = client.kind == Kind::Slow;
                if slow {
                    wire.grant_little();
                }
                client.connection = net.connect_bad(wire, slow)?;
                client.state = State::Coming;
                let owned = client.connection - self.good;
                if self.owners.len() <= owned {
                    self.owners.resize(owned + 1, place);
                }
                self.owners[owned] = place;
            }
            (State::Ended, _) => {
                client.leave(net);
                client.next = now + self.pause;
            }
            (State::In, Kind::Flood) => {
                // One that can't keep up sends no more for it afterwards.
                client.next = now + self.interval;
                if net.room(number) >= self.flood.len() + AROUND {
                    net.send(number, |wire, out| wire.broadcast(0, &self.flood, out));
                    self.fates.floods += 1;
                }
            }
            (State::In, Kind::Oversize) => net.send(number, |wire, out| wire.oversize(0, out)),
            (State::In | State::Looking, Kind::Slow) => {
                self.fates.slow_kept += u64::from(client.state == State::Looking);
                net.stall(number, true)?;
                (client.state, client.next) = (State::Stalled, now + STALL);
            }
            (State::Stalled, _) => {
                net.stall(number, false)?;
                (client.state, client.next) = (State::Looking, now + LOOK);
            }
            (State::Coming | State::Looking, _) => {}
        }
        Ok(())
    }

    /// The client of a connection; none: it is a good one's.
    fn client(&mut self, connection: usize) -> Option<&mut Client> {
        let place = *self.owners.get(connection.checked_sub(self.good)?)?;
        Some(&mut self.clients[place])
    }

    /// Whether a connection that is in is one of these.
    pub(super) fn ready(&mut self, connection: usize, at: u64) -> bool {
        let Some(client) = self.client(connection) else { return false };
        (client.state, client.next) = (State::In, at);
        self.fates.joins += 1;
        true
    }

    /// A connection's signal was taken.
    pub(super) fn answered(&mut self, connection: usize) {
        let flood = self.client(connection).is_some_and(|client| client.kind == Kind::Flood);
        self.fates.floods_taken += u64::from(flood);
    }

    /// What the server did is as it should be, for a bad client; else it is
    /// given back.
    pub(super) fn wrong(&mut self, connection: usize, what: Wrong) -> Option<Wrong> {
        let Some(client) = self.client(connection) else { return Some(what) };
        let kind = client.kind;
        if let Wrong::Ended(_) = what {
            (client.state, client.next) = (State::Ended, 0);
        }
        let fates = &mut self.fates;
        let fate = match (kind, &what) {
            (Kind::Flood, Wrong::Refused(why)) if why.starts_with("RATE_LIMITED") => &mut fates.floods_refused,
            (Kind::Oversize, Wrong::Ended(why)) if why.contains("FRAME_INVALID") => &mut fates.oversize_ended,
            (Kind::Slow, Wrong::Ended(why)) if why.contains("SLOW_CONSUMER") => &mut fates.slow_ended,
            _ => &mut fates.other,
        };
        *fate += 1;
        None
    }

    /// A connection is gone, without a word.
    pub(super) fn lost(&mut self, connection: usize, now: u64) {
        let pause = self.pause;
        let Some(client) = self.client(connection) else { return };
        let told = client.state == State::Ended;
        (client.state, client.next) = (State::Away, now + pause);
        self.fates.other += u64::from(!told);
    }
}

impl Client {
    fn leave(&mut self, net: &mut Net) {
        net.close(self.connection);
        self.state = State::Away;
    }
}
