//! As many open files as the connections of a load need.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open besides: its output, the epoll, `/proc`.
const OTHERS: u64 = 32;

/// Raises the soft limit of open files to the hard one, which children inherit
/// too, and checks that it is enough. When it isn't, the hard limit is raised to
/// what is needed, where this process may do so (root may, up to
/// `/proc/sys/fs/nr_open`).
///
/// # Errors
/// `InvalidInput`: it isn't enough; says how many are needed, what the limit is
/// and how to raise it.
pub(super) fn allow(connections: usize) -> io::Result<()> {
    let needed = connections as u64 + OTHERS;
    let hard = getrlimit(Resource::Nofile).maximum;
    let set = |most| setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    if hard.is_none_or(|hard| hard >= needed) || set(Some(needed)).is_err() {
        // Nor may it be refused: less than the hard limit may always be had.
        let _ = set(hard);
    }
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(too_few(connections, "this process", limit)),
        _ => Ok(()),
    }
}

/// Checks that a server on this machine may have as many connections, where its
/// limit may be read.
///
/// # Errors
/// As [`allow`].
pub(super) fn suffice(pid: u32, connections: usize) -> io::Result<()> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    match soft(&limits) {
        Some(limit) if limit < connections as u64 + OTHERS => {
            Err(too_few(connections, &format!("the server, process {pid},"), limit))
        }
        _ => Ok(()),
    }
}

fn too_few(connections: usize, who: &str, limit: u64) -> io::Error {
    let needed = connections as u64 + OTHERS;
    let most = fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{connections} connections need {needed} open files, and {who} may have {limit}: raise the hard limit, as \
             root by `ulimit -Hn {needed}` in the shell that starts it or by systemd's LimitNOFILE={needed} \
             (sysctl fs.nr_open, {}, bounds both); the load and the server need as many each",
            most.trim()
        ),
    )
}

/// The soft limit in a process's `/proc/PID/limits`; none: there is none, or it
/// can't be read.
fn soft(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_limit_is_read_and_told() {
        let limits =
            "Limit      Soft Limit  Hard Limit  Units\nMax open files            64           4096     files\n";
        assert_eq!(soft(limits), Some(64));
        assert_eq!(soft(&limits.replace("64", "unlimited")), None);
        suffice(std::process::id(), 1).unwrap();
        // One that isn't there has no limit to read.
        suffice(u32::MAX, usize::MAX / 2).unwrap();
        let error = suffice(std::process::id(), usize::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("the server, process") && error.contains("LimitNOFILE"), "{error}");
    }
}
