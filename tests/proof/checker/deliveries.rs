//! Nothing lost, and nothing to the wrong ones: each stretch holds exactly
//! what its connection is entitled to of the order.

use super::{
    order::Order,
    sends::Sends,
    stretch::Stretch,
    violation::{Kind, Violation},
};
use crate::history::{Place, Thing};

/// Whether a connection is to see a thing; nobody is told of itself. None: it
/// can't be said.
fn is_due(thing: &Thing, connection: &str, sends: &Sends<'_>) -> Option<bool> {
    match thing {
        Thing::Signal { tag, .. } => Some(sends.get(tag)?.addresses(connection)),
        event => Some(event.subject() != Some(connection)),
    }
}

pub(super) fn check(
    stretches: &[Stretch],
    order: &Order,
    sends: &Sends<'_>,
    violations: &mut Vec<Violation>,
    names: &[&str],
) {
    for stretch in stretches {
        let Some(epoch) = order.epochs.get(&stretch.epoch) else { continue };
        let (name, me) = (names[stretch.client], &stretch.connection);
        let mut violation = |kind, sequence: u64, sentence: String| {
            let place = Place::new(stretch.epoch, sequence);
            violations.push(Violation::new(kind, sentence).of(stretch.client).at(place));
        };
        let due = epoch.range(stretch.from..).filter(|(sequence, _)| stretch.covers(**sequence));
        for (sequence, thing) in due {
            if is_due(thing, me, sends) == Some(true) && !stretch.saw.contains_key(sequence) {
                let sentence = format!(
                    "{name}, {me}, never saw the {thing} at {}/{sequence}, and reported no gap between {} and {}",
                    stretch.epoch,
                    stretch.from,
                    if stretch.to == u64::MAX { "the end".to_owned() } else { stretch.to.to_string() }
                );
                violation(Kind::Lost, *sequence, sentence);
            }
        }
        for (sequence, thing) in &stretch.saw {
            if is_due(thing, me, sends) == Some(false) {
                let sentence = format!("{name}, {me}, saw the {thing} at {}/{sequence}", stretch.epoch);
                violation(Kind::NotEntitled, *sequence, sentence);
            }
        }
    }
}
