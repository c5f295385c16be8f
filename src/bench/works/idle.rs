//! `idle`: members that are there and do nothing.

use std::{io, time::Duration};

use super::before;
use crate::bench::{
    drive::{AROUND, Moment, Watch, enter, run_name, session},
    net::{Net, Sight, nanos},
    options::Options,
    payload::{MIN_SIZE, Payload},
    report::{Report, Unit},
    wire::{Member, Peer},
    work::{Idle, Work},
};

/// In how many sessions a signal may be on its way at once.
const AT_ONCE: u64 = 256;

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Idle, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let name = run_name();
    let member = |number| Member { session: session(&name, number / work.per_session), number };
    let members: Vec<_> = (0..work.members).map(member).collect();
    let groups: Vec<_> = members.chunks(work.per_connection).map(<[_]>::to_vec).collect();
    enter(&mut net, peer, &groups, options)?;
    drop((members, groups));

    hold(&mut net, options, "settling", options.warm_up)?;
    let first = Moment::read(&net, options)?;
    hold(&mut net, options, "holding", options.measured)?;
    let cost = Moment::read(&net, options)?.since(&first, before);
    let reached = reach(&mut net, work, options)?;
    let mut report = Report::new(peer, &Work::Idle(work.clone()), Unit::Member, work.members as u64, cost);
    report.reached = Some(reached);
    Ok(report)
}

/// One signal in each session, from its first member to all: how many members
/// had it. That they are there still is known by that alone.
fn reach(net: &mut Net, work: &Idle, options: &Options) -> io::Result<u64> {
    let mut calling = Calling { per_connection: work.per_connection, had: vec![false; work.members], reached: 0 };
    let payload = Payload::new(MIN_SIZE).next(0).to_vec();
    let mut watch = Watch::new(options, net.now());
    let mut senders = (0..work.members).step_by(work.per_session).peekable();
    while calling.reached < work.members as u64 {
        while let Some(sender) = senders.next_if(|sender| {
            let connection = sender / work.per_connection;
            // Not too many at once, either: no server shall have to queue them.
            (sender / work.per_session) as u64 <= (calling.reached / work.per_session as u64) + AT_ONCE
                && net.room(connection) >= payload.len() + AROUND
        }) {
            net.send(sender / work.per_connection, |wire, out| {
                wire.broadcast(sender % work.per_connection, &payload, out);
            });
        }
        net.flush()?;
        net.turn(watch.next(), &mut calling)?;
        if watch.look(net.now(), Some(calling.reached)).map_err(|error| calling.explain(error, work.members))? {
            options.tell("signaling", calling.reached, work.members as u64);
        }
    }
    Ok(calling.reached)
}

/// Members that are sent one signal each.
struct Calling {
    per_connection: usize,
    had: Vec<bool>,
    reached: u64,
}

impl Calling {
    fn explain(&self, error: io::Error, members: usize) -> io::Error {
        match error.kind() {
            io::ErrorKind::TimedOut => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("a signal at the end reached {} of {members} members: {error}", self.reached),
            ),
            _ => error,
        }
    }
}

impl Sight for Calling {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, connection: usize, member: usize, _: &[u8], _: u64) {
        let had = &mut self.had[connection * self.per_connection + member];
        self.reached += u64::from(!std::mem::replace(had, true));
    }

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}

/// Takes what comes for that long.
fn hold(net: &mut Net, options: &Options, stage: &'static str, lasts: Duration) -> io::Result<()> {
    let begun = net.now();
    let until = begun + nanos(lasts);
    let mut watch = Watch::new(options, begun);
    while net.now() < until {
        net.flush()?;
        net.turn(until.min(watch.next()), &mut Nothing)?;
        if watch.look(net.now(), None)? {
            options.tell(stage, (net.now() - begun) / 1_000_000, nanos(lasts) / 1_000_000);
        }
    }
    Ok(())
}

struct Nothing;

impl Sight for Nothing {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}
