//! What the works have in common: members that come in, and a loop that warms
//! up and measures.

use std::{io, time::Duration};

use super::{
    net::{Net, Sight, nanos},
    options::Options,
    report::Used,
    usage::Usage,
    wire::{Member, Peer},
};

/// How many connections may be on their way at once: fewer than a server's
/// queue of those that it has not accepted.
const AT_ONCE: usize = 64;
/// How often progress is told and an end looked for.
const TICK: u64 = 100_000_000;
/// How long a closed loop may stand still, at least: a machine may be busy.
const STILL: u64 = 1_000_000_000;
/// What a signal may need on the wire beside its payload.
pub(super) const AROUND: usize = 512;

/// A member's place, and its session's name: of this run alone.
pub(super) fn session(run: &str, number: usize) -> String {
    format!("{run}-{number}")
}

/// A name that no other run has, on a server that may have seen others.
pub(super) fn run_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUNS: AtomicU64 = AtomicU64::new(0);
    format!("bench-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}

/// What ends a run before its time.
pub(super) struct Watch<'a> {
    options: &'a Options,
    patience: u64,
    next: u64,
    /// What had come at the last sign of life, and when that was.
    alive: (u64, u64),
}

impl<'a> Watch<'a> {
    pub(super) fn new(options: &'a Options, now: u64) -> Self {
        Self { options, patience: nanos(options.patience), next: now, alive: (0, now) }
    }

    /// When to look again.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Looks, when it is time: whether it was stopped, or nothing more comes.
    /// `came` is what came until now; none: nothing needs to. True: it is time.
    pub(super) fn look(&mut self, now: u64, came: Option<u64>) -> io::Result<bool> {
        if now < self.next {
            return Ok(false);
        }
        self.next = now + TICK;
        if self.options.stopped() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
        let came = came.unwrap_or(now);
        if came != self.alive.0 {
            self.alive = (came, now);
        }
        if now - self.alive.1 > self.patience {
            let patience = Duration::from_millis(self.patience / 1_000_000);
            let patience = humantime::format_duration(patience);
            let what = format!("nothing has come from the server for {patience}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        Ok(true)
    }
}

/// Brings members in, over a connection for each group, which get the numbers
/// from 0 on; their addresses, by connection.
pub(super) fn enter(
    net: &mut Net,
    peer: &dyn Peer,
    groups: &[Vec<Member>],
    options: &Options,
) -> io::Result<Vec<Vec<Box<[u8]>>>> {
    let mut entering = Entering {
        addresses: groups.iter().map(|members| vec![Box::default(); members.len()]).collect(),
        missing: groups.iter().map(Vec::len).collect(),
        connections: 0,
        members: 0,
    };
    let all: u64 = groups.iter().map(|members| members.len() as u64).sum();
    let mut watch = Watch::new(options, net.now());
    let mut next = 0;
    // A connection without members has nothing to come in.
    let wanted = groups.iter().filter(|members| !members.is_empty()).count();
    while entering.connections < wanted || next < groups.len() || net.connecting() > 0 {
        while next < groups.len() && next.saturating_sub(entering.connections) < AT_ONCE {
            let number = net.connect(peer.wire(&groups[next]))?;
            debug_assert_eq!(number, next, "nothing was closed yet");
            next += 1;
        }
        net.turn(watch.next(), &mut entering)?;
        net.flush()?;
        if watch.look(net.now(), Some(entering.members))? {
            options.tell("connecting", entering.members, all);
        }
    }
    Ok(entering.addresses)
}

struct Entering {
    addresses: Vec<Vec<Box<[u8]>>>,
    missing: Vec<usize>,
    connections: usize,
    members: u64,
}

impl Sight for Entering {
    fn ready(&mut self, connection: usize, member: usize, address: &[u8], _: u64) {
        self.addresses[connection][member] = address.into();
        self.missing[connection] -= 1;
        self.members += 1;
        if self.missing[connection] == 0 {
            self.connections += 1;
        }
    }

    fn signal(&mut self, _: usize, _: usize, _: &[u8], _: u64) {}

    fn answered(&mut self, _: usize, _: usize, _: u64) {}
}

/// A load that is measured by time.
pub(super) trait Load: Sight {
    /// Sends what is to be sent by now; when the next is due, if that is by the
    /// clock.
    fn send(&mut self, net: &mut Net, now: u64) -> Option<u64>;

    /// What came since the beginning, or since [`Self::reset`].
    fn came(&self) -> u64;

    /// Forgets what was counted: the warm-up is over.
    fn reset(&mut self);
}

/// What a measured time cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) server: Option<Used>,
    pub(super) client: Used,
}

/// What the processes had used at one moment.
pub(super) struct Moment {
    at: u64,
    server: Option<Usage>,
    client: Usage,
}

impl Moment {
    /// Now.
    pub(super) fn read(net: &Net, options: &Options) -> io::Result<Self> {
        let server = (!options.pids.is_empty()).then(|| Usage::of(&options.pids)).transpose()?;
        let mut client = Usage::own()?;
        client.cpu_ns = client.cpu_ns.saturating_sub(net.looked());
        Ok(Self { client, server, at: net.now() })
    }

    /// What they used since another, whose memory is the one before.
    pub(super) fn since(&self, first: &Self, before: Option<Usage>) -> Cost {
        let used = |first: Usage, last: Usage, before: Usage| Used {
            cpu_ns: last.cpu_ns.saturating_sub(first.cpu_ns),
            rss_before: before.rss,
            rss: last.rss,
            pss_before: before.pss,
            pss: last.pss,
        };
        let server = first.server.zip(self.server);
        Cost {
            seconds: (self.at - first.at) as f64 / 1e9,
            server: server.map(|(first, last)| used(first, last, before.unwrap_or(first))),
            client: used(first.client, self.client, first.client),
        }
    }

    /// What the server had used.
    pub(super) fn server(&self) -> Option<Usage> {
        self.server
    }
}

/// Runs a load: the warm-up, then the measured time.
pub(super) fn timed(net: &mut Net, load: &mut impl Load, options: &Options, before: Option<Usage>) -> io::Result<Cost> {
    stage(net, load, options, "warming up", options.warm_up)?;
    load.reset();
    let first = Moment::read(net, options)?;
    stage(net, load, options, "measuring", options.measured)?;
    Ok(Moment::read(net, options)?.since(&first, before))
}

/// One part of a run's time.
pub(super) fn stage(
    net: &mut Net,
    load: &mut impl Load,
    options: &Options,
    name: &'static str,
    lasts: Duration,
) -> io::Result<()> {
    let begun = net.now();
    let until = begun + nanos(lasts);
    let mut watch = Watch::new(options, begun);
    let patience = watch.patience;
    let mut now = begun;
    while now < until {
        let due = load.send(net, now);
        // A closed loop that stood still for long has measured nothing, even
        // when its time is over before the patience is.
        watch.patience = if due.is_some() { patience } else { patience.min(nanos(lasts / 4).max(STILL)) };
        net.flush()?;
        net.turn(due.unwrap_or(u64::MAX).min(until).min(watch.next()), load)?;
        now = net.now();
        if watch.look(now, Some(load.came()))? {
            options.tell(name, (now - begun) / 1_000_000, nanos(lasts) / 1_000_000);
        }
    }
    Ok(())
}

/// The times at which the signals of an open loop are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval: f64,
    begun: Option<u64>,
    sent: u64,
}

impl Schedule {
    pub(super) fn new(rate: f64) -> Self {
        Self { interval: 1e9 / rate, begun: None, sent: 0 }
    }

    /// When the next is due.
    pub(super) fn next(&mut self, now: u64) -> u64 {
        self.begun.get_or_insert(now).saturating_add((self.sent as f64 * self.interval) as u64)
    }

    /// How many were sent.
    pub(super) fn count(&self) -> u64 {
        self.sent
    }

    /// It was sent.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }
}
