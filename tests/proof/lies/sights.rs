//! Lies about what a client saw: something less, something more, another order,
//! gaps that are kept quiet.

use super::*;

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
    finds(&[Kind::Repeated], |evidence, seed| repeat(evidence, seed, 1));
    finds(&[Kind::Repeated], |evidence, seed| repeat(evidence, seed, 2));
}

/// Has somebody see something again, that much later.
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
