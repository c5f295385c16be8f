//! The checker finds each kind of lie, and nothing but it: evidence with no
//! violation in it is tampered with, in one place. A checker that can't fail
//! proves nothing.

mod sends;
mod sights;
mod views;

use std::collections::BTreeSet;

use crate::{
    checker::{Kind, check},
    good,
    history::{Evidence, Outcome, Place, Record, State, Thing},
};

const SEEDS: u64 = 30;

/// Tells a lie about one of the candidates, by seed.
type Lie = fn(&mut Evidence, u64) -> Option<()>;

fn kinds(evidence: &Evidence) -> BTreeSet<Kind> {
    check(evidence).violations.iter().map(|violation| violation.kind).collect()
}

/// The lie is found wherever it can be told, and nothing else is.
fn finds(expected: &[Kind], lie: Lie) {
    let mut told = 0;
    for seed in 0..SEEDS {
        let mut evidence = good::witnessed(seed);
        if lie(&mut evidence, seed).is_none() {
            continue;
        }
        told += 1;
        let verdict = check(&evidence);
        let found: BTreeSet<Kind> = verdict.violations.iter().map(|violation| violation.kind).collect();
        let says: Vec<_> = verdict.violations.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected.iter().copied().collect(), "seed {seed}: {}", says.join("\n"));
    }
    assert!(told >= SEEDS / 3, "told {told} times only");
}

/// One of them.
fn pick<T>(mut of: Vec<T>, seed: u64) -> Option<T> {
    let at = (seed as usize * 7_919).checked_rem(of.len())?;
    Some(of.swap_remove(at))
}

/// Where a record is: whose, and which of its.
type Spot = (usize, usize);

/// The records that a test is true of.
fn spots(evidence: &Evidence, is: impl Fn(&[Record], usize) -> bool) -> Vec<Spot> {
    let mut found = Vec::new();
    for (client, history) in evidence.histories.iter().enumerate() {
        found.extend((0..history.records.len()).filter(|&at| is(&history.records, at)).map(|at| (client, at)));
    }
    found
}

fn records(evidence: &mut Evidence, client: usize) -> &mut Vec<Record> {
    &mut evidence.histories[client].records
}

fn seen(record: &Record) -> Option<(Place, &Thing)> {
    match record {
        Record::Saw { place, thing } => Some((*place, thing)),
        _ => None,
    }
}

/// How many clients saw what is at a place.
fn witnesses(evidence: &Evidence, at: Place) -> usize {
    let saw = |record: &Record| seen(record).is_some_and(|(place, _)| place == at);
    evidence.histories.iter().filter(|history| history.records.iter().any(saw)).count()
}

/// What somebody saw, and right after it something else, while others saw both.
fn pairs(evidence: &Evidence) -> Vec<Spot> {
    spots(evidence, |records, at| {
        let both = records.get(at).and_then(seen).zip(records.get(at + 1).and_then(seen));
        both.is_some_and(|((one, _), (next, _))| witnesses(evidence, one) > 2 && witnesses(evidence, next) > 2)
    })
}

fn signals(evidence: &Evidence) -> Vec<Spot> {
    let mut pairs = pairs(evidence);
    let signal = |at: usize, client: usize| {
        seen(&evidence.histories[client].records[at]).is_some_and(|(_, thing)| thing.tag().is_some())
    };
    pairs.retain(|&(client, at)| signal(at, client) && signal(at + 1, client));
    pairs
}

/// The decisions of sends that were accepted, and that others saw.
fn accepted(evidence: &Evidence) -> Vec<Spot> {
    spots(evidence, |records, at| match &records[at] {
        Record::Decided { outcome: Outcome::Accepted { epoch: Some(epoch), sequence, .. }, .. } => {
            witnesses(evidence, Place::new(*epoch, *sequence)) > 1
        }
        _ => false,
    })
}

fn decide(evidence: &mut Evidence, (client, at): Spot, change: impl Fn(&mut Outcome)) -> Option<()> {
    match &mut records(evidence, client)[at] {
        Record::Decided { outcome, .. } => change(outcome),
        _ => return None,
    }
    Some(())
}

/// Those that were there to the end, and the end of the order.
fn end(evidence: &Evidence) -> (Vec<Spot>, Place) {
    let rest = spots(evidence, |records, at| matches!(records[at], Record::AtRest { .. }));
    let all = evidence.histories.iter().flat_map(|history| &history.records);
    let last = all.filter_map(|record| Some(seen(record)?.0)).max().expect("somebody saw something");
    (rest, Place::new(last.epoch, last.sequence + 100))
}

#[test]
fn good_evidence_has_no_violation() {
    for seed in 0..300 {
        let evidence = if seed % 2 == 0 { good::evidence(seed) } else { good::witnessed(seed) };
        let verdict = check(&evidence);
        let says: Vec<_> = verdict.violations.iter().map(ToString::to_string).collect();
        assert!(says.is_empty(), "seed {seed}:\n{}", says.join("\n"));
    }
}

#[test]
fn good_evidence_has_everything_in_it() {
    let mut sum = [0; 11];
    for seed in 0..SEEDS {
        let counts = check(&good::evidence(seed)).counts;
        let some = [
            counts.epochs - 1,
            counts.resumes,
            counts.gaps.short_log,
            counts.gaps.connection,
            counts.gaps.epoch,
            counts.accepted,
            counts.refused.values().sum(),
            counts.not_sent,
            counts.unknown,
            counts.deliveries,
            counts.connection_events,
        ];
        sum.iter_mut().zip(some).for_each(|(sum, one)| *sum += one);
    }
    assert!(sum.iter().all(|&count| count > SEEDS as usize / 2), "{sum:?}");
}
