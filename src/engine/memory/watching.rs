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
    /// From this session on.
    From(Bound<SessionId>),
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
        Self { engine, watcher, listing: Listing::From(Bound::Unbounded), listed: VecDeque::new(), over: false }
    }

    /// Lists one more session into `listed`, or the marker.
    fn list_next(&mut self, from: Bound<SessionId>) {
        let Some(slot) = self.engine.next_to_list(from.as_ref(), &self.watcher) else {
            self.listed.push_back(Change::SnapshotComplete);
            self.listing = Listing::Done;
            return;
        };
        let state = lock(&slot.state);
        if state.removed {
            // Somebody may have made it anew: look for it again, and no further
            // back. What is below was passed, and is a change if it began since.
            self.listing = Listing::From(Bound::Included(slot.id.clone()));
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
        self.listing = Listing::From(Bound::Excluded(id.clone()));
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
                Listing::From(from) => self.list_next(from),
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
    /// The next session to list; `watcher` passes everything below it in the
    /// same moment, so that a session made between is a change.
    fn next_to_list(&self, from: Bound<&SessionId>, watcher: &Watcher) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let next = match watcher.only() {
            Some(_) if matches!(from, Bound::Excluded(_)) => None,
            Some(only) => slots.get(only),
            None => slots.range((from, Bound::Unbounded)).next().map(|(_, slot)| slot),
        };
        watcher.pass(next.map_or(Passed::Everything, |slot| Passed::Below(slot.id.clone())));
        next.cloned()
    }
}
