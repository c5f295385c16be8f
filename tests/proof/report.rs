//! The counts of some runs, for people.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use crate::{
    checker::{self, Counts},
    engines::Blow,
    faults::{Kind, Played},
    run::Ran,
};

/// How many violations are told with the histories around them.
const TOLD: usize = 12;

/// What a send may be refused for, in such a run.
const REFUSALS: [&str; 6] = [
    "CONNECTION_NOT_FOUND",
    "SESSION_NOT_FOUND",
    "RATE_LIMITED",
    "TOO_MANY_UNRESOLVED_SENDS",
    "GOING_AWAY",
    "ENGINE_UNAVAILABLE",
];

/// The sums over some runs.
pub(crate) struct Report {
    began: Instant,
    seeds: Vec<u64>,
    played: Played,
    played_behind: Played,
    connections: u64,
    kills: u64,
    drains: u64,
    suspensions: u64,
    blows: BTreeMap<Blow, u64>,
    counts: Counts,
    violations: usize,
    failures: String,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            seeds: Vec::new(),
            played: Played::default(),
            played_behind: Played::default(),
            connections: 0,
            kills: 0,
            drains: 0,
            suspensions: 0,
            blows: BTreeMap::new(),
            counts: Counts::default(),
            violations: 0,
            failures: String::new(),
        }
    }
}

impl Report {
    /// Adds a run; tells whether it broke a promise.
    pub(crate) fn add(&mut self, seed: u64, ran: Ran) -> bool {
        self.seeds.push(seed);
        self.played += ran.played;
        self.played_behind += ran.played_behind;
        self.connections += ran.connections;
        self.kills += ran.kills;
        self.drains += ran.drains;
        self.suspensions += ran.suspensions;
        ran.blows.into_iter().for_each(|(blow, count)| *self.blows.entry(blow).or_default() += count);
        self.counts += &ran.verdict.counts;
        let violations = &ran.verdict.violations;
        self.violations += violations.len();
        if !violations.is_empty() {
            let mut kinds = BTreeMap::<_, usize>::new();
            violations.iter().for_each(|violation| *kinds.entry(violation.kind).or_default() += 1);
            self.failures += &format!("seed {seed} broke promises, {kinds:?} (SIGNALBOX_PROOF_SEED={seed}):\n");
            // That there was no rest is why others have no outcome.
            let mut told: Vec<_> = violations.iter().collect();
            told.sort_by_key(|violation| violation.kind != checker::Kind::Restless);
            for violation in told.into_iter().take(TOLD) {
                self.failures += &format!("{violation}\n{}", violation.context(&ran.evidence));
            }
        }
        !violations.is_empty()
    }

    /// No promise was broken.
    ///
    /// # Panics
    /// If one was.
    pub(crate) fn assert_kept(&self) {
        assert!(self.failures.is_empty(), "{}", self.failures);
        let wrong = self.counts.refused.keys().find(|reason| !REFUSALS.contains(&reason.as_str()));
        assert!(wrong.is_none(), "a send was refused with {wrong:?}");
    }

    /// What there was too little of: a storm in which little happens would
    /// prove little. None: there was every occasion to break a promise.
    pub(crate) fn calm(&self) -> Option<String> {
        let few: Vec<_> = Kind::ALL.into_iter().filter(|(kind, _)| self.played.of(*kind) < 10).collect();
        if !few.is_empty() || self.played.all() < 2_000 {
            return Some(format!("few faults, and few of {few:?}"));
        }
        let gaps = self.counts.gaps;
        let met = [self.kills as usize, self.counts.resumes / 100, gaps.short_log, gaps.connection, gaps.epoch];
        met.contains(&0).then(|| "too little happened".to_owned())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let (first, last) = (self.seeds.first().unwrap_or(&0), self.seeds.last().unwrap_or(&0));
        writeln!(f, "seeds {first} to {last}, {} s", self.elapsed().as_secs())?;
        let mut line = |name: &str, count: usize| writeln!(f, "{name:<26}{count:>10}");
        line("connections", self.connections as usize)?;
        line("faults", self.played.all() as usize)?;
        write!(f, "{}", self.played)?;
        let mut line = |name: &str, count: usize| writeln!(f, "{name:<26}{count:>10}");
        line("servers killed", self.kills as usize)?;
        line("servers drained", self.drains as usize)?;
        line("servers suspended", self.suspensions as usize)?;
        if self.played_behind.all() > 0 {
            line("faults on ways to Redis", self.played_behind.all() as usize)?;
            write!(f, "{}", self.played_behind)?;
        }
        let mut line = |name: &str, count: usize| writeln!(f, "{name:<26}{count:>10}");
        for (blow, count) in &self.blows {
            line(&format!("Redis {blow:?}"), *count as usize)?;
        }
        line("epochs", counts.epochs)?;
        line("members, one after another", counts.clients)?;
        line("streams lost", counts.losses)?;
        line("  resumed", counts.resumes)?;
        line("  back with a gap told", counts.gaps.all())?;
        line("    beyond the log", counts.gaps.short_log)?;
        line("    another connection", counts.gaps.connection)?;
        line("    another epoch", counts.gaps.epoch)?;
        line("  out for good, or left", counts.ends)?;
        line("signals sent", counts.sent)?;
        line("  accepted", counts.accepted)?;
        line("  refused", counts.refused.values().sum())?;
        line("  not sent", counts.not_sent)?;
        line("  unknown", counts.unknown)?;
        line("deliveries", counts.deliveries)?;
        line("connection events", counts.connection_events)?;
        line("places in the orders", counts.places)?;
        line("violations", self.violations)?;
        write!(f, "refused: {:?}", counts.refused)
    }
}
