//! What this process takes of the machine, where Linux's `/proc` tells.

use std::fs;

use super::snapshot::Process;

/// `/proc` counts CPU time in hundredths of a second on every architecture that Linux
/// tells programs of today, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// What it takes now; none where that isn't told.
pub(super) fn process() -> Option<Process> {
    read(&fs::read_to_string("/proc/self/stat").ok()?, &fs::read_to_string("/proc/self/status").ok()?)
}

fn read(stat: &str, status: &str) -> Option<Process> {
    // The name of the command, in parentheses, may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let (user, system): (u32, u32) = (fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?);
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Process {
        id: std::process::id(),
        cpu_seconds: (f64::from(user) + f64::from(system)) / TICKS_PER_SECOND,
        memory_bytes: value("VmRSS")? * 1_024,
        threads: value("Threads")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_the_command_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 1000 25 18446744073709551615";
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        let process = read(stat, status).expect("all is there");
        assert_eq!((process.memory_bytes, process.threads), (2_097_152, 4));
        assert!((process.cpu_seconds - 3.0).abs() < 1e-9);
        assert_eq!(read("", status), None);
        assert_eq!(read(stat, "Threads:\t4"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_there() {
        let process = process().expect("Linux tells");
        assert!(process.memory_bytes > 1_000_000 && process.threads >= 1, "{process:?}");
    }
}
