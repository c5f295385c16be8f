//! One member: a process that is told what to do, and tells what happens.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long an answer, or an event, may take. These machines are shared.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that there is an agent of.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    command: Vec<PathBuf>,
    /// What its servers need beside what a scenario says.
    pub(crate) flags: &'static [&'static str],
}

impl Language {
    /// Those whose agents can be started here.
    pub(crate) fn installed() -> Vec<Self> {
        let of = |name, command| Self { name, command, flags: &[] };
        let mut found = vec![of("Rust", vec![rust()])];
        let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
        match std::env::var_os("SIGNALBOX_TEST_CLIENTS").map(PathBuf::from) {
            None => println!("left out: all clients but Rust's, which tests/all installs"),
            Some(tools) => {
                let typescript = clients.join("typescript/agent.mjs");
                let python = tools.join("client-python/bin/python");
                found.push(of("Python", vec![python, clients.join("python/agent.py")]));
                found.push(of("TypeScript", vec!["node".into(), typescript.clone()]));
                // Over gRPC-Web, as in browsers.
                let web = of("TS, web", vec!["node".into(), typescript, "web".into()]);
                found.push(Self { flags: &["--cors-origin", "*"], ..web });
                found.push(of("Go", vec![tools.join("client-go-agent")]));
                found.push(of("Java", java(&tools.join("client-java"))));
            }
        }
        found
    }
}

/// All of its jars. Each member is a virtual machine of its own: these settings have it start with
/// a third less work.
fn java(jars: &Path) -> Vec<PathBuf> {
    let archive = format!("-XX:SharedArchiveFile={}/agent.jsa", jars.display());
    let path = format!("{}/*", jars.display());
    ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", &archive, "-cp", &path, "Agent"].map(PathBuf::from).into()
}

/// Beside the tests, where cargo has built it.
fn rust() -> PathBuf {
    let this = std::env::current_exe().expect("a path");
    this.ancestors().nth(2).expect("target/debug").join("examples/agent")
}

/// A running agent.
pub(crate) struct Agent {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u64,
    answers: HashMap<u64, Value>,
    events: VecDeque<Value>,
    /// All there were, by name.
    pub(crate) seen: HashMap<String, usize>,
    /// What it joined as.
    pub(crate) connection: String,
}

impl Agent {
    pub(crate) fn start(language: &Language) -> Result<Self, String> {
        let (program, arguments) = language.command.split_first().expect("a command");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let (answers, events, seen) = Default::default();
        Ok(Self { _child: child, input, output, next_id: 1, answers, events, seen, connection: String::new() })
    }

    /// Asks something of it; the number of the answer.
    pub(crate) async fn ask(&mut self, what: &str, with: &Value) -> Result<u64, String> {
        let id = self.next_id;
        self.next_id += 1;
        let mut asked = json!({ "id": id, "do": what });
        let fields = asked.as_object_mut().expect("an object");
        fields.extend(with.as_object().cloned().unwrap_or_default());
        let line = format!("{asked}\n");
        self.input.write_all(line.as_bytes()).await.map_err(|error| format!("the agent is gone: {error}"))?;
        Ok(id)
    }

    /// One line more of what it tells.
    async fn hear(&mut self) -> Result<(), String> {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        let line = line.map_err(|_| "nothing more came".to_owned())?.map_err(|error| error.to_string())?;
        let told: Value = serde_json::from_str(&line.ok_or("the agent is gone")?).map_err(|error| error.to_string())?;
        match told["id"].as_u64() {
            Some(id) => drop(self.answers.insert(id, told)),
            None => {
                let name = told["event"].as_str().unwrap_or_default().to_owned();
                *self.seen.entry(name).or_default() += 1;
                self.events.push_back(told);
            }
        }
        Ok(())
    }

    pub(crate) async fn answer(&mut self, id: u64) -> Result<Value, String> {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            self.hear().await.map_err(|error| format!("no answer: {error}"))?;
        }
    }

    pub(crate) async fn event(&mut self) -> Result<Value, String> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.hear().await?;
        }
    }

    /// An event that was not for whoever took it.
    pub(crate) fn put_back(&mut self, event: Value) {
        self.events.push_front(event);
    }

    /// The next signal; other events are passed over, but for a gap, after which nobody
    /// knows what is next.
    pub(crate) async fn signal(&mut self) -> Result<Value, String> {
        loop {
            let event = self.event().await?;
            match event["event"].as_str() {
                Some("signal") => return Ok(event),
                Some("reconnected") if event["gap"] == true => return Err(format!("there is a gap: {event}")),
                _ => {}
            }
        }
    }
}
