//! Latencies: high dynamic range histograms, and their correction for what a
//! closed loop omits.

use hdrhistogram::Histogram;

/// The longest that is told apart, in nanoseconds: two minutes.
const LONGEST: u64 = 120_000_000_000;

/// The latencies of one run.
///
/// A closed loop that waits for a slow server sends nothing meanwhile: what it
/// would have sent, and what that would have waited, is missing among what it
/// measured (coordinated omission). An open loop counts from when each was due,
/// which misses nothing.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// What was measured, in nanoseconds.
    pub measured: Histogram<u64>,
    /// With what a closed loop omitted added: for each latency over the mean time
    /// from one send to the next of the same place in flight, those that would
    /// have been sent meanwhile. None for an open loop, which needs none.
    pub corrected: Option<Histogram<u64>>,
}

/// The figures of a histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The arithmetic mean.
    pub mean: f64,
    /// Half of all are at most this.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

/// An empty histogram: nanoseconds to three digits.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are right")
}

impl Latencies {
    /// Those of a closed loop with a number of places in flight.
    pub(super) fn closed(measured: Histogram<u64>, places: usize, seconds: f64, sends: u64) -> Self {
        let interval = seconds * 1e9 * places as f64 / sends.max(1) as f64;
        let corrected = Some(measured.clone_correct((interval as u64).max(1)));
        Self { measured, corrected }
    }

    /// Those of an open loop.
    pub(super) fn open(measured: Histogram<u64>) -> Self {
        Self { measured, corrected: None }
    }
}

impl Latency {
    /// The figures of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_closed_loop_omits_is_put_back() {
        let mut measured = empty();
        // One in flight: 99 took a millisecond, one a second.
        for _ in 0..99 {
            measured.record(1_000_000).unwrap();
        }
        measured.record(1_000_000_000).unwrap();
        let seen = Latency::of(&measured);
        let latencies = Latencies::closed(measured, 1, 1.099, 1_099);
        let corrected = Latency::of(&latencies.corrected.unwrap());
        assert!(seen.p90 < 1_100_000, "{seen:?}");
        assert!(corrected.p50 > 400_000_000 && corrected.max == seen.max, "{corrected:?}");
    }
}
