//! Which CPU a thread runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the current thread, and the processes that it starts, to one CPU until
/// it is dropped.
#[derive(Debug)]
#[must_use = "it is undone when this is dropped"]
pub struct Pin {
    before: CpuSet,
}

impl Pin {
    /// Pins it to that CPU; the first is 0.
    ///
    /// # Errors
    /// There is no such CPU, or this process may not use it.
    pub fn to(cpu: usize) -> io::Result<Self> {
        let refused =
            |why: String| io::Error::new(io::ErrorKind::InvalidInput, format!("can't pin to CPU {cpu}: {why}"));
        let before = sched_getaffinity(None)?;
        if cpu >= CpuSet::MAX_CPU {
            return Err(refused(format!("the highest is {}", CpuSet::MAX_CPU - 1)));
        }
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).map_err(|error| refused(error.to_string()))?;
        Ok(Self { before })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // It was so before.
        let _ = sched_setaffinity(None, &self.before);
    }
}
