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

use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use crate::engine::lock;

/// How long a connection may take to be made, and a command to be answered.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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
    version: String,
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
    pub(super) async fn open(client: &Client) -> RedisResult<Self> {
        let closed = CancellationToken::new();
        let channels = Arc::<Mutex<HashMap<String, Weak<dyn Hears>>>>::default();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_push_sender({
                let (closed, channels) = (closed.clone(), Arc::clone(&channels));
                move |push| Ok::<_, ()>(hear(&closed, &channels, &push))
            });
        let mut redis = client.get_multiplexed_async_connection_with_config(&config).await?;
        let about: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await?;
        let fact = |name: &str| {
            let line = about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().to_owned()
        };
        Ok(Self { redis, run_id: fact("run_id"), version: fact("redis_version"), closed, channels })
    }

    /// For a command.
    pub(super) fn redis(&self) -> MultiplexedConnection {
        self.redis.clone()
    }

    /// Which process this is: no other has the same, nor this one after a restart.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Of Redis's protocol and commands, as Valkey tells it too.
    pub(super) fn version(&self) -> &str {
        &self.version
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
