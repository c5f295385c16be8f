//! The servers of one scenario.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long one may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) async fn start(flags: &[String]) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none", "--log-level", "error"])
            .args(flags);
        command.args(["--drain-timeout", "1s"]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let told = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once("gRPC   http://") {
                    return address.parse().ok();
                }
            }
            None
        };
        let address = timeout(PATIENCE, told).await.ok().flatten().ok_or("the server did not come up")?;
        // It may go on writing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { address, child })
    }

    /// Ends it as an upgrade does.
    pub(crate) async fn drain(&mut self) -> Result<(), String> {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("it has ended before")?;
        kill_process(id, Signal::TERM).map_err(|error| error.to_string())?;
        timeout(PATIENCE, self.child.wait())
            .await
            .map_err(|_| "it does not end")?
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// A key for tokens, in a file that goes with it.
pub(crate) struct Secret(PathBuf);

impl Secret {
    pub(crate) fn new() -> Result<Self, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("signalbox-conformance-{}-{number}", std::process::id()));
        std::fs::write(&file, "a secret of the conformance tests, 32 bytes").map_err(|error| error.to_string())?;
        Ok(Self(file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A token for a session that lasts so many seconds.
    pub(crate) fn token(&self, session: &str, seconds: &str) -> Result<String, String> {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command.args(["token", "--session", session, "--role", "moderator", "--expires", &format!("{seconds}s")]);
        let told = command.arg("--secret-file").arg(&self.0).output().map_err(|error| error.to_string())?;
        let token = String::from_utf8(told.stdout).map_err(|error| error.to_string())?;
        Ok(token.trim().to_owned())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
