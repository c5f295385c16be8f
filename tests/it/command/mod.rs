//! The `signalbox` command, as people and scripts start it: a process.

mod bench;
mod calls;
mod joining;
mod reconnecting;
mod serving;
mod terminal;
mod tokens;
mod top;
mod usage;

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use crate::support::{TestServer, within};

/// How long a command may take for anything: a process that starts on a busy
/// machine takes more than a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that finds nothing of ours in its environment, and no input.
fn signalbox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIGNALBOX_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A command that talks to this server.
fn client(server: &TestServer, arguments: &[&str]) -> Command {
    client_at(&format!("http://{}", server.address()), arguments)
}

/// A command that talks to whoever is there.
fn client_at(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = signalbox(arguments);
    command.args(["--server", endpoint]);
    command
}

/// How a command ended.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    /// What it printed, which must be all: it ended well.
    #[track_caller]
    fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// It failed with this code, and standard error says each of these.
    #[track_caller]
    fn failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in says {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

/// Runs a command to its end.
async fn run(mut command: Command) -> Done {
    let output = within(PATIENCE, "the end of a command", command.output()).await.unwrap();
    Done {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command to its end, with this for its input.
async fn run_with(command: Command, input: &str) -> Done {
    let mut process = Process::start(command);
    process.types(input).await;
    process.done().await
}

/// A command that stays for a while.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    out: mpsc::UnboundedReceiver<String>,
    err: mpsc::UnboundedReceiver<String>,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self { input: child.stdin.take(), child, out, err }
    }

    /// Writes to its input.
    async fn types(&mut self, text: &str) {
        self.writes(text.as_bytes()).await;
    }

    async fn writes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("its input is not closed");
        // One that has ended takes nothing; how it ended tells more.
        let _ = within(PATIENCE, "room in its input", input.write_all(bytes)).await;
    }

    /// Its next line on standard output.
    async fn line(&mut self) -> String {
        let line = within(PATIENCE, "a line", self.out.recv()).await;
        line.unwrap_or_else(|| panic!("its output is over; standard error says {:?}", rest(&mut self.err)))
    }

    /// Its next line on standard output that has this in it, past others.
    async fn says(&mut self, word: &str) -> String {
        let mut before = Vec::new();
        loop {
            let Ok(line) = tokio::time::timeout(PATIENCE, self.out.recv()).await else {
                panic!("nothing said {word:?} after {before:?}");
            };
            match line {
                Some(line) if line.contains(word) => return line,
                Some(line) => before.push(line),
                None => panic!("{word:?} is not in {before:?}; standard error says {:?}", rest(&mut self.err)),
            }
        }
    }

    /// Its next line on standard error.
    async fn complaint(&mut self) -> String {
        within(PATIENCE, "a line on standard error", self.err.recv()).await.expect("its errors are over")
    }

    /// Its process.
    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal, as `INT`.
    async fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        // The shell's own `kill`, which is everywhere.
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().await.unwrap();
        assert!(status.success());
    }

    /// Closes its input and waits for its end; what it printed since.
    async fn done(mut self) -> Done {
        self.input = None;
        let status = within(PATIENCE, "the end of the command", self.child.wait()).await.unwrap();
        let printed = |lines: &mut mpsc::UnboundedReceiver<String>| rest(lines).concat();
        // Whoever reads the pipes is done when both are closed.
        within(PATIENCE, "the end of its output", async {
            while !(self.out.is_closed() && self.err.is_closed()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let (out, err) = (printed(&mut self.out), printed(&mut self.err));
        Done { code: status.code().expect("it ends by itself"), out, err }
    }
}

/// The lines that have come.
fn rest(lines: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| lines.try_recv().ok()).map(|line| line + "\n").collect()
}

/// Reads lines as they come, so that a full pipe never stops the command.
fn lines(from: impl AsyncRead + Send + Unpin + 'static) -> mpsc::UnboundedReceiver<String> {
    let (send, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A line of JSON.
fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Whether a line begins with a time of day, as `02:54:06Z`.
fn begins_with_a_time(line: &str) -> bool {
    let shape: String = line.chars().take(9).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00:00:00Z"
}
