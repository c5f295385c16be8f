//! As many open files as the connections of a load need.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open besides: its output, the epoll, `/proc`.
const OTHERS: u64 = 32;

/// Raises the soft limit of open files to the hard one, which children inherit
/// too, and checks that it is enough.
///
/// # Errors
/// `InvalidInput`: it isn't; says how many are needed and what the limit is.
pub(super) fn allow(connections: usize) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let needed = connections as u64 + OTHERS;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{connections} connections need {needed} open files, and this process may have {limit} (ulimit -Hn); \
                 the server needs as many"
            ),
        )),
        _ => Ok(()),
    }
}
