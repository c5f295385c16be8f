//! Spans on their way to an OTLP receiver: on a thread of their own, in batches,
//! from a bounded queue. Nothing that is served waits for them; what doesn't fit
//! the queue, and what the receiver doesn't take, is dropped and counted.

use std::{
    env, fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithTonicConfig as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, Sampler, SdkTracerProvider, Span,
        SpanData, SpanExporter, SpanProcessor,
    },
};
use tokio::{runtime::Builder, sync::oneshot};

use super::{SpanCounts, TraceSettings, way};

/// How many spans may wait. Source: the specification's default.
const MOST_WAITING: usize = 2_048;
/// What sets another number. Source: the specification.
const MOST_WAITING_VARIABLE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
/// How long a batch may take. Source: the specification's default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What sets another time, in milliseconds. Source: the specification.
const TIMEOUT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// The way to a receiver.
pub(super) struct Sending {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
    /// Ends the thread when it is dropped.
    _runtime: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    sent: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
    /// It was said that the queue is full, and that nobody takes them.
    said: (AtomicBool, AtomicBool),
}

impl Sending {
    pub(super) fn start(settings: &TraceSettings) -> Result<Self, String> {
        let counts = Arc::<Counts>::default();
        // The SDK's thread waits for a batch to be taken; what moves its bytes is
        // this one's business, so that it isn't that of those who serve.
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        let (ends, is_over) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("signalbox-otlp".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(is_over);
                runtime.shutdown_background();
            })
            .map_err(|error| error.to_string())?;

        let entered = handle.enter();
        let timeout = TIMEOUT_VARIABLES.iter().find_map(|variable| number(variable));
        let channel = way::channel(&settings.endpoint, timeout.map_or(TIMEOUT, Duration::from_millis))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_channel(channel);
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let exporter = Counted { exporter, endpoint: settings.endpoint.clone(), counts: Arc::clone(&counts) };
        let most = number(MOST_WAITING_VARIABLE).unwrap_or(MOST_WAITING);
        let batches = BatchConfigBuilder::default().with_max_queue_size(most).build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { batches, most, counts: Arc::clone(&counts) })
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio))))
            .with_resource(resource())
            .build();
        drop(entered);
        Ok(Self { provider, counts, _runtime: ends })
    }

    pub(super) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    pub(super) fn counts(&self) -> SpanCounts {
        let Counts { sent, overflowed, failed, .. } = &*self.counts;
        SpanCounts { sent: sent.load(Relaxed), overflowed: overflowed.load(Relaxed), failed: failed.load(Relaxed) }
    }

    pub(super) async fn finish(&self, within: Duration) {
        let provider = self.provider.clone();
        // It blocks, and those who serve may still have something to do.
        let finished = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(within)).await;
        let SpanCounts { sent, overflowed, failed } = self.counts();
        let dropped = overflowed + failed;
        if !matches!(finished, Ok(Ok(()))) || dropped > 0 {
            let waiting = self.counts.waiting.load(Relaxed);
            tracing::warn!(sent, dropped, waiting, "spans are lost: they could not be sent in time");
        }
    }
}

/// A number in the environment, if one is there.
fn number<T: FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Who sends: as the environment says, by OpenTelemetry's variables.
fn resource() -> Resource {
    let builder = Resource::builder();
    let set = builder.build();
    let named = set.get(&"service.name".into()).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let instance = set.get(&"service.instance.id".into()).is_some();
    let mut more = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    if !named {
        more.push(KeyValue::new("service.name", "signalbox"));
    }
    if !instance {
        let random = RandomIdGenerator::default().new_trace_id().to_bytes();
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        more.push(KeyValue::new("service.instance.id", id.to_string()));
    }
    Resource::builder().with_attributes(more).build()
}

/// Keeps to the bound, and counts what is beyond.
struct Bounded {
    batches: BatchSpanProcessor,
    most: usize,
    counts: Arc<Counts>,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("most", &self.most).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let counts = &self.counts;
        if counts.waiting.fetch_add(1, Relaxed) < self.most {
            return self.batches.on_end(span);
        }
        counts.waiting.fetch_sub(1, Relaxed);
        counts.overflowed.fetch_add(1, Relaxed);
        if !counts.said.0.swap(true, Relaxed) {
            tracing::warn!(
                waiting = self.most,
                "more spans than may wait: others are dropped, and counted in signalbox_spans_dropped_total; said once. \
                 A smaller --otlp-sample-ratio makes fewer, {MOST_WAITING_VARIABLE} lets more wait"
            );
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what is taken and what isn't.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    counts: Arc<Counts>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (counts, count) = (&self.counts, batch.len());
        let result = self.exporter.export(batch).await;
        counts.waiting.fetch_sub(count, Relaxed);
        match &result {
            Ok(()) => {
                counts.sent.fetch_add(count as u64, Relaxed);
                if counts.said.1.swap(false, Relaxed) {
                    tracing::info!(endpoint = self.endpoint, "spans are taken again");
                }
            }
            Err(error) => {
                counts.failed.fetch_add(count as u64, Relaxed);
                if !counts.said.1.swap(true, Relaxed) {
                    tracing::warn!(
                        endpoint = self.endpoint, %error,
                        "spans are not taken, and dropped; they are counted in signalbox_spans_dropped_total, and \
                         this is not said again until some are taken"
                    );
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
