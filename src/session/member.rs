//! One connection, as its session knows it.

use std::{sync::Arc, time::Duration};

use crate::domain::{ConnectionInfo, Sequence, TokenHash};

use super::{
    bucket::Bucket,
    effect::{ConnectionView, Generation, View},
    ledger::Ledger,
};

/// Whether a connection has a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Attached,
    /// Without one until this time, on the monotonic clock.
    Detached(Duration),
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) info: Arc<ConnectionInfo>,
    /// The sequence of its joining.
    pub(super) joined: Sequence,
    pub(super) token: TokenHash,
    pub(super) window: Duration,
    pub(super) view: View,
    pub(super) generation: Generation,
    pub(super) stream: Stream,
    pub(super) ledger: Ledger,
    pub(super) bucket: Bucket,
}

impl Member {
    pub(super) fn is_attached(&self) -> bool {
        self.stream == Stream::Attached
    }

    pub(super) fn to_view(&self) -> ConnectionView {
        ConnectionView { info: Arc::clone(&self.info), interrupted: !self.is_attached() }
    }
}
