//! `idle`: members that are there and do nothing.

use std::{io, time::Duration};

use super::before;
use crate::bench::{
    drive::{Moment, Watch, enter, run_name, session},
    net::{Net, Sight, nanos},
    options::Options,
    report::{Report, Unit},
    wire::{Member, Peer},
    work::{Idle, Work},
};

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
    Ok(Report::new(peer, &Work::Idle(work.clone()), Unit::Member, work.members as u64, cost))
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
