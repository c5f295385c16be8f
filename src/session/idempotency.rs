//! The first responses to backends' calls, by their keys.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::domain::IdempotencyKey;

use super::effect::ServerAccepted;

/// How long a response is kept. Source: the contract, promise 3 ("10 minutes at
/// least").
pub const KEYS_KEPT_FOR: Duration = Duration::from_secs(600);

/// The responses, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Responses {
    by_key: HashMap<IdempotencyKey, ServerAccepted>,
    expiries: VecDeque<(Duration, IdempotencyKey)>,
}

impl Responses {
    /// The first response to a call with this key.
    pub(super) fn get(&self, key: &IdempotencyKey) -> Option<&ServerAccepted> {
        self.by_key.get(key)
    }

    /// Remembers a response given at `now`.
    pub(super) fn remember(&mut self, key: IdempotencyKey, response: ServerAccepted, now: Duration) {
        self.expiries.push_back((now + KEYS_KEPT_FOR, key.clone()));
        self.by_key.insert(key, response);
    }

    /// Forgets what is old.
    pub(super) fn tick(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            if let Some((_, key)) = self.expiries.pop_front() {
                self.by_key.remove(&key);
            }
        }
    }

    /// When the oldest is forgotten.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.expiries.front().map(|(at, _)| *at)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
