//! Calls, from their headers to their end: measured by the name that
//! OpenTelemetry's conventions for RPC have for it, and told to their trace.
//!
//! Source: OpenTelemetry semantic conventions 1.45.0, RPC (stable).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{Histogram, Label, Unit, describe_histogram, histogram};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::Instant;

use crate::domain::Code;

use super::{CallSpan, Metrics};

/// `rpc.server.call.duration`, as Prometheus spells it.
pub(super) const NAME: &str = "rpc_server_call_duration_seconds";

/// Upper bounds of its buckets, in seconds: the conventions' from 5 ms on, and
/// finer ones before them, where most calls are.
pub(super) const BUCKETS: [f64; 19] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

/// The status of a call, by gRPC's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStatus(u8);

/// By number.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl CallStatus {
    /// It went well.
    pub const OK: Self = Self(0);
    /// The client went away, or took its call back.
    pub const CANCELLED: Self = Self(1);
    /// Nobody said.
    pub const UNKNOWN: Self = Self(2);
    /// A bug.
    pub const INTERNAL: Self = Self(13);

    /// Of `grpc-status`.
    #[must_use]
    pub fn from_number(text: &[u8]) -> Self {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number.filter(|number| usize::from(*number) < STATUSES.len()).map_or(Self::UNKNOWN, Self)
    }

    /// As gRPC writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        STATUSES[usize::from(self.0)]
    }

    /// Whether the server failed, and not its caller. Source: the conventions for
    /// gRPC.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    }
}

impl From<Code> for CallStatus {
    fn from(code: Code) -> Self {
        u8::try_from(code as i32).map_or(Self::UNKNOWN, Self)
    }
}

/// A method that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// As `signalbox.v1.SignalingService/Join`.
    pub name: &'static str,
    /// Of those served, from 0; less than [`Method::MOST`].
    pub number: usize,
}

impl Method {
    /// How many there may be.
    pub const MOST: usize = 64;

    /// One that isn't known: its name is whatever the caller likes.
    pub const OTHER: Self = Self { name: "_OTHER", number: Self::MOST };
}

/// How long calls took, by method and status. A series begins with its first
/// call: most methods never end in most ways.
pub struct Calls {
    recorder: Arc<PrometheusRecorder>,
    series: Box<[[OnceLock<Histogram>; STATUSES.len()]]>,
}

impl Calls {
    pub(super) fn register(recorder: &Arc<PrometheusRecorder>) -> Self {
        describe_histogram!(NAME, Unit::Seconds, "Time that a call took, by method and status; a stream's is its life");
        Self { recorder: Arc::clone(recorder), series: (0..=Method::MOST).map(|_| Default::default()).collect() }
    }

    fn ended(&self, method: Method, status: CallStatus, after: Duration) {
        let Some(series) = self.series.get(method.number).map(|series| &series[usize::from(status.0)]) else { return };
        let series = series.get_or_init(|| {
            let mut labels = vec![
                Label::from_static_parts("rpc_system_name", "grpc"),
                Label::from_static_parts("rpc_method", method.name),
                Label::from_static_parts("rpc_status_code", status.name()),
            ];
            if status.is_fault() {
                labels.push(Label::from_static_parts("error_type", status.name()));
            }
            metrics::with_local_recorder(&*self.recorder, || histogram!(NAME, labels))
        });
        series.record(after.as_secs_f64());
    }
}

/// A call that is being served. One that is dropped before its end was
/// cancelled.
pub struct Call {
    method: Method,
    begun: Instant,
    ended: bool,
    metrics: Arc<Metrics>,
    span: Option<Arc<CallSpan>>,
}

impl Call {
    /// A call whose headers are there.
    #[must_use]
    pub fn begin(method: Method, metrics: Arc<Metrics>, span: Option<Arc<CallSpan>>) -> Self {
        Self { method, begun: Instant::now(), ended: false, metrics, span }
    }

    /// Its span, when it is traced.
    #[must_use]
    pub fn span(&self) -> Option<&Arc<CallSpan>> {
        self.span.as_ref()
    }

    /// It was answered. The first answer stands. The reason is asked for only when
    /// somebody wants it.
    pub fn end<R: Into<String>>(&mut self, status: CallStatus, reason: impl FnOnce() -> Option<R>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.metrics.calls.ended(self.method, status, self.begun.elapsed());
        if let Some(span) = &self.span {
            span.end(status, reason().map(Into::into));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CallStatus::CANCELLED, || None::<String>);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Reason, telemetry::Registry};

    #[test]
    fn calls_are_measured_by_method_and_by_how_they_ended() {
        let registry = Registry::new();
        let metrics = Arc::new(registry.metrics());
        let method = Method { name: "p.S/M", number: 3 };
        let begin = |method| Call::begin(method, Arc::clone(&metrics), None);
        begin(method).end(CallStatus::OK, || None::<String>);
        begin(method).end(Reason::EngineUnavailable.code().into(), || Some(Reason::EngineUnavailable.name()));
        drop(begin(Method::OTHER));
        let shown = registry.render();
        for line in [
            "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"p.S/M\",rpc_status_code=\"OK\"} 1",
            "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"p.S/M\",\
             rpc_status_code=\"UNAVAILABLE\",error_type=\"UNAVAILABLE\"} 1",
            "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",rpc_method=\"_OTHER\",rpc_status_code=\"CANCELLED\"} 1",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
        let series = shown.lines().filter(|line| line.starts_with("rpc_server_call_duration_seconds_count")).count();
        assert_eq!(series, 3, "none before its first call");
        for bound in BUCKETS {
            assert!(shown.contains(&format!("rpc_status_code=\"OK\",le=\"{bound}\"}} 1")), "{bound}\n{shown}");
        }
    }

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for (number, name) in STATUSES.iter().enumerate() {
            assert_eq!(CallStatus::from_number(number.to_string().as_bytes()).name(), *name);
        }
        for wrong in [&b""[..], b"17", b"-1", b"OK", b"\xff"] {
            assert_eq!(CallStatus::from_number(wrong), CallStatus::UNKNOWN);
        }
        for reason in Reason::ALL {
            assert_eq!(CallStatus::from(reason.code()).name(), reason.code().name());
        }
    }
}
