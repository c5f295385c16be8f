//! What Signalbox has set out to cost, beside NATS and the floor.

use std::fmt;

use super::{
    results::{Metric, Results},
    servers::Kind,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    work: &'static str,
    metric: Metric,
    limit: Limit,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    /// At most so many times what the other has in the same round.
    Of(Kind, f64),
    AtMost(f64),
    /// In calls of one core's second: from the CPU of each.
    PerCoreSecond(f64),
}

const fn cpu(work: &'static str, of: Kind, limit: f64) -> Goal {
    Goal { work, metric: Metric::Cpu, limit: Limit::Of(of, limit) }
}

pub(crate) const GOALS: &[Goal] = &[
    cpu("fanout-100", Kind::Nats, 0.5),
    cpu("fanout-1000", Kind::Nats, 0.5),
    cpu("single-100", Kind::Nats, 0.9),
    cpu("single-100", Kind::Floor, 1.4),
    cpu("single-1000", Kind::Nats, 0.9),
    cpu("single-1000", Kind::Floor, 1.4),
    cpu("fanout-8k", Kind::Nats, 0.9),
    cpu("pairs-500", Kind::Nats, 0.6),
    cpu("pairs-500", Kind::Floor, 1.5),
    Goal { work: "pairs-500", metric: Metric::P99, limit: Limit::Of(Kind::Nats, 1.0) },
    Goal { work: "pairs-500-half", metric: Metric::P99, limit: Limit::AtMost(1000.0) },
    Goal { work: "unary", metric: Metric::Cpu, limit: Limit::PerCoreSecond(100_000.0) },
    cpu("join", Kind::Nats, 0.5),
];

/// A goal beside what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    pub(crate) value: f64,
    pub(crate) met: bool,
}

impl Goal {
    /// `None` when its work or its peer was not measured.
    pub(crate) fn judge(&self, results: &Results) -> Option<Verdict> {
        let row = results.row(self.work)?;
        let what = match self.metric {
            Metric::P99 => "p99",
            _ => "server CPU",
        };
        let title = row.job.title;
        Some(match self.limit {
            Limit::Of(other, limit) => {
                let value = row.ratio(Kind::Signalbox, other, self.metric)?;
                let goal = format!("{title}: {what} ÷ {}, at most {limit}", other.name());
                Verdict { goal, value, met: value <= limit }
            }
            Limit::AtMost(limit) => {
                let value = row.median(Kind::Signalbox, self.metric)?;
                Verdict { goal: format!("{title}: {what} at most {limit} µs"), value, met: value <= limit }
            }
            Limit::PerCoreSecond(limit) => {
                let value = 1e6 / row.median(Kind::Signalbox, Metric::Cpu)?;
                let goal = format!("{title}: {}s per core and second, at least {limit}", row.job.unit);
                Verdict { goal, value, met: value >= limit }
            }
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met   " } else { "MISSED" };
        write!(f, "{met} {}: {}", self.goal, super::table::figure(self.value))
    }
}

pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    GOALS.iter().filter_map(|goal| goal.judge(results)).collect()
}
