//! `mixed`: good members, without bad clients among them and with.
//!
//! A round has three times: one without bad clients that the others are held
//! against, one with them, and one without them again, which shows what the
//! machine alone does to the figure.

use std::{io, thread, time::Duration};

use hdrhistogram::Histogram;

use super::{
    bad::{Crowd, Order},
    before, counted,
};
use crate::bench::{
    drive::{AROUND, Cost, Load, Moment, Schedule, enter, run_name, session, stage},
    histogram::{Latency, empty},
    net::{Net, Sight, nanos},
    options::Options,
    payload::{Payload, due, number},
    report::{Hostile, Ratios, Report, Unit, Used},
    summary::median,
    usage::{Usage, thread_cpu},
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
/// A tenth of a second, in nanoseconds: so short that most have none of the
/// machine's stalls in them, so long that a percentile says something.
const TENTH: u64 = 100_000_000;

pub(in crate::bench) fn run(peer: &dyn Peer, work: &Mixed, options: &Options) -> io::Result<Report> {
    let mut net = Net::new(peer.address())?;
    let before = before(&net, options)?;
    let name = run_name();
    let groups: Vec<_> = (0..work.members)
        .map(|number| vec![Member { session: session(&name, number / work.per_session), number }])
        .collect();
    enter(&mut net, peer, &groups, options)?;
    let mut load = Mixing::new(work);
    let [mut without, mut again, mut with] = [Times::new(), Times::new(), Times::new()];
    let fates = thread::scope(|scope| {
        let crowd = Crowd::new(scope, peer, work, &name)?;
        for round in 0..work.rounds {
            load.time(&mut net, options, before, &mut without)?;
            // Neither kind is always the one that comes last.
            if round % 2 == 0 {
                load.time(&mut net, options, before, &mut again)?;
            }
            crowd.order(Order::Come)?;
            load.time(&mut net, options, before, &mut with)?;
            crowd.order(Order::Look)?;
            stage(&mut net, &mut load, options, "settling", BETWEEN)?;
            crowd.order(Order::Go)?;
            stage(&mut net, &mut load, options, "settling", BETWEEN)?;
            if round % 2 == 1 {
                load.time(&mut net, options, before, &mut again)?;
            }
            if crowd.failed() {
                break;
            }
        }
        crowd.end()
    })?;
    let cost = counted(with.latencies.len(), with.cost.ok_or_else(|| io::Error::other("no time was measured"))?)?;
    let units = with.latencies.len();
    let mut report = Report::new(peer, &Work::Mixed(work.clone()), Unit::Delivery, units, cost);
    report.sends = Some(with.sends);
    report.hostile = Some(Box::new(Hostile {
        late: [&without, &again, &with].map(|times| median(times.late.clone()).unwrap_or(0.0) as u64),
        ratios: with.over(&without),
        noise: again.over(&without),
        tenths: [&without, &again, &with].map(|times| times.tenth() as u64),
        without_cpu_share: without.cost.and_then(|cost| Some(cost.server?.cpu_ns as f64 / 1e9 / cost.seconds)),
        measuring_cpu_share: with.measuring.map(|cpu_ns| cpu_ns as f64 / 1e9 / cost.seconds),
        without: without.latencies,
        again: again.latencies,
        with: with.latencies,
        lost: load.lost(),
        twice: load.twice,
        fates,
    }));
    Ok(report)
}

/// What was measured in all times of one kind.
struct Times {
    latencies: Histogram<u64>,
    /// The p99 of each time, in nanoseconds.
    p99s: Vec<f64>,
    /// And of each of their tenths of a second.
    tenths: Vec<f64>,
    /// The p99 of how late the load itself was in sending, of each of those.
    late: Vec<f64>,
    sends: u64,
    cost: Option<Cost>,
    /// The CPU time of the thread that measures, in nanoseconds, when it is known.
    measuring: Option<u64>,
}

impl Times {
    fn new() -> Self {
        let (latencies, p99s, tenths, late) = (empty(), Vec::new(), Vec::new(), Vec::new());
        Self { latencies, p99s, tenths, late, sends: 0, cost: None, measuring: Some(0) }
    }

    fn add(&mut self, cost: Cost) {
        let both = |first: Used, last: Used| Used { cpu_ns: first.cpu_ns + last.cpu_ns, ..last };
        self.cost = Some(self.cost.map_or(cost, |sum| Cost {
            seconds: sum.seconds + cost.seconds,
            server: sum.server.zip(cost.server).map(|(first, last)| both(first, last)),
            client: both(sum.client, cost.client),
        }));
    }

    /// The p99 of the tenth of a second in the middle.
    fn tenth(&self) -> f64 {
        median(self.tenths.clone()).unwrap_or(0.0)
    }

    /// The p99s over those of other times.
    fn over(&self, others: &Self) -> Ratios {
        let ratio = |of: f64, over: f64| of / over.max(1.0);
        let pooled = |times: &Self| Latency::of(&times.latencies).p99 as f64;
        Ratios {
            rounds: self.p99s.iter().zip(&others.p99s).map(|(of, over)| ratio(*of, *over)).collect(),
            tenths: ratio(self.tenth(), others.tenth()),
            pooled: ratio(pooled(self), pooled(others)),
        }
    }
}

/// Members have their connections' numbers.
struct Mixing {
    members: usize,
    per_session: usize,
    rate: f64,
    payload: Payload,
    /// None: nothing is sent now.
    schedule: Option<Schedule>,
    /// Whether the peer let a sender send nothing.
    held: bool,
    /// How many signals each session was sent.
    sent: Vec<u64>,
    had: Vec<Had>,
    /// How many deliveries there are to be, and were.
    expected: u64,
    came: u64,
    twice: u64,
    /// Signals that were sent before aren't measured.
    from: u64,
    until: u64,
    latencies: Histogram<u64>,
    /// The same by the tenth of a second that each signal was sent in.
    tenths: Vec<Vec<u64>>,
    /// And how late each was sent.
    late: Vec<Vec<u64>>,
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

impl Mixing {
    fn new(work: &Mixed) -> Self {
        Self {
            members: work.members,
            per_session: work.per_session,
            rate: work.rate,
            payload: Payload::new(work.size),
            schedule: None,
            held: false,
            sent: vec![0; work.members.div_ceil(work.per_session)],
            had: vec![Had::default(); work.members],
            expected: 0,
            came: 0,
            twice: 0,
            from: u64::MAX,
            until: u64::MAX,
            latencies: empty(),
            tenths: Vec::new(),
            late: Vec::new(),
        }
    }

    /// One time.
    fn time(&mut self, net: &mut Net, options: &Options, before: Option<Usage>, times: &mut Times) -> io::Result<()> {
        self.from = u64::MAX;
        self.schedule = Some(Schedule::new(self.rate));
        stage(net, self, options, "warming up", options.warm_up)?;
        let first = Moment::read(net, options)?;
        // Reading that takes its time too.
        (self.from, self.until) = (net.now(), net.now() + nanos(options.measured));
        let (sent, cpu) = (self.sent.iter().sum::<u64>(), thread_cpu());
        stage(net, self, options, "measuring", options.measured)?;
        self.schedule = None;
        times.sends += self.sent.iter().sum::<u64>() - sent;
        times.measuring = times.measuring.zip(cpu).zip(thread_cpu()).map(|((sum, first), last)| sum + (last - first));
        times.add(Moment::read(net, options)?.since(&first, before));
        let late = net.now() + nanos(LATE);
        while self.came < self.expected && net.now() < late {
            stage(net, self, options, "measuring", STEP)?;
        }
        times.p99s.push(Latency::of(&self.latencies).p99 as f64);
        times.latencies.add(&self.latencies).map_err(io::Error::other)?;
        self.latencies.reset();
        for tenth in &mut self.tenths {
            times.tenths.extend(p99(tenth));
            tenth.clear();
        }
        for tenth in &mut self.late {
            times.late.extend(p99(tenth));
            tenth.clear();
        }
        stage(net, self, options, "settling", BETWEEN)
    }

    /// Which tenth of a second of the measured time something was sent in.
    fn tenth(&self, at: u64) -> usize {
        ((at.min(self.until) - self.from) / TENTH) as usize
    }

    /// How many are in a session.
    fn size_of(&self, session: usize) -> usize {
        self.per_session.min(self.members - session * self.per_session)
    }

    /// Sends the next of all sessions, unless the peer lets its sender send
    /// nothing now.
    ///
    /// Times count from the sending: when that is late it is this thread that was,
    /// which is told by itself. Only what the peer held up counts from when it was
    /// due.
    fn send_one(&mut self, count: usize, due: u64, now: u64, net: &mut Net) -> bool {
        let session = count % self.sent.len();
        let size = self.size_of(session);
        let sender = session * self.per_session + count / self.sent.len() % size;
        if net.room(sender) < self.payload.size() + AROUND {
            self.held = true;
            return false;
        }
        let from = if self.held { due } else { now };
        if from >= self.from && !self.held {
            let tenth = self.tenth(from);
            put(&mut self.late, tenth, now - due);
        }
        let payload = self.payload.numbered(from, self.sent[session]);
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

/// Adds a latency to those of a tenth of a second.
fn put(tenths: &mut Vec<Vec<u64>>, tenth: usize, latency: u64) {
    if tenths.len() <= tenth {
        tenths.resize(tenth + 1, Vec::new());
    }
    tenths[tenth].push(latency);
}

/// The least of which 99 in 100 are at most that; none of nothing.
fn p99(latencies: &mut [u64]) -> Option<f64> {
    let place = (latencies.len() * 99).div_ceil(100).checked_sub(1)?;
    Some(*latencies.select_nth_unstable(place).1 as f64)
}

impl Load for Mixing {
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64> {
        let mut schedule = self.schedule?;
        let next = loop {
            let due = schedule.next(now);
            if due > now {
                self.held = false;
                break due;
            }
            if !self.send_one(schedule.count() as usize, due, now, net) {
                break due;
            }
            schedule.sent();
        };
        self.schedule = Some(schedule);
        Some(next)
    }

    fn came(&self) -> u64 {
        self.came
    }

    fn reset(&mut self) {
        self.latencies.reset();
    }
}

impl Sight for Mixing {
    fn ready(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn signal(&mut self, connection: usize, _: usize, payload: &[u8], at: u64) {
        // Of what comes, only the good ones' is counted.
        let Some((from, number)) = due(payload).zip(number(payload)) else { return };
        if !self.had[connection].take(number) {
            self.twice += 1;
            return;
        }
        self.came += 1;
        if from < self.from {
            return;
        }
        let latency = at.saturating_sub(from);
        self.latencies.saturating_record(latency);
        let tenth = self.tenth(from);
        put(&mut self.tenths, tenth, latency);
    }

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
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

    #[test]
    fn one_in_a_hundred_may_be_longer_than_the_p99() {
        assert_eq!(p99(&mut []), None);
        assert_eq!(p99(&mut [7]), Some(7.0));
        assert_eq!(p99(&mut (1..=100).rev().collect::<Vec<_>>()), Some(99.0));
        assert_eq!(p99(&mut (1..=101).collect::<Vec<_>>()), Some(100.0));
    }

    #[test]
    fn stalls_of_the_machine_move_one_ratio_and_not_the_other() {
        let times = |p99s: &[f64], tenths: &[f64]| {
            let mut times = Times::new();
            times.p99s.extend(p99s);
            times.tenths.extend(tenths);
            times.latencies.record(p99s[0] as u64).unwrap();
            times
        };
        let calm = times(&[100.0, 800.0, 100.0], &[50.0, 60.0, 55.0, 900.0]);
        let hostile = times(&[900.0, 100.0, 110.0], &[55.0, 66.0, 900.0, 59.0]);
        let ratios = hostile.over(&calm);
        assert_eq!(ratios.rounds, [9.0, 0.125, 1.1]);
        assert!((ratios.tenths - 62.5 / 57.5).abs() < 1e-9, "{ratios:?}");
        assert_eq!(ratios.pooled, 9.0);
    }
}
