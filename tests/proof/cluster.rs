//! The servers that a run is played against: the seam for many nodes.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::redis_server::RedisServer;

/// How long a server may take to start, or to end. These machines are shared.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a server ends, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Killed,
    Drained,
    /// It does nothing for a time, and then goes on as if it had been a moment.
    Suspended,
}

/// What happens to what nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// It does nothing for a time.
    Stalled,
    /// Every connection to it is cut.
    CutOff,
    /// It ends, and comes back with all it had.
    Restarted,
    /// It ends, and comes back as it was some time before.
    RolledBack,
    /// It forgets everything.
    Flushed,
}

impl Blow {
    pub(crate) const ALL: [Self; 5] = [Self::Stalled, Self::CutOff, Self::Restarted, Self::RolledBack, Self::Flushed];
}

/// Nodes that serve the same sessions. What the end of one means to the
/// sessions, a new epoch or nothing, is not for the run to know: the histories
/// say it.
pub(crate) trait Cluster {
    /// Where each node listens, whenever it runs.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// Ends a node, and comes back when it has ended.
    async fn stop(&mut self, node: usize, manner: Manner);

    /// Starts it again, at its address, and comes back when it listens.
    async fn start(&mut self, node: usize);

    /// How nodes may end.
    fn manners(&self) -> &'static [Manner];

    /// Strikes what they share, if they share something, for so long.
    async fn strike(&mut self, blow: Blow, time: Duration);
}

/// Real servers, each a process of its own: one with the memory engine, or some that
/// share another.
pub(crate) struct Nodes {
    flags: Vec<String>,
    nodes: Vec<Node>,
    /// Where the sessions are, if not in the only node.
    redis: Option<RedisServer>,
}

struct Node {
    address: SocketAddr,
    child: Option<Child>,
    is_suspended: bool,
}

impl Nodes {
    /// One with the memory engine.
    pub(crate) async fn one(flags: &[&str]) -> Self {
        Self::start(flags, 1, None).await
    }

    /// Some that share a Redis; none where there is no `redis-server`.
    pub(crate) async fn many(flags: &[&str], count: usize) -> Option<Self> {
        Some(Self::start(flags, count, Some(RedisServer::start()?)).await)
    }

    async fn start(flags: &[&str], count: usize, redis: Option<RedisServer>) -> Self {
        let mut flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        if let Some(redis) = &redis {
            flags.extend(["--engine".into(), "redis".into(), "--redis-url".into(), redis.url()]);
        }
        let mut nodes = Vec::new();
        for _ in 0..count {
            let (child, address) = run(&flags, "127.0.0.1:0").await.expect("a server");
            nodes.push(Node { address, child: Some(child), is_suspended: false });
        }
        Self { flags, nodes, redis }
    }
}

fn tell(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs until it is waited for");
    kill_process(id, signal).expect("a signal to one's own child");
}

impl Cluster for Nodes {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    fn manners(&self) -> &'static [Manner] {
        // A node alone has nobody who would notice that it did nothing.
        match self.redis {
            None => &[Manner::Killed, Manner::Killed, Manner::Drained],
            Some(_) => &[Manner::Killed, Manner::Drained, Manner::Suspended],
        }
    }

    async fn strike(&mut self, blow: Blow, time: Duration) {
        let Some(redis) = &mut self.redis else { return };
        match blow {
            Blow::Stalled => {
                redis.suspend(true);
                sleep(time).await;
                redis.suspend(false);
            }
            Blow::CutOff => {
                for kind in ["normal", "pubsub"] {
                    redis.ask(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes"));
                }
            }
            Blow::Restarted => {
                redis.ask(&redis::cmd("SAVE"));
                redis.kill();
                sleep(time).await;
                redis.again();
            }
            Blow::RolledBack => {
                redis.ask(&redis::cmd("SAVE"));
                sleep(time).await;
                redis.kill();
                redis.again();
            }
            Blow::Flushed => redis.ask(&redis::cmd("FLUSHALL")),
        }
    }

    async fn stop(&mut self, node: usize, manner: Manner) {
        let node = &mut self.nodes[node];
        let Some(mut child) = node.child.take() else { return };
        match manner {
            Manner::Killed => tell(&child, Signal::KILL),
            Manner::Drained => tell(&child, Signal::TERM),
            Manner::Suspended => {
                tell(&child, Signal::STOP);
                node.is_suspended = true;
                node.child = Some(child);
                return;
            }
        }
        timeout(PATIENCE, child.wait()).await.expect("the end of a server").expect("its status");
    }

    async fn start(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        if let Some(child) = node.child.as_ref().filter(|_| node.is_suspended) {
            tell(child, Signal::CONT);
            node.is_suspended = false;
            return;
        }
        let address = node.address.to_string();
        let again = async {
            loop {
                // Somebody else may have the port for a moment, as its own end
                // of a connection.
                match run(&self.flags, &address).await {
                    Some((child, _)) => return child,
                    None => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        node.child = Some(timeout(PATIENCE, again).await.expect("a server, again"));
    }
}

/// A server that listens; none if it could not.
async fn run(flags: &[String], listen: &str) -> Option<(Child, SocketAddr)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    command.args(["serve", "--listen", listen, "--admin-listen", "none", "--log-level", "error"]).args(flags);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the binary");
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let told = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((_, address)) = line.split_once("gRPC   http://") {
                return address.parse().ok();
            }
        }
        None
    };
    let address = timeout(PATIENCE, told).await.ok()??;
    // It may go on writing.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some((child, address))
}
