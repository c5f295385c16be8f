//! Nodes on a cluster of three primaries, and on a primary whose replica takes its place.

use std::time::Duration;

use crate::support::{
    Member, TestServer,
    redis::{RedisCluster, RedisPair, RedisServer},
};

use super::{A_WHILE, MINUTE, signals, until_ready};

/// Two nodes on a cluster; none where there is no `redis-server`.
async fn nodes() -> Option<(RedisCluster, [TestServer; 2])> {
    let cluster = tokio::task::block_in_place(RedisCluster::start)?;
    let nodes =
        [TestServer::at(Some(cluster.url()), &[], None).await, TestServer::at(Some(cluster.url()), &[], None).await];
    Some((cluster, nodes))
}

/// The slot of a session's keys.
fn slot(server: &RedisServer, session: &str) -> u16 {
    use signalbox::{
        domain::{Limits, SessionId},
        engine::redis::{Partitions, leases},
    };
    let session = SessionId::parse(session, &Limits::default(), "session_id").unwrap();
    server.get(redis::cmd("CLUSTER").arg("KEYSLOT").arg(leases(Partitions::new(32).of(&session))))
}

/// Two members of a session on two nodes.
async fn pair(nodes: &[TestServer; 2], session: &str) -> [Member; 2] {
    [nodes[0].join(session).window(MINUTE).enter().await, nodes[1].join(session).window(MINUTE).enter().await]
}

/// Sends until it is accepted, and waits for the other to hear it.
async fn say(pair: &mut [Member; 2], data: &str) {
    let [one, other] = pair;
    crate::support::within(A_WHILE, "an accepted send", async {
        loop {
            let send = one.send("", data);
            match one.outcome(send).await {
                Ok(_) => return,
                Err(refusal) => assert_eq!(refusal.reason, "ENGINE_UNAVAILABLE"),
            }
        }
    })
    .await;
    while other.find("a signal", signals).await.1 != data {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_on_every_primary_and_one_killed_harms_only_its_own() {
    let Some((mut cluster, nodes)) = nodes().await else { return };
    let mut pairs = Vec::new();
    for number in 0..12 {
        let session = format!("s{number}");
        let server = cluster.server_of(slot(&cluster.0[0], &session));
        pairs.push((server, pair(&nodes, &session).await));
    }
    for (_, pair) in &mut pairs {
        say(pair, "whole").await;
    }
    assert!((0..3).all(|server| pairs.iter().any(|(at, _)| *at == server)), "every primary has some");
    cluster.0[1].kill();
    for node in &nodes {
        assert!(until_ready(node, 503).await.contains("partitions"));
    }
    for (_, pair) in pairs.iter_mut().filter(|(server, _)| *server != 1) {
        say(pair, "without one").await;
    }
    // It comes back, with nothing.
    cluster.0[1].again();
    tokio::task::block_in_place(|| cluster.until_whole());
    for node in &nodes {
        until_ready(node, 200).await;
    }
    for (number, (server, mut pair)) in pairs.into_iter().enumerate() {
        if server == 1 {
            pair = super::cluster::pair(&nodes, &format!("s{number}")).await;
        }
        say(&mut pair, "whole again").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_its_sessions_along() {
    let Some((cluster, nodes)) = nodes().await else { return };
    let slot = slot(&cluster.0[0], "s");
    let mut pair = pair(&nodes, "s").await;
    say(&mut pair, "before").await;
    let from = cluster.server_of(slot);
    for step in 1..=3 {
        let to = (from + step) % 3;
        tokio::task::block_in_place(|| cluster.migrate(slot, to));
        say(&mut pair, &format!("on {to}")).await;
    }
    // On the same streams: they were told of nothing.
    for node in &nodes {
        until_ready(node, 200).await;
    }
    let [mut one, _] = pair;
    assert!(tokio::time::timeout(Duration::ZERO, one.next()).await.is_ok(), "its own signals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_everything_takes_the_primarys_place_unnoticed() {
    let Some(mut redis) = tokio::task::block_in_place(RedisPair::start) else { return };
    let url = || Some(redis.url());
    let nodes = [TestServer::at(url(), &[], None).await, TestServer::at(url(), &[], None).await];
    let mut pair = pair(&nodes, "s").await;
    say(&mut pair, "before").await;
    tokio::task::block_in_place(|| redis.until_in_step());
    redis.primary.kill();
    for node in &nodes {
        until_ready(node, 503).await;
    }
    say(&mut pair, "after").await;
    for node in &nodes {
        until_ready(node, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_something_begins_sessions_anew() {
    let Some(mut primary) = RedisServer::on_a_port(&[]) else { return };
    let port = primary.port().to_string();
    let replica = RedisServer::on_a_port(&["--replicaof", "127.0.0.1", &port]).expect("it is there, as the other");
    let url = || Some(format!("redis://127.0.0.1:{port},127.0.0.1:{}", replica.port()));
    let nodes = [TestServer::at(url(), &[], None).await, TestServer::at(url(), &[], None).await];
    let mut members = pair(&nodes, "s").await;
    say(&mut members, "before").await;
    while primary.get::<usize>(redis::cmd("WAIT").arg(1).arg(1_000)) < 1 {}
    replica.ask(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    say(&mut members, "lost").await;
    primary.kill();
    for member in members {
        let memory = member.memory();
        let end = member.end().await;
        let closing = end.closing.expect("it is told");
        assert_eq!(closing.action(), crate::support::proto::ClientAction::Resume);
        assert_eq!(closing.reason, "ENGINE_UNAVAILABLE");
        let back = nodes[0].join("s").window(MINUTE).resume(memory).enter().await;
        assert_eq!(back.joined.outcome(), crate::support::proto::JoinOutcome::New, "a gap, and it is told");
    }
}
