//! What a process uses, read from `/proc`.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// What a process, or some together, used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory that is resident, in bytes.
    pub rss: u64,
    /// The same with what is shared divided among those that share it, where it
    /// may be read.
    pub pss: Option<u64>,
}

impl Usage {
    /// Reads it; several processes are added up.
    ///
    /// # Errors
    /// A process is gone, or there is no `/proc`.
    pub fn of(pids: &[u32]) -> io::Result<Self> {
        pids.iter().try_fold(Self { pss: Some(0), ..Self::default() }, |sum, &pid| {
            let one = Self::one(pid)?;
            Ok(Self {
                cpu_ns: sum.cpu_ns + one.cpu_ns,
                rss: sum.rss + one.rss,
                pss: sum.pss.zip(one.pss).map(|(sum, one)| sum + one),
            })
        })
    }

    fn one(pid: u32) -> io::Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let read = |file| {
            let gone = |error: io::Error| io::Error::new(error.kind(), format!("can't read of process {pid}: {error}"));
            fs::read_to_string(process.join(file)).map_err(gone)
        };
        let status = read("status")?;
        let rss = kilobytes(&status, "VmRSS:").unwrap_or(0);
        let pss = read("smaps_rollup").ok().and_then(|rollup| kilobytes(&rollup, "Pss:"));
        // The first is exact and forgets threads that have ended; the second, rounded
        // down, does not.
        let ticks = ticks(&read("stat")?).unwrap_or(0) * (1_000_000_000 / rustix::param::clock_ticks_per_second());
        let cpu_ns = scheduled(&process).unwrap_or(0).max(ticks);
        Ok(Self { cpu_ns, rss, pss })
    }

    /// What this process used.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn own() -> io::Result<Self> {
        Self::of(&[std::process::id()])
    }
}

/// The CPU time of the calling thread, in nanoseconds; none: there is no `/proc`,
/// or it doesn't tell.
pub(super) fn thread_cpu() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The value of a line like `VmRSS:   1024 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
}

/// The CPU time of the threads that there are, to the nanosecond.
fn scheduled(process: &Path) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(process.join("task")).ok()? {
        // A thread may have ended since it was listed.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// The CPU time of all threads that there ever were, in the kernel's ticks.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The process on this machine that listens there; none: it isn't on this
/// machine, or is somebody else's.
#[must_use]
pub fn listener(address: SocketAddr) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(address)?);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    })
}

/// The inode of the socket that listens there.
fn inode(address: SocketAddr) -> Option<u64> {
    // Another machine's port says nothing about ours.
    let ours = address.ip().is_loopback() || address.ip().is_unspecified() || is_local(address.ip());
    if !ours {
        return None;
    }
    let port = format!(":{:04X}", address.port());
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            // 0A: it listens.
            (fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A").then(|| fields.get(9)?.parse().ok())?
        })
    })
}

/// Whether an address is one of this machine's: only those can be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_process_uses_something() {
        let usage = Usage::own().unwrap();
        assert!(usage.rss > 1_000_000 && usage.cpu_ns > 0, "{usage:?}");
        let twice = Usage::of(&[std::process::id(); 2]).unwrap();
        assert!(twice.rss > usage.rss);
        // Above what the kernel gives out.
        let error = Usage::of(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }

    #[test]
    fn who_listens_is_found_by_the_port() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(listening.local_addr().unwrap()), Some(std::process::id()));
        assert_eq!(listener("192.0.2.1:80".parse().unwrap()), None);
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        assert_eq!(ticks("7 (a) b) S 1 1 1 0 -1 4194304 1 0 0 0 30 12 0 0"), Some(42));
        assert_eq!(kilobytes("VmPeak: 1 kB\nVmRSS:\t  20 kB\n", "VmRSS:"), Some(20_480));
    }
}
