//! The server as a process of its own: the real binary.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};
use tonic::transport::Channel;

use super::{JoinBuilder, server::connect, soon};

/// A running `signalbox serve`, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    /// Open as long as the process, which may write more to it.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// One with flags, on ports that the system picks and its first lines tell.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none", "--log-level", "error"]);
        command.args(flags);
        Self::of(command).await
    }

    async fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = soon("the address", output.next_line()).await.unwrap().expect("it told no address");
            if let Some((_, address)) = line.split_once("gRPC   http://") {
                break address.parse().unwrap();
            }
        };
        Self { child, address, _output: output }
    }

    /// One with flags, and this environment; what it logs is handed out.
    pub(crate) async fn with_environment(
        environment: &[(&str, String)],
        flags: &[&str],
    ) -> (Self, Lines<BufReader<ChildStderr>>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none"]).args(flags);
        command.envs(environment.iter().map(|(name, value)| (name, value))).stderr(Stdio::piped());
        let mut process = Self::of(command).await;
        let log = process.child.stderr.take().unwrap();
        (process, BufReader::new(log).lines())
    }

    /// A TCP connection to it.
    pub(crate) async fn channel(&self) -> Channel {
        connect(self.address).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The beginning of a join, over a TCP connection of its own.
    pub(crate) async fn join(&self, session: &str) -> JoinBuilder {
        JoinBuilder::new(connect(self.address).await, session)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs until it is waited for");
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        soon("the end of the process", self.child.wait()).await.unwrap()
    }
}
