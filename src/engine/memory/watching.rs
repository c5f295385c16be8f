//! Watches of the memory engine: the listing of what is there, and then the
//! changes.

use std::{
    collections::VecDeque,
    ops::Bound,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use futures_util::Stream;

use crate::domain::{Refusal, SessionId};

use super::{
    super::{
        Change, lock,
        watch::{Passed, Watcher},
    },
    Inner, Slot,
};

enum Listing {
    /// After this session, or from the beginning.
    From(Option<SessionId>),
    Done,
}

/// A watch of a memory engine.
pub(super) struct Watching {
    engine: Arc<Inner>,
    watcher: Arc<Watcher>,
    listing: Listing,
    listed: VecDeque<Change>,
    over: bool,
}

impl Watching {
    /// A watch of one session, or of all.
    pub(super) fn new(engine: Arc<Inner>, session: Option<SessionId>) -> Self {
        let watcher = engine.watchers.add(session);
        Self { engine, watcher, listing: Listing::From(None), listed: VecDeque::new(), over: false }
    }

    /// Lists one more session into `listed`, or the marker.
    fn list_next(&mut self, after: Option<SessionId>) {
        let Some(slot) = self.engine.next_to_list(after.as_ref(), &self.watcher) else {
            self.listed.push_back(Change::SnapshotComplete);
            self.listing = Listing::Done;
            return;
        };
        let state = lock(&slot.state);
        if state.removed {
            // Somebody may have made it anew: look again from the same place.
            self.listing = Listing::From(after);
            return;
        }
        let id = &slot.id;
        if let Some(facts) = state.session.facts() {
            self.listed.push_back(Change::SessionStarted(id.clone(), facts.epoch, facts.created_at));
            let created = |(joined, view)| Change::ConnectionCreated(id.clone(), joined, view);
            self.listed.extend(state.session.connections(0).map(created));
        }
        // Under the session's lock: from here on its changes are buffered.
        self.watcher.pass(Passed::Through(id.clone()));
        self.listing = Listing::From(Some(id.clone()));
    }
}

impl Stream for Watching {
    type Item = Result<Change, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(change) = self.listed.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            match std::mem::replace(&mut self.listing, Listing::Done) {
                Listing::From(after) => self.list_next(after),
                Listing::Done => {
                    return self.watcher.poll_next(context).map(|next| {
                        self.over = next.is_err();
                        Some(next)
                    });
                }
            }
        }
    }
}

impl Inner {
    /// The next session to list after `after`; `watcher` passes everything
    /// below it in the same moment, so that a session made between is a change.
    fn next_to_list(&self, after: Option<&SessionId>, watcher: &Watcher) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let next = match watcher.only() {
            Some(only) if after.is_none() => slots.get(only),
            Some(_) => None,
            None => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                slots.range((from, Bound::Unbounded)).next().map(|(_, slot)| slot)
            }
        };
        watcher.pass(next.map_or(Passed::Everything, |slot| Passed::Below(slot.id.clone())));
        next.cloned()
    }
}
