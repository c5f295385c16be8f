//! A connection to one Redis process: commands and what it pushes, in one order.
//!
//! One TCP connection carries both, so a subscription can't hang while commands work.
//! It is never made again by itself: another connection may lead to another process, which
//! may lack what this one had told.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, PushInfo, PushKind, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio_util::sync::CancellationToken;

use crate::engine::lock;

use super::Trouble;

/// How long a connection may take to be made, and a command to be answered.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection's number that none has.
const NOBODYS: u64 = i64::MAX as u64;

/// What hears a channel.
pub(super) trait Hears: Send + Sync {
    /// A message came. Called by the connection: nothing may block here.
    fn hear(&self, channel: &str, message: &[u8]);
}

/// A connection, as long as it lasts.
pub(super) struct Wire {
    redis: MultiplexedConnection,
    /// Which process this is.
    run_id: String,
    /// What it calls this connection.
    number: u64,
    host: String,
    is_cluster: bool,
    closed: CancellationToken,
    channels: Arc<Mutex<HashMap<String, Weak<dyn Hears>>>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// `Unfit` when it is nothing that could be used: too old, or it forgets when memory
    /// is short.
    pub(super) async fn open(client: &Client) -> Result<Self, Trouble> {
        let closed = CancellationToken::new();
        let channels = Arc::<Mutex<HashMap<String, Weak<dyn Hears>>>>::default();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_push_sender({
                let (closed, channels) = (closed.clone(), Arc::clone(&channels));
                move |push| {
                    hear(&closed, &channels, &push);
                    Ok::<_, ()>(())
                }
            });
        let redis = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut redis = redis.map_err(|error| unfit(&error).map_or_else(|| error.into(), Trouble::Unfit))?;
        let about: String = redis::cmd("INFO").query_async(&mut redis).await?;
        let about = About::new(about);
        about.check()?;
        let host = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        let is_cluster = about.mode() == "cluster";
        let number = redis::cmd("CLIENT").arg("ID").query_async(&mut redis).await?;
        Ok(Self { redis, number, run_id: about.fact("run_id").to_owned(), host, is_cluster, closed, channels })
    }

    /// For a command.
    pub(super) fn redis(&self) -> MultiplexedConnection {
        self.redis.clone()
    }

    /// Which process this is: no other has the same, nor this one after a restart.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// What its process calls it.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Ends other connections to this process: nothing that was sent on them is done after
    /// this.
    ///
    /// # Errors
    /// When that isn't known; `Unfit` when this user may not do so, which is found out
    /// even if there are none.
    pub(super) async fn end_others(&self, numbers: impl Iterator<Item = u64>) -> Result<(), Trouble> {
        for number in numbers.chain([NOBODYS]) {
            let mut end = redis::cmd("CLIENT");
            end.arg("KILL").arg("ID").arg(number);
            let ended: RedisResult<i64> = end.query_async(&mut self.redis()).await;
            ended.map_err(|error| unfit(&error).map_or_else(|| error.into(), Trouble::Unfit))?;
        }
        Ok(())
    }

    /// By what it was reached.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is one of several.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Whether nothing that comes is to be trusted any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for its end.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Ends it.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Hears a channel from here on.
    pub(super) async fn listen(&self, channel: &str, hears: Weak<dyn Hears>) -> RedisResult<()> {
        lock(&self.channels).insert(channel.to_owned(), hears);
        redis::cmd("SSUBSCRIBE").arg(channel).exec_async(&mut self.redis()).await
    }
}

fn hear(closed: &CancellationToken, channels: &Mutex<HashMap<String, Weak<dyn Hears>>>, push: &PushInfo) {
    match (&push.kind, &push.data[..]) {
        // Nobody here unsubscribes: the slot was moved. The client takes this for the
        // answer to a command, and every answer after it for that to another.
        (PushKind::Disconnection | PushKind::SUnsubscribe, _) => closed.cancel(),
        (PushKind::SMessage, [Value::BulkString(channel), Value::BulkString(message)]) if !closed.is_cancelled() => {
            let Ok(channel) = std::str::from_utf8(channel) else { return };
            let Some(hears) = lock(channels).get(channel).and_then(Weak::upgrade) else { return };
            if catch_unwind(AssertUnwindSafe(|| hears.hear(channel, message))).is_err() {
                closed.cancel();
            }
        }
        _ => {}
    }
}

/// What a server says of itself.
pub(super) struct About(String);

impl About {
    pub(super) fn new(told: String) -> Self {
        Self(told)
    }

    pub(super) fn fact(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim_end()
    }

    /// Whether it is one of several: `standalone`, `cluster` or `sentinel`.
    pub(super) fn mode(&self) -> &str {
        // Valkey's name for it, and Redis's.
        match self.fact("server_mode") {
            "" => self.fact("redis_mode"),
            mode => mode,
        }
    }

    /// Whether it will do.
    fn check(&self) -> Result<(), Trouble> {
        let version = self.fact("redis_version");
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            return Err(Trouble::Unfit(format!("it is Redis {version}; it must be {OLDEST}.0 or newer, or Valkey")));
        }
        let policy = self.fact("maxmemory_policy");
        if policy != "noeviction" && self.fact("maxmemory") != "0" {
            return Err(Trouble::Unfit(format!(
                "its maxmemory-policy is {policy}, by which it forgets sessions when memory is short; it must be noeviction"
            )));
        }
        match self.fact("role") {
            "master" => Ok(()),
            role => Err(Trouble::Nonsense(if role == "slave" { "it is a replica" } else { "it has no role" })),
        }
    }
}

/// The oldest version, by its first number.
const OLDEST: u32 = 7;

/// Why a server that refuses a connection would always refuse it.
fn unfit(error: &redis::RedisError) -> Option<String> {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => {
            Some(format!("it doesn't let this user in: {error}"))
        }
        (ErrorKind::RESP3NotSupported, _) => Some(format!("it is older than Redis {OLDEST}.0: {error}")),
        _ => None,
    }
}
