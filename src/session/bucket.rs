//! The rate limit of one connection's signals.

use std::time::Duration;

use crate::domain::{Limits, Refusal};

use super::refusals::too_fast;

/// A token bucket as a theoretical arrival time (the generic cell rate
/// algorithm, ITU-T I.371): one number, no refill task, exact under virtual
/// time.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    arrival: Duration,
}

impl Bucket {
    /// Takes one token at the time `now`.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time after which there is one.
    pub(super) fn take(&mut self, now: Duration, limits: &Limits) -> Result<(), Refusal> {
        let (rate, burst) = (limits.signals_per_second, limits.signal_burst);
        if rate == 0 || burst == 0 {
            return Ok(());
        }
        let interval = Duration::from_secs(1) / rate;
        let next = self.arrival.max(now) + interval;
        let latest = now + interval * burst;
        if next > latest {
            return Err(too_fast(next - latest, limits));
        }
        self.arrival = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_the_rate() {
        let limits = Limits { signals_per_second: 50, signal_burst: 100, ..Limits::default() };
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, at| (0..1_000).take_while(|_| bucket.take(at, &limits).is_ok()).count();
        assert_eq!(taken(&mut bucket, SECOND), 100);
        assert_eq!(taken(&mut bucket, SECOND * 2), 50);
        assert_eq!(taken(&mut bucket, SECOND * 60), 100);
    }

    #[test]
    fn waiting_as_told_is_exactly_enough() {
        let limits = Limits { signals_per_second: 7, signal_burst: 3, ..Limits::default() };
        let mut bucket = Bucket::default();
        let mut now = SECOND;
        for _ in 0..50 {
            while bucket.take(now, &limits).is_ok() {}
            let refusal = bucket.take(now, &limits).unwrap_err();
            assert_eq!(refusal.reason, Reason::RateLimited);
            let wait = refusal.retry_after.unwrap();
            assert!(bucket.take(now + wait - Duration::from_nanos(1), &limits).is_err());
            now += wait;
            assert!(bucket.take(now, &limits).is_ok());
        }
    }

    #[test]
    fn zero_is_no_limit() {
        for (signals_per_second, signal_burst) in [(0, 1), (1, 0)] {
            let limits = Limits { signals_per_second, signal_burst, ..Limits::default() };
            let mut bucket = Bucket::default();
            assert!((0..10_000).all(|_| bucket.take(SECOND, &limits).is_ok()));
        }
    }
}
