//! What fuzz targets share: the tests whose names begin with `fuzz_`.
//!
//! `cargo test` tries random inputs on each; `tests/fuzz/run` has an engine look
//! for inputs that reach new code.

use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// The value of a strategy that these bytes are the seed of.
pub(crate) fn seeded<S: Strategy>(strategy: &S, bytes: &[u8]) -> Option<S::Value> {
    let mut seed = [0_u8; 32];
    for (at, byte) in bytes.iter().enumerate() {
        seed[at % 32] = seed[at % 32].wrapping_mul(31).wrapping_add(*byte);
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    Some(strategy.new_tree(&mut runner).ok()?.current())
}

/// Takes the first byte off.
pub(crate) fn split(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}
