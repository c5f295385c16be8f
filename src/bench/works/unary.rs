//! `unary`: signals from a backend, each answered.

use std::{collections::VecDeque, io};

use hdrhistogram::Histogram;

use super::{before, counted};
use crate::bench::{
    drive::{AROUND, Load, Schedule, enter, run_name, session, timed},
    histogram::{Latencies, empty},
    net::{Net, Sight},
    options::Options,
    payload::Payload,
    report::{Report, Unit},
    wire::{Member, Peer},
    work::{Pace, Unary, Work},
};

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Unary, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let session = session(&run_name(), 0);
    let member = |number| vec![Member { session: session.clone(), number }];
    // The members first: a connection without any comes after them.
    let groups: Vec<_> = (0..work.members).map(member).chain((0..work.connections).map(|_| Vec::new())).collect();
    enter(&mut net, peer, &groups, options)?;
    let mut load = Backend {
        session,
        first: work.members,
        payload: Payload::new(work.size),
        pace: work.pace,
        schedule: match work.pace {
            Pace::Rate(rate) => Some(Schedule::new(rate)),
            Pace::InFlight(_) => None,
        },
        calls: vec![VecDeque::new(); work.connections],
        in_flight: 0,
        next: 0,
        answered: 0,
        latencies: empty(),
    };
    let cost = timed(&mut net, &mut load, options, before)?;
    let cost = counted(load.answered, cost)?;
    let mut report = Report::new(peer, &Work::Unary(work.clone()), Unit::Call, load.answered, cost);
    report.sends = Some(load.answered);
    report.latencies = Some(match work.pace {
        Pace::InFlight(most) => Latencies::closed(load.latencies, most, cost.seconds, load.answered),
        Pace::Rate(_) => Latencies::open(load.latencies),
    });
    Ok(report)
}

struct Backend {
    session: String,
    /// The backend's first connection; before it are those of the members.
    first: usize,
    payload: Payload,
    pace: Pace,
    schedule: Option<Schedule>,
    /// When those that are not answered were due, by connection, oldest first.
    calls: Vec<VecDeque<u64>>,
    in_flight: usize,
    /// Whose turn it is.
    next: usize,
    answered: u64,
    latencies: Histogram<u64>,
}

impl Backend {
    /// Calls on the next connection that lets it.
    fn call(&mut self, due: u64, net: &mut Net) -> bool {
        for _ in 0..self.calls.len() {
            let place = self.next;
            self.next = (place + 1) % self.calls.len();
            if net.room(self.first + place) >= self.payload.size() + self.session.len() + AROUND {
                self.calls[place].push_back(due);
                self.in_flight += 1;
                let (session, payload) = (&self.session, self.payload.next(due));
                net.send(self.first + place, |wire, out| wire.server_signal(session, payload, out));
                return true;
            }
        }
        false
    }
}

impl Load for Backend {
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64> {
        let Some(mut schedule) = self.schedule else {
            let Pace::InFlight(most) = self.pace else { return None };
            while self.in_flight < most && self.call(now, net) {}
            return None;
        };
        let next = loop {
            let due = schedule.next(now);
            if due > now {
                break Some(due);
            }
            if !self.call(due, net) {
                break None;
            }
            schedule.sent();
        };
        self.schedule = Some(schedule);
        next
    }

    fn came(&self) -> u64 {
        self.answered
    }

    fn reset(&mut self) {
        self.answered = 0;
        self.latencies.reset();
    }
}

impl Sight for Backend {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn answered(&mut self, connection: usize, _: usize, at: u64) {
        let Some(due) = connection.checked_sub(self.first).and_then(|place| self.calls[place].pop_front()) else {
            return;
        };
        self.latencies.saturating_record(at.saturating_sub(due));
        self.in_flight -= 1;
        self.answered += 1;
    }
}
