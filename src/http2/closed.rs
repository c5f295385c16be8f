//! What is remembered of streams that are gone.
//!
//! A peer may have frames under way on a stream that this side closed; on any
//! other closed stream they are errors. Ids are forgotten when too many
//! gather, and frames are then let through where it can't be told.

use super::StreamId;

/// How many ids are remembered.
const REMEMBERED: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Closed {
    /// Those closed by this side while the peer's was open, in the order of closing.
    early: Vec<StreamId>,
    /// The highest id that had to make room.
    forgotten: StreamId,
    /// The highest id that the peer opened.
    last: StreamId,
    /// The first and the last of the latest ids that the peer passed over.
    gap: (StreamId, StreamId),
}

impl Closed {
    pub(super) fn last(&self) -> StreamId {
        self.last
    }

    /// The peer opens the stream `id`, higher than all before.
    pub(super) fn open(&mut self, id: StreamId) {
        if id > self.last + 2 {
            self.gap = (self.last + 1, id - 1);
        }
        self.last = id;
    }

    /// Whether the stream was never opened, as far as is known.
    pub(super) fn is_idle(&self, id: StreamId) -> bool {
        id > self.last || id.is_multiple_of(2) || (self.gap.0 <= id && id <= self.gap.1)
    }

    /// This side closed the stream while the peer's was open.
    pub(super) fn early(&mut self, id: StreamId) {
        if self.early.len() == REMEMBERED {
            self.forgotten = self.forgotten.max(self.early.remove(0));
        }
        self.early.push(id);
    }

    /// Whether frames on the closed stream may have been under way.
    pub(super) fn is_early(&self, id: StreamId) -> bool {
        id <= self.forgotten || self.early.contains(&id)
    }

    /// The peer closed its side.
    pub(super) fn end(&mut self, id: StreamId) {
        self.early.retain(|other| *other != id);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
    }
}
