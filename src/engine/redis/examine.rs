//! What an operator would want to know of a Redis before nodes depend on it.

use std::time::{Duration, UNIX_EPOCH};

use redis::{Cmd, RedisResult, aio::MultiplexedConnection};
use tokio::time::Instant;

use crate::clock::Clock;

use super::{
    Partitions, RedisSettings, Trouble, keys,
    servers::{Servers, same_partitions},
    wire::About,
};

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but it may cost something.
    Doubtful,
    /// It doesn't.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What it is.
    pub is: String,
    /// What to do about it, unless it is good.
    pub mend: Option<String>,
}

fn found(what: &'static str, verdict: Verdict, is: impl Into<String>, mend: &str) -> Finding {
    let mend = (verdict != Verdict::Good).then(|| mend.to_owned());
    Finding { what, verdict, is: is.into(), mend }
}

/// How many times it is asked how quick it is.
const PINGS: usize = 21;

/// Above this a send is slower than its users would like; above that, nodes take it for
/// stalled now and then.
const SLOW: Duration = Duration::from_millis(5);
const TOO_SLOW: Duration = Duration::from_millis(200);

/// By how much clocks may differ before operators are confused by what they read.
const CLOCKS_AGREE: Duration = Duration::from_secs(1);

impl RedisSettings {
    /// Looks at it: what would be in the way of nodes that divide its sessions so, and have
    /// this clock. It writes one key, `signalbox:{0}:doctor`, and removes it.
    pub async fn examine(&self, partitions: Partitions, clock: &dyn Clock) -> Vec<Finding> {
        let servers = Servers::new(self.clone());
        let wire = match servers.wire(0).await {
            Ok(wire) => wire,
            Err(trouble) => {
                let mend = match &trouble {
                    Trouble::Unfit(_) => "mend what it says, and ask again",
                    _ => "see that it runs, and that --redis-url names it",
                };
                return vec![found("reach", Verdict::Bad, trouble.to_string(), mend)];
            }
        };
        let mut findings = vec![found("reach", Verdict::Good, format!("{self} answers"), "")];
        let mut redis = wire.redis();
        match redis::cmd("INFO").query_async(&mut redis).await {
            Ok(about) => findings.extend(of_itself(&About::new(about))),
            Err(error) => findings.push(of_error("version", "INFO", &error)),
        }
        findings.push(match same_partitions(&wire, partitions).await {
            Ok(()) => found("partitions", Verdict::Good, format!("{}, as all nodes have it", partitions.count()), ""),
            Err(trouble) => found("partitions", Verdict::Bad, trouble.to_string(), "ask the Redis of these nodes"),
        });
        findings.push(clocks(&mut redis, clock).await);
        findings.push(latency(&mut redis).await);
        findings.extend(permissions(&mut redis).await);
        if wire.is_cluster() {
            findings.push(cluster(&servers, partitions).await);
        }
        findings
    }
}

fn of_error(what: &'static str, command: &str, error: &redis::RedisError) -> Finding {
    found(what, Verdict::Bad, format!("{command}: {error}"), "see that this user may do that")
}

/// What it says of itself.
fn of_itself(about: &About) -> Vec<Finding> {
    let version = about.fact("redis_version");
    let valkey = about.fact("valkey_version");
    let version = if valkey.is_empty() { format!("Redis {version}") } else { format!("Valkey {valkey}") };
    let mode = about.mode();
    let (policy, most) = (about.fact("maxmemory_policy"), about.fact("maxmemory_human"));
    let is_limited = about.fact("maxmemory") != "0";
    let (memory, mend) = if is_limited {
        (format!("at most {most}, {policy}"), "")
    } else {
        (format!("no limit, {policy}"), "set maxmemory, so that it refuses to write before the system ends it")
    };
    let (keeps, mend_keeps) = match (about.fact("aof_enabled"), about.fact("connected_slaves")) {
        ("1", "0") => ("appends to a file, no replica", "give it a replica, unless a restart is quick enough"),
        ("0", "0") => (
            "keeps nothing, and has no replica: a restart ends all sessions",
            "set appendonly yes, or give it a replica",
        ),
        ("1", _) => ("appends to a file, and has a replica", ""),
        _ => ("has a replica", ""),
    };
    let grade = |mend: &str| if mend.is_empty() { Verdict::Good } else { Verdict::Doubtful };
    vec![
        found("version", Verdict::Good, version, ""),
        found("mode", Verdict::Good, mode, ""),
        found("memory", grade(mend), memory, mend),
        found("persistence", grade(mend_keeps), keeps, mend_keeps),
    ]
}

async fn clocks(redis: &mut MultiplexedConnection, clock: &dyn Clock) -> Finding {
    let asked = clock.now().wall;
    let told: RedisResult<(u64, u64)> = redis::cmd("TIME").query_async(redis).await;
    match told {
        Ok((seconds, micros)) => {
            let theirs = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
            let apart = theirs.duration_since(asked).unwrap_or_else(|error| error.duration());
            let verdict = if apart > CLOCKS_AGREE { Verdict::Doubtful } else { Verdict::Good };
            let mend = "keep both by NTP: sessions go by Redis's clock, tokens and logs by this one";
            found("clock", verdict, format!("{apart:.1?} from this machine's"), mend)
        }
        Err(error) => of_error("clock", "TIME", &error),
    }
}

async fn latency(redis: &mut MultiplexedConnection) -> Finding {
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let began = Instant::now();
        if let Err(error) = redis::cmd("PING").exec_async(redis).await {
            return of_error("latency", "PING", &error);
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (median, most) = (times[PINGS / 2], times[PINGS - 1]);
    let verdict = match most {
        most if most > TOO_SLOW => Verdict::Bad,
        most if most > SLOW => Verdict::Doubtful,
        _ => Verdict::Good,
    };
    let is = format!("{median:.2?} in the middle, {most:.2?} at most");
    found("latency", verdict, is, "have it in the same zone, on a machine that does nothing else")
}

/// What nodes do, on a key that is nobody's.
async fn permissions(redis: &mut MultiplexedConnection) -> Vec<Finding> {
    let key = keys::doctor();
    let script = "redis.call('SPUBLISH', KEYS[1], '') return cmsgpack.unpack(cmsgpack.pack(struct.unpack('>I4', '\\0\\0\\0\\1')))";
    let mut all: Vec<(&str, Cmd)> = Vec::new();
    let mut add = |name, parts: &[&str]| {
        let mut cmd = redis::cmd(parts[0]);
        parts[1..].iter().for_each(|part| {
            cmd.arg(*part);
        });
        all.push((name, cmd));
    };
    add("EVAL", &["EVAL", script, "1", &key]);
    add("CLIENT KILL", &["CLIENT", "KILL", "ID", "9223372036854775807"]);
    add("SCRIPT LOAD", &["SCRIPT", "LOAD", "return 1"]);
    add("SSUBSCRIBE", &["SSUBSCRIBE", &key]);
    for parts in [
        &["SET", "1", "PX", "1000"][..],
        &["PERSIST"],
        &["PEXPIRE", "1000"],
        &["INCR"],
        &["GET"],
        &["UNLINK"],
        &["HSET", "a", "1"],
        &["HMGET", "a"],
        &["HINCRBY", "a", "1"],
        &["HDEL", "a"],
        &["ZADD", "1", "a"],
        &["ZMSCORE", "a"],
        &["ZSCORE", "a"],
        &["ZRANGE", "0", "-1"],
        &["ZRANGEBYSCORE", "-inf", "+inf"],
        &["ZCARD"],
        &["ZREM", "a"],
        &["XADD", "1-0", "v", "1"],
        &["XLEN"],
        &["XRANGE", "-", "+"],
        &["XTRIM", "MAXLEN", "1"],
        &["DEL"],
    ] {
        let mut with_key = vec![parts[0], &key];
        with_key.extend(&parts[1..]);
        add(parts[0], &with_key);
    }
    let mut refused = Vec::new();
    for (name, cmd) in all {
        if let Err(error) = cmd.exec_async(redis).await {
            refused.push(format!("{name} ({error})"));
        }
    }
    if refused.is_empty() {
        return vec![found("permissions", Verdict::Good, "this user may do all that nodes do", "")];
    }
    let mend = "ACL SETUSER with +@all -@dangerous +info +cluster +client, ~signalbox:* and &signalbox:*";
    vec![found("permissions", Verdict::Bad, format!("refused: {}", refused.join(", ")), mend)]
}

/// Whether every partition has a server.
async fn cluster(servers: &Servers, partitions: Partitions) -> Finding {
    let mut hosts = std::collections::BTreeSet::new();
    for partition in partitions.all() {
        match servers.wire(partition).await {
            Ok(wire) => drop(hosts.insert(wire.run_id().to_owned())),
            Err(trouble) => {
                let is = format!("partition {partition} has no server: {trouble}");
                return found("cluster", Verdict::Bad, is, "see CLUSTER INFO and CLUSTER SLOTS");
            }
        }
    }
    found("cluster", Verdict::Good, format!("{} primaries have the sessions", hosts.len()), "")
}
