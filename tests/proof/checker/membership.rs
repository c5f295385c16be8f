//! The same membership everywhere: the fold of the one order, place by place,
//! held against each snapshot, each resumed view and each view at rest.
//!
//! What nobody saw isn't guessed. A hole that several connections' stretches
//! cover is an addressed signal; one that only a single connection covers may
//! be about that connection, which isn't told of itself; one that none covers
//! may be anything. The fold takes what it doubts from the next view.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    order::{Epoch, Order},
    sends::Sends,
    stretch::Stretch,
    violation::{Kind, Violation},
};
use crate::history::{Members, Outcome, Place, Rest, State, Thing};

/// Who sees what; the server's own list is nobody's.
struct View<'a> {
    client: Option<usize>,
    me: Option<&'a str>,
    members: &'a Members,
}

/// What one may be wrong about.
#[derive(Debug, Default)]
struct Doubt {
    /// Everyone, but for the sure ones.
    everyone: bool,
    sure: BTreeSet<String>,
    unsure: BTreeSet<String>,
}

impl Doubt {
    fn about(&self, id: &str) -> bool {
        self.unsure.contains(id) || (self.everyone && !self.sure.contains(id))
    }

    fn of_everyone(&mut self) {
        *self = Self { everyone: true, ..Self::default() };
    }

    fn of_one(&mut self, id: &str) {
        self.sure.remove(id);
        self.unsure.insert(id.to_owned());
    }

    fn settle(&mut self, id: &str) {
        self.unsure.remove(id);
        if self.everyone {
            self.sure.insert(id.to_owned());
        }
    }
}

/// Walks through one epoch.
struct Walk<'a> {
    epoch: u64,
    sends: &'a Sends<'a>,
    names: &'a [&'a str],
    members: Members,
    doubt: Doubt,
    violations: &'a mut Vec<Violation>,
}

pub(super) fn check(
    stretches: &[Stretch],
    order: &Order,
    sends: &Sends<'_>,
    rest: Option<&Rest>,
    violations: &mut Vec<Violation>,
    names: &[&str],
) {
    let nothing = Epoch::new();
    let epochs: BTreeSet<u64> =
        stretches.iter().map(|stretch| stretch.epoch).chain(rest.map(|rest| rest.epoch)).collect();
    for epoch in epochs {
        let of: Vec<&Stretch> = stretches.iter().filter(|stretch| stretch.epoch == epoch).collect();
        let mut views: BTreeMap<u64, Vec<View<'_>>> = BTreeMap::new();
        for stretch in &of {
            for view in &stretch.views {
                let (client, me) = (Some(stretch.client), Some(stretch.connection.as_str()));
                views.entry(view.sequence).or_default().push(View { client, me, members: &view.members });
            }
        }
        if let Some(rest) = rest.filter(|rest| rest.epoch == epoch) {
            views.entry(u64::MAX).or_default().push(View { client: None, me: None, members: &rest.members });
        }
        let doubt = Doubt::default();
        Walk { epoch, sends, names, members: Members::new(), doubt, violations: &mut *violations }.walk(
            order.epochs.get(&epoch).unwrap_or(&nothing),
            &of,
            &views,
        );
    }
}

impl Walk<'_> {
    fn walk(mut self, things: &Epoch, stretches: &[&Stretch], views: &BTreeMap<u64, Vec<View<'_>>>) {
        let last = |sequence: Option<&u64>| sequence.copied().unwrap_or(0);
        let end = last(things.keys().next_back()).max(last(views.range(..u64::MAX).next_back().map(|(at, _)| at)));
        for sequence in 1..=end {
            match things.get(&sequence) {
                Some(thing) => self.happens(sequence, thing),
                None => self.hole(sequence, stretches),
            }
            views.get(&sequence).into_iter().flatten().for_each(|view| self.compare(sequence, view));
        }
        views.get(&u64::MAX).into_iter().flatten().for_each(|view| self.compare(end, view));
    }

    fn violation(&mut self, kind: Kind, sequence: u64, client: Option<usize>, sentence: String) {
        let mut violation = Violation::new(kind, sentence).at(Place::new(self.epoch, sequence));
        violation.clients.extend(client);
        self.violations.push(violation);
    }

    fn hole(&mut self, sequence: u64, stretches: &[&Stretch]) {
        let mut over = stretches.iter().filter(|stretch| stretch.covers(sequence)).map(|stretch| &stretch.connection);
        match over.next() {
            None => self.doubt.of_everyone(),
            Some(only) if over.all(|other| other == only) => self.doubt.of_one(only),
            Some(_) => {}
        }
    }

    fn happens(&mut self, sequence: u64, thing: &Thing) {
        let is = |id: &String| (self.members.get(id).copied(), self.doubt.about(id));
        let allowed = match thing {
            Thing::Signal { tag, from } => {
                let there = from.as_ref().is_none_or(|from| matches!(is(from), (Some(_), _) | (None, true)));
                self.named(sequence, tag);
                there
            }
            Thing::Created(id) => matches!(is(id), (None, _) | (_, true)),
            Thing::Destroyed(id) => matches!(is(id), (Some(_), _) | (_, true)),
            Thing::Interrupted(id) => matches!(is(id), (Some(State::Connected), _) | (_, true)),
            Thing::Restored(id) => matches!(is(id), (Some(State::Interrupted), _) | (_, true)),
        };
        if !allowed {
            let sentence = format!("the {thing} at {}/{sequence} came among {:?}", self.epoch, self.members);
            self.violation(Kind::Absurd, sequence, None, sentence);
        }
        match thing {
            _ if !allowed => {}
            Thing::Signal { .. } => {}
            Thing::Created(id) | Thing::Restored(id) => drop(self.members.insert(id.clone(), State::Connected)),
            Thing::Interrupted(id) => drop(self.members.insert(id.clone(), State::Interrupted)),
            Thing::Destroyed(id) => drop(self.members.remove(id)),
        }
        if let Some(id) = thing.subject() {
            self.doubt.settle(id);
        }
    }

    /// Whether the sender was told rightly who of those it named isn't there.
    fn named(&mut self, sequence: u64, tag: &str) {
        let Some(send) = self.sends.get(tag) else { return };
        let [Outcome::Accepted { not_connected, .. }] = send.outcomes[..] else { return };
        let named = send.to.unwrap_or_default();
        if named.iter().any(|id| self.doubt.about(id)) {
            return;
        }
        let absent: BTreeSet<&String> = named.iter().filter(|id| !self.members.contains_key(*id)).collect();
        let told: BTreeSet<&String> = not_connected.iter().collect();
        let nobody = send.to.is_some() && named.iter().all(|id| absent.contains(id));
        if told != absent || told.len() != not_connected.len() || nobody {
            let client = send.client;
            let sentence = format!(
                "{} was told of {tag} that {told:?} are not connected; of {named:?}, {absent:?} were not",
                self.names[client]
            );
            self.violation(Kind::WrongNotConnected, sequence, Some(client), sentence);
        }
    }

    fn compare(&mut self, sequence: u64, view: &View<'_>) {
        let seen = view.members;
        if let Some(me) = view.me.filter(|me| seen.get(*me) != Some(&State::Connected)) {
            self.differs(sequence, view, format!("itself, {me}, it sees as {:?}", seen.get(me)));
        }
        let mut ids: BTreeSet<String> = self.members.keys().chain(seen.keys()).cloned().collect();
        ids.retain(|id| view.me != Some(id));
        let mut differences = Vec::new();
        for id in ids {
            let (is, sees) = (self.members.get(&id).copied(), seen.get(&id).copied());
            if self.doubt.about(&id) {
                match sees {
                    Some(state) => drop(self.members.insert(id.clone(), state)),
                    None => drop(self.members.remove(&id)),
                }
                self.doubt.settle(&id);
            } else if is != sees {
                differences.push(format!("{id} is {is:?} and seen as {sees:?}"));
            }
        }
        // Whoever isn't seen isn't there.
        if std::mem::take(&mut self.doubt.everyone) {
            let Doubt { sure, unsure, .. } = &mut self.doubt;
            sure.clear();
            unsure.extend(view.me.map(str::to_owned));
        }
        if let Some(me) = view.me
            && self.doubt.about(me)
        {
            // It is there, in a state that it can't tell.
            self.members.entry(me.to_owned()).or_insert(State::Connected);
        }
        if !differences.is_empty() {
            self.differs(sequence, view, differences.join(", "));
        }
    }

    fn differs(&mut self, sequence: u64, view: &View<'_>, what: String) {
        let who = view.client.map_or("the server", |client| self.names[client]);
        let sentence = format!("{who} at {}/{sequence}: {what}", self.epoch);
        self.violation(Kind::Membership, sequence, view.client, sentence);
    }
}
