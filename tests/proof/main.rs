//! The proof, end to end, that nothing is lost, repeated or reordered: members
//! by the Rust client send all along, through a proxy that plays seeded faults,
//! to a real server that is killed and drained now and then. Everything that
//! everyone did, was told and saw is then held against the promises.
//!
//! `tests/long-run [SECONDS] [SEED]` plays for longer, and prints the counts;
//! `tests/long-run-many [SEEDS] [SEED]` the same of many nodes, and of what may happen to
//! the Redis that they share. Servers log errors, or what `SIGNALBOX_PROOF_LOG` says.

mod backend;
mod checker;
mod cluster;
mod engines;
mod faults;
mod good;
mod history;
mod lies;
mod member;
mod proxy;
#[path = "../shared/redis.rs"]
mod redis_server;
mod report;
mod run;
mod stage;

use std::time::{Duration, Instant};

use cluster::Nodes;
use engines::{Blow, Engine};
use report::Report;
use run::{Plan, run};

/// What the server is started with: quick heartbeats, so that silence is
/// noticed soon; a log that doesn't reach back far, so that there are gaps.
const FLAGS: &[&str] = &[
    "--heartbeat-interval",
    "400ms",
    "--drain-timeout",
    "500ms",
    "--signals-per-second",
    "500",
    "--signal-burst",
    "500",
    "--log-events",
    "300",
    "--outbox-events",
    "600",
];

/// How many times the time that was asked for a slow machine may take.
const IN_VAIN: u32 = 8;

/// The value of a variable, if it is set.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}

/// Plays seeds one after the other until the time is over and `enough` has
/// happened, each of them on a server of its own.
async fn play(from: u64, total: Duration, each: Duration, enough: impl Fn(&Report) -> bool) -> Report {
    let began = Instant::now();
    let mut report = Report::default();
    for seed in from.. {
        let mut server = Nodes::one(FLAGS).await;
        let plan = Plan {
            seed,
            members: 32,
            storm: each,
            restarts_within: Duration::from_secs(5),
            blows: &[],
            rolling: false,
        };
        let ran = run(plan, &mut server).await;
        println!("seed {seed}: {} faults, {} violations", ran.played.all(), ran.verdict.violations.len());
        let failed = report.add(seed, ran);
        let time = began.elapsed();
        // What is still missing then won't come: it is for the caller to say.
        let in_vain = time >= total * IN_VAIN;
        if failed || in_vain || (time >= total && enough(&report)) {
            break;
        }
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_repeated_or_reordered() {
    let settings = (setting("SIGNALBOX_PROOF_SECONDS"), setting("SIGNALBOX_PROOF_SEED"));
    let seconds = Duration::from_secs(settings.0.unwrap_or(20));
    let each = Duration::from_secs(10).min(seconds);
    // How much happens in a time is the machine's matter; that enough happens,
    // the test's.
    let for_long_enough = settings == (None, None);
    let enough = |report: &Report| !for_long_enough || report.calm().is_none();
    let report = play(settings.1.unwrap_or(1), seconds, each, enough).await;
    println!("{report}");
    report.assert_kept();
    if for_long_enough && let Some(calm) = report.calm() {
        panic!("{calm}:\n{report}");
    }
}

/// Plays seeds over three nodes that share something, to which this may happen.
async fn play_many(engine: impl AsyncFn(u64) -> Option<Engine>, blows: &[Blow], storm: Duration) {
    let from = setting("SIGNALBOX_PROOF_SEED").unwrap_or(1);
    let seeds = setting("SIGNALBOX_PROOF_SEEDS").unwrap_or(1);
    let storm = setting("SIGNALBOX_PROOF_SECONDS").map_or(storm, Duration::from_secs);
    let mut report = Report::default();
    for seed in from..from + seeds {
        let Some(mut nodes) = Nodes::many(FLAGS, 3, engine(seed).await).await else { return };
        let plan = Plan { seed, members: 24, storm, restarts_within: Duration::from_secs(5), blows, rolling: false };
        let ran = run(plan, &mut nodes).await;
        println!("seed {seed}: {} faults, {} violations", ran.played.all(), ran.verdict.violations.len());
        if report.add(seed, ran) {
            break;
        }
    }
    println!("{report}");
    report.assert_kept();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_where_nodes_come_and_go() {
    play_many(async |_| Engine::alone(), &[], Duration::from_secs(12)).await;
}

/// All that may happen to Redis in a moment, or what `SIGNALBOX_PROOF_BLOWS` says, as
/// `StalledForAMinute,Restarted`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_whatever_happens_to_redis() {
    let asked = std::env::var("SIGNALBOX_PROOF_BLOWS").ok();
    let blows = asked.map_or_else(|| Blow::ALONE.to_vec(), |asked| asked.split(',').map(Blow::named).collect());
    play_many(async |_| Engine::alone(), &blows, Duration::from_secs(24)).await;
}

/// Cut, stalled, delayed, half-open: for one node, while the others reach it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_whatever_the_network_to_redis_does() {
    play_many(async |seed| Engine::apart(seed, 3).await, &[], Duration::from_secs(12)).await;
}

/// With all it was told, and without some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_where_a_replica_takes_over() {
    play_many(async |_| Engine::paired(), &Blow::PAIRED, Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_where_slots_move_and_primaries_end() {
    play_many(async |_| Engine::clustered(), &Blow::CLUSTERED, Duration::from_secs(12)).await;
}

/// An upgrade under load, node after node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_not_even_a_gap_in_a_rolling_restart() {
    // With a log that reaches back over a restart, as the defaults' does.
    let flags = ["--log-events", "20000", "--log-bytes", "0", "--outbox-events", "0", "--drain-timeout", "2s"];
    let Some(mut nodes) = Nodes::many(&flags, 3, Engine::alone()).await else { return };
    let storm = Duration::from_secs(8);
    let within = Duration::from_secs(1);
    let plan = Plan { seed: 1, members: 24, storm, restarts_within: within, blows: &[], rolling: true };
    let ran = run(plan, &mut nodes).await;
    let (drains, counts) = (ran.drains, ran.verdict.counts.clone());
    let mut report = Report::default();
    report.add(1, ran);
    println!("{report}");
    report.assert_kept();
    assert!(counts.resumes >= 48, "every member twice: {drains} drains, {} resumes", counts.resumes);
    assert_eq!(counts.gaps.all(), 0, "gaps");
}
