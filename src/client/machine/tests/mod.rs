//! The machine, by example and over random histories.

mod examples;
mod play;
mod server;

use proptest::prelude::*;
use tonic::Code;

use crate::client::{Refusal, SendError};

use play::{Act, Play, act};
use server::Server;

/// Histories per run of the tests; more by `PROPTEST_CASES`.
const CASES: u32 = 1_000;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

/// How a broken transport ends a stream.
fn broken() -> Refusal {
    Refusal::new(Code::Unavailable, "", "the transport broke")
}

/// What must hold of any history, once all is at rest.
fn check(play: &Play) -> Result<(), TestCaseError> {
    prop_assert!(play.twice.is_empty(), "decided twice: {:?}", play.twice);
    prop_assert!(!play.server.rate_limited, "the server's rate limit was hit");

    // Every send has one outcome, and it is true.
    let times = |tag: &String| play.server.accepted.iter().filter(|one| *one == tag).count();
    for tag in play.tags() {
        let Some(outcome) = play.outcomes.get(&tag) else {
            return Err(TestCaseError::fail(format!("{tag} was never decided")));
        };
        let times = times(&tag);
        match outcome {
            Ok(_) => prop_assert_eq!(times, 1, "{} was accepted", tag),
            Err(SendError::Unknown) => prop_assert!(times <= 1, "{tag} was sent {times} times"),
            Err(error) => prop_assert_eq!(times, 0, "{}: {}", tag, error),
        }
    }
    // In the order they were given in.
    prop_assert!(play.server.accepted.is_sorted(), "out of order: {:?}", play.server.accepted);

    // What was told is what happened: all of it, once, from snapshot to
    // snapshot, and to the very end.
    for (at, segment) in play.segments.iter().enumerate() {
        let last = at + 1 == play.segments.len();
        let to = if last { play.server.sequence } else { segment.told.last().map_or(segment.from, |told| told.0) };
        let range = (segment.epoch, segment.from + 1)..=(segment.epoch, to.max(segment.from));
        let happened: Vec<u64> = if to <= segment.from {
            Vec::new()
        } else {
            let entries = play.server.order.range(range);
            entries.filter(|(_, entry)| Server::told(entry, &segment.member)).map(|(place, _)| place.1).collect()
        };
        let told: Vec<u64> = segment.told.iter().map(|told| told.0).collect();
        prop_assert_eq!(told, happened, "segment {} of {}", at, play.segments.len());
        if last {
            prop_assert_eq!(segment.epoch, play.server.epoch, "a new epoch must be told");
        }
    }
    let view: Vec<_> =
        play.machine.roster.connections().iter().map(|connection| connection.connection_id.clone()).collect();
    prop_assert_eq!(view, play.server.names(), "who is in the session");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the network, the server and the application do: one outcome
    /// each, and true; nothing lost, repeated or reordered without a gap told;
    /// the view right at rest.
    #[test]
    fn the_promises_hold_over_any_history(seed in any::<u64>(), acts in prop::collection::vec(act(), 1..120)) {
        let mut play = Play::new(seed);
        for act in &acts {
            play.act(act);
        }
        play.rest();
        check(&play)?;
    }

    /// The same history twice does the same.
    #[test]
    fn a_machine_is_deterministic(seed in any::<u64>(), acts in prop::collection::vec(act(), 1..60)) {
        let played = |acts: &[Act]| {
            let mut play = Play::new(seed);
            acts.iter().for_each(|act| play.act(act));
            play.rest();
            (play.events, play.outcomes, play.now)
        };
        prop_assert_eq!(played(&acts), played(&acts));
    }
}
