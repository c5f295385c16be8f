//! The first responses to backends' calls, by their keys.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::Duration,
};

use crate::domain::{IdempotencyKey, Named};

use super::effect::ServerAccepted;

/// How long a response is kept. Source: the contract, promise 3 ("10 minutes at
/// least").
pub const KEYS_KEPT_FOR: Duration = Duration::from_secs(600);

/// The responses, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Responses {
    /// Ordered, because a table of many would move as a whole when it grows, and the
    /// session would wait.
    by_key: BTreeMap<IdempotencyKey, ServerAccepted>,
    expiries: VecDeque<(Duration, IdempotencyKey)>,
    held: usize,
}

/// About how many bytes of memory a response takes with its key.
fn size(key: &IdempotencyKey, response: &ServerAccepted) -> usize {
    let named = response.not_connected.iter().map(Named::size).sum::<usize>();
    // In the map and in the list, both of which may be half empty.
    let places =
        2 * mem::size_of::<(IdempotencyKey, ServerAccepted)>() + 2 * mem::size_of::<(Duration, IdempotencyKey)>();
    places + key.size() + named
}

impl Responses {
    /// The first response to a call with this key.
    pub(super) fn get(&self, key: &IdempotencyKey) -> Option<&ServerAccepted> {
        self.by_key.get(key)
    }

    /// Remembers a response given at `now`.
    pub(super) fn remember(&mut self, key: IdempotencyKey, response: ServerAccepted, now: Duration) {
        self.held += size(&key, &response);
        self.expiries.push_back((now + KEYS_KEPT_FOR, key.clone()));
        self.by_key.insert(key, response);
    }

    /// Forgets what is old.
    pub(super) fn tick(&mut self, now: Duration) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            if let Some((_, key)) = self.expiries.pop_front()
                && let Some(response) = self.by_key.remove(&key)
            {
                self.held -= size(&key, &response);
            }
        }
    }

    /// When the oldest is forgotten.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.expiries.front().map(|(at, _)| *at)
    }

    /// About how many bytes of memory they take.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
