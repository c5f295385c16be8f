//! Whatever happens in whatever order, the promises hold.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{RngSeed, TestRunner},
};

use super::{
    super::Session,
    history::{Step, history, limits},
    model::World,
    subject::Subject,
};
use crate::domain::Limits;

/// How many histories are tried, unless `PROPTEST_CASES` says otherwise.
const HISTORIES: u32 = 2_500;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(HISTORIES), failure_persistence: None, ..ProptestConfig::default() }
}

/// Plays a history to its end and says what it met.
fn play(limits: Limits, history: Vec<Step>) -> BTreeMap<&'static str, usize> {
    let limits = Arc::new(limits);
    play_on(Box::new(Session::new(Arc::clone(&limits))), limits, history)
}

/// The same, on any session that nobody has joined yet.
fn play_on(session: Box<dyn Subject>, limits: Arc<Limits>, history: Vec<Step>) -> BTreeMap<&'static str, usize> {
    let mut world = World::new(limits, session);
    for step in history {
        world.play(step);
    }
    let tally = world.tally.clone();
    world.end();
    tally
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_history_keeps_the_promises(limits in limits(), history in history()) {
        play(limits, history);
    }
}

/// A property over histories in which nothing happens would prove nothing.
#[test]
fn the_histories_meet_everything_worth_meeting() {
    let met = play_many(1, 300, |limits| Box::new(Session::new(Arc::clone(limits))));
    for what in WORTH_MEETING {
        assert!(met.get(what).is_some_and(|times| *times >= 10), "{what}: {met:?}");
    }
}

/// What histories must meet to prove anything.
pub(crate) const WORTH_MEETING: [&str; 22] = [
    "a connection restored",
    "a disconnect",
    "a full session",
    "a gap",
    "a key repeated",
    "a key repeated to nobody",
    "a repeat",
    "a resume not honoured",
    "a self-disconnect",
    "a signal sent",
    "a skipped id",
    "a stream long gone",
    "a stream taken over",
    "a window over",
    "beside",
    "beside none",
    "events missed",
    "not known beside",
    "outcomes restated",
    "CONNECTION_NOT_FOUND",
    "RATE_LIMITED",
    "SEND_ID_INVALID",
];

/// The same histories, as a fuzzer has them: commands, resumes, losses of streams,
/// windows and rates, whose every step is checked.
#[test]
fn fuzz_session() {
    bolero::check!().for_each(|input: &[u8]| {
        if let Some((limits, history)) = crate::fuzz::seeded(&(limits(), history()), input) {
            play(limits, history);
        }
    });
}

/// Plays `count` histories, the same every time for a seed, each on a session that
/// `begin` makes. How often each thing worth meeting was met.
pub(crate) fn play_many(
    seed: u64,
    count: usize,
    mut begin: impl FnMut(&Arc<Limits>) -> Box<dyn Subject>,
) -> BTreeMap<&'static str, usize> {
    let rng_seed = RngSeed::Fixed(seed);
    let mut runner =
        TestRunner::new(ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() });
    let mut met = BTreeMap::new();
    for _ in 0..count {
        let (limits, history) = (limits(), history()).new_tree(&mut runner).expect("a history").current();
        let limits = Arc::new(limits);
        for (what, times) in play_on(begin(&limits), limits, history) {
            *met.entry(what).or_insert(0) += times;
        }
    }
    met
}
