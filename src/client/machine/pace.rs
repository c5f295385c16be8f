//! How fast to send, so that the server's rate limit is never hit.

use std::time::Duration;

/// The server's limit, as the generic cell rate algorithm, counted when
/// outcomes come: the server has taken each send by then, at the latest.
/// Whatever the network does to the distances between sends, the server's own
/// count is never above this one.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// What one send costs; zero: there is no limit.
    each: Duration,
    burst: u32,
    /// When all that was sent is paid for.
    paid_at: Duration,
}

impl Pace {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        // Either is no limit to the server when it is 0.
        let unlimited = per_second == 0 || burst == 0;
        let each = if unlimited { Duration::ZERO } else { Duration::from_secs(1) / per_second };
        Self { each, burst, paid_at: Duration::ZERO }
    }

    /// The outcome of one send came.
    pub(super) fn decided(&mut self, now: Duration) {
        self.paid_at = self.paid_at.max(now) + self.each;
    }

    /// When one more may be sent, with `unresolved` on their way; none: not
    /// before one of them is decided.
    pub(super) fn ready_at(&self, unresolved: usize) -> Option<Duration> {
        if self.each.is_zero() {
            return Some(Duration::ZERO);
        }
        let unresolved = u32::try_from(unresolved).unwrap_or(u32::MAX);
        let spare = self.burst.checked_sub(unresolved.saturating_add(1))?;
        Some(self.paid_at.saturating_sub(self.each.saturating_mul(spare)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_for_each_that_is_paid_for() {
        let mut pace = Pace::new(10, 3);
        let now = Duration::from_secs(100);
        for unresolved in 0..3 {
            assert!(pace.ready_at(unresolved).unwrap() <= now);
        }
        assert_eq!(pace.ready_at(3), None, "not before one is decided");
        for _ in 0..3 {
            pace.decided(now);
        }
        assert_eq!(pace.ready_at(0), Some(now + Duration::from_millis(100)));
        assert_eq!(pace.ready_at(1), Some(now + Duration::from_millis(200)));
    }

    #[test]
    fn no_limit_is_no_wait() {
        assert_eq!(Pace::new(0, 100).ready_at(5_000), Some(Duration::ZERO));
        assert_eq!(Pace::new(50, 0).ready_at(5_000), Some(Duration::ZERO));
    }
}
