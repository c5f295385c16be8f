//! Lies about sends: whose they are, what became of them, in which order.

use super::*;

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
