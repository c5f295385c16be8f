//! `pairs`: sessions of two that signal to each other by address.

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
    work::{Pairs, Work},
};

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Pairs, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let name = run_name();
    let groups: Vec<_> =
        (0..2 * work.pairs).map(|number| vec![Member { session: session(&name, number / 2), number }]).collect();
    let addresses = enter(&mut net, peer, &groups, options)?;
    let mut load = Playing {
        addresses: addresses.into_iter().map(|mut one| one.swap_remove(0)).collect(),
        payload: Payload::new(work.size),
        schedule: work.rate.map(Schedule::new),
        // Of each pair, the first begins.
        turns: (0..2 * work.pairs).step_by(2).collect(),
        messages: 0,
        latencies: empty(),
        other: None,
    };
    let cost = timed(&mut net, &mut load, options, before)?;
    if let Some(other) = load.other {
        return Err(other);
    }
    let cost = counted(load.messages, cost)?;
    let mut report = Report::new(peer, &Work::Pairs(work.clone()), Unit::Message, load.messages, cost);
    report.sends = Some(load.messages);
    report.latencies = Some(match work.rate {
        None => Latencies::closed(load.latencies, work.pairs, cost.seconds, load.messages),
        Some(_) => Latencies::open(load.latencies),
    });
    Ok(report)
}

/// Members by their connections' numbers; the other of a pair has the number
/// that differs in the last bit.
struct Playing {
    addresses: Vec<Box<[u8]>>,
    payload: Payload,
    schedule: Option<Schedule>,
    /// Whose turn it is, in a closed loop.
    turns: Vec<usize>,
    messages: u64,
    latencies: Histogram<u64>,
    other: Option<io::Error>,
}

impl Playing {
    /// Sends to the other of the pair, if the peer lets it be sent now.
    fn play(&mut self, from: usize, due: u64, net: &mut Net) -> bool {
        if net.room(from) < self.payload.size() + AROUND {
            return false;
        }
        let payload = self.payload.next(due);
        let to = &self.addresses[from ^ 1];
        net.send(from, |wire, out| wire.address(0, to, payload, out));
        true
    }
}

impl Load for Playing {
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64> {
        let Some(mut schedule) = self.schedule else {
            let mut turns = std::mem::take(&mut self.turns);
            turns.retain(|&from| !self.play(from, now, net));
            self.turns = turns;
            return None;
        };
        let next = loop {
            let due = schedule.next(now);
            if due > now {
                break Some(due);
            }
            if !self.play(schedule.count() as usize % self.addresses.len(), due, net) {
                break None;
            }
            schedule.sent();
        };
        self.schedule = Some(schedule);
        next
    }

    fn came(&self) -> u64 {
        self.messages
    }

    fn reset(&mut self) {
        self.messages = 0;
        self.latencies.reset();
    }
}

impl Sight for Playing {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, connection: usize, _: usize, payload: &[u8], at: u64) {
        match due(payload) {
            Some(due) => self.latencies.saturating_record(at.saturating_sub(due)),
            None => self.other = Some(not_ours(payload)),
        }
        self.messages += 1;
        if self.schedule.is_none() {
            self.turns.push(connection);
        }
    }

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}
