//! What a node has seen of a session, in its order.
//!
//! The events of the node's own scripts come with their replies, those of other nodes on
//! its channel, and either may be first; a push may be lost. Every event names its place,
//! so a mirror delivers them one by one, waits where one is missing, and knows what it
//! lacks. Pure: no I/O, no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    domain::{Entry, Epoch, Sequence},
    session::{Effect, Handle, View},
};

use super::reply::Placed;

/// How many of the events delivered, and bytes of them, are kept for streams whose join is
/// heard of late: what isn't there is in the log.
const RECENT: usize = 16;
const RECENT_BYTES: usize = 16 * 1_024;

/// Something for the node to do, in the order told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Deliver, answer or release.
    Do(Effect),
    /// A stream receives from here on, and first these, which came after its join.
    Attach(Handle, View, Vec<Arc<Entry>>),
    /// The same, of a stream that is to be handed the events after the one place, up to
    /// the other, from the log.
    AttachAfter(Handle, View, Sequence, Sequence),
}

/// One session's, on one node, as long as it has streams there.
#[derive(Debug, Default)]
pub struct Mirror {
    /// The session's life, and the newest place delivered; none before the first join was
    /// answered.
    seen: Option<(Epoch, Sequence)>,
    /// The newest place heard of.
    newest: Sequence,
    /// Events after one that is missing.
    early: BTreeMap<Sequence, Arc<Entry>>,
    /// What came before the first join was answered.
    before: Vec<(Epoch, Vec<Arc<Entry>>)>,
    /// What is to be done after the event in its place.
    later: BTreeMap<Sequence, Vec<Effect>>,
    recent: VecDeque<Arc<Entry>>,
    recent_bytes: usize,
}

impl Mirror {
    /// A script of this node's was answered: what it brought about, and in which life.
    pub fn answered(&mut self, epoch: Epoch, effects: Vec<Placed>, deeds: &mut Vec<Deed>) {
        if self.seen.is_none() {
            let Some((place, _)) = effects.iter().find(|(_, effect)| is_telling(effect)) else {
                // Nobody has a stream here: whatever there is can be done.
                deeds.extend(effects.into_iter().map(|(_, effect)| Deed::Do(effect)));
                return;
            };
            // An event in this very place is for nobody here.
            self.seen = Some((epoch, *place));
            let early = std::mem::take(&mut self.before);
            for (_, entries) in early.into_iter().filter(|(of, _)| *of == epoch) {
                self.take(entries);
            }
        }
        for (place, effect) in effects {
            match effect {
                Effect::Entry(entry) => self.take(vec![entry]),
                effect => {
                    self.newest = self.newest.max(place);
                    self.later.entry(place).or_default().push(effect);
                }
            }
        }
        self.go_on(deeds);
    }

    /// Events came on the channel.
    pub fn pushed(&mut self, epoch: Epoch, entries: Vec<Arc<Entry>>, deeds: &mut Vec<Deed>) {
        match self.seen {
            None => self.before.push((epoch, entries)),
            Some((of, _)) if of == epoch => {
                self.take(entries);
                self.go_on(deeds);
            }
            Some(_) => {}
        }
    }

    /// Events were read from the log.
    pub fn read(&mut self, entries: Vec<Arc<Entry>>, deeds: &mut Vec<Deed>) {
        self.take(entries);
        self.go_on(deeds);
    }

    /// The session is in this place, in this life.
    pub fn heard(&mut self, epoch: Epoch, newest: Sequence) {
        if self.seen.is_some_and(|(of, _)| of == epoch) {
            self.newest = self.newest.max(newest);
        }
    }

    /// Where this begins, for who has seen nothing yet: what is delivered comes after it.
    #[must_use]
    pub fn begins(&self, effects: &[Placed]) -> Option<Sequence> {
        let (place, _) = effects.iter().find(|(_, effect)| is_telling(effect))?;
        self.seen.is_none().then_some(*place)
    }

    /// The newest place heard of.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        self.newest
    }

    /// The newest place delivered, when events after it are missing.
    #[must_use]
    pub fn lacks(&self) -> Option<Sequence> {
        self.seen.map(|(_, last)| last).filter(|last| *last < self.newest)
    }

    /// Whether everything heard of is done.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.early.is_empty() && self.later.is_empty() && self.lacks().is_none()
    }

    fn take(&mut self, entries: Vec<Arc<Entry>>) {
        let Some((_, last)) = self.seen else { return };
        for entry in entries {
            self.newest = self.newest.max(entry.sequence);
            if entry.sequence > last {
                self.early.insert(entry.sequence, entry);
            }
        }
    }

    fn go_on(&mut self, deeds: &mut Vec<Deed>) {
        while let Some((epoch, last)) = self.seen {
            while let Some(due) = self.later.first_entry().filter(|due| *due.key() <= last) {
                let (place, effects) = due.remove_entry();
                for effect in effects {
                    deeds.push(self.deed(place, last, effect));
                }
            }
            let Some(entry) = self.early.remove(&(last + 1)) else { return };
            self.seen = Some((epoch, last + 1));
            self.remember(&entry);
            deeds.push(Deed::Do(Effect::Entry(entry)));
        }
    }

    fn remember(&mut self, entry: &Arc<Entry>) {
        self.recent_bytes += entry.size();
        self.recent.push_back(Arc::clone(entry));
        while self.recent.len() > RECENT || self.recent_bytes > RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.size();
        }
    }

    fn deed(&self, place: Sequence, last: Sequence, effect: Effect) -> Deed {
        let Effect::Attach(handle, view) = effect else { return Deed::Do(effect) };
        let missing = usize::try_from(last - place).unwrap_or(usize::MAX);
        match self.recent.len().checked_sub(missing) {
            Some(from) => Deed::Attach(handle, view, self.recent.range(from..).cloned().collect()),
            None => Deed::AttachAfter(handle, view, place, last),
        }
    }
}

/// Whether an effect tells where the session is.
fn is_telling(effect: &Effect) -> bool {
    matches!(effect, Effect::Entry(_) | Effect::Attach(..))
}
