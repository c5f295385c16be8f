//! Watching an engine's sessions: a snapshot and the changes after it, with no
//! gap between.
//!
//! The snapshot is listed lazily, session by session in the order of their
//! ids, while changes already come in. How far the listing has passed decides
//! about each change: of a session that it has passed, the change is buffered;
//! of one still ahead it is dropped, because the listing will show it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::domain::{Reason, Refusal, SessionId};

use super::{Change, lock};

/// How many changes wait for a slow watcher before it is ended.
const WATCH_BUFFER: usize = 10_000;

/// How far a listing has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing yet.
    Nothing,
    /// Every session with an id below this one.
    Below(SessionId),
    /// Every session with an id up to this one, itself included.
    Through(SessionId),
    /// All: only changes are left.
    Everything,
}

impl Passed {
    fn covers(&self, session: &SessionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Below(next) => session < next,
            Self::Through(last) => session <= last,
            Self::Everything => true,
        }
    }
}

struct State {
    passed: Passed,
    buffer: VecDeque<Change>,
    overflowed: bool,
    waker: Option<Waker>,
}

/// One watcher's end of the changes.
pub(super) struct Watcher {
    only: Option<SessionId>,
    state: Mutex<State>,
}

impl Watcher {
    fn new(only: Option<SessionId>) -> Self {
        let state = State { passed: Passed::Nothing, buffer: VecDeque::new(), overflowed: false, waker: None };
        Self { only, state: Mutex::new(state) }
    }

    /// The one session it watches, unless all.
    pub(super) fn only(&self) -> Option<&SessionId> {
        self.only.as_ref()
    }

    /// The listing has come this far.
    pub(super) fn pass(&self, passed: Passed) {
        lock(&self.state).passed = passed;
    }

    fn see(&self, session: &SessionId, change: impl FnOnce() -> Change) {
        if self.only.as_ref().is_some_and(|only| only != session) {
            return;
        }
        let mut state = lock(&self.state);
        if state.overflowed || !state.passed.covers(session) {
            return;
        }
        if state.buffer.len() == WATCH_BUFFER {
            state.buffer.clear();
            state.overflowed = true;
        } else {
            state.buffer.push_back(change());
        }
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The next change.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<Change, Refusal>> {
        let mut state = lock(&self.state);
        if let Some(change) = state.buffer.pop_front() {
            return Poll::Ready(Ok(change));
        }
        if state.overflowed {
            return Poll::Ready(Err(Refusal::new(
                Reason::SlowConsumer,
                format!("changes came faster than they were read; at most {WATCH_BUFFER} wait"),
            )));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The watchers there are.
#[derive(Default)]
pub(super) struct Watchers {
    /// Spares every change a lock while nobody watches.
    any: AtomicBool,
    all: RwLock<Vec<Weak<Watcher>>>,
}

impl Watchers {
    /// One more watcher; it leaves by being dropped.
    pub(super) fn add(&self, only: Option<SessionId>) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::new(only));
        let mut all = self.all.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&watcher));
        self.any.store(true, Ordering::SeqCst);
        watcher
    }

    /// Something changed in a session; called with the session locked.
    pub(super) fn see(&self, session: &SessionId, change: impl Fn() -> Change) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let all = self.all.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for watcher in all.iter().filter_map(Weak::upgrade) {
            watcher.see(session, &change);
        }
    }
}
