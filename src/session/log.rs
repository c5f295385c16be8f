//! The session's newest events, kept for those that come back.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{Entry, Limits, Sequence};

/// A bounded tail of the session's order, without holes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Log {
    /// Adds the next event and forgets the oldest beyond the bounds.
    pub(super) fn push(&mut self, entry: Arc<Entry>, limits: &Limits) {
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while limits.exceeds(self.entries.len(), limits.log_events) || limits.exceeds(self.bytes, limits.log_bytes) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.size();
        }
    }

    /// Everything after `sequence`, if the log reaches back to it. `newest` is
    /// the session's newest sequence.
    pub(super) fn after(&self, sequence: Sequence, newest: Sequence) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        let missing = usize::try_from(newest.checked_sub(sequence)?).ok()?;
        let from = self.entries.len().checked_sub(missing)?;
        Some(self.entries.range(from..))
    }

    /// How many events and bytes it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::{ConnectionId, Event};

    fn filled(count: u64, limits: &Limits) -> Log {
        let mut log = Log::default();
        for sequence in 1..=count {
            let event = Event::Interrupted(ConnectionId::from_random([0; 16]));
            log.push(Arc::new(Entry { sequence, at: SystemTime::UNIX_EPOCH, event }), limits);
        }
        log
    }

    fn after(log: &Log, sequence: Sequence, newest: Sequence) -> Option<Vec<Sequence>> {
        log.after(sequence, newest).map(|entries| entries.map(|entry| entry.sequence).collect())
    }

    #[test]
    fn it_reaches_back_as_far_as_its_bound() {
        let log = filled(10, &Limits { log_events: 3, ..Limits::default() });
        assert_eq!(after(&log, 7, 10), Some(vec![8, 9, 10]));
        assert_eq!(after(&log, 10, 10), Some(vec![]));
        assert_eq!(after(&log, 6, 10), None);
        assert_eq!(after(&log, 11, 10), None);
    }

    #[test]
    fn it_is_bounded_by_bytes_too() {
        let one = filled(1, &Limits::default()).held().1;
        let log = filled(10, &Limits { log_bytes: one * 4, ..Limits::default() });
        assert_eq!(log.held(), (4, one * 4));
    }

    #[test]
    fn a_log_too_small_for_one_event_is_empty_and_honest() {
        let log = filled(2, &Limits { log_bytes: 1, ..Limits::default() });
        assert_eq!(log.held(), (0, 0));
        assert_eq!(after(&log, 1, 2), None);
        assert_eq!(after(&log, 2, 2), Some(vec![]));
    }

    #[test]
    fn zero_is_no_bound() {
        let log = filled(5_000, &Limits { log_events: 0, log_bytes: 0, ..Limits::default() });
        assert_eq!(log.held().0, 5_000);
    }
}
