//! The servers that a run is played against: the seam for many nodes.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    engines::{Blow, Engine},
    faults::Played,
};

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

    /// No more faults on their ways to it.
    fn calm_down(&self);

    /// How often each fault was played there.
    fn played(&self) -> Played;
}

/// Real servers, each a process of its own: one with the memory engine, or some that
/// share another.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    /// Where the sessions are, if not in the only node.
    engine: Option<Engine>,
}

struct Node {
    flags: Vec<String>,
    address: SocketAddr,
    child: Option<Child>,
    is_suspended: bool,
}

impl Nodes {
    /// One with the memory engine.
    pub(crate) async fn one(flags: &[&str]) -> Self {
        Self::start(flags, 1, None).await
    }

    /// Some that share this; none where there is nothing to share.
    pub(crate) async fn many(flags: &[&str], count: usize, engine: Option<Engine>) -> Option<Self> {
        Some(Self::start(flags, count, Some(engine?)).await)
    }

    async fn start(flags: &[&str], count: usize, engine: Option<Engine>) -> Self {
        let mut nodes = Vec::new();
        for number in 0..count {
            let mut flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            if let Some(engine) = &engine {
                flags.extend(["--engine".into(), "redis".into(), "--redis-url".into(), engine.url(number)]);
            }
            let (child, address) = run(&flags, "127.0.0.1:0").await.expect("a server");
            nodes.push(Node { flags, address, child: Some(child), is_suspended: false });
        }
        Self { nodes, engine }
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
        match self.engine {
            None => &[Manner::Killed, Manner::Killed, Manner::Drained],
            Some(_) => &[Manner::Killed, Manner::Drained, Manner::Suspended],
        }
    }

    async fn strike(&mut self, blow: Blow, time: Duration) {
        if let Some(engine) = &mut self.engine {
            engine.strike(blow, time).await;
        }
    }

    fn calm_down(&self) {
        self.engine.iter().for_each(Engine::calm_down);
    }

    fn played(&self) -> Played {
        self.engine.as_ref().map_or_else(Played::default, Engine::played)
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
                match run(&node.flags, &address).await {
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
    let level = std::env::var("SIGNALBOX_PROOF_LOG").unwrap_or_else(|_| "error".into());
    command.args(["serve", "--listen", listen, "--admin-listen", "none", "--log-level", &level]).args(flags);
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
