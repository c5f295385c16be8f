//! A build without traces.

use std::{sync::Arc, time::Duration};

use crate::domain::{Reason, SendId, Sequence};

use super::{super::CallStatus, Beginning, Note, Sent, SpanCounts, TraceSettings};

/// Traces nothing.
#[derive(Clone, Default)]
pub struct Tracer;

impl Tracer {
    /// # Errors
    /// When there is anything to trace.
    pub fn start(settings: Option<&TraceSettings>) -> Result<Self, String> {
        match settings {
            None => Ok(Self),
            Some(_) => Err("this build sends no traces: it is made without the feature `otlp`".to_owned()),
        }
    }

    /// Never.
    #[must_use]
    pub fn is_on(&self) -> bool {
        false
    }

    /// Nothing.
    #[must_use]
    pub fn begin(&self, _: Beginning<'_>) -> Option<Arc<CallSpan>> {
        None
    }

    /// Nothing.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        SpanCounts::default()
    }

    /// Does nothing.
    pub async fn flush(&self, _: Duration) {}
}

/// There is none.
pub enum CallSpan {}

impl CallSpan {
    /// Can't be called.
    pub fn note(&self, _: Note<'_>) {
        match *self {}
    }

    /// Can't be called.
    pub fn sent(&self, _: Sent, _: SendId) {
        match *self {}
    }

    /// Can't be called.
    pub fn decided(&self, _: SendId, _: Result<Sequence, Reason>) {
        match *self {}
    }

    /// Can't be called.
    pub fn end(&self, _: CallStatus, _: Option<String>) {
        match *self {}
    }
}
