//! `mixed`: good members, without bad clients among them and with.

use std::{io, time::Duration};

use hdrhistogram::Histogram;

use super::{bad::Bad, before, counted};
use crate::bench::{
    drive::{AROUND, Cost, Load, Moment, Schedule, enter, run_name, session, stage},
    histogram::{Latency, empty},
    net::{Net, Sight, Wrong, nanos},
    options::Options,
    payload::{Payload, due, number},
    report::{Hostile, Report, Unit, Used},
    usage::Usage,
    wire::{Member, Peer},
    work::{Mixed, Work},
};

/// How long the server has between two times, and the slow readers to learn what
/// became of them.
const BETWEEN: Duration = Duration::from_millis(250);
/// How long signals may take that are on their way when the sending ends.
const LATE: Duration = Duration::from_secs(2);
/// How long one step of waiting for those is.
const STEP: Duration = Duration::from_millis(5);

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Mixed, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let name = run_name();
    let groups: Vec<_> = (0..work.members)
        .map(|number| vec![Member { session: session(&name, number / work.per_session), number }])
        .collect();
    enter(&mut net, peer, &groups, options)?;
    let mut load = Mixing::new(work, Bad::new(peer, work, &name));
    let [mut without, mut with] = [Times::new(), Times::new()];
    let mut ratios = Vec::new();
    for _ in 0..work.pairs {
        let calm = load.time(&mut net, options, before, &mut without)?;
        load.bad.come(net.now());
        let hostile = load.time(&mut net, options, before, &mut with)?;
        ratios.push(hostile as f64 / calm.max(1) as f64);
    }
    if let Some(wrong) = load.wrong.take() {
        return Err(wrong);
    }
    let cost = counted(with.latencies.len(), with.cost.ok_or_else(|| io::Error::other("no time was measured"))?)?;
    let units = with.latencies.len();
    let mut report = Report::new(peer, &Work::Mixed(work.clone()), Unit::Delivery, units, cost);
    report.sends = Some(with.sends);
    report.hostile = Some(Box::new(Hostile {
        without_cpu_share: without.cost.and_then(|cost| Some(cost.server?.cpu_ns as f64 / 1e9 / cost.seconds)),
        without: without.latencies,
        with: with.latencies,
        ratios,
        lost: load.lost(),
        twice: load.twice,
        fates: load.bad.fates,
    }));
    Ok(report)
}

/// What was measured in all times of one kind.
struct Times {
    latencies: Histogram<u64>,
    sends: u64,
    cost: Option<Cost>,
}

impl Times {
    fn new() -> Self {
        Self { latencies: empty(), sends: 0, cost: None }
    }

    fn add(&mut self, cost: Cost) {
        let both = |first: Used, last: Used| Used { cpu_ns: first.cpu_ns + last.cpu_ns, ..last };
        self.cost = Some(self.cost.map_or(cost, |sum| Cost {
            seconds: sum.seconds + cost.seconds,
            server: sum.server.zip(cost.server).map(|(first, last)| both(first, last)),
            client: both(sum.client, cost.client),
        }));
    }
}

/// Members have their connections' numbers.
struct Mixing<'a> {
    members: usize,
    per_session: usize,
    rate: f64,
    payload: Payload,
    /// None: nothing is sent now.
    schedule: Option<Schedule>,
    /// How many signals each session was sent.
    sent: Vec<u64>,
    had: Vec<Had>,
    /// How many deliveries there are to be, and were.
    expected: u64,
    came: u64,
    twice: u64,
    /// Signals that were due before aren't measured.
    from: u64,
    latencies: Histogram<u64>,
    bad: Bad<'a>,
    wrong: Option<io::Error>,
}

/// Which of its session's signals a member has had. Several send, so that they
/// come in another order than they left the load in.
#[derive(Clone, Default)]
struct Had {
    /// All below this.
    all: u64,
    /// And these.
    ahead: Vec<u64>,
}

impl Had {
    /// Takes one; whether it is the first time.
    fn take(&mut self, number: u64) -> bool {
        if number < self.all || self.ahead.contains(&number) {
            return false;
        }
        self.ahead.push(number);
        while let Some(place) = self.ahead.iter().position(|&ahead| ahead == self.all) {
            self.ahead.swap_remove(place);
            self.all += 1;
        }
        true
    }

    fn count(&self) -> u64 {
        self.all + self.ahead.len() as u64
    }
}

impl<'a> Mixing<'a> {
    fn new(work: &Mixed, bad: Bad<'a>) -> Self {
        Self {
            members: work.members,
            per_session: work.per_session,
            rate: work.rate,
            payload: Payload::new(work.size),
            schedule: None,
            sent: vec![0; work.members.div_ceil(work.per_session)],
            had: vec![Had::default(); work.members],
            expected: 0,
            came: 0,
            twice: 0,
            from: u64::MAX,
            latencies: empty(),
            bad,
            wrong: None,
        }
    }

    /// One time; its p99.
    fn time(&mut self, net: &mut Net, options: &Options, before: Option<Usage>, times: &mut Times) -> io::Result<u64> {
        self.from = u64::MAX;
        self.schedule = Some(Schedule::new(self.rate));
        stage(net, self, options, "warming up", options.warm_up)?;
        let first = Moment::read(net, options)?;
        // Reading that takes its time too.
        self.from = net.now();
        let sent: u64 = self.sent.iter().sum();
        stage(net, self, options, "measuring", options.measured)?;
        self.schedule = None;
        times.sends += self.sent.iter().sum::<u64>() - sent;
        let late = net.now() + nanos(LATE);
        while self.came < self.expected && net.now() < late {
            stage(net, self, options, "measuring", STEP)?;
        }
        times.add(Moment::read(net, options)?.since(&first, before));
        let p99 = Latency::of(&self.latencies).p99;
        times.latencies.add(&self.latencies).map_err(io::Error::other)?;
        self.latencies.reset();

        self.bad.look(net)?;
        stage(net, self, options, "settling", BETWEEN)?;
        self.bad.go(net);
        stage(net, self, options, "settling", BETWEEN)?;
        Ok(p99)
    }

    /// How many are in a session.
    fn size_of(&self, session: usize) -> usize {
        self.per_session.min(self.members - session * self.per_session)
    }

    /// Sends the next of all sessions, unless the peer lets its sender send
    /// nothing now.
    fn send_one(&mut self, count: usize, due: u64, net: &mut Net) -> bool {
        let session = count % self.sent.len();
        let size = self.size_of(session);
        let sender = session * self.per_session + count / self.sent.len() % size;
        if net.room(sender) < self.payload.size() + AROUND {
            return false;
        }
        let payload = self.payload.numbered(due, self.sent[session]);
        self.sent[session] += 1;
        self.expected += size as u64;
        net.send(sender, |wire, out| wire.broadcast(0, payload, out));
        true
    }

    /// How many deliveries of good signals to good members never came.
    fn lost(&self) -> u64 {
        let lost = |(member, had): (usize, &Had)| self.sent[member / self.per_session] - had.count();
        self.had.iter().enumerate().map(lost).sum()
    }
}

impl Load for Mixing<'_> {
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64> {
        let bad = self.bad.act(net, now).unwrap_or_else(|wrong| {
            self.wrong.get_or_insert(wrong);
            u64::MAX
        });
        let Some(mut schedule) = self.schedule else { return Some(bad) };
        let next = loop {
            let due = schedule.next(now);
            if due > now || !self.send_one(schedule.count() as usize, due, net) {
                break due;
            }
            schedule.sent();
        };
        self.schedule = Some(schedule);
        Some(next.min(bad))
    }

    fn came(&self) -> u64 {
        self.came
    }

    fn reset(&mut self) {
        self.latencies.reset();
    }
}

impl Sight for Mixing<'_> {
    fn ready(&mut self, connection: usize, _: usize, _: &[u8], at: u64) {
        self.bad.ready(connection, at);
    }

    fn signal(&mut self, connection: usize, _: usize, payload: &[u8], at: u64) {
        // Of what comes, only the good ones' is counted, at good ones.
        let Some(had) = self.had.get_mut(connection) else { return };
        let Some((due, number)) = due(payload).zip(number(payload)) else { return };
        if !had.take(number) {
            self.twice += 1;
            return;
        }
        self.came += 1;
        if due >= self.from {
            self.latencies.saturating_record(at.saturating_sub(due));
        }
    }

    fn answered(&mut self, connection: usize, _: usize, _: u64) {
        self.bad.answered(connection);
    }

    fn wrong(&mut self, connection: usize, what: Wrong) -> Option<Wrong> {
        self.bad.wrong(connection, what)
    }

    fn lost(&mut self, connection: usize, at: u64) {
        self.bad.lost(connection, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_counts_once_in_whatever_order() {
        let mut had = Had::default();
        let first: Vec<_> = [1, 0, 3, 3, 1, 2, 0, 5].into_iter().map(|number| had.take(number)).collect();
        assert_eq!(first, [true, true, true, false, false, true, false, true]);
        assert_eq!((had.all, had.count()), (4, 5));
    }
}
