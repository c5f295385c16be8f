//! A Redis of the tests' own.

use std::{
    io::{BufRead as _, BufReader},
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
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl RedisServer {
    /// One that is up. None where there is no `redis-server`; with
    /// `SIGNALBOX_TESTS_NEED_REDIS`, which `tests/all` sets, that is a failure.
    pub(crate) fn start() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("signalbox-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        match run(&folder) {
            Ok(child) => Some(Self { child, folder }),
            Err(error) => {
                assert!(std::env::var_os("SIGNALBOX_TESTS_NEED_REDIS").is_none(), "redis-server: {error}");
                eprintln!("skipped: there is no redis-server ({error})");
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}?protocol=resp3", self.folder.join("socket").display())
    }

    /// A client of it.
    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("an address")
    }

    /// Has it do something.
    pub(crate) fn ask(&self, command: &redis::Cmd) {
        let mut connection = self.client().get_connection().expect("a connection");
        command.exec(&mut connection).expect("an answer");
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
        self.child = run(&self.folder).expect("it was there before");
    }
}

fn run(folder: &Path) -> std::io::Result<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(folder.join("socket"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains("eady to accept connections")), "the server did not come up");
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
