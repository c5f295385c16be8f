//! `join`: members that come, over a new TCP connection each, and go.

use std::{io, time::Duration};

use hdrhistogram::Histogram;

use super::{before, counted};
use crate::bench::{
    drive::{Cost, Moment, Watch, run_name, session},
    histogram::{Latencies, empty},
    net::{Net, Sight, nanos},
    options::Options,
    report::{Report, Unit},
    wire::{Member, Peer},
    work::{Joins, Work},
};

/// How long the server may take for what is left when the last is gone; that
/// CPU time counts too.
const AFTERWARDS: Duration = Duration::from_millis(200);

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Joins, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let mut coming = Coming {
        peer,
        name: run_name(),
        begun: Vec::new(),
        sessions: 0,
        together: false,
        concurrency: work.concurrency,
        under_way: 0,
        came: Vec::new(),
        joined: 0,
        latencies: empty(),
    };
    let warm_up = net.now() + nanos(options.warm_up);
    coming.join(&mut net, options, "warming up", None, warm_up)?;
    coming.settle(&mut net, options)?;

    (coming.joined, coming.together) = (0, work.together);
    // One that nobody was in before.
    coming.sessions += 1;
    coming.latencies.reset();
    let first = Moment::read(&net, options)?;
    let begun = net.now();
    coming.join(&mut net, options, "joining", Some(work.joins as u64), u64::MAX)?;
    let seconds = (net.now() - begun) as f64 / 1e9;
    coming.settle(&mut net, options)?;
    let all = Moment::read(&net, options)?.since(&first, before);
    let cost = counted(coming.joined, Cost { seconds, ..all })?;

    let mut report = Report::new(peer, &Work::Join(work.clone()), Unit::Join, coming.joined, cost);
    report.latencies = Some(Latencies::closed(coming.latencies, work.concurrency, seconds, coming.joined));
    Ok(report)
}

struct Coming<'a> {
    peer: &'a dyn Peer,
    name: String,
    /// When each connection was begun, by its number.
    begun: Vec<u64>,
    /// How many sessions have had a name.
    sessions: usize,
    together: bool,
    concurrency: usize,
    /// Those that are not in yet.
    under_way: usize,
    /// Connections of those that are in since the last turn.
    came: Vec<usize>,
    joined: u64,
    latencies: Histogram<u64>,
}

impl Coming<'_> {
    /// Joins that many, or as many as can until then.
    fn join(
        &mut self,
        net: &mut Net,
        options: &Options,
        stage: &'static str,
        most: Option<u64>,
        until: u64,
    ) -> io::Result<()> {
        let mut watch = Watch::new(options, net.now());
        let mut begun = 0;
        loop {
            while self.under_way < self.concurrency && most.map_or_else(|| net.now() < until, |most| begun < most) {
                self.begin(net)?;
                begun += 1;
            }
            if self.under_way == 0 {
                return Ok(());
            }
            net.flush()?;
            net.turn(watch.next(), self)?;
            for connection in std::mem::take(&mut self.came) {
                self.under_way -= 1;
                // Together they stay, until the net is dropped.
                if !self.together {
                    net.close(connection);
                }
            }
            if watch.look(net.now(), Some(self.joined))? {
                options.tell(stage, self.joined, most.unwrap_or(self.joined));
            }
        }
    }

    fn begin(&mut self, net: &mut Net) -> io::Result<()> {
        if !self.together {
            self.sessions += 1;
        }
        let member = Member { session: session(&self.name, self.sessions), number: self.joined as usize };
        let at = net.now();
        let connection = net.connect(self.peer.wire(&[member]))?;
        if self.begun.len() <= connection {
            self.begun.resize(connection + 1, 0);
        }
        self.begun[connection] = at;
        self.under_way += 1;
        Ok(())
    }

    /// Lets the server do what is left.
    fn settle(&mut self, net: &mut Net, options: &Options) -> io::Result<()> {
        let until = net.now() + nanos(AFTERWARDS);
        let mut watch = Watch::new(options, net.now());
        while net.now() < until {
            net.flush()?;
            net.turn(until.min(watch.next()), self)?;
            watch.look(net.now(), None)?;
        }
        Ok(())
    }
}

impl Sight for Coming<'_> {
    fn ready(&mut self, connection: usize, _: usize, _: &[u8], at: u64) {
        self.latencies.saturating_record(at.saturating_sub(self.begun[connection]));
        self.joined += 1;
        self.came.push(connection);
    }

    fn signal(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}
