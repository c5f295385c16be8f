//! `fanout`: signals to everyone in a session.

use std::io;

use hdrhistogram::Histogram;

use super::{before, counted, not_ours};
use crate::bench::{
    drive::{AROUND, Load, Schedule, enter, run_name, session, timed},
    histogram::{Latencies, empty},
    net::{Net, Sight},
    options::Options,
    payload::{Payload, due},
    report::{Report, Unit},
    wire::{Member, Peer},
    work::{Fanout, Pace, Work},
};

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Fanout, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let name = run_name();
    let groups: Vec<_> = (0..work.sessions * work.receivers)
        .map(|number| vec![Member { session: session(&name, number / work.receivers), number }])
        .collect();
    enter(&mut net, peer, &groups, options)?;
    let mut load = Fan::new(work);
    let cost = timed(&mut net, &mut load, options, before)?;
    if let Some(other) = load.other {
        return Err(other);
    }
    let cost = counted(load.delivered, cost)?;
    let mut report = Report::new(peer, &Work::Fanout(work.clone()), Unit::Delivery, load.delivered, cost);
    report.sends = Some(load.delivered / work.receivers as u64);
    report.latencies = Some(match work.pace {
        Pace::InFlight(most) => {
            let sends = load.delivered / work.receivers as u64;
            Latencies::closed(load.latencies, most * work.sessions, cost.seconds, sends)
        }
        Pace::Rate(_) => Latencies::open(load.latencies),
    });
    Ok(report)
}

struct Fan {
    receivers: usize,
    senders: usize,
    payload: Payload,
    pace: Pacing,
    sessions: Vec<Session>,
    places: Vec<Place>,
    /// Sessions that may send again.
    hungry: Vec<usize>,
    delivered: u64,
    latencies: Histogram<u64>,
    other: Option<io::Error>,
}

enum Pacing {
    /// At most this many of a session in flight.
    Closed(u64),
    Open(Schedule),
}

/// A session, all of whose members get its signals in one order: what its n-th
/// is need not be read, only how many a member has had.
struct Session {
    sent: u64,
    /// Signals that all its members have.
    complete: u64,
    /// Of each in flight, by its number: how many members lack it.
    lacking: Box<[u32]>,
    hungry: bool,
}

/// A connection's session, and how many signals it has had.
#[derive(Clone)]
struct Place {
    session: u32,
    had: u64,
}

impl Fan {
    fn new(work: &Fanout) -> Self {
        let (pace, ring) = match work.pace {
            Pace::InFlight(most) => (Pacing::Closed(most as u64), most.next_power_of_two()),
            // What is in flight isn't looked at, and may be anything.
            Pace::Rate(rate) => (Pacing::Open(Schedule::new(rate)), 1),
        };
        let session = || Session { sent: 0, complete: 0, lacking: vec![0; ring].into(), hungry: true };
        let place = |number| Place { session: (number / work.receivers) as u32, had: 0 };
        Self {
            receivers: work.receivers,
            senders: work.senders.min(work.receivers),
            payload: Payload::new(work.size),
            pace,
            sessions: (0..work.sessions).map(|_| session()).collect(),
            places: (0..work.sessions * work.receivers).map(place).collect(),
            hungry: (0..work.sessions).collect(),
            delivered: 0,
            latencies: empty(),
            other: None,
        }
    }

    /// Sends a session's next, unless the peer lets its sender send nothing now.
    fn send_one(&mut self, number: usize, due: u64, net: &mut Net) -> bool {
        let session = &mut self.sessions[number];
        let sender = number * self.receivers + (session.sent % self.senders as u64) as usize;
        if net.room(sender) < self.payload.size() + AROUND {
            return false;
        }
        let place = session.sent as usize & (session.lacking.len() - 1);
        session.lacking[place] = self.receivers as u32;
        session.sent += 1;
        let payload = self.payload.next(due);
        net.send(sender, |wire, out| wire.broadcast(0, payload, out));
        true
    }

    fn feed(&mut self, most: u64, net: &mut Net, now: u64) {
        let mut hungry = std::mem::take(&mut self.hungry);
        hungry.retain(|&number| {
            while self.sessions[number].sent - self.sessions[number].complete < most {
                if !self.send_one(number, now, net) {
                    return true;
                }
            }
            self.sessions[number].hungry = false;
            false
        });
        self.hungry = hungry;
    }
}

impl Load for Fan {
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64> {
        let mut schedule = match self.pace {
            Pacing::Closed(most) => {
                self.feed(most, net, now);
                return None;
            }
            Pacing::Open(schedule) => schedule,
        };
        let next = loop {
            let due = schedule.next(now);
            if due > now {
                break Some(due);
            }
            if !self.send_one(schedule.count() as usize % self.sessions.len(), due, net) {
                // When there is room, something has come.
                break None;
            }
            schedule.sent();
        };
        self.pace = Pacing::Open(schedule);
        next
    }

    fn came(&self) -> u64 {
        self.delivered
    }

    fn reset(&mut self) {
        self.delivered = 0;
        self.latencies.reset();
    }
}

impl Sight for Fan {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, connection: usize, _: usize, payload: &[u8], at: u64) {
        match due(payload) {
            Some(due) => self.latencies.saturating_record(at.saturating_sub(due)),
            None => self.other = Some(not_ours(payload)),
        }
        self.delivered += 1;
        if let Pacing::Closed(_) = self.pace {
            let place = &mut self.places[connection];
            let number = place.session as usize;
            let session = &mut self.sessions[number];
            if place.had == session.sent {
                self.other.get_or_insert_with(|| io::Error::other("a signal came that was not sent, or came twice"));
                return;
            }
            let which = place.had as usize & (session.lacking.len() - 1);
            place.had += 1;
            session.lacking[which] -= 1;
            if session.lacking[which] == 0 {
                session.complete += 1;
                if !std::mem::replace(&mut session.hungry, true) {
                    self.hungry.push(number);
                }
            }
        }
    }

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}
