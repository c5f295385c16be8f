//! The reading side of an [`Outbox`]: what its stream's client gets next.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use crate::domain::Sequence;

use super::{
    chain::Carried,
    outbox::{Following, Found, Goodbye, Outbox},
};

/// What the reading side gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Frames, one or more, whole.
    Frames(Bytes),
    /// Nothing is for the client: the stream hasn't joined yet, or has overflowed and
    /// is about to end.
    NotOpen,
    /// Nothing waits, and the stream is complete to this place of its session.
    Idle(Sequence),
    /// The last thing.
    End(Goodbye),
}

/// One stream's reading side.
pub struct Reading {
    outbox: Arc<Outbox>,
    following: Option<Following>,
    /// How many of the chain's events have come.
    passed: u64,
    /// What was fetched ahead by [`Reading::settle`].
    fetched: VecDeque<Bytes>,
}

impl Reading {
    /// Reads from an outbox; there must be one reader.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, following: None, passed: 0, fetched: VecDeque::new() }
    }

    /// The outbox.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Whether nothing waits for a stream that has joined: [`Reading::take`] would
    /// say so too, with its place.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_empty() && !self.outbox.is_behind()
    }

    /// Whether nothing waits for a stream that has joined, whether or not the stream
    /// is rung when something does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.following.as_ref().is_some_and(|following| following.at.next().is_none())
            && !self.outbox.has_own()
            && self.fetched.is_empty()
    }

    /// The next thing for the client. Rings when there is more after
    /// [`Next::NotOpen`] and [`Next::Idle`].
    pub fn take(&mut self) -> Next {
        if let Some(frames) = self.fetched.pop_front() {
            return Next::Frames(frames);
        }
        self.fetch()
    }

    /// Lets go of the chain when the stream ends while its client reads
    /// nothing: holding on would keep everything the session still sends.
    pub fn settle(&mut self) {
        if self.following.is_none() || !self.outbox.is_ending() {
            return;
        }
        while let Next::Frames(frames) = self.fetch() {
            self.fetched.push_back(frames);
        }
    }

    /// Whether nothing waits but outcomes, and few of them: what may wait a
    /// little longer for something to go with.
    #[must_use]
    pub fn has_few_outcomes_only(&self) -> bool {
        self.outbox.has_few_outcomes_only()
            && self.fetched.is_empty()
            && self.following.as_ref().is_some_and(|following| following.at.next().is_none())
    }

    fn fetch(&mut self) -> Next {
        loop {
            // Before the chain: every event up to it was appended before it was
            // set, so that an empty chain means that the client has them all.
            let latest = self.following.as_ref().map_or(0, |following| following.feed.latest.load(Ordering::Acquire));
            let next = self.following.as_ref().and_then(|following| following.at.next());
            let mut until = u64::MAX;
            if self.outbox.has_own() {
                match self.outbox.take_own(self.passed) {
                    Found::NotOpen => return Next::NotOpen,
                    Found::Frames(frames) => return Next::Frames(frames),
                    Found::Begin(following) => {
                        self.passed = following.at.block.carried.events;
                        self.following = Some(following);
                        continue;
                    }
                    Found::End(goodbye) => {
                        self.following = None;
                        return Next::End(goodbye);
                    }
                    Found::After(events) => until = events,
                    Found::Nothing => {}
                }
            }
            let Some(link) = next.cloned() else {
                if self.outbox.set_behind(false) {
                    continue;
                }
                return Next::Idle(latest);
            };
            let Some(following) = self.following.as_mut() else { return Next::Idle(latest) };
            let block = &link.block;
            let own = following.suppress_own_signals && block.cause.from == Some(following.me);
            let spared = own || block.cause.about == Some(following.me);
            let before = following.at.block.carried;
            let begin = block.begin(self.passed - before.events);
            if until < block.carried.events && !block.ends.is_empty() {
                // Something of its own comes between the events of the block.
                let end = block.begin(until - before.events);
                self.passed = until;
                self.outbox.pass(Carried { events: until, bytes: before.bytes + end as u64 });
                if spared {
                    continue;
                }
                return Next::Frames(block.bytes.slice(begin..end));
            }
            self.outbox.pass(block.carried);
            self.passed = block.carried.events;
            let frames = block.bytes.slice(begin..);
            following.at = link;
            if !spared {
                return Next::Frames(frames);
            }
        }
    }
}
