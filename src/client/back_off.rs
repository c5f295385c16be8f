//! The pauses between attempts.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The first and the longest, each doubled from the one before and lengthened
/// at random by up to as much again; without end. No `seed`: the system's
/// randomness.
pub(super) fn pauses((first, longest): (Duration, Duration), seed: Option<u64>) -> ExponentialBackoff {
    let builder =
        ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times().with_jitter();
    match seed {
        Some(seed) => builder.with_jitter_seed(seed).build(),
        None => builder.build(),
    }
}
