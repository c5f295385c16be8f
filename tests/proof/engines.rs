//! What nodes share, the ways to it, and what happens to both.

use std::{net::SocketAddr, time::Duration};

use signalbox::{
    domain::{Limits, SessionId},
    engine::redis::{Partitions, leases},
};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    faults::{self, Played},
    proxy::Proxy,
    redis_server::{RedisCluster, RedisServer},
    stage::SESSION,
};

/// What happens to what nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// It does nothing for a time.
    Stalled,
    /// For a minute.
    StalledForAMinute,
    /// Every connection to it is cut.
    CutOff,
    /// It ends, and comes back with all it had.
    Restarted,
    /// It ends, and comes back as it was some time before.
    RolledBack,
    /// It forgets everything.
    Flushed,
    /// Its memory is full for a time.
    OutOfMemory,
    /// Its replica takes its place, in step with it.
    FailedOver,
    /// Its replica takes its place, and lacks some time.
    FailedOverBehind,
    /// The primary that has the session ends, and comes back with all it had.
    PrimaryRestarted,
    /// The session's slot moves to another primary.
    Migrated,
}

impl Blow {
    /// What one server alone may meet.
    pub(crate) const ALONE: [Self; 6] =
        [Self::Stalled, Self::CutOff, Self::Restarted, Self::RolledBack, Self::Flushed, Self::OutOfMemory];
    /// What one with a replica may.
    pub(crate) const PAIRED: [Self; 2] = [Self::FailedOver, Self::FailedOverBehind];
    /// What three primaries may.
    pub(crate) const CLUSTERED: [Self; 3] = [Self::PrimaryRestarted, Self::Migrated, Self::Migrated];

    /// By its name.
    pub(crate) fn named(name: &str) -> Self {
        let all = [&Self::ALONE[..], &Self::PAIRED, &Self::CLUSTERED, &[Self::StalledForAMinute]].concat();
        all.into_iter().find(|blow| format!("{blow:?}") == name).unwrap_or_else(|| panic!("{name} is no blow"))
    }

    /// The longest that it may take, for those that take a time.
    pub(crate) fn at_most(self) -> Duration {
        match self {
            Self::Stalled => Duration::from_secs(6),
            Self::OutOfMemory => Duration::from_secs(4),
            _ => Duration::from_secs(1),
        }
    }
}

/// What nodes share.
pub(crate) enum Engine {
    /// One server.
    Alone(RedisServer),
    /// One, that each node reaches by a network of its own, with faults.
    Apart(RedisServer, Vec<Proxy>),
    /// One, and its replica.
    Paired(RedisServer, RedisServer),
    /// Three primaries.
    Clustered(RedisCluster),
}

impl Engine {
    /// None where there is no `redis-server`, as the others.
    pub(crate) fn alone() -> Option<Self> {
        Some(Self::Alone(RedisServer::start()?))
    }

    pub(crate) async fn apart(seed: u64, nodes: usize) -> Option<Self> {
        let server = RedisServer::on_a_port(&[])?;
        let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
        let mut ways = Vec::new();
        for node in 0..nodes as u64 {
            let plans = move |connection| faults::Plan::to_an_engine(seed, node << 16 | connection);
            ways.push(Proxy::start(plans, vec![address]).await.expect("a port"));
        }
        Some(Self::Apart(server, ways))
    }

    pub(crate) fn paired() -> Option<Self> {
        let primary = RedisServer::on_a_port(&[])?;
        let replica = RedisServer::on_a_port(&[])?;
        follow(&replica, &primary);
        Some(Self::Paired(primary, replica))
    }

    pub(crate) fn clustered() -> Option<Self> {
        block_in_place(RedisCluster::start).map(Self::Clustered)
    }

    /// Where a node finds it.
    pub(crate) fn url(&self, node: usize) -> String {
        match self {
            Self::Alone(server) => server.url(),
            Self::Apart(_, ways) => format!("redis://{}", ways[node].address()),
            Self::Paired(one, other) => format!("redis://127.0.0.1:{},127.0.0.1:{}", one.port(), other.port()),
            Self::Clustered(cluster) => cluster.url(),
        }
    }

    /// No more faults on the ways to it.
    pub(crate) fn calm_down(&self) {
        if let Self::Apart(_, ways) = self {
            ways.iter().for_each(Proxy::calm_down);
        }
    }

    /// How often each fault was played on them.
    pub(crate) fn played(&self) -> Played {
        let mut played = Played::default();
        if let Self::Apart(_, ways) = self {
            ways.iter().for_each(|way| played += way.played());
        }
        played
    }

    pub(crate) async fn strike(&mut self, blow: Blow, time: Duration) {
        match self {
            Self::Alone(server) | Self::Apart(server, _) => strike_one(server, blow, time).await,
            Self::Paired(primary, replica) => {
                match blow {
                    Blow::FailedOver => {
                        // Writes wait until the other has all.
                        primary.ask(&redis::cmd("FAILOVER"));
                        until_role(replica, "master").await;
                    }
                    Blow::FailedOverBehind => {
                        replica.ask(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
                        sleep(time).await;
                        primary.kill();
                        let port = replica.port().to_string();
                        primary.again_with(&["--replicaof", "127.0.0.1", &port]);
                    }
                    blow => panic!("{blow:?} is nothing for a pair"),
                }
                std::mem::swap(primary, replica);
                block_in_place(|| until_in_step(primary));
            }
            Self::Clustered(cluster) => {
                let slot = block_in_place(|| slot(&cluster.0[0]));
                let has = block_in_place(|| cluster.server_of(slot));
                match blow {
                    Blow::Migrated => {
                        let to = (has + 1 + time.as_micros() as usize % 2) % 3;
                        block_in_place(|| cluster.migrate(slot, to));
                    }
                    Blow::PrimaryRestarted => {
                        strike_one(&mut cluster.0[has], Blow::Restarted, time).await;
                        block_in_place(|| cluster.until_whole());
                    }
                    blow => panic!("{blow:?} is nothing for a cluster"),
                }
            }
        }
    }
}

async fn strike_one(server: &mut RedisServer, blow: Blow, time: Duration) {
    match blow {
        Blow::Stalled | Blow::StalledForAMinute => {
            let time = if blow == Blow::Stalled { time } else { Duration::from_secs(60) };
            server.suspend(true);
            sleep(time).await;
            server.suspend(false);
        }
        Blow::CutOff => {
            for kind in ["normal", "pubsub"] {
                server.ask(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes"));
            }
        }
        Blow::Restarted => {
            server.ask(&redis::cmd("SAVE"));
            server.kill();
            sleep(time).await;
            server.again();
        }
        Blow::RolledBack => {
            server.ask(&redis::cmd("SAVE"));
            sleep(time).await;
            server.kill();
            server.again();
        }
        Blow::Flushed => server.ask(&redis::cmd("FLUSHALL")),
        Blow::OutOfMemory => {
            let limit = |bytes: usize| server.ask(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes));
            limit(1);
            sleep(time).await;
            limit(0);
        }
        blow => panic!("{blow:?} takes more than one"),
    }
}

/// The slot of the session that everyone is in.
fn slot(server: &RedisServer) -> u16 {
    let session = SessionId::parse(SESSION, &Limits::default(), "session_id").expect("a session");
    server.get(redis::cmd("CLUSTER").arg("KEYSLOT").arg(leases(Partitions::new(32).of(&session))))
}

fn follow(replica: &RedisServer, primary: &RedisServer) {
    replica.ask(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(primary.port()));
    until_in_step(primary);
}

/// Waits until the replica has all that the primary has.
fn until_in_step(primary: &RedisServer) {
    while primary.get::<usize>(redis::cmd("WAIT").arg(1).arg(1_000)) < 1 {}
}

async fn until_role(server: &RedisServer, role: &str) {
    let is =
        || server.get::<Vec<redis::Value>>(&redis::cmd("ROLE")).first() == Some(&redis::Value::BulkString(role.into()));
    while !is() {
        sleep(Duration::from_millis(20)).await;
    }
}
