//! Judges what clients asked for, were told and saw by what is promised:
//! pure functions of the evidence, which may come from one node or from many.
//!
//! The order itself is nowhere to be had: it is put together from everyone's
//! sights (`order`), which must agree, and each sight is then held against it.

mod deliveries;
mod membership;
mod order;
mod sends;
mod stretch;
mod violation;

pub(crate) use violation::{Kind, Violation};

use std::{collections::BTreeMap, ops::AddAssign};

use crate::history::{Evidence, Outcome, Record};
use order::Order;
use sends::Sends;
use stretch::{Cutter, Gaps};

/// What a check has looked at. Where it is little, no violation means little.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) clients: usize,
    pub(crate) epochs: usize,
    /// Places of the orders that somebody knows.
    pub(crate) places: usize,
    /// Streams lost.
    pub(crate) losses: usize,
    pub(crate) resumes: usize,
    pub(crate) gaps: Gaps,
    pub(crate) ends: usize,
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    /// By reason.
    pub(crate) refused: BTreeMap<String, usize>,
    pub(crate) not_sent: usize,
    pub(crate) unknown: usize,
    pub(crate) deliveries: usize,
    pub(crate) connection_events: usize,
}

/// What came of a check.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: Counts,
}

/// Every promise broken.
pub(crate) fn check(evidence: &Evidence) -> Verdict {
    let histories = &evidence.histories;
    let names: Vec<&str> = histories.iter().map(|history| history.name.as_str()).collect();
    let mut cutter = Cutter::default();
    for (client, history) in histories.iter().enumerate() {
        cutter.cut(client, history);
    }
    let Cutter { stretches, mut violations, resumes, gaps } = cutter;
    let sends = Sends::of(histories, &mut violations);
    let mut order = Order::of(&stretches, &mut violations, &names);
    sends.senders(&stretches, &mut violations, &names);
    sends.decide(&mut order, &mut violations, &names);
    sends.own_order(&order, &mut violations, &names);
    deliveries::check(&stretches, &order, &sends, &mut violations, &names);
    membership::check(&stretches, &order, &sends, evidence.rest.as_ref().ok(), &mut violations, &names);
    rest(evidence, &stretches, &mut violations);

    let mut counts =
        Counts { clients: histories.len(), resumes, gaps, epochs: order.epochs.len(), ..Counts::default() };
    counts.places = order.epochs.values().map(|epoch| epoch.len()).sum();
    histories.iter().flat_map(|history| &history.records).for_each(|record| counts.add(record));
    Verdict { violations, counts }
}

/// Everyone who isn't over comes to rest, in the epoch that the server is in.
fn rest(evidence: &Evidence, stretches: &[stretch::Stretch], violations: &mut Vec<Violation>) {
    let rest = match &evidence.rest {
        Ok(rest) => rest,
        Err(why) => return violations.push(Violation::new(Kind::Restless, why.clone())),
    };
    for (client, history) in evidence.histories.iter().enumerate() {
        let joined = history.records.iter().any(|record| matches!(record, Record::Joined(_)));
        let ended =
            history.records.iter().any(|record| matches!(record, Record::Disconnected { .. } | Record::AtRest { .. }));
        if joined && !ended {
            let sentence = format!("{} never came to rest", history.name);
            violations.push(Violation::new(Kind::Restless, sentence).of(client));
        }
    }
    for stretch in stretches.iter().filter(|stretch| stretch.to == u64::MAX && stretch.epoch != rest.epoch) {
        let name = &evidence.histories[stretch.client].name;
        let sentence = format!("{name} rests in {}, and the server in {}", stretch.epoch, rest.epoch);
        violations.push(Violation::new(Kind::Silence, sentence).of(stretch.client));
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.clients += other.clients;
        self.epochs += other.epochs;
        self.places += other.places;
        self.losses += other.losses;
        self.resumes += other.resumes;
        self.gaps.short_log += other.gaps.short_log;
        self.gaps.connection += other.gaps.connection;
        self.gaps.epoch += other.gaps.epoch;
        self.ends += other.ends;
        self.sent += other.sent;
        self.accepted += other.accepted;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        self.not_sent += other.not_sent;
        self.unknown += other.unknown;
        self.deliveries += other.deliveries;
        self.connection_events += other.connection_events;
    }
}

impl Counts {
    fn add(&mut self, record: &Record) {
        match record {
            Record::Sent { .. } => self.sent += 1,
            Record::Decided { outcome: Outcome::Accepted { .. }, .. } => self.accepted += 1,
            Record::Decided { outcome: Outcome::Refused { reason }, .. } => {
                *self.refused.entry(reason.clone()).or_default() += 1;
            }
            Record::Decided { outcome: Outcome::NotSent, .. } => self.not_sent += 1,
            Record::Decided { outcome: Outcome::Unknown, .. } => self.unknown += 1,
            Record::Saw { thing, .. } if thing.tag().is_some() => self.deliveries += 1,
            Record::Saw { .. } => self.connection_events += 1,
            Record::Reconnecting => self.losses += 1,
            Record::Disconnected { .. } => self.ends += 1,
            Record::Joined(_) | Record::Reconnected { .. } | Record::AtRest { .. } => {}
        }
    }
}
