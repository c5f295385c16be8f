//! Engines that many nodes share.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{domain::Limits, engine::Engine, hub::Hub, telemetry::Registry};

use super::config::EngineKind;

/// Into how many partitions the sessions are divided: enough for the largest cluster of
/// Redis that one would want, and few enough that each node can keep a lease in all.
#[cfg(feature = "redis")]
const PARTITIONS: crate::engine::redis::Partitions = crate::engine::redis::Partitions::new(32);

/// Where sessions live.
#[derive(Clone, Debug, Default)]
pub enum EngineSettings {
    /// In this process.
    #[default]
    Memory,
    /// In Redis.
    #[cfg(feature = "redis")]
    Redis(crate::engine::redis::RedisSettings),
}

/// How many answers there were, and how long they took in all.
#[derive(Debug, Default)]
pub(super) struct Answered {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Answered {
    #[cfg(feature = "redis")]
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// So many, in so long.
    pub(super) fn read(&self) -> (u64, Duration) {
        (self.count.load(Relaxed), Duration::from_nanos(self.nanos.load(Relaxed)))
    }
}

/// The files with certificates for the engine's servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl EngineSettings {
    /// What these flags say.
    ///
    /// # Errors
    /// What to tell the operator. Never a password.
    pub(super) fn new(kind: EngineKind, url: &str, files: &Files) -> Result<Self, String> {
        match kind {
            EngineKind::Memory => Ok(Self::Memory),
            EngineKind::Redis => Self::redis(url, files),
        }
    }

    /// Looks at what sessions live in: whether nodes can depend on it, and what to mend.
    /// Nothing where that is their own process.
    #[cfg(feature = "redis")]
    pub async fn examine(&self) -> Vec<crate::engine::redis::Finding> {
        match self {
            Self::Memory => Vec::new(),
            Self::Redis(settings) => settings.examine(PARTITIONS, &crate::clock::SystemClock::new()).await,
        }
    }

    #[cfg(feature = "redis")]
    fn redis(url: &str, files: &Files) -> Result<Self, String> {
        use super::follow::read;
        use crate::engine::redis::{RedisSettings, RedisTls};

        let settings: RedisSettings = url.parse().map_err(|why| format!("invalid value for '--redis-url': {why}"))?;
        let read = |flag, file: &Option<PathBuf>| file.as_deref().map(|file| read(file, flag)).transpose();
        let (ca, cert, key) =
            (read("--redis-ca", &files.ca)?, read("--redis-cert", &files.cert)?, read("--redis-key", &files.key)?);
        let client = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => return Err("'--redis-cert' and '--redis-key' go together".to_owned()),
        };
        let is_plain = ca.is_none() && client.is_none();
        Ok(Self::Redis(if is_plain { settings } else { settings.with_tls(RedisTls { ca, client }) }))
    }

    #[cfg(not(feature = "redis"))]
    fn redis(_: &str, files: &Files) -> Result<Self, String> {
        let _ = (&files.ca, &files.cert, &files.key);
        Err("invalid value 'redis' for '--engine': this build has no Redis".to_owned())
    }
}

/// An engine that many nodes share.
pub(super) enum Shared {
    #[cfg(feature = "redis")]
    Redis(crate::engine::redis::RedisSettings),
}

impl Shared {
    /// None when sessions live in this process.
    pub(super) fn new(settings: &EngineSettings) -> Option<Self> {
        match settings {
            EngineSettings::Memory => None,
            #[cfg(feature = "redis")]
            EngineSettings::Redis(settings) => Some(Self::Redis(settings.clone())),
        }
    }
}

#[cfg(feature = "redis")]
impl Shared {
    /// Whether it will do; what isn't there yet may be later.
    ///
    /// # Errors
    /// What is to be mended before it is of use.
    pub(super) async fn check(&self) -> Result<(), String> {
        let Self::Redis(settings) = self;
        settings.check(PARTITIONS).await.map_err(|why| format!("Redis at {settings}: {why}"))
    }

    /// The engine, not yet run.
    pub(super) fn begin(
        self,
        limits: &Arc<Limits>,
        hub: &Hub,
        registry: &Registry,
        answered: &Arc<Answered>,
    ) -> Arc<dyn Engine> {
        let Self::Redis(settings) = self;
        let node = Arc::new(hub.clone());
        let engine = crate::engine::redis::RedisEngine::new(settings, Arc::clone(limits), node, PARTITIONS);
        let times = registry.times("signalbox_engine_seconds", "Time that Redis took to answer a script");
        let answered = Arc::clone(answered);
        engine.observe(Box::new(move |time| {
            times(time);
            answered.add(time);
        }));
        Arc::new(engine)
    }
}

#[cfg(not(feature = "redis"))]
impl Shared {
    pub(super) async fn check(&self) -> Result<(), String> {
        match *self {}
    }

    pub(super) fn begin(self, _: &Arc<Limits>, _: &Hub, _: &Registry, _: &Arc<Answered>) -> Arc<dyn Engine> {
        match self {}
    }
}
