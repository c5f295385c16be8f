//! A Redis of the tests' own.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

/// A server process that ends when it is dropped. It listens on a socket in a folder of
/// its own, so that no port is taken.
pub(crate) struct RedisServer {
    child: Child,
    folder: PathBuf,
    flags: Vec<String>,
    /// None: only the socket.
    port: Option<u16>,
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl RedisServer {
    /// One that is up. None where there is no `redis-server`, or what
    /// `SIGNALBOX_TESTS_REDIS_SERVER` names; with `SIGNALBOX_TESTS_NEED_REDIS`, which
    /// `tests/all` sets, that is a failure.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[], None)
    }

    /// The same, with flags, and on a port that nobody has.
    pub(crate) fn on_a_port(flags: &[&str]) -> Option<Self> {
        let [port, bus] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [port, bus] = [port, bus].map(|listener| listener.local_addr().expect("its address").port());
        let bus = bus.to_string();
        let flags: Vec<&str> = flags.iter().copied().chain(["--bind", "127.0.0.1", "--cluster-port", &bus]).collect();
        Self::with(&flags, Some(port))
    }

    /// One that watches others.
    fn sentinel(lines: &[String]) -> Option<Self> {
        let file = std::env::temp_dir().join(format!(
            "signalbox-sentinel-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, lines.join("\n")).expect("a file for it");
        let file = file.display().to_string();
        Self::on_a_port(&["--sentinel", &file])
    }

    fn with(flags: &[&str], port: Option<u16>) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("signalbox-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        match run(&folder, &flags, port) {
            Ok(child) => Some(Self { child, folder, flags, port }),
            Err(error) => {
                assert!(std::env::var_os("SIGNALBOX_TESTS_NEED_REDIS").is_none(), "redis-server: {error}");
                eprintln!("skipped: there is no redis-server ({error})");
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        if let Some(port) = self.port {
            return format!("redis://127.0.0.1:{port}?protocol=resp3");
        }
        format!("unix://{}?protocol=resp3", self.folder.join("socket").display())
    }

    /// A client of it.
    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("an address")
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port.expect("it has one")
    }

    /// Has it do something.
    pub(crate) fn ask(&self, command: &redis::Cmd) {
        self.get::<redis::Value>(command);
    }

    /// Asks it something.
    pub(crate) fn get<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let mut connection = self.client().get_connection().expect("a connection");
        command.query(&mut connection).unwrap_or_else(|error| panic!("{error}"))
    }

    /// It does nothing from here on, or goes on.
    pub(crate) fn suspend(&self, is_suspended: bool) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("it runs until it is waited for");
        kill_process(id, if is_suspended { Signal::STOP } else { Signal::CONT }).expect("a signal to one's own child");
    }

    /// Ends it, without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a signal to one's own child");
        self.child.wait().expect("its end");
    }

    /// Starts it again, with what it saved last.
    pub(crate) fn again(&mut self) {
        self.again_with(&[]);
    }

    /// The same, with more flags.
    pub(crate) fn again_with(&mut self, flags: &[&str]) {
        let flags: Vec<_> = self.flags.iter().cloned().chain(flags.iter().map(ToString::to_string)).collect();
        self.child = run(&self.folder, &flags, self.port).expect("it was there before");
    }
}

fn run(folder: &Path, flags: &[String], port: Option<u16>) -> std::io::Result<Child> {
    let program = std::env::var_os("SIGNALBOX_TESTS_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let mut command = Command::new(program);
    let port = port.unwrap_or(0).to_string();
    if let [kind, file, ..] = flags
        && kind == "--sentinel"
    {
        command.args([file, kind, "--port", &port]);
    } else {
        command.args(["--port", &port, "--save", "", "--appendonly", "no", "--unixsocket"]).arg(folder.join("socket"));
        command.args(flags);
    }
    let mut child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(
        lines.any(|line| line.contains("eady to accept connections") || line.contains("+monitor")),
        "the server did not come up"
    );
    // It must not be held up by a pipe that nobody reads.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(child)
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A primary, its replica, and a sentinel that has one take the other's place.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) struct RedisPair {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    sentinel: RedisServer,
}

#[allow(dead_code, reason = "not every test needs it")]
impl RedisPair {
    /// In step. None where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        let primary = RedisServer::on_a_port(&[])?;
        let port = primary.port().to_string();
        let replica = RedisServer::on_a_port(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])?;
        let sentinel = RedisServer::sentinel(&[
            format!("sentinel monitor main 127.0.0.1 {port} 1"),
            "sentinel down-after-milliseconds main 1000".into(),
            "sentinel failover-timeout main 5000".into(),
        ])?;
        let pair = Self { primary, replica, sentinel };
        let knows = || {
            let known: Vec<redis::Value> = pair.sentinel.get(redis::cmd("SENTINEL").arg("REPLICAS").arg("main"));
            known.len() == 1
        };
        while !knows() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        pair.until_in_step();
        Some(pair)
    }

    /// Waits until the replica has all that the primary has.
    pub(crate) fn until_in_step(&self) {
        while self.primary.get::<usize>(redis::cmd("WAIT").arg(1).arg(1_000)) < 1 {}
    }

    /// Where the sentinel is, and what it calls the primary.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port())
    }
}

/// Servers that share the slots.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) struct RedisCluster(pub(crate) Vec<RedisServer>);

#[allow(dead_code, reason = "not every test needs it")]
impl RedisCluster {
    /// Three primaries. None where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        let flags = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let servers: Vec<_> = (0..3).map(|_| RedisServer::on_a_port(&flags)).collect::<Option<_>>()?;
        for (server, slots) in servers.iter().zip([(0, 5_460), (5_461, 10_922), (10_923, 16_383)]) {
            server.ask(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(slots.0).arg(slots.1));
        }
        for server in &servers[1..] {
            let bus = server.flags.last().expect("its bus");
            servers[0].ask(redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(server.port()).arg(bus));
        }
        let cluster = Self(servers);
        cluster.until_whole();
        Some(cluster)
    }

    /// Waits until every server knows all.
    pub(crate) fn until_whole(&self) {
        let is_whole = |server: &RedisServer| {
            let about: String = server.get(redis::cmd("CLUSTER").arg("INFO"));
            about.contains("cluster_state:ok") && about.contains("cluster_slots_ok:16384")
        };
        while !self.0.iter().all(is_whole) {
            std::thread::yield_now();
        }
    }

    /// Where some of it is.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.0.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis://{}", hosts.join(","))
    }

    /// The server that has a slot.
    pub(crate) fn server_of(&self, slot: u16) -> usize {
        let has = |server: &RedisServer| -> bool {
            let mine: String = server.get(redis::cmd("CLUSTER").arg("MYID"));
            let nodes: String = self.0[0].get(redis::cmd("CLUSTER").arg("NODES"));
            let line = nodes.lines().find(|line| line.starts_with(&mine)).unwrap_or_default();
            line.split(' ').skip(8).filter(|slots| !slots.starts_with('[')).any(|slots| {
                let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
                let number = |text: &str| text.parse::<u16>().expect("a slot");
                (number(first)..=number(last)).contains(&slot)
            })
        };
        self.0.iter().position(has).expect("some server has it")
    }

    /// Moves a slot to another server, key by key.
    pub(crate) fn migrate(&self, slot: u16, to: usize) {
        let from = self.server_of(slot);
        let id = |server: usize| -> String { self.0[server].get(redis::cmd("CLUSTER").arg("MYID")) };
        let set = |on: usize, how: &str, with: usize| {
            self.0[on].ask(redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).arg(id(with)));
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
        loop {
            let keys: Vec<String> = self.0[from].get(redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(100));
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.0[to].port()).arg("").arg(0).arg(5_000).arg("KEYS");
            for key in &keys {
                migrate.arg(key);
            }
            self.0[from].ask(&migrate);
        }
        set(to, "NODE", to);
        set(from, "NODE", to);
    }
}
