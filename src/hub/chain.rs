//! What a session broadcasts, once for all who receive it: a chain of encoded
//! blocks that every receiver walks at its own pace.
//!
//! Appending touches no receiver, and reading takes no lock. A block is freed
//! when the last receiver has passed it, so a chain holds no more than the
//! slowest receiver's outbox may.

use std::{
    mem,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::domain::{Budget, Charge, ConnectionId, Event, Spent};

/// Events that were appended together.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Whole gRPC messages.
    pub(super) bytes: Bytes,
    /// Where each event ends, when there is a connection that is told
    /// something between them.
    pub(super) ends: Box<[usize]>,
    /// Who is behind all of it.
    pub(super) cause: Cause,
    /// How much the chain has carried, this block included.
    pub(super) carried: Carried,
    /// What it takes of the node's budget beside its bytes, which are counted for
    /// themselves; nothing for the beginning.
    _charge: Option<Charge>,
}

/// Which connection is behind an event, and may be spared it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// Who sent the signal.
    pub(super) from: Option<ConnectionId>,
    /// Whose coming or going it is: not told to itself.
    pub(super) about: Option<ConnectionId>,
}

impl Cause {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Signal { from, .. } => Self { from: *from, about: None },
            Event::Created(info) => Self { from: None, about: Some(info.id) },
            Event::Destroyed(id, _) | Event::Interrupted(id) | Event::Restored(id) => {
                Self { from: None, about: Some(*id) }
            }
        }
    }
}

/// How much a chain has carried since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Block {
    /// Where the event with this number begins, 0 being the first; the end of
    /// the block after the last.
    pub(super) fn begin(&self, event: u64) -> usize {
        let before = usize::try_from(event).ok().and_then(|event| event.checked_sub(1));
        before.map_or(0, |before| self.ends.get(before).copied().unwrap_or(self.bytes.len()))
    }
}

/// A block and what comes after it.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) block: Block,
    next: OnceLock<Arc<Link>>,
}

impl Link {
    /// The one after it, if there is one yet.
    pub(super) fn next(&self) -> Option<&Arc<Link>> {
        self.next.get()
    }
}

/// Without recursion: a slow receiver may be the last to hold a long chain.
impl Drop for Link {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(link) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.next.take());
        }
    }
}

/// The end that is appended to.
#[derive(Debug)]
pub(super) struct Chain {
    tail: Arc<Link>,
    budget: Arc<Budget>,
}

impl Chain {
    /// An empty one, whose blocks are counted there.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { tail: Arc::default(), budget: Arc::clone(budget) }
    }

    /// Where a receiver begins: everything appended from now on comes after.
    pub(super) fn end(&self) -> Arc<Link> {
        Arc::clone(&self.tail)
    }

    /// Where its blocks are counted.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How much it has carried.
    pub(super) fn carried(&self) -> Carried {
        self.tail.block.carried
    }

    /// Appends a block of `events` events. `ends` is empty or has one for each.
    pub(super) fn append(&mut self, bytes: Bytes, events: u64, ends: Box<[usize]>, cause: Cause) {
        let before = self.carried();
        let carried = Carried { events: before.events + events, bytes: before.bytes + bytes.len() as u64 };
        let size = mem::size_of::<Link>() + mem::size_of_val(&*ends);
        let charge = Some(Charge::of(&self.budget, Spent::Waiting, size));
        let block = Block { bytes, ends, cause, carried, _charge: charge };
        let link = Arc::new(Link { block, next: OnceLock::new() });
        // Set once: this is the only end, and it moves on.
        let _ = self.tail.next.set(Arc::clone(&link));
        self.tail = link;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_walk_at_their_own_pace_and_the_rest_is_freed() {
        let mut chain = Chain::new(&Arc::default());
        let early = chain.end();
        chain.append(Bytes::from_static(b"ab"), 2, Box::default(), Cause::default());
        let late = chain.end();
        chain.append(Bytes::from_static(b"c"), 1, Box::default(), Cause::default());
        let first = early.next().unwrap();
        assert_eq!((&first.block.bytes[..], first.block.carried.events), (&b"ab"[..], 2));
        assert_eq!(&late.next().unwrap().block.bytes[..], b"c");
        assert_eq!(chain.carried(), Carried { events: 3, bytes: 3 });
        let waiting = chain.budget.spent(Spent::Waiting);
        let first = Arc::downgrade(first);
        drop(early);
        assert!(first.upgrade().is_some(), "the late one still holds it");
        drop(late);
        assert!(first.upgrade().is_none());
        assert_eq!(chain.budget.spent(Spent::Waiting), waiting - mem::size_of::<Link>());
    }

    #[test]
    fn a_long_chain_is_dropped_without_a_deep_stack() {
        let mut chain = Chain::new(&Arc::default());
        let slow = chain.end();
        for _ in 0..1_000_000 {
            chain.append(Bytes::new(), 1, Box::default(), Cause::default());
        }
        drop(chain);
        drop(slow);
    }
}
