//! What a transport keeps of a stream.

use crate::hub::Bits;

use super::{join::JoinStream, routed::Routed, send::SendCall};

/// One stream.
pub(super) struct Stream {
    pub(super) kind: Kind,
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
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, is_dirty: false }
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
