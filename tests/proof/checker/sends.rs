//! What senders were told, held against what happened: every send is decided
//! once, an accepted one happened once, any other one not or, if nobody knows,
//! at most once; and what one sender sends happens in its order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    order::Order,
    stretch::Stretch,
    violation::{Kind, Violation},
};
use crate::history::{History, Outcome, Place, Record, Thing};

/// One send and what its sender was told.
#[derive(Debug)]
pub(crate) struct Send<'a> {
    pub(super) client: usize,
    pub(super) tag: &'a str,
    pub(super) to: Option<&'a [String]>,
    pub(super) outcomes: Vec<&'a Outcome>,
    /// By a call with a key and not on a connection: the key is good for one
    /// signal in each epoch, and calls that overlap have no order.
    keyed: bool,
}

impl Send<'_> {
    /// Whether a connection is addressed.
    pub(super) fn addresses(&self, connection: &str) -> bool {
        self.to.is_none_or(|to| to.iter().any(|id| id == connection))
    }
}

/// All sends, by client in the order of sending, and by tag.
#[derive(Default)]
pub(super) struct Sends<'a> {
    pub(super) list: Vec<Send<'a>>,
    pub(super) by_tag: BTreeMap<&'a str, usize>,
}

impl<'a> Sends<'a> {
    pub(super) fn of(histories: &'a [History], violations: &mut Vec<Violation>) -> Self {
        let mut sends = Self::default();
        for (client, history) in histories.iter().enumerate() {
            let name = &history.name;
            let keyed = !history.records.iter().any(|record| matches!(record, Record::Joined(_)));
            let mut impossible = |tag: &str, what: &str| {
                let sentence = format!("{name} {what} {tag}");
                violations.push(Violation::new(Kind::Impossible, sentence).of(client));
            };
            for record in &history.records {
                match record {
                    Record::Sent { tag, to } => {
                        if sends.by_tag.insert(tag, sends.list.len()).is_some() {
                            impossible(tag, "sent what had been sent:");
                        }
                        sends.list.push(Send { client, tag, to: to.as_deref(), outcomes: Vec::new(), keyed });
                    }
                    Record::Decided { tag, outcome } => match sends.by_tag.get(tag.as_str()) {
                        Some(&at) if sends.list[at].client == client => sends.list[at].outcomes.push(outcome),
                        _ => impossible(tag, "was told an outcome of what it didn't send:"),
                    },
                    _ => {}
                }
            }
        }
        sends
    }

    pub(super) fn get(&self, tag: &str) -> Option<&Send<'a>> {
        self.by_tag.get(tag).map(|&at| &self.list[at])
    }

    /// Each send has one outcome, and what is accepted has its place. Takes the
    /// places that only senders know into the order.
    pub(super) fn decide(&self, order: &mut Order, violations: &mut Vec<Violation>, names: &[&str]) {
        for send in &self.list {
            let (tag, name) = (send.tag, names[send.client]);
            let mut violation = |kind, place: Option<Place>, what: String| {
                let mut violation = Violation::new(kind, format!("{tag} of {name} {what}")).of(send.client);
                (violation.place, violation.tag) = (place, Some(tag.to_owned()));
                violations.push(violation);
            };
            let mut places = order.places(tag).to_vec();
            let mut epochs: Vec<_> = places.iter().map(|place| place.epoch).collect();
            epochs.dedup();
            if places.len() > if send.keyed { epochs.len() } else { 1 } {
                let all = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
                violation(Kind::HappenedTwice, places.last().copied(), format!("is at {all}"));
            }
            let outcome = match send.outcomes[..] {
                [] => {
                    violation(Kind::Undecided, None, "has no outcome".into());
                    continue;
                }
                [outcome] => outcome,
                [first, ..] => {
                    violation(Kind::DecidedTwice, None, format!("has the outcomes {:?}", send.outcomes));
                    first
                }
            };
            match outcome {
                Outcome::Accepted { epoch, sequence, .. } => {
                    if places.iter().any(|at| at.sequence == *sequence && epoch.is_none_or(|epoch| epoch == at.epoch)) {
                        continue;
                    }
                    let told = epoch.map(|epoch| Place::new(epoch, *sequence));
                    places.retain(|place| !send.keyed || epoch.is_none_or(|epoch| epoch == place.epoch));
                    match (places.first(), told) {
                        (Some(is), _) => {
                            let what = format!("was accepted as {sequence} in epoch {epoch:?}, and is at {is}");
                            violation(Kind::AcceptedElsewhere, Some(*is), what);
                        }
                        // Nobody saw it, and nobody can say where it should be.
                        (None, None) => {}
                        (None, Some(told)) => match order.at(told) {
                            Some(other) => {
                                let what = format!("was accepted at {told}, where there is the {other}");
                                violation(Kind::AcceptedElsewhere, Some(told), what);
                            }
                            None => order.insert(told, Thing::Signal { tag: tag.into(), from: None }),
                        },
                    }
                }
                Outcome::Refused { .. } | Outcome::NotSent => {
                    if let Some(is) = places.first() {
                        violation(Kind::HappenedAnyway, Some(*is), format!("is at {is}, though it was {outcome:?}"));
                    }
                }
                Outcome::Unknown => {}
            }
        }
    }

    /// What one client sends takes its places in the order of sending.
    pub(super) fn own_order(&self, order: &Order, violations: &mut Vec<Violation>, names: &[&str]) {
        let mut newest: BTreeMap<(usize, u64), (u64, &str)> = BTreeMap::new();
        for send in &self.list {
            let decided = |place: &&Place| match send.outcomes[..] {
                [Outcome::Accepted { sequence, .. }] => place.sequence == *sequence,
                _ => !send.keyed,
            };
            for place in order.places(send.tag).iter().filter(decided) {
                let earlier = newest.insert((send.client, place.epoch), (place.sequence, send.tag));
                if let Some((sequence, tag)) = earlier.filter(|(sequence, _)| *sequence > place.sequence) {
                    let sentence = format!(
                        "{} sent {tag} before {}, and they are at {sequence} and {place}",
                        names[send.client], send.tag
                    );
                    violations.push(Violation::new(Kind::SenderDisorder, sentence).of(send.client).at(*place));
                }
            }
        }
    }

    /// What was received is somebody's send, and by its sender.
    pub(super) fn senders(&self, stretches: &[Stretch], violations: &mut Vec<Violation>, names: &[&str]) {
        let mut connections: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for stretch in stretches {
            connections.entry(stretch.client).or_default().insert(&stretch.connection);
        }
        let mut told = BTreeSet::new();
        for stretch in stretches {
            for (sequence, thing) in &stretch.saw {
                let Thing::Signal { tag, from } = thing else { continue };
                let place = Place::new(stretch.epoch, *sequence);
                let Some(send) = self.get(tag) else {
                    if told.insert(tag) {
                        let sentence = format!("{} saw {thing} at {place}, and nobody sent it", names[stretch.client]);
                        violations.push(Violation::new(Kind::NobodySent, sentence).of(stretch.client).at(place));
                    }
                    continue;
                };
                let right = match (connections.get(&send.client), from) {
                    // A backend has no connection.
                    (None, from) => from.is_none(),
                    (Some(ids), Some(from)) => ids.contains(from.as_str()),
                    (Some(_), None) => false,
                };
                if !right && told.insert(tag) {
                    let sentence = format!("{thing} at {place} was sent by {}", names[send.client]);
                    let violation = Violation::new(Kind::WrongSender, sentence).of(stretch.client).of(send.client);
                    violations.push(violation.at(place));
                }
            }
        }
    }
}
