//! What a run found.

use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::{
    drive::Cost,
    histogram::{Latencies, Latency},
    summary::median,
    wire::Peer,
    work::Work,
};

/// What one run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The work's name.
    pub work: &'static str,
    /// The peer's name.
    pub peer: String,
    /// Where the peer listened.
    pub address: SocketAddr,
    /// How the work was set.
    pub settings: Vec<Setting>,
    /// What is counted.
    pub unit: Unit,
    /// How many of them there were in the measured time.
    pub units: u64,
    /// How many signals were sent for them; joins, members: none.
    pub sends: Option<u64>,
    /// The measured time.
    pub seconds: f64,
    /// How long the units took; idle members: nothing.
    pub latencies: Option<Latencies>,
    /// What the server used; none: it isn't known.
    pub server: Option<Used>,
    /// What this process used.
    pub client: Used,
    /// Idle members: how many a signal at the end reached, which is all of them;
    /// others: nothing.
    pub reached: Option<u64>,
    /// What bad clients did to good ones, and what became of them; none: there
    /// were none. What else is told is of the time with them.
    pub hostile: Option<Box<Hostile>>,
}

/// What bad clients did to good ones, and what became of them.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// The good ones' latencies without the bad ones, in the times that the other
    /// two are held against; in nanoseconds.
    pub without: Histogram<u64>,
    /// Without them once more.
    pub again: Histogram<u64>,
    /// And with them.
    pub with: Histogram<u64>,
    /// The p99 of the tenth of a second in the middle, of these three, in
    /// nanoseconds.
    pub tenths: [u64; 3],
    /// The same of how late the load itself sent: a part of what is measured that
    /// isn't the server's. What the load was late in reading is about as much.
    pub late: [u64; 3],
    /// The good ones' p99 with the bad ones over that without.
    pub ratios: Ratios,
    /// That without them again over that without: what the machine alone does.
    pub noise: Ratios,
    /// The server's share of one CPU without the bad ones, when it is known.
    pub without_cpu_share: Option<f64>,
    /// The share of one CPU of the thread that measures, with the bad ones there,
    /// when it is known. What it waits for is in the latencies: near 1 they are
    /// the load's own.
    pub measuring_cpu_share: Option<f64>,
    /// Good signals that did not reach a good member, one for each.
    pub lost: u64,
    /// Good signals that reached a good member more than once.
    pub twice: u64,
    /// What became of the bad ones.
    pub fates: Fates,
}

/// The p99 of one kind of times over that of another, in three ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratios {
    /// Of each round by itself.
    pub rounds: Vec<f64>,
    /// Of the tenth of a second in the middle of all, by its p99. What comes in
    /// fewer than half of them, as a machine's stalls do, doesn't move it.
    pub tenths: f64,
    /// Of all rounds' latencies together.
    pub pooled: f64,
}

/// What became of bad clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// How often one came in.
    pub joins: u64,
    /// Signals of flooders.
    pub floods: u64,
    /// How many of those were refused as over the rate limit.
    pub floods_refused: u64,
    /// How many were taken.
    pub floods_taken: u64,
    /// Senders of oversize messages that were ended for it.
    pub oversize_ended: u64,
    /// Slow readers that were ended for it.
    pub slow_ended: u64,
    /// Slow readers whose outbox held all that they had not read.
    pub slow_kept: u64,
    /// Anything else that ended or refused one.
    pub other: u64,
}

/// A setting of a work: its name and its value.
pub type Setting = (&'static str, f64);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A signal at one of its receivers.
    Delivery,
    /// A signal at the one whom it was for.
    Message,
    /// A unary call that was answered.
    Call,
    /// A member that came in.
    Join,
    /// A member that is there.
    Member,
}

impl Unit {
    /// Its name, for one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Message => "message",
            Self::Call => "call",
            Self::Join => "join",
            Self::Member => "member",
        }
    }

    /// Its name, for many.
    #[must_use]
    pub fn names(self) -> &'static str {
        match self {
            Self::Delivery => "deliveries",
            Self::Message => "messages",
            Self::Call => "calls",
            Self::Join => "joins",
            Self::Member => "members",
        }
    }
}

/// What a process used in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory before the first member came (the client: before the
    /// measured time), in bytes.
    pub rss_before: u64,
    /// Resident memory at the end, in bytes.
    pub rss: u64,
    /// The same, with what is shared divided; none: it may not be read.
    pub pss_before: Option<u64>,
    /// The same, at the end.
    pub pss: Option<u64>,
}

impl Report {
    pub(super) fn new(peer: &dyn Peer, work: &Work, unit: Unit, units: u64, cost: Cost) -> Self {
        Self {
            work: work.name(),
            peer: peer.name().to_owned(),
            address: peer.address(),
            settings: work.settings(),
            unit,
            units,
            sends: None,
            seconds: cost.seconds,
            latencies: None,
            server: cost.server,
            client: cost.client,
            reached: None,
            hostile: None,
        }
    }

    /// The figures, in base units (bytes, nanoseconds, shares of one CPU), under
    /// the names that they have in JSON. What isn't known is none.
    #[must_use]
    pub fn figures(&self) -> Vec<(&'static str, Option<f64>)> {
        let mut figures = vec![
            ("units", Some(self.units as f64)),
            ("seconds", Some(self.seconds)),
            ("units_per_second", Some(self.units as f64 / self.seconds)),
            ("sends", self.sends.map(|sends| sends as f64)),
            ("sends_per_second", self.sends.map(|sends| sends as f64 / self.seconds)),
        ];
        let measured = self.latencies.as_ref().map(|latencies| Latency::of(&latencies.measured));
        let corrected = self.latencies.as_ref().and_then(|latencies| latencies.corrected.as_ref()).map(Latency::of);
        for (names, latency) in [(LATENCY, measured), (CORRECTED, corrected)] {
            let of = |figure: fn(&Latency) -> f64| latency.as_ref().map(figure);
            figures.extend(names.into_iter().zip([
                of(|latency| latency.mean),
                of(|latency| latency.p50 as f64),
                of(|latency| latency.p90 as f64),
                of(|latency| latency.p99 as f64),
                of(|latency| latency.p99_9 as f64),
                of(|latency| latency.max as f64),
            ]));
        }
        let server = |figure: &dyn Fn(Used) -> f64| self.server.map(figure);
        let each = self.units.max(1) as f64;
        let share = |used: Used| used.cpu_ns as f64 / 1e9 / self.seconds;
        let pss = self.server.and_then(|used| used.pss_before.zip(used.pss));
        let member =
            |before: u64, after: u64| (self.unit == Unit::Member).then(|| (after as f64 - before as f64) / each);
        figures.extend([
            ("server_cpu_ns", server(&|used| used.cpu_ns as f64)),
            ("server_cpu_ns_per_unit", server(&|used| used.cpu_ns as f64 / each)),
            ("server_cpu_share", server(&share)),
            ("server_rss_before_bytes", server(&|used| used.rss_before as f64)),
            ("server_rss_bytes", server(&|used| used.rss as f64)),
            ("server_pss_bytes", pss.map(|(_, pss)| pss as f64)),
            ("server_rss_bytes_per_unit", self.server.and_then(|used| member(used.rss_before, used.rss))),
            ("server_pss_bytes_per_unit", pss.and_then(|(before, after)| member(before, after))),
            ("client_cpu_ns", Some(self.client.cpu_ns as f64)),
            ("client_cpu_ns_per_unit", Some(self.client.cpu_ns as f64 / each)),
            ("client_cpu_share", Some(share(self.client))),
            ("client_rss_bytes", Some(self.client.rss as f64)),
            ("members_reached", self.reached.map(|reached| reached as f64)),
        ]);
        if let Some(hostile) = &self.hostile {
            figures.extend(hostile.figures());
        }
        figures
    }
}

impl Hostile {
    fn figures(&self) -> Vec<(&'static str, Option<f64>)> {
        let fates = self.fates;
        let count = |name, count: u64| (name, Some(count as f64));
        let mut figures = Vec::new();
        let kinds = [(WITHOUT, &self.without), (AGAIN, &self.again), (WITH, &self.with)];
        for (place, (names, latencies)) in kinds.into_iter().enumerate() {
            let of = Latency::of(latencies);
            let values = [of.p50, of.p90, of.p99, of.p99_9, of.max, self.tenths[place], self.late[place]];
            figures.extend(names.into_iter().zip(values).map(|(name, value)| count(name, value)));
        }
        for (names, ratios) in [(RATIO, &self.ratios), (NOISE, &self.noise)] {
            let rounds = || ratios.rounds.iter().copied();
            figures.extend(names.into_iter().zip([
                median(rounds().collect()),
                rounds().min_by(f64::total_cmp),
                rounds().max_by(f64::total_cmp),
                Some(ratios.tenths),
                Some(ratios.pooled),
            ]));
        }
        figures.extend([
            ("without_bad_server_cpu_share", self.without_cpu_share),
            ("measuring_cpu_share", self.measuring_cpu_share),
            count("good_lost", self.lost),
            count("good_twice", self.twice),
            count("bad_joins", fates.joins),
            count("floods", fates.floods),
            count("floods_refused", fates.floods_refused),
            count("floods_taken", fates.floods_taken),
            count("oversize_ended", fates.oversize_ended),
            count("slow_ended", fates.slow_ended),
            count("slow_kept", fates.slow_kept),
            count("bad_other", fates.other),
        ]);
        figures
    }
}

const WITHOUT: [&str; 7] = [
    "without_bad_p50_ns",
    "without_bad_p90_ns",
    "without_bad_p99_ns",
    "without_bad_p99_9_ns",
    "without_bad_max_ns",
    "without_bad_tenth_p99_ns",
    "without_bad_late_p99_ns",
];

/// Without them again.
const AGAIN: [&str; 7] = [
    "again_p50_ns",
    "again_p90_ns",
    "again_p99_ns",
    "again_p99_9_ns",
    "again_max_ns",
    "again_tenth_p99_ns",
    "again_late_p99_ns",
];

const WITH: [&str; 7] = [
    "with_bad_p50_ns",
    "with_bad_p90_ns",
    "with_bad_p99_ns",
    "with_bad_p99_9_ns",
    "with_bad_max_ns",
    "with_bad_tenth_p99_ns",
    "with_bad_late_p99_ns",
];

const RATIO: [&str; 5] = ["p99_ratio", "p99_ratio_least", "p99_ratio_most", "p99_ratio_of_tenths", "p99_ratio_of_all"];

/// The same between two times without bad clients.
const NOISE: [&str; 5] =
    ["noise_ratio", "noise_ratio_least", "noise_ratio_most", "noise_ratio_of_tenths", "noise_ratio_of_all"];

const LATENCY: [&str; 6] =
    ["latency_mean_ns", "latency_p50_ns", "latency_p90_ns", "latency_p99_ns", "latency_p99_9_ns", "latency_max_ns"];

/// With what a closed loop omits added.
const CORRECTED: [&str; 6] = [
    "corrected_mean_ns",
    "corrected_p50_ns",
    "corrected_p90_ns",
    "corrected_p99_ns",
    "corrected_p99_9_ns",
    "corrected_max_ns",
];
