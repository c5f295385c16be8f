//! A Signalbox server as a process of its own, for as long as it is measured.

use std::{
    env,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{cpu::Pin, files};

/// A running `signalbox serve`, killed and waited for when it is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    address: SocketAddr,
    /// Open as long as the process, which may write more to it.
    output: BufReader<ChildStdout>,
}

impl Started {
    /// Starts one from a `signalbox` executable, on a port of the system's choice,
    /// pinned to a CPU when one is given. It limits neither rates nor numbers of
    /// connections; `flags` come after those that do so, and win. It takes none
    /// of this process's environment variables of Signalbox.
    ///
    /// # Errors
    /// It can't be started, ends at once, or says nothing of an address.
    pub fn start(executable: &Path, flags: &[String], cpu: Option<usize>) -> io::Result<Self> {
        let unlimited = [
            "--signals-per-second",
            "--max-connections",
            "--max-connections-per-session",
            "--max-connections-per-address",
            "--max-transports",
            "--max-transports-per-address",
            "--transport-bytes-per-second",
            "--transport-messages-per-second",
            "--memory-for-signals",
        ]
        .map(|limit| format!("{limit}=0"));
        Self::with_limits(executable, &[&unlimited, flags].concat(), cpu)
    }

    /// The same with the limits that a server has when none are set.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with_limits(executable: &Path, flags: &[String], cpu: Option<usize>) -> io::Result<Self> {
        // It inherits the limit of open files; `make_room` may have raised it further.
        files::allow(0)?;
        let _pin = cpu.map(Pin::to).transpose()?;
        let mut command = Command::new(executable);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIGNALBOX_")) {
            command.env_remove(name);
        }
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none", "--log-level", "error"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is ours: the server is killed afterwards.
            .process_group(0);
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut started = Self { child, address: ([0, 0, 0, 0], 0).into(), output: BufReader::new(output) };
        started.address = started.greeting()?;
        Ok(started)
    }

    /// The address that its first lines tell.
    fn greeting(&mut self) -> io::Result<SocketAddr> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                let status = self.child.wait()?;
                return Err(io::Error::other(format!("the server that was started did not come up: {status}")));
            }
            if let Some((_, address)) = line.trim_end().split_once("gRPC   http://") {
                return address.parse().map_err(io::Error::other);
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
