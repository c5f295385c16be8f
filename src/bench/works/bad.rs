//! The bad clients of `mixed`: what each does, and what becomes of it.
//!
//! They are driven on a thread of their own, whose turn comes after that of the
//! one that measures: what they do must not be what it waits for.

use std::{
    io,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread::{self, Scope, ScopedJoinHandle},
};

use mio::Waker;

use crate::bench::{
    drive::{AROUND, session},
    net::{Net, Sight, Wrong, nanos},
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
/// How long the thread waits at most for something to do, before it looks.
const LONGEST: u64 = 1_000_000_000;

/// The bad clients of a run, on their thread.
pub(super) struct Crowd<'scope> {
    orders: Option<Sender<Order>>,
    waker: Waker,
    thread: Option<ScopedJoinHandle<'scope, io::Result<Fates>>>,
}

/// What the bad clients are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All come.
    Come,
    /// The slow readers look what became of them, and the others go.
    Look,
    /// All are gone.
    Go,
}

impl<'scope> Crowd<'scope> {
    /// The bad clients of a work, none there yet.
    pub(super) fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        peer: &'env dyn Peer,
        work: &Mixed,
        run: &str,
    ) -> io::Result<Self> {
        let mut net = Net::new(peer.address())?;
        let waker = net.waker()?;
        let (orders, told) = channel();
        let mut bad = Bad::new(peer, work, run);
        let thread = thread::Builder::new().name("bad clients".to_owned()).spawn_scoped(scope, move || {
            give_way();
            bad.follow(&mut net, &told)?;
            Ok(bad.fates)
        })?;
        Ok(Self { orders: Some(orders), waker, thread: Some(thread) })
    }

    /// Has them do something, at once. What went wrong with them meanwhile is
    /// told at the end.
    pub(super) fn order(&self, order: Order) -> io::Result<()> {
        // Where nobody is left to hear it, the end tells why.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
        self.waker.wake()
    }

    /// Whether they are there no more, which is not to be.
    pub(super) fn failed(&self) -> bool {
        self.thread.as_ref().is_none_or(ScopedJoinHandle::is_finished)
    }

    /// Ends them; what became of them.
    pub(super) fn end(mut self) -> io::Result<Fates> {
        self.finish().unwrap_or_else(|| Ok(Fates::default()))
    }

    fn finish(&mut self) -> Option<io::Result<Fates>> {
        self.orders = None;
        let _ = self.waker.wake();
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err(io::Error::other("the thread of the bad clients panicked"))))
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Makes the calling thread one that runs only while no other wants its CPU. Both
/// may be refused, and `chrt` (of util-linux) may not be there: then it is only
/// less apart, which the lateness of the thread that measures shows.
fn give_way() {
    const LEAST_URGENT: i32 = 19;
    let _ = rustix::process::setpriority_process(None, LEAST_URGENT);
    // Niceness alone lets it end what it is at: 0.2 ms, in one signal of a hundred.
    // SCHED_IDLE doesn't, and only a program can set it for code without `unsafe`.
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut chrt = Command::new("chrt");
    chrt.args(["--idle", "--pid", "0", &thread]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = chrt.status();
}

/// All bad clients of a run.
struct Bad<'a> {
    peer: &'a dyn Peer,
    clients: Vec<Client>,
    /// Which client a connection is, by its number.
    owners: Vec<usize>,
    flood: Vec<u8>,
    interval: u64,
    pause: u64,
    fates: Fates,
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
    fn new(peer: &'a dyn Peer, work: &Mixed, run: &str) -> Self {
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
            // No digits: not to be taken for a good one's.
            flood: vec![b'x'; work.flood_size],
            interval: (1e9 / work.flood_rate) as u64,
            pause: nanos(work.pause),
            fates: Fates::default(),
        }
    }

    /// Does as it is told, until nobody tells it anything more.
    fn follow(&mut self, net: &mut Net, orders: &Receiver<Order>) -> io::Result<()> {
        loop {
            match orders.try_recv() {
                Ok(Order::Come) => self.clients.iter_mut().for_each(|client| client.next = 0),
                Ok(Order::Look) => self.look(net)?,
                Ok(Order::Go) => self.go(net),
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {
                    let next = self.act(net, net.now())?;
                    net.flush()?;
                    net.turn(next.min(net.now() + LONGEST), self)?;
                }
            }
        }
    }

    fn look(&mut self, net: &mut Net) -> io::Result<()> {
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

    fn go(&mut self, net: &mut Net) {
        for client in &mut self.clients {
            client.next = NEVER;
            self.fates.slow_kept += u64::from(client.state == State::Looking);
            if client.state != State::Away {
                client.leave(net);
            }
        }
    }

    /// Does what is to be done by now; when the next is.
    fn act(&mut self, net: &mut Net, now: u64) -> io::Result<u64> {
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
                if self.owners.len() <= client.connection {
                    self.owners.resize(client.connection + 1, place);
                }
                self.owners[client.connection] = place;
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

    fn client(&mut self, connection: usize) -> &mut Client {
        &mut self.clients[self.owners[connection]]
    }
}

impl Sight for Bad<'_> {
    fn ready(&mut self, connection: usize, _: usize, _: &[u8], at: u64) {
        let client = self.client(connection);
        (client.state, client.next) = (State::In, at);
        self.fates.joins += 1;
    }

    fn signal(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn answered(&mut self, connection: usize, _: usize, _: u64) {
        let flood = self.client(connection).kind == Kind::Flood;
        self.fates.floods_taken += u64::from(flood);
    }

    /// What the server did is as it should be.
    fn wrong(&mut self, connection: usize, what: Wrong) -> Option<Wrong> {
        let client = self.client(connection);
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
    fn lost(&mut self, connection: usize, at: u64) {
        let pause = self.pause;
        let client = self.client(connection);
        let told = client.state == State::Ended;
        (client.state, client.next) = (State::Away, at + pause);
        self.fates.other += u64::from(!told);
    }
}

impl Client {
    fn leave(&mut self, net: &mut Net) {
        net.close(self.connection);
        self.state = State::Away;
    }
}
