//! Spans, as they are made.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    time::now,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};

use crate::domain::{Reason, SendId, Sequence};

use super::{super::CallStatus, Beginning, Note, Sent, SpanCounts, TraceSettings, sending::Sending};

/// The version of the conventions that names are by.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";
/// How many sends of a stream may wait for their outcome to be traced: more than a
/// client may have, by default.
const MOST_PENDING: usize = 2_048;

/// Begins spans. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

struct On {
    tracer: SdkTracer,
    sending: Sending,
}

impl Tracer {
    /// Sends spans where the settings say. The receiver needn't be there yet.
    ///
    /// # Errors
    /// When it can't be an OTLP receiver's address, or the system refuses its
    /// resources.
    pub fn start(settings: Option<&TraceSettings>) -> Result<Self, String> {
        let Some(settings) = settings else { return Ok(Self(None)) };
        let sending = Sending::start(settings)?;
        let scope = InstrumentationScope::builder("signalbox")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let tracer = sending.provider().tracer_with_scope(scope);
        Ok(Self(Some(Arc::new(On { tracer, sending }))))
    }

    /// Whether anything may be traced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a call, if it is one to be traced.
    #[must_use]
    pub fn begin(&self, call: Beginning<'_>) -> Option<Arc<CallSpan>> {
        let tracer = &self.0.as_ref()?.tracer;
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(call));
        let mut attributes = vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", call.method)];
        // What it means is the caller's to say: a name that isn't one is left out.
        let authority = call.authority.and_then(|authority| std::str::from_utf8(authority).ok()?.parse().ok());
        if let Some(authority) = authority.as_ref().map(|authority: &http::uri::Authority| authority) {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            attributes.push(KeyValue::new("server.address", host.to_owned()));
            attributes.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
        }
        attributes.extend(call.peer.map(|peer| KeyValue::new("network.peer.address", peer.to_string())));
        let name = if call.method == "_OTHER" { "grpc" } else { call.method };
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        if !span.span_context().is_sampled() {
            return None;
        }
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        let state = State { span: Some(span), common: Vec::new(), pending: VecDeque::new() };
        Some(Arc::new(CallSpan { tracer: tracer.clone(), context, state: Mutex::new(state) }))
    }

    /// What became of the spans that were ended.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        self.0.as_ref().map(|on| on.sending.counts()).unwrap_or_default()
    }

    /// Sends what waits, and no more after that; gives up when it takes longer.
    pub async fn flush(&self, within: Duration) {
        if let Some(on) = &self.0 {
            on.sending.finish(within).await;
        }
    }
}

/// The two headers that say what a call is a part of.
struct Headers<'a>(Beginning<'a>);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = match key {
            "traceparent" => self.0.traceparent,
            "tracestate" => self.0.tracestate,
            _ => None,
        };
        value.and_then(|value| std::str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The span of a call that is traced, and of the signals in it.
pub struct CallSpan {
    tracer: SdkTracer,
    /// What its signals' spans are children of.
    context: Context,
    state: Mutex<State>,
}

struct State {
    /// None when it has ended.
    span: Option<Span>,
    /// What its signals' spans tell, too.
    common: Vec<KeyValue>,
    /// What was asked for and has no outcome yet, in order.
    pending: VecDeque<Pending>,
}

struct Pending {
    what: Sent,
    id: SendId,
    since: SystemTime,
}

impl CallSpan {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells something.
    pub fn note(&self, note: Note<'_>) {
        let (attribute, is_common) = match note {
            Note::Session(id) => (KeyValue::new("signalbox.session.id", id.as_str().to_owned()), true),
            Note::Connection(id) => (KeyValue::new("signalbox.connection.id", id.to_string()), true),
            Note::Outcome(outcome) => (KeyValue::new("signalbox.join.outcome", outcome), false),
            Note::Sequence(sequence) => (number("signalbox.sequence", sequence), false),
            Note::Recipients(count) => (number("signalbox.recipient.count", count as u64), false),
        };
        let mut state = self.state();
        if is_common {
            state.common.push(attribute.clone());
        }
        if let Some(span) = &mut state.span {
            span.set_attribute(attribute);
        }
    }

    /// Something was read that will have an outcome.
    pub fn sent(&self, what: Sent, id: SendId) {
        let mut state = self.state();
        // Their outcomes are no news, or nobody's.
        if state.span.is_none() || state.pending.len() >= MOST_PENDING {
            return;
        }
        state.pending.push_back(Pending { what, id, since: now() });
    }

    /// It has one. Outcomes come in the order asked; what is passed over has none.
    pub fn decided(&self, id: SendId, outcome: Result<Sequence, Reason>) {
        let mut state = self.state();
        let Some(place) = state.pending.iter().position(|pending| pending.id == id) else { return };
        let mut done: VecDeque<_> = state.pending.drain(..=place).collect();
        let (decided, common) = (done.pop_back(), state.common.clone());
        drop(state);
        for undecided in done {
            self.tell(undecided, None, common.clone());
        }
        if let Some(decided) = decided {
            self.tell(decided, Some(outcome), common);
        }
    }

    fn tell(&self, pending: Pending, outcome: Option<Result<Sequence, Reason>>, mut attributes: Vec<KeyValue>) {
        attributes.push(number("signalbox.send.id", pending.id));
        let mut status = Status::Unset;
        match outcome {
            Some(Ok(sequence)) => attributes.push(number("signalbox.sequence", sequence)),
            Some(Err(reason)) => {
                attributes.push(KeyValue::new("signalbox.error.reason", reason.name()));
                if CallStatus::from(reason.code()).is_fault() {
                    attributes.push(KeyValue::new("error.type", reason.code().name()));
                    status = Status::error(reason.name());
                }
            }
            None => attributes.push(KeyValue::new("signalbox.send.outcome", "unknown")),
        }
        let name = match pending.what {
            Sent::Signal => "SendSignal",
            Sent::Disconnect => "DisconnectConnection",
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(pending.since)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, &self.context);
        span.set_status(status);
        span.end();
    }

    /// It ended, and what has no outcome has none that its client was told.
    pub fn end(&self, status: CallStatus, reason: Option<String>) {
        let mut state = self.state();
        let Some(mut span) = state.span.take() else { return };
        let (pending, common) = (std::mem::take(&mut state.pending), state.common.clone());
        drop(state);
        for undecided in pending {
            self.tell(undecided, None, common.clone());
        }
        span.set_attribute(KeyValue::new("rpc.status_code", status.name()));
        if status.is_fault() {
            span.set_attribute(KeyValue::new("error.type", status.name()));
            span.set_status(Status::error(reason.clone().unwrap_or_default()));
        }
        if let Some(reason) = reason {
            span.set_attribute(KeyValue::new("signalbox.error.reason", reason));
        }
        span.end();
    }
}

/// An attribute; a number that OTLP has no room for as the largest that it has.
fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
