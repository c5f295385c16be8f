//! The threads that serve connections: a current-thread runtime each.
//!
//! A connection lives on one of them. Over 256 runnable tasks a runtime of many
//! threads moves work between its queues and starves some of it; one of one
//! thread takes tasks in turn, which keeps the slowest close to the others.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::grpc::{after_park, before_park};

/// The workers: the runtime that they were made in, and threads of their own.
pub(super) struct Workers {
    others: Vec<Handle>,
    /// How many turns there have been.
    turns: AtomicUsize,
    /// The threads end when this is dropped.
    _stop: DropGuard,
}

impl Workers {
    /// As many as `count`, the calling runtime being one.
    ///
    /// # Errors
    /// When the system refuses a thread or a runtime's resources.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let others = (1..count).map(|number| start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { others, turns: AtomicUsize::new(0), _stop: stop.drop_guard() })
    }

    /// The threads beside the calling one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Handle> {
        self.others.iter()
    }

    /// Who takes the next connection, in turn: nobody else means the calling
    /// runtime.
    pub(super) fn next(&self) -> Option<&Handle> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        turn.checked_sub(1).and_then(|other| self.others.get(other))
    }
}

/// A runtime that serves connections well: of one thread, which knows when it
/// has time to spare.
///
/// # Errors
/// When the system refuses its resources.
pub fn worker_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().on_thread_park(before_park).on_thread_unpark(after_park).build()
}

fn start(number: usize, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = worker_runtime()?;
    let handle = runtime.handle().clone();
    // What still runs when it stops was cut before.
    thread::Builder::new().name(format!("signalbox-{number}")).spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(handle)
}
