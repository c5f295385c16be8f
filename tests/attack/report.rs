//! What came of an attack.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;

/// How long a newcomer may take, and how much worse the bystanders' p99 may be: of
/// a machine that has time.
const NEWCOMER: Duration = Duration::from_secs(1);
const WORSE: f64 = 3.0;
/// Log lines about refusals in a second. Source: `telemetry::audit`.
const LINES_PER_SECOND: f64 = 100.0;
/// How often accepting may fail in a second without spinning: with the pauses that
/// it makes it is far less.
const FAILURES_PER_SECOND: f64 = 300.0;

pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) units: u64,
    pub(crate) unit: &'static str,
    pub(crate) connections: u64,
    /// Whether no attacker may join, and the audit log must say so.
    pub(crate) wants_refusals: bool,
    /// How many joins of attackers were let in, where they looked.
    pub(crate) joined: u64,
    /// Of one CPU.
    pub(crate) cpu: f64,
    /// Before, at the most, after; in bytes.
    pub(crate) memory: (u64, u64, u64),
    pub(crate) memory_bound: u64,
    pub(crate) calm: Histogram<u64>,
    pub(crate) attacked: Histogram<u64>,
    pub(crate) newcomer: Option<Duration>,
    pub(crate) streams_lost: u64,
    pub(crate) signals_lost: u64,
    pub(crate) sends_lost: u64,
    pub(crate) is_alive: bool,
    pub(crate) accept_failures: f64,
    pub(crate) refusals_logged: u64,
    pub(crate) answers: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn head() -> String {
        format!(
            "{:<22} {:>22} {:>6} {:>5} {:>17} {:>19} {:>19} {:>6} {:>8}  {}",
            "attack", "done", "conns", "CPU", "memory, MiB", "p50, ms", "p99, ms", "ratio", "newcomer", "answered"
        )
    }

    fn p99(histogram: &Histogram<u64>) -> f64 {
        histogram.value_at_quantile(0.99) as f64 / 1e6
    }

    fn p50(histogram: &Histogram<u64>) -> f64 {
        histogram.value_at_quantile(0.5) as f64 / 1e6
    }

    fn ratio(&self) -> f64 {
        Self::p99(&self.attacked) / Self::p99(&self.calm)
    }

    pub(crate) fn is_well(&self, strict: bool) -> bool {
        self.wrong(strict).is_empty()
    }

    /// What must not be.
    pub(crate) fn wrong(&self, strict: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |is_wrong: bool, what: String| {
            if is_wrong {
                wrong.push(what);
            }
        };
        check(!self.is_alive, "the server died".to_owned());
        check(self.units == 0, "nothing was done".to_owned());
        check(self.attacked.is_empty(), "the bystanders heard nothing".to_owned());
        check(self.streams_lost > 0, format!("{} streams of bystanders were lost", self.streams_lost));
        check(self.signals_lost > 0, format!("{} signals were lost, repeated or out of order", self.signals_lost));
        check(self.sends_lost > 0, format!("{} sends were not accepted", self.sends_lost));
        let (peak, bound) = (mib(self.memory.1), mib(self.memory_bound));
        check(self.memory.1 > self.memory_bound, format!("{peak:.0} MiB of memory; the bound is {bound:.0}"));
        check(self.newcomer.is_none(), "a newcomer was not let in".to_owned());
        let (failures, lines) = (self.accept_failures / self.seconds, self.refusals_logged as f64);
        check(failures > FAILURES_PER_SECOND, format!("accepting failed {failures:.0} times a second"));
        // A second may begin before the attack does; each may have a line about others.
        let most = (LINES_PER_SECOND + 1.0) * (self.seconds.ceil() + 1.0);
        check(lines > most, format!("{lines} log lines in {:.1} s; the bound is {most}", self.seconds));
        if self.wants_refusals {
            check(self.joined > 0, format!("{} were let in", self.joined));
            check(self.refusals_logged == 0, "the audit log says nothing".to_owned());
        }
        if strict {
            let took = self.newcomer.unwrap_or_default();
            check(took > NEWCOMER, format!("a newcomer took {took:.2?}; the bound is {NEWCOMER:?}"));
            check(self.ratio() > WORSE, format!("p99 is {:.1} times the calm one; the bound is {WORSE}", self.ratio()));
        }
        wrong
    }

    fn answers(&self) -> String {
        let told: Vec<_> = self.answers.iter().map(|(answer, count)| format!("{answer} × {count}")).collect();
        told.join(", ")
    }

    fn columns(&self) -> [String; 10] {
        let (before, peak, after) = self.memory;
        [
            self.name.to_owned(),
            format!("{:.0} {}/s", self.units as f64 / self.seconds, self.unit),
            self.connections.to_string(),
            format!("{:.0} %", self.cpu * 100.0),
            format!("{:.0} {:.0} {:.0}", mib(before), mib(peak), mib(after)),
            format!("{:.2} {:.2}", Self::p50(&self.calm), Self::p50(&self.attacked)),
            format!("{:.2} {:.2}", Self::p99(&self.calm), Self::p99(&self.attacked)),
            format!("{:.1}", self.ratio()),
            self.newcomer.map_or("none".to_owned(), |took| format!("{} ms", took.as_millis())),
            self.answers(),
        ]
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, done, connections, cpu, memory, p50, p99, ratio, newcomer, answers] = self.columns();
        write!(
            f,
            "{name:<22} {done:>22} {connections:>6} {cpu:>5} {memory:>17} {p50:>19} {p99:>19} {ratio:>6} {newcomer:>8}  \
             {answers}"
        )
    }
}

/// The reports as a table.
pub(crate) fn markdown(reports: &[Report]) -> String {
    let mut table = String::from(
        "| attack | done | connections | server CPU | memory before, peak, after (MiB) | p50 calm, attacked (ms) | \
         p99 calm, attacked (ms) | ratio | newcomer | answered |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for report in reports {
        table += &format!("| {} |\n", report.columns().join(" | "));
    }
    table
}
