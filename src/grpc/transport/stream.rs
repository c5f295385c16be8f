//! What a transport keeps of a stream.

use std::collections::VecDeque;

use crate::{http2::StreamId, hub::Bits, telemetry::Call};

use super::{join::JoinStream, routed::Routed, send::SendCall};

/// One stream.
pub(super) struct Stream {
    pub(super) kind: Kind,
    /// None of what isn't gRPC.
    pub(super) call: Option<Call>,
    /// It is among those that may have something to send.
    pub(super) is_dirty: bool,
}

/// What it was opened for.
pub(super) enum Kind {
    Join(Box<JoinStream>),
    Send(SendCall),
    Routed(Routed),
}

impl Stream {
    pub(super) fn new(kind: Kind, call: Option<Call>) -> Self {
        Self { kind, call, is_dirty: false }
    }

    /// The bit that is rung for it. A call that is answered by its own engine
    /// future has none.
    pub(super) fn bit(&self) -> Option<Bits> {
        match &self.kind {
            Kind::Join(join) => Some(join.bit()),
            Kind::Routed(routed) => Some(routed.bit()),
            Kind::Send(_) => None,
        }
    }
}

/// Streams, first in, first out. A queue of one, the commonest, takes no memory
/// elsewhere.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<StreamId>,
    /// None where there is no first.
    others: VecDeque<StreamId>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, id: StreamId) {
        if self.first.is_none() {
            self.first = Some(id);
        } else {
            self.others.push_back(id);
        }
    }

    pub(super) fn pop(&mut self) -> Option<StreamId> {
        let first = self.first?;
        self.first = self.others.pop_front();
        Some(first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.first.into_iter().chain(self.others.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_goes_first() {
        let mut queue = Queue::default();
        queue.push(1);
        queue.push(3);
        queue.push(5);
        assert_eq!(queue.pop(), Some(1));
        queue.push(1);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [3, 5, 1]);
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some(3), Some(5), Some(1), None]);
        assert!(queue.is_empty());
        queue.push(7);
        assert_eq!(queue.pop(), Some(7));
    }
}
