//! The scripts do what the session does.

mod equal;
mod mirror;
mod nodes;
#[path = "../../../../tests/shared/redis.rs"]
mod server;
mod wires;

use std::sync::Arc;

use redis::{PushInfo, aio::MultiplexedConnection};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::UnboundedReceiver,
};

use super::{Partitions, Store, keys::leases};
use crate::domain::{Limits, SessionId};
use server::RedisServer;

const NODE: &str = "node-1:boot-1";

/// A Redis, and a connection to it.
struct Bed {
    runtime: Runtime,
    redis: MultiplexedConnection,
    server: RedisServer,
}

impl Bed {
    fn new() -> Option<Self> {
        let server = RedisServer::start()?;
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        // However busy the machine is: nothing here is about time.
        let config = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let redis = server.client();
        let redis =
            runtime.block_on(redis.get_multiplexed_async_connection_with_config(&config)).expect("a connection");
        Some(Self { runtime, redis, server })
    }

    /// Hears a channel from here on, as long as the connection is kept.
    async fn listen(&self, channel: &str) -> (MultiplexedConnection, UnboundedReceiver<PushInfo>) {
        let (told, hears) = tokio::sync::mpsc::unbounded_channel();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(told);
        let client = self.server.client();
        let mut redis = client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection");
        redis::cmd("SSUBSCRIBE").arg(channel).exec_async(&mut redis).await.expect("a subscription");
        (redis, hears)
    }

    /// Gives a node its lease, until this time in microseconds.
    fn lease(&self, node: &str, until: u64) {
        for partition in partitions().all() {
            let mut redis = self.redis.clone();
            let lease = redis::cmd("ZADD").arg(leases(partition)).arg(until).arg(node).to_owned();
            self.runtime.block_on(lease.exec_async(&mut redis)).expect("a lease");
        }
    }

    fn store(&self, limits: &Arc<Limits>) -> Store {
        Store::new(NODE.to_owned(), Arc::clone(limits), partitions())
    }
}

fn partitions() -> Partitions {
    Partitions::new(4)
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name, &Limits::default(), "session_id").expect("a session")
}
