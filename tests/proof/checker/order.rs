//! The one order of each epoch, put together from what everyone saw.

use std::collections::BTreeMap;

use super::{
    stretch::Stretch,
    violation::{Kind, Violation},
};
use crate::history::{Place, Thing};

/// What is known of one epoch: its things, by sequence. A hole is what nobody
/// saw.
pub(crate) type Epoch = BTreeMap<u64, Thing>;

/// The orders of all epochs.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) epochs: BTreeMap<u64, Epoch>,
    /// Where each tag is.
    pub(super) tags: BTreeMap<String, Vec<Place>>,
}

impl Order {
    /// Everyone's sights in one. Where two differ, the order holds what most
    /// saw.
    pub(super) fn of(stretches: &[Stretch], violations: &mut Vec<Violation>, names: &[&str]) -> Self {
        let mut sights: BTreeMap<Place, BTreeMap<Thing, Vec<usize>>> = BTreeMap::new();
        let mut saw = |epoch: u64, sequence: u64, thing: Thing, client: usize| {
            sights.entry(Place::new(epoch, sequence)).or_default().entry(thing).or_default().push(client);
        };
        for stretch in stretches {
            if stretch.creates {
                saw(stretch.epoch, stretch.from, Thing::Created(stretch.connection.clone()), stretch.client);
            }
            for (sequence, thing) in &stretch.saw {
                saw(stretch.epoch, *sequence, thing.clone(), stretch.client);
            }
        }
        let mut order = Self::default();
        for (place, mut things) in sights {
            let Some(most) = things.iter().max_by_key(|(_, clients)| clients.len()).map(|(thing, _)| thing.clone())
            else {
                continue;
            };
            let with = things.remove(&most).unwrap_or_default();
            for (other, clients) in things {
                let sentence =
                    format!("at {place} {} saw {most}, and {} saw {other}", all(names, &with), all(names, &clients));
                let two = Violation::new(Kind::TwoThings, sentence).at(place);
                violations.push(two.of(with[0]).of(clients[0]));
            }
            order.insert(place, most);
        }
        order
    }

    pub(super) fn insert(&mut self, place: Place, thing: Thing) {
        if let Some(tag) = thing.tag() {
            self.tags.entry(tag.to_owned()).or_default().push(place);
        }
        self.epochs.entry(place.epoch).or_default().insert(place.sequence, thing);
    }

    pub(super) fn at(&self, place: Place) -> Option<&Thing> {
        self.epochs.get(&place.epoch)?.get(&place.sequence)
    }

    pub(super) fn places(&self, tag: &str) -> &[Place] {
        self.tags.get(tag).map_or(&[], Vec::as_slice)
    }
}

fn all(names: &[&str], clients: &[usize]) -> String {
    let mut names: Vec<_> = clients.iter().map(|&client| names[client]).collect();
    names.dedup();
    names.join(", ")
}
