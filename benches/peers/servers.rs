//! The servers: where their programs are, the settings that fit the work, and
//! their lives, each on the server's core and ended with the run.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::machine::{self, Cores};

/// How long a server may take until it accepts.
const START: Duration = Duration::from_secs(20);

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Signalbox,
    Floor,
    Nats,
    Redis,
    Mosquitto,
    SocketIo,
    Centrifugo,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Signalbox, Self::Floor, Self::Nats, Self::Redis, Self::Mosquitto, Self::SocketIo, Self::Centrifugo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signalbox => "Signalbox",
            Self::Floor => "floor",
            Self::Nats => "NATS",
            Self::Redis => "Redis",
            Self::Mosquitto => "Mosquitto",
            Self::SocketIo => "Socket.IO",
            Self::Centrifugo => "Centrifugo",
        }
    }

    /// As `--peers` takes it.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Signalbox => "signalbox",
            Self::Floor => "floor",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Mosquitto => "mosquitto",
            Self::SocketIo => "socketio",
            Self::Centrifugo => "centrifugo",
        }
    }

    /// What tells the version, on its first line.
    fn version_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Mosquitto => &["-h"],
            Self::Centrifugo => &["version"],
            _ => &["--version"],
        }
    }

    /// The settings, and the arguments that make the server take them.
    fn settings(self, port: u16, files: &Path) -> io::Result<Vec<String>> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let file = |text: String| -> io::Result<String> {
            let path = files.join("settings");
            fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        Ok(match self {
            // Without what protects it from its clients: no peer has that on.
            Self::Signalbox => [
                "serve",
                "--listen",
                &listen,
                "--admin-listen",
                "none",
                "--signals-per-second",
                "0",
                "--max-connections-per-session",
                "0",
                "--max-streams-per-transport",
                "0",
                "--outbox-events",
                "0",
                "--outbox-bytes",
                "0",
                "--max-unresolved-sends",
                "0",
                "--log-level",
                "warn",
            ]
            .map(str::to_owned)
            .to_vec(),
            Self::Floor => vec!["--listen".into(), listen],
            Self::Nats => {
                let settings = format!(
                    "listen: \"{listen}\"\nmax_connections: 100000\nmax_pending: 1073741824\n\
                     write_deadline: \"60s\"\nping_interval: \"10m\"\n"
                );
                vec!["-c".into(), file(settings)?]
            }
            Self::Redis => {
                let settings = format!(
                    "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\nprotected-mode no\n\
                     client-output-buffer-limit pubsub 0 0 0\nmaxclients 50000\ntcp-backlog 4096\n\
                     loglevel warning\ndir {}\n",
                    files.display()
                );
                vec![file(settings)?]
            }
            Self::Mosquitto => {
                let settings = format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\nmax_connections -1\n\
                     max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n\
                     persistence false\nsys_interval 0\nlog_type none\nuser root\n"
                );
                vec!["-c".into(), file(settings)?]
            }
            Self::SocketIo => vec![port.to_string()],
            Self::Centrifugo => {
                let settings = json!({
                    "http_server": {"address": "127.0.0.1", "port": port},
                    "client": {"insecure": true, "queue_max_size": 1 << 30},
                    "channel": {"without_namespace": {
                        "allow_publish_for_client": true,
                        "allow_subscribe_for_client": true,
                    }},
                    "log": {"level": "error"},
                    "usage_stats": {"disabled": true},
                });
                let path = files.join("settings.json");
                fs::write(&path, settings.to_string())?;
                vec!["--config".into(), path.to_string_lossy().into_owned()]
            }
        })
    }
}

/// A server's program, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    path: PathBuf,
    /// Arguments before the settings': a script.
    first: Vec<String>,
    pub(crate) version: String,
}

impl Program {
    /// One that was measured before, and can't be started.
    pub(crate) fn named(kind: Kind, version: String) -> Self {
        Self { kind, path: PathBuf::new(), first: Vec::new(), version }
    }

    /// Looks for it: our own beside each other, the peers' in `tools` and on the
    /// path. `Err` says what is missing.
    pub(crate) fn find(kind: Kind, signalbox: &Path, floor: &Path, tools: &Path) -> Result<Self, String> {
        let mut first = Vec::new();
        let path = match kind {
            Kind::Signalbox => Some(signalbox.to_owned()).filter(|path| path.exists()),
            Kind::Floor => Some(floor.to_owned()).filter(|path| path.exists()),
            Kind::Nats => on_path("nats-server", tools),
            Kind::Redis => on_path("redis-server", tools),
            Kind::Mosquitto => on_path("mosquitto", tools),
            Kind::Centrifugo => on_path("centrifugo", tools),
            Kind::SocketIo => {
                let script = tools.join("socketio/server.mjs");
                if !tools.join("socketio/node_modules/socket.io").exists() {
                    return Err(format!("no socket.io in {}", tools.join("socketio").display()));
                }
                first.push(script.to_string_lossy().into_owned());
                on_path("node", tools)
            }
        };
        let path = path.ok_or_else(|| format!("{} was not found", kind.name()))?;
        let version = match kind {
            Kind::Floor => "benches/floor".into(),
            Kind::SocketIo => format!("{} on Node {}", socketio_version(tools), version(&path, kind)),
            // Built by `go install`, it doesn't know.
            Kind::Centrifugo => fs::read_to_string(path.with_extension("version"))
                .map_or_else(|_| version(&path, kind), |version| version.trim().to_owned()),
            _ => version(&path, kind),
        };
        Ok(Self { kind, path, first, version })
    }

    /// Starts it on the server's core and waits until it accepts.
    pub(crate) fn start(&self, cores: Cores) -> io::Result<Server> {
        let port = machine::free_port()?;
        let files = env::temp_dir().join(format!("signalbox-compare-{}-{port}", std::process::id()));
        fs::create_dir_all(&files)?;
        let settings = self.kind.settings(port, &files)?;
        machine::pin(cores.server)?;
        let child = Command::new(&self.path)
            .args(&self.first)
            .args(settings)
            .current_dir(&files)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(files.join("errors"))?)
            .spawn();
        machine::pin(cores.load)?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut server = Server { child: child?, files, address };
        server.wait_until_it_accepts().map_err(|error| {
            let said = fs::read_to_string(server.files.join("errors")).unwrap_or_default();
            io::Error::other(format!("{} did not start: {error}\n{said}", self.kind.name()))
        })?;
        Ok(server)
    }
}

fn on_path(program: &str, tools: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where a user's path doesn't lead.
    let folders = [tools.join("bin")].into_iter().chain(env::split_paths(&path)).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn version(program: &Path, kind: Kind) -> String {
    let Ok(done) = Command::new(program).args(kind.version_arguments()).stdin(Stdio::null()).output() else {
        return "unknown".into();
    };
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    // Of a line with more than that, the number.
    let first = said.lines().next().unwrap_or_default();
    let number = first.split([' ', '=']).map(|word| word.trim_start_matches('v'));
    number
        .filter(|word| word.starts_with(|digit: char| digit.is_ascii_digit()) && word.contains('.'))
        .map(|word| word.trim_end_matches(','))
        .next()
        .unwrap_or(first)
        .to_owned()
}

fn socketio_version(tools: &Path) -> String {
    let package = fs::read_to_string(tools.join("socketio/node_modules/socket.io/package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap_or_default();
    package["version"].as_str().unwrap_or("unknown").to_owned()
}

/// A running server; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    files: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_accepts(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to lose in any of them, so none is asked to drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.files);
    }
}
