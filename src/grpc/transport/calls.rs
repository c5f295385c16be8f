//! A transport's calls, as they are measured and traced: from their headers to the
//! status that they end with.

use std::sync::Arc;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    domain::Refusal,
    grpc::{methods, status},
    http2::{Head, StreamId},
    telemetry::{Beginning, Call, CallStatus},
};

use super::{Transport, stream::Stream};

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    pub(super) fn begin_call(&self, head: &Head) -> Call {
        let settings = &self.settings;
        let method = methods::method(head.path());
        let span = settings.tracer.is_on().then(|| {
            settings.tracer.begin(Beginning {
                method: method.name,
                traceparent: head.get("traceparent"),
                tracestate: head.get("tracestate"),
                authority: head.authority(),
                peer: self.peer.map(|peer| peer.0),
            })
        });
        Call::begin(method, Arc::clone(settings.services.hub.metrics()), span.flatten())
    }

    fn call(&mut self, id: StreamId) -> Option<&mut Call> {
        match self.http.get_mut(id) {
            Some(Stream { call: Some(call), .. }) => Some(call),
            _ => None,
        }
    }

    /// A call is answered.
    pub(super) fn answered(&mut self, id: StreamId) {
        if let Some(call) = self.call(id) {
            call.end(CallStatus::OK, || None::<String>);
        }
    }

    /// A call ends, with this reason if not well.
    pub(super) fn ended(&mut self, id: StreamId, status: CallStatus, reason: Option<&'static str>) {
        if let Some(call) = self.call(id) {
            call.end(status, || reason);
        }
    }

    /// A call ends with what a service says in these headers.
    pub(super) fn ended_by(&mut self, id: StreamId, headers: &HeaderMap) {
        if let Some(call) = self.call(id) {
            status::ends(call, headers);
        }
    }
}

/// A call ends with a refusal.
pub(super) fn refused(call: &mut Call, refusal: &Refusal) {
    call.end(refusal.reason.code().into(), || Some(refusal.reason.name()));
}
