//! The servers that a run is played against: the seam for many nodes.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long a server may take to start, or to end. These machines are shared.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Killed,
    Drained,
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
}

/// One real server with the memory engine, as a process of its own.
pub(crate) struct OneNode {
    flags: Vec<String>,
    address: SocketAddr,
    child: Option<Child>,
}

impl OneNode {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let (child, address) = run(&flags, "127.0.0.1:0").await.expect("a server");
        Self { flags, address, child: Some(child) }
    }
}

impl Cluster for OneNode {
    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    async fn stop(&mut self, _: usize, manner: Manner) {
        let Some(mut child) = self.child.take() else { return };
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs until it is waited for");
        let signal = match manner {
            Manner::Killed => Signal::KILL,
            Manner::Drained => Signal::TERM,
        };
        kill_process(id, signal).expect("a signal to one's own child");
        timeout(PATIENCE, child.wait()).await.expect("the end of a server").expect("its status");
    }

    async fn start(&mut self, _: usize) {
        let address = self.address.to_string();
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
        self.child = Some(timeout(PATIENCE, again).await.expect("a server, again"));
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
