//! A Redis of the tests' own.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

/// A server process that ends when it is dropped. It listens on a socket in a folder of
/// its own, so that no port is taken.
pub(crate) struct RedisServer {
    child: Child,
    folder: PathBuf,
}

impl RedisServer {
    /// One that is up. None where there is no `redis-server`; with
    /// `SIGNALBOX_TESTS_NEED_REDIS`, which `tests/all` sets, that is a failure.
    pub(crate) fn start() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("signalbox-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let socket = folder.join("socket");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("SIGNALBOX_TESTS_NEED_REDIS").is_none(), "redis-server: {error}");
                eprintln!("skipped: there is no redis-server ({error})");
                return None;
            }
        };
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.contains("eady to accept connections")), "the server did not come up");
        // It must not be held up by a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, folder })
    }

    /// A client of it.
    pub(crate) fn client(&self) -> redis::Client {
        let url = format!("unix://{}?protocol=resp3", self.folder.join("socket").display());
        redis::Client::open(url).expect("an address")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
