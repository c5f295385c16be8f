//! The whole server: composed, bound, drained. Layer 5.
//!
//! In a program of one's own, with the command's flags (`clap` with `derive`), or with a
//! [`Config`] made otherwise:
//!
//! ```
//! use clap::Parser;
//! use signalbox::server::{ServeArgs, Server};
//! use tokio::sync::oneshot;
//!
//! #[derive(Parser)]
//! struct Flags {
//!     #[command(flatten)]
//!     serve: ServeArgs,
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let flags = Flags::parse_from(["mine", "--listen", "127.0.0.1:0", "--admin-listen", "none"]);
//! let server = Server::bind(flags.serve.check()?)?;
//! println!("serving at http://{}", server.grpc_address()?);
//!
//! let (stop, stopped) = oneshot::channel::<()>();
//! let serving = tokio::spawn(server.run(async { drop(stopped.await) }));
//! // Its clients are told to come back elsewhere, and when; then it ends.
//! drop(stop);
//! serving.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admin;
mod config;
mod follow;
mod listen;
mod places;
mod projects;
mod rest;
mod shared;
mod tls;
mod tokens;
mod workers;

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::{
    auth::{Gate, ProjectGate},
    clock::{Clock, SystemClock},
    engine::{Engine, MemoryEngine},
    grpc::{self, InSlowLane, Services, SignalingService, TransportSettings, Web},
    hub::Hub,
    proto,
    random::SystemRandom,
    rest::Rest,
    telemetry::{Registry, Tracer},
};

#[cfg(feature = "redis")]
pub use crate::engine::redis::{Finding, Verdict};
pub use config::{AdminListen, Config, EngineKind, ServeArgs};
pub use places::TransportCaps;
pub use projects::RestSettings;
pub use shared::EngineSettings;
pub use tls::TlsSettings;
pub use tokens::TokenSettings;
pub use workers::worker_runtime;
#[cfg(feature = "cli")]
pub(crate) use {
    admin::query::Sort,
    admin::snapshot::{Reader, SessionRow, Snapshot, State, VERSION},
};

use admin::{Admin, Survey};
use places::Places;
use rest::RestPort;
use shared::{Answered, Shared};
use tls::Tls;
use workers::Workers;

/// How long finished streams may take to reach their clients, within the drain
/// time-out.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

/// How long the last spans may take to their receiver, when all else is done.
const TRACES_GRACE: Duration = Duration::from_secs(5);

/// How often measurements are summed up.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is looked whether memory is short. It never exceeds its bound
/// meanwhile.
const RELIEF_INTERVAL: Duration = Duration::from_millis(100);

/// The names that the health service knows; the empty one is the server.
const HEALTH_NAMES: [&str; 3] = ["", "signalbox.v1.SignalingService", "signalbox.v1.SessionService"];

/// A server whose sockets are bound.
pub struct Server {
    config: Config,
    grpc: TcpListener,
    admin: Option<TcpListener>,
    rest: Option<(TcpListener, ProjectGate)>,
    workers: Workers,
    clock: Arc<dyn Clock>,
    gate: Gate,
    tls: Option<Arc<Tls>>,
    /// Another engine than that in memory.
    engine: Option<Shared>,
    tracer: Tracer,
    /// Keep keys and certificates fresh.
    fresh: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Server {
    /// Reads the keys for tokens, binds the sockets and starts the workers.
    ///
    /// # Errors
    /// When the keys are no good, an address can't be bound (the message names
    /// it), or a thread can't be started.
    pub fn bind(mut config: Config) -> io::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (gate, fresh) = tokens::gate(config.tokens.take(), Arc::clone(&clock)).map_err(io::Error::other)?;
        let mut fresh: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![Box::pin(fresh)];
        let tls = match config.tls.take() {
            None => None,
            Some(settings) => {
                let (tls, certificates) = Tls::new(settings).map_err(io::Error::other)?;
                fresh.push(Box::pin(certificates));
                Some(tls)
            }
        };
        let engine = Shared::new(&config.engine);
        let tracer = Tracer::start(config.traces.as_ref())
            .map_err(|wrong| io::Error::other(format!("can't send traces: {wrong}")))?;
        let grpc = listen::bind(config.listen)?;
        let admin = config.admin_listen.map(listen::bind).transpose()?;
        let rest = match config.rest.take() {
            None => None,
            Some(settings) => {
                let listener = listen::bind(settings.listen)?;
                let (gate, keys) = settings.gate(Arc::clone(&clock)).map_err(io::Error::other)?;
                fresh.push(Box::pin(keys));
                Some((listener, gate))
            }
        };
        let workers = Workers::start(config.workers)?;
        Ok(Self { config, grpc, admin, rest, workers, clock, gate, tls, fresh, engine, tracer })
    }

    /// Where gRPC is served.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn grpc_address(&self) -> io::Result<SocketAddr> {
        self.grpc.local_addr()
    }

    /// Where operators are served, if anywhere.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where OpenTok's REST calls are served, if anywhere.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn rest_address(&self) -> io::Result<Option<SocketAddr>> {
        self.rest.as_ref().map(|(listener, _)| listener.local_addr()).transpose()
    }

    /// Whether what it depends on will do; what isn't there yet is waited for when it
    /// runs.
    ///
    /// # Errors
    /// What is to be mended before it can serve.
    pub async fn check(&self) -> Result<(), String> {
        match &self.engine {
            Some(engine) => engine.check().await,
            None => Ok(()),
        }
    }

    /// Serves until `shutdown`, then drains: health NOT_SERVING, joins refused,
    /// every stream told and ended; what is left after the drain time-out is
    /// cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { config, grpc, admin, rest, workers, clock, gate, tls, fresh, engine, tracer } = self;
        let limits = Arc::new(config.limits.clone());
        let registry = Arc::new(Registry::new());
        let metrics = Arc::new(registry.metrics());
        let hub = Hub::new(&limits, config.capacity, grpc::ENCODING, Arc::clone(&metrics));
        let answered = engine.is_some().then(Arc::<Answered>::default);
        let engine: Arc<dyn Engine> = match engine.zip(answered.as_ref()) {
            Some((engine, answered)) => engine.begin(&limits, &hub, &registry, answered),
            None => Arc::new(MemoryEngine::new(Arc::clone(&limits), Arc::clone(&clock), Arc::new(hub.clone()))),
        };
        let services = Arc::new(Services {
            engine: Arc::clone(&engine),
            hub: hub.clone(),
            gate,
            limits,
            random: Arc::new(SystemRandom),
        });
        let (health, routes) = routes(&services, config.reflection);
        // Before anybody can ask: a watch told SERVING twice would take the
        // second for a change.
        set_health(&health, tonic_health::ServingStatus::Serving).await;

        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        background.spawn({
            let (stop, engine) = (stop.clone(), Arc::clone(&engine));
            async move { stop.run_until_cancelled_owned(engine.run()).await }
        });
        background.spawn({
            let (stop, registry) = (stop.clone(), Arc::clone(&registry));
            async move { stop.run_until_cancelled_owned(tidy(registry)).await }
        });
        background.spawn({
            let (stop, hub) = (stop.clone(), hub.clone());
            let engine = Arc::clone(&engine);
            async move { stop.run_until_cancelled_owned(relieve(engine, hub)).await }
        });
        for fresh in fresh {
            background.spawn(stop.clone().run_until_cancelled_owned(fresh));
        }
        let ready = CancellationToken::new();
        if let Some(listener) = admin {
            let admin = Admin {
                registry,
                metrics: Arc::clone(&metrics),
                hub: hub.clone(),
                engine: Arc::clone(&services.engine),
                answered,
                tracer: tracer.clone(),
                clock,
                began: Instant::now(),
                address: grpc.local_addr().ok(),
                workers: workers.others().count() + 1,
                unready: ready.clone(),
                survey: Survey::default(),
            };
            background.spawn(stop.clone().run_until_cancelled_owned(admin.serve(listener)));
        }
        let max_streams = config.max_streams_per_transport;
        let web = (!config.origins.is_empty())
            .then(|| Web::new(config.origins, routes.clone(), Arc::clone(&metrics), tracer.clone()));
        let settings = TransportSettings {
            services: Arc::clone(&services),
            routes,
            web,
            max_streams,
            rates: config.rates,
            tracer: tracer.clone(),
        };
        let mut open_files = config.open_files;
        let rest = rest.map(|(listener, gate)| {
            let places = rest::places(open_files);
            open_files = open_files.map(|files| files.saturating_sub(places));
            let (engine, limits) = (Arc::clone(&services.engine), Arc::clone(&services.limits));
            let port = RestPort::new(Rest { engine, hub: hub.clone(), gate, limits }, places);
            let accepting = background.spawn(InSlowLane::new(port.clone().accept(listener)));
            (port, accepting)
        });
        let (all, per_address) = config.transports.within(open_files);
        tracing::info!(all, per_address, "TCP connections are limited; 0: they aren't");
        let transports = listen::Transports::new(settings, tls, Places::new((all, per_address)), metrics);
        // They outlive the accepting: what is said last is said by them.
        let workers = Arc::new(workers);
        background.spawn(stop.clone().run_until_cancelled_owned(grpc::keep_time()));
        workers.others().for_each(|worker| {
            worker.spawn(stop.clone().run_until_cancelled_owned(grpc::keep_time()));
        });
        let accepting = background.spawn(InSlowLane::new(transports.clone().accept(grpc, Arc::clone(&workers))));

        shutdown.await;

        let deadline = Instant::now() + config.drain_timeout;
        tracing::info!(streams = hub.depth().streams, timeout = ?config.drain_timeout, "draining");
        ready.cancel();
        set_health(&health, tonic_health::ServingStatus::NotServing).await;
        hub.drain();
        // Until the streams are gone, connections are still accepted: a join
        // that is told to come back later beats one that finds no port.
        let ended = tokio::time::timeout_at(deadline, hub.empty()).await;
        accepting.abort();
        if let Some((_, accepting)) = &rest {
            accepting.abort();
        }
        // What streams asked for last is asked of the engine still.
        let stopped = tokio::time::timeout_at(deadline, engine.stop()).await;
        let flushed_by = deadline.min(Instant::now() + FLUSH_GRACE);
        let answered = async {
            match rest {
                Some((port, _)) => port.close(flushed_by).await,
                None => true,
            }
        };
        let (flushed, answered) = tokio::join!(transports.close(flushed_by), answered);
        if stopped.is_err() {
            tracing::warn!("the engine could not be told in time of everything that ended");
        }
        if ended.is_err() || !flushed || !answered {
            tracing::warn!(streams = hub.depth().streams, "some peers did not take their end in time; cutting them");
        }
        drop(workers);
        stop.cancel();
        background.close();
        tracer.flush(TRACES_GRACE).await;
        tracing::info!("stopped");
    }
}

/// Every service on the gRPC port.
fn routes(services: &Arc<Services>, reflects: bool) -> (HealthReporter, Routes) {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl can show the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            // Each version would name only itself.
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::new(SignalingService::new(Services::clone(services)))
        .add_service(grpc::session_service(Services::clone(services)))
        .add_service(health_service);
    if reflects {
        routes = routes
            .add_service(reflection().build_v1().expect("the descriptors are those compiled in"))
            .add_service(reflection().build_v1alpha().expect("the descriptors are those compiled in"));
    }
    (health, routes.prepare())
}

/// Keeps what was measured small, also when nobody looks at it.
async fn tidy(registry: Arc<Registry>) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        interval.tick().await;
        registry.tidy();
    }
}

/// Makes place when memory for signals is short.
async fn relieve(engine: Arc<dyn Engine>, hub: Hub) {
    let mut interval = tokio::time::interval(RELIEF_INTERVAL);
    loop {
        interval.tick().await;
        hub.relieve();
        engine.relieve();
    }
}

async fn set_health(health: &HealthReporter, status: tonic_health::ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
