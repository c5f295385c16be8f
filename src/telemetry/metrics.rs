//! What is counted and measured. The registry is passed, not global, so that
//! two servers in one process don't mix.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::domain::{Ending, Reason, Relief, Spent};

use super::{Calls, Caps, SpanCounts, calls, process};

/// Upper bounds of the latency histograms' buckets, in seconds.
const LATENCY_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// Where metrics are kept, and how they are shown.
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Registry {
    /// An empty registry.
    ///
    /// # Panics
    /// Never: the buckets are neither empty nor unsorted.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BUCKETS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(calls::NAME.to_owned()), &calls::BUCKETS))
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        Self { recorder: Arc::new(recorder), handle }
    }

    /// The metrics that the service counts, kept here.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        metrics::with_local_recorder(&*self.recorder, || Metrics::register(&self.recorder))
    }

    /// Sets a counter to what was counted elsewhere.
    pub fn total(&self, name: &'static str, help: &'static str, value: u64) {
        metrics::with_local_recorder(&*self.recorder, || {
            describe_counter!(name, help);
            counter!(name).absolute(value);
        });
    }

    /// Sets a gauge to what was measured elsewhere.
    pub fn now(&self, name: &'static str, help: &'static str, value: f64) {
        metrics::with_local_recorder(&*self.recorder, || {
            describe_gauge!(name, help);
            gauge!(name).set(value);
        });
    }

    /// A histogram of times.
    pub fn times(&self, name: &'static str, help: &'static str) -> impl Fn(Duration) + Send + Sync + use<> {
        let histogram = metrics::with_local_recorder(&*self.recorder, || {
            describe_histogram!(name, Unit::Seconds, help);
            histogram!(name)
        });
        move |time| histogram.record(time.as_secs_f64())
    }

    /// Sums up what was measured since the last time: until then, each
    /// measurement takes memory of its own.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render() + &process::render()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignalSource {
    /// A connection.
    Client,
    /// A backend.
    Server,
}

/// The unary calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnaryMethod {
    /// `SignalingService.SendFromServer`
    SendFromServer,
    /// `SignalingService.Send`
    Send,
    /// `SignalingService.Leave`
    Leave,
    /// `SessionService.ListSessions`
    ListSessions,
    /// `SessionService.GetSession`
    GetSession,
    /// `SessionService.ListConnections`
    ListConnections,
    /// `SessionService.DisconnectConnection`
    DisconnectConnection,
    /// A signal by REST.
    RestSignal,
    /// A disconnection by REST.
    RestDisconnect,
}

impl UnaryMethod {
    const ALL: [Self; 9] = [
        Self::SendFromServer,
        Self::Send,
        Self::Leave,
        Self::ListSessions,
        Self::GetSession,
        Self::ListConnections,
        Self::DisconnectConnection,
        Self::RestSignal,
        Self::RestDisconnect,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SendFromServer => "SendFromServer",
            Self::Send => "Send",
            Self::Leave => "Leave",
            Self::ListSessions => "ListSessions",
            Self::GetSession => "GetSession",
            Self::ListConnections => "ListConnections",
            Self::DisconnectConnection => "DisconnectConnection",
            Self::RestSignal => "RestSignal",
            Self::RestDisconnect => "RestDisconnect",
        }
    }
}

/// The handles to count by. Nothing here locks or looks anything up.
pub struct Metrics {
    signals: [Counter; 2],
    refusals: BTreeMap<Reason, Counter>,
    closes: BTreeMap<&'static str, Counter>,
    unary: BTreeMap<UnaryMethod, Histogram>,
    /// Caps that are hit.
    pub caps: Caps,
    /// How long calls took, of every kind.
    pub calls: Calls,
    /// Spans that were sent, and dropped because too many waited, or nobody took them.
    spans: [Counter; 3],
    /// Signals and connection events handed to outboxes.
    pub deliveries: Counter,
    /// Streams that joined.
    pub joins: Counter,
    /// Streams that resumed a connection without a gap.
    pub resumes: Counter,
    /// Streams that resumed a connection with a gap.
    pub resumes_with_gap: Counter,
    /// Panics caught.
    pub panics: Counter,
    /// TCP connections accepted.
    pub accepts: Counter,
    /// Failures of `accept`, as when file descriptors run out.
    pub accept_failures: Counter,
    /// Sessions with somebody in them.
    pub sessions: Gauge,
    /// Connections with a stream.
    pub attached: Gauge,
    /// Connections without one, within their window.
    pub detached: Gauge,
    /// `Join` streams on this node.
    pub streams: Gauge,
    /// Events waiting in all outboxes.
    pub outbox_events: Gauge,
    /// Bytes waiting in all outboxes.
    pub outbox_bytes: Gauge,
    /// Events waiting in the fullest outbox.
    pub outbox_events_max: Gauge,
    /// Bytes spent on signals, in the order of [`Spent::ALL`].
    pub memory: [Gauge; 4],
    /// Bytes that may be spent on signals; 0 is no limit.
    pub memory_limit: Gauge,
    /// Who or what made place, in the order of [`Relief::ALL`].
    pub relieved: [Counter; 4],
}

impl Metrics {
    fn register(recorder: &Arc<PrometheusRecorder>) -> Self {
        describe_gauge!("signalbox_build_info", "1, and which version this is");
        gauge!("signalbox_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        describe_counter!("signalbox_signals_total", "Signals accepted, by source");
        describe_counter!("signalbox_deliveries_total", "Events handed to connections' outboxes");
        describe_counter!("signalbox_refusals_total", "Sends, joins and calls refused, by reason");
        describe_counter!("signalbox_closes_total", "Streams ended, by reason");
        describe_counter!("signalbox_joins_total", "Joins let in, by outcome");
        describe_counter!(
            "signalbox_panics_total",
            "Panics in this process: each is a bug, and ended what it happened to"
        );
        describe_counter!("signalbox_tcp_accepts_total", "TCP connections accepted");
        describe_counter!("signalbox_tcp_accept_failures_total", "Failures to accept a TCP connection");
        describe_counter!("signalbox_spans_sent_total", "Spans of traces that their receiver took");
        describe_counter!("signalbox_spans_dropped_total", "Spans of traces that were dropped, by reason");
        describe_gauge!("signalbox_sessions", "Sessions with somebody in them");
        describe_gauge!("signalbox_connections", "Connections, by state");
        describe_gauge!("signalbox_streams", "Join streams open on this node");
        describe_gauge!("signalbox_outbox_events", "Events waiting in all outboxes");
        describe_gauge!("signalbox_outbox_bytes", Unit::Bytes, "Bytes waiting in all outboxes");
        describe_gauge!("signalbox_outbox_events_max", "Events waiting in the fullest outbox");
        describe_gauge!("signalbox_memory_bytes", Unit::Bytes, "Memory spent on signals, by what for");
        describe_gauge!(
            "signalbox_memory_limit_bytes",
            Unit::Bytes,
            "Memory that may be spent on signals; 0: no limit"
        );
        describe_counter!("signalbox_memory_relief_total", "What made place when that memory was short");
        describe_histogram!("signalbox_unary_seconds", Unit::Seconds, "Time to answer a unary call, by method");

        let closes = Reason::ALL.iter().map(|reason| reason.name()).chain([Ending::Left.name(), Ending::Broken.name()]);
        Self {
            signals: ["client", "server"].map(|source| counter!("signalbox_signals_total", "source" => source)),
            refusals: Reason::ALL
                .iter()
                .map(|reason| (*reason, counter!("signalbox_refusals_total", "reason" => reason.name())))
                .collect(),
            closes: closes.map(|name| (name, counter!("signalbox_closes_total", "reason" => name))).collect(),
            unary: UnaryMethod::ALL
                .map(|method| (method, histogram!("signalbox_unary_seconds", "method" => method.name())))
                .into(),
            caps: Caps::register(),
            calls: Calls::register(recorder),
            spans: [
                counter!("signalbox_spans_sent_total"),
                counter!("signalbox_spans_dropped_total", "reason" => "queue_full"),
                counter!("signalbox_spans_dropped_total", "reason" => "not_taken"),
            ],
            deliveries: counter!("signalbox_deliveries_total"),
            joins: counter!("signalbox_joins_total", "outcome" => "new"),
            resumes: counter!("signalbox_joins_total", "outcome" => "resumed"),
            resumes_with_gap: counter!("signalbox_joins_total", "outcome" => "resumed_with_gap"),
            panics: counter!("signalbox_panics_total"),
            accepts: counter!("signalbox_tcp_accepts_total"),
            accept_failures: counter!("signalbox_tcp_accept_failures_total"),
            sessions: gauge!("signalbox_sessions"),
            attached: gauge!("signalbox_connections", "state" => "attached"),
            detached: gauge!("signalbox_connections", "state" => "detached"),
            streams: gauge!("signalbox_streams"),
            outbox_events: gauge!("signalbox_outbox_events"),
            outbox_bytes: gauge!("signalbox_outbox_bytes"),
            outbox_events_max: gauge!("signalbox_outbox_events_max"),
            memory: Spent::ALL.map(|spent| gauge!("signalbox_memory_bytes", "for" => spent.name())),
            memory_limit: gauge!("signalbox_memory_limit_bytes"),
            relieved: Relief::ALL.map(|by| counter!("signalbox_memory_relief_total", "by" => by.name())),
        }
    }

    /// Signals were accepted.
    pub fn signals(&self, source: SignalSource, count: usize) {
        self.signals[source as usize].increment(count as u64);
    }

    /// Something was refused.
    pub fn refused(&self, reason: Reason) {
        if let Some(counter) = self.refusals.get(&reason) {
            counter.increment(1);
        }
    }

    /// A stream ended.
    pub fn closed(&self, ending: Ending) {
        if let Some(counter) = self.closes.get(ending.name()) {
            counter.increment(1);
        }
    }

    /// What became of spans.
    pub fn spans(&self, counts: SpanCounts) {
        for (counter, count) in self.spans.iter().zip([counts.sent, counts.overflowed, counts.failed]) {
            counter.absolute(count);
        }
    }

    /// A unary call was answered.
    pub fn answered(&self, method: UnaryMethod, after: Duration) {
        if let Some(histogram) = self.unary.get(&method) {
            histogram.record(after.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let registry = Registry::new();
        let metrics = registry.metrics();
        metrics.signals(SignalSource::Server, 1);
        metrics.refused(Reason::RateLimited);
        metrics.closed(Ending::SlowConsumer);
        metrics.closed(Ending::Left);
        metrics.answered(UnaryMethod::GetSession, Duration::from_millis(3));
        metrics.attached.set(2.0);
        let shown = registry.render();
        for line in [
            "signalbox_signals_total{source=\"server\"} 1",
            "signalbox_signals_total{source=\"client\"} 0",
            "signalbox_refusals_total{reason=\"RATE_LIMITED\"} 1",
            "signalbox_closes_total{reason=\"SLOW_CONSUMER\"} 1",
            "signalbox_closes_total{reason=\"LEFT\"} 1",
            "signalbox_unary_seconds_bucket{method=\"GetSession\",le=\"0.005\"} 1",
            "signalbox_connections{state=\"attached\"} 2",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn two_registries_do_not_mix() {
        let (one, other) = (Registry::new(), Registry::new());
        one.metrics().deliveries.increment(7);
        let _ = other.metrics();
        assert!(one.render().contains("signalbox_deliveries_total 7"));
        assert!(other.render().contains("signalbox_deliveries_total 0"));
    }
}
