//! The checker finds each kind of lie, and nothing but it: evidence with no
//! violation in it is tampered with, in one place. A checker that can't fail
//! proves nothing.

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

#[test]
fn a_lost_signal_or_connection_event_is_found() {
    finds(&[Kind::Lost], |evidence, seed| {
        let (client, at) = pick(pairs(evidence), seed)?;
        records(evidence, client).remove(at);
        Some(())
    });
}

#[test]
fn a_signal_that_is_accepted_and_that_nobody_gets_is_found() {
    finds(&[Kind::Lost], |evidence, _| {
        let (_, place) = end(evidence);
        let backend = evidence.histories.len() - 1;
        let (epoch, sequence, not_connected) = (Some(place.epoch), place.sequence, Vec::new());
        let outcome = Outcome::Accepted { epoch, sequence, not_connected };
        records(evidence, backend).push(Record::Sent { tag: "void".into(), to: None });
        records(evidence, backend).push(Record::Decided { tag: "void".into(), outcome });
        Some(())
    });
}

#[test]
fn a_repeated_reception_is_found() {
    for later in [1, 2] {
        let lie: [Lie; 2] = [|evidence, seed| repeat(evidence, seed, 1), |evidence, seed| repeat(evidence, seed, 2)];
        finds(&[Kind::Repeated], lie[later - 1]);
    }
}

fn repeat(evidence: &mut Evidence, seed: u64, later: usize) -> Option<()> {
    let (client, at) = pick(pairs(evidence), seed)?;
    let again = records(evidence, client)[at].clone();
    records(evidence, client).insert(at + later, again);
    Some(())
}

#[test]
fn a_reception_out_of_order_is_found() {
    finds(&[Kind::OutOfOrder], |evidence, seed| {
        let (client, at) = pick(pairs(evidence), seed)?;
        records(evidence, client).swap(at, at + 1);
        Some(())
    });
}

#[test]
fn another_order_for_one_of_the_clients_is_found() {
    finds(&[Kind::TwoThings], |evidence, seed| {
        let (client, at) = pick(signals(evidence), seed)?;
        let mine = records(evidence, client);
        let (Record::Saw { place: one, .. }, Record::Saw { place: next, .. }) = (&mine[at], &mine[at + 1]) else {
            return None;
        };
        let (one, next) = (*one, *next);
        mine.swap(at, at + 1);
        for (at, right) in [(at, one), (at + 1, next)] {
            if let Record::Saw { place, .. } = &mut mine[at] {
                *place = right;
            }
        }
        Some(())
    });
}

#[test]
fn a_resume_from_before_what_was_seen_is_found() {
    finds(&[Kind::OutOfOrder], |evidence, seed| {
        let resumes = spots(evidence, |records, at| {
            at > 1
                && matches!(&records[at], Record::Reconnected { gap: false, entry } if entry.place.sequence > 2)
                && matches!(&records[at - 2], Record::Saw { .. })
        });
        let (client, at) = pick(resumes, seed)?;
        match &mut records(evidence, client)[at] {
            Record::Reconnected { entry, .. } => entry.place.sequence = 1,
            _ => return None,
        }
        Some(())
    });
}

#[test]
fn what_is_for_others_is_found() {
    finds(&[Kind::NotEntitled], |evidence, seed| {
        // Between what somebody else saw before and after it.
        let mut chances = Vec::new();
        for (client, at) in
            spots(evidence, |records, at| seen(&records[at]).is_some_and(|(_, thing)| thing.tag().is_some()))
        {
            let record = &evidence.histories[client].records[at];
            let Some((place, _)) = seen(record) else { continue };
            let others = spots(evidence, |records, at| {
                let both = records.get(at).and_then(seen).zip(records.get(at + 1).and_then(seen));
                both.is_some_and(|((one, _), (next, _))| one < place && place < next && one.epoch == next.epoch)
            });
            chances.extend(others.into_iter().map(|(other, at)| (other, at + 1, record.clone())));
        }
        let (client, at, record) = pick(chances, seed)?;
        records(evidence, client).insert(at, record);
        Some(())
    });
}

#[test]
fn a_signal_that_nobody_sent_is_found() {
    finds(&[Kind::NobodySent], |evidence, seed| {
        let (client, at) = pick(accepted(evidence), seed)?;
        let Record::Decided { tag: forged, .. } = records(evidence, client)[at].clone() else { return None };
        records(evidence, client).retain(
            |record| !matches!(record, Record::Sent { tag, .. } | Record::Decided { tag, .. } if *tag == forged),
        );
        Some(())
    });
}

#[test]
fn a_wrong_sender_is_found() {
    finds(&[Kind::WrongSender], |evidence, seed| {
        let (client, at) = pick(accepted(evidence), seed)?;
        let Record::Decided { tag: forged, .. } = records(evidence, client)[at].clone() else { return None };
        if client == evidence.histories.len() - 1 {
            return None;
        }
        for record in evidence.histories.iter_mut().flat_map(|history| &mut history.records) {
            match record {
                Record::Saw { thing: Thing::Signal { tag, from }, .. } if *tag == forged => *from = None,
                _ => {}
            }
        }
        Some(())
    });
}

#[test]
fn a_send_that_happened_twice_is_found() {
    finds(&[Kind::HappenedTwice], |evidence, _| {
        // The server signal that everything ends with.
        let (rest, place) = end(evidence);
        let sent = |record: &&Record| matches!(record, Record::Sent { .. });
        let Record::Sent { tag, to: None } = evidence.histories.last()?.records.iter().rfind(sent)?.clone() else {
            return None;
        };
        for (client, at) in rest {
            let thing = Thing::Signal { tag: tag.clone(), from: None };
            records(evidence, client).insert(at, Record::Saw { place, thing });
        }
        Some(())
    });
}

#[test]
fn a_refused_send_that_happened_is_found() {
    finds(&[Kind::HappenedAnyway], |evidence, seed| {
        let spot = pick(accepted(evidence), seed)?;
        decide(evidence, spot, |outcome| *outcome = Outcome::Refused { reason: "RATE_LIMITED".into() })
    });
}

#[test]
fn an_unsent_send_that_happened_is_found() {
    finds(&[Kind::HappenedAnyway], |evidence, seed| {
        let spot = pick(accepted(evidence), seed)?;
        decide(evidence, spot, |outcome| *outcome = Outcome::NotSent)
    });
}

#[test]
fn an_outcome_with_another_place_is_found() {
    finds(&[Kind::AcceptedElsewhere], |evidence, seed| {
        let spot = pick(accepted(evidence), seed)?;
        decide(evidence, spot, |outcome| {
            if let Outcome::Accepted { sequence, .. } = outcome {
                *sequence += 1;
            }
        })
    });
}

#[test]
fn an_outcome_with_another_epoch_is_found() {
    finds(&[Kind::AcceptedElsewhere], |evidence, seed| {
        let mut accepted = accepted(evidence);
        // A key may be good for one in another epoch, too.
        accepted.retain(|(client, _)| *client < evidence.histories.len() - 1);
        let spot = pick(accepted, seed)?;
        decide(evidence, spot, |outcome| {
            if let Outcome::Accepted { epoch, .. } = outcome {
                *epoch = epoch.map(|epoch| epoch + 1);
            }
        })
    });
}

#[test]
fn a_send_without_an_outcome_is_found() {
    finds(&[Kind::Undecided], |evidence, seed| {
        let decided = spots(evidence, |records, at| matches!(records[at], Record::Decided { .. }));
        let (client, at) = pick(decided, seed)?;
        records(evidence, client).remove(at);
        Some(())
    });
}

#[test]
fn a_send_with_two_outcomes_is_found() {
    finds(&[Kind::DecidedTwice], |evidence, seed| {
        let decided = spots(evidence, |records, at| matches!(records[at], Record::Decided { .. }));
        let (client, at) = pick(decided, seed)?;
        let again = records(evidence, client)[at].clone();
        records(evidence, client).push(again);
        Some(())
    });
}

#[test]
fn a_recipient_wrongly_told_as_connected_is_found() {
    finds(&[Kind::WrongNotConnected], |evidence, seed| {
        let mut partial = accepted(evidence);
        partial.retain(|&(client, at)| {
            matches!(&evidence.histories[client].records[at],
                Record::Decided { outcome: Outcome::Accepted { not_connected, .. }, .. } if !not_connected.is_empty())
        });
        let spot = pick(partial, seed)?;
        decide(evidence, spot, |outcome| {
            if let Outcome::Accepted { not_connected, .. } = outcome {
                not_connected.clear();
            }
        })
    });
}

#[test]
fn a_recipient_wrongly_told_as_not_connected_is_found() {
    finds(&[Kind::WrongNotConnected], |evidence, seed| {
        let spot = pick(accepted(evidence), seed)?;
        decide(evidence, spot, |outcome| {
            if let Outcome::Accepted { not_connected, .. } = outcome {
                not_connected.push("somebody".into());
            }
        })
    });
}

#[test]
fn signals_of_one_sender_in_another_order_than_sent_are_found() {
    finds(&[Kind::SenderDisorder], |evidence, seed| {
        // Two sends in a row, each right before its outcome, in one epoch.
        let epoch_of = |record: &Record| match record {
            Record::Decided { outcome: Outcome::Accepted { epoch, .. }, .. } => *epoch,
            _ => None,
        };
        let pairs: Vec<_> = spots(evidence, |records, at| {
            let sent = |at| matches!(records.get(at), Some(Record::Sent { .. }));
            let epochs = records.get(at + 1).and_then(epoch_of).zip(records.get(at + 3).and_then(epoch_of));
            sent(at) && sent(at + 2) && epochs.is_some_and(|(one, next)| one == next)
        });
        let (client, at) = pick(pairs, seed)?;
        records(evidence, client)[at..at + 4].rotate_left(2);
        Some(())
    });
}

/// Says of a gap that there was none.
fn hide(evidence: &mut Evidence, (client, at): Spot) -> Option<()> {
    match &mut records(evidence, client)[at] {
        Record::Reconnected { gap, .. } => *gap = false,
        _ => return None,
    }
    Some(())
}

/// The gaps, and whether the connection stayed the same.
fn gaps(evidence: &Evidence, same: bool) -> Vec<Spot> {
    let mut found = Vec::new();
    for (client, history) in evidence.histories.iter().enumerate() {
        let mut before = None;
        for (at, record) in history.records.iter().enumerate() {
            let entry = match record {
                Record::Joined(entry) | Record::Reconnected { gap: false, entry } => entry,
                Record::Reconnected { gap: true, entry } => {
                    if same == (before == Some(&entry.connection)) {
                        found.push((client, at));
                    }
                    entry
                }
                _ => continue,
            };
            before = Some(&entry.connection);
        }
    }
    found
}

#[test]
fn a_hidden_change_of_epoch_or_connection_is_found() {
    finds(&[Kind::Silence], |evidence, seed| {
        let spot = pick(gaps(evidence, false), seed)?;
        hide(evidence, spot)
    });
}

#[test]
fn a_new_epoch_that_is_never_spoken_of_is_found() {
    for seed in 0..SEEDS {
        let mut evidence = good::witnessed(seed);
        let epoch = |record: &Record| match record {
            Record::Joined(entry) | Record::Reconnected { entry, .. } => Some(entry.place.epoch),
            other => seen(other).map(|(place, _)| place.epoch),
        };
        let mut unspoken = gaps(&evidence, false);
        unspoken.retain(|&(client, at)| {
            let records = &evidence.histories[client].records;
            let before = records[..at].iter().rev().find_map(epoch);
            let after = records.get(at + 1).and_then(seen).map(|(place, _)| place.epoch);
            before.zip(after).is_some_and(|(before, after)| before != after)
        });
        let Some((client, at)) = pick(unspoken, seed) else { continue };
        records(&mut evidence, client).remove(at);
        // Whatever else is found then: its connection isn't known either.
        assert!(kinds(&evidence).contains(&Kind::Silence));
    }
}

#[test]
fn a_hidden_gap_in_which_something_was_missed_is_found() {
    let mut found = 0;
    for seed in 0..SEEDS {
        let honest = good::witnessed(seed);
        // Not in each one something was missed.
        for spot in gaps(&honest, true) {
            let mut evidence = honest.clone();
            hide(&mut evidence, spot);
            let kinds = kinds(&evidence);
            assert!(kinds.is_subset(&[Kind::Lost].into()), "{kinds:?}");
            found += kinds.len();
        }
    }
    assert!(found > SEEDS as usize, "{found}");
}

#[test]
fn a_member_lost_from_a_view_at_rest_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let (rest, _) = end(evidence);
        let (client, at) = pick(rest, seed)?;
        match &mut records(evidence, client)[at] {
            Record::AtRest { members } => members.pop_first().map(drop),
            _ => None,
        }
    });
}

#[test]
fn a_list_of_the_server_that_is_not_what_happened_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let members = &mut evidence.rest.as_mut().ok()?.members;
        match seed % 3 {
            0 => members.pop_first().map(drop),
            1 => members.insert("a ghost".into(), State::Interrupted).is_none().then_some(()),
            _ => members.first_entry().map(|mut first| *first.get_mut() = State::Interrupted),
        }
    });
}

#[test]
fn a_snapshot_that_is_not_what_happened_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let told = spots(
            evidence,
            |records, at| matches!(&records[at], Record::Joined(entry) | Record::Reconnected { entry, .. } if entry.members.len() > 2),
        );
        let (client, at) = pick(told, seed)?;
        let (Record::Joined(entry) | Record::Reconnected { entry, .. }) = &mut records(evidence, client)[at] else {
            return None;
        };
        match seed % 2 {
            0 => entry.members.insert("a ghost".into(), State::Connected).is_none().then_some(()),
            _ => {
                let other = entry.members.keys().find(|id| **id != entry.connection)?.clone();
                entry.members.remove(&other).map(drop)
            }
        }
    });
}

#[test]
fn a_connection_event_that_cannot_be_is_found() {
    finds(&[Kind::Absurd], |evidence, seed| {
        let (rest, place) = end(evidence);
        let ghost = String::from("a ghost");
        let thing = match seed % 3 {
            0 => Thing::Destroyed(ghost),
            1 => Thing::Restored(ghost),
            _ => Thing::Interrupted(ghost),
        };
        for (client, at) in rest {
            records(evidence, client).insert(at, Record::Saw { place, thing: thing.clone() });
        }
        Some(())
    });
}

#[test]
fn one_who_never_comes_to_rest_is_found() {
    finds(&[Kind::Restless], |evidence, seed| {
        let (rest, _) = end(evidence);
        let (client, at) = pick(rest, seed)?;
        records(evidence, client).remove(at);
        Some(())
    });
    finds(&[Kind::Restless], |evidence, _| {
        evidence.rest = Err("somebody didn't come".into());
        Some(())
    });
}

#[test]
fn one_who_rests_in_an_epoch_that_is_over_is_found() {
    finds(&[Kind::Silence, Kind::Membership], |evidence, _| evidence.rest.as_mut().ok().map(|rest| rest.epoch += 1));
}

#[test]
fn records_that_cannot_be_are_found() {
    finds(&[Kind::Impossible], |evidence, seed| {
        let over = spots(evidence, |records, at| matches!(records[at], Record::Disconnected { .. }));
        let (client, _) = pick(over, seed)?;
        let place = Place::new(1, 1);
        records(evidence, client).push(Record::Saw { place, thing: Thing::Destroyed("c".into()) });
        Some(())
    });
    finds(&[Kind::Impossible], |evidence, _| {
        let outcome = Outcome::Unknown;
        records(evidence, 0).push(Record::Decided { tag: "never sent".into(), outcome });
        Some(())
    });
}
