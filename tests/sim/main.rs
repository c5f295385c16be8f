//! Seeded simulation: the whole service below HTTP/2, its clients and backends,
//! on a network that delays, stalls and breaks, under virtual time.
//!
//! A seed decides everything, so that a failure can be seen again:
//! `SIGNALBOX_SIM_SEED=17 cargo test --test sim` runs that one and prints its
//! trace; `SIGNALBOX_SIM_SEEDS=5000` runs that many.

mod acts;
mod backend;
mod check;
mod client;
mod decided;
mod network;
mod reader;
mod record;
mod world;

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{sleep, timeout};

use check::Case;
use client::Client;
use record::lock;
use world::{Plan, Sabotage, World};

const SESSIONS: [&str; 2] = ["red", "blue"];

/// How long anything may take in a calm world, in its own time.
const PATIENCE: Duration = Duration::from_secs(600);

/// What came of a run.
struct Ran {
    trace: Vec<String>,
    met: BTreeMap<&'static str, usize>,
    violations: Vec<String>,
}

fn run(plan: Plan) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play(plan))
}

async fn play(plan: Plan) -> Ran {
    let world = World::new(plan);
    let clients = SESSIONS.iter().zip(world.plan.clients).flat_map(|(session, count)| vec![*session; count]);
    let clients: Vec<_> =
        (0..).zip(clients).map(|(number, session)| tokio::spawn(Client::new(&world, number, session).live())).collect();
    let count = clients.len();
    let backend = tokio::spawn(backend::push(world.clone(), SESSIONS));
    let mut elapsed = Duration::ZERO;
    for (at, abruptly) in world.plan.restarts.clone() {
        sleep(at - elapsed).await;
        world.restart(abruptly).await;
        elapsed = at;
    }
    sleep(world.plan.acting - elapsed).await;

    world.calm.cancel();
    world.record.trace("world", format_args!("is calm"));
    let pushes = backend.await.expect("the backend");
    let mut settled = world.settled.subscribe();
    if timeout(PATIENCE, settled.wait_for(|settled| *settled == count)).await.is_err() {
        world.record.violation("not everyone got in with every outcome, though the world is calm".into());
    }
    // The longest that a lost stream, and then its window, may still take.
    sleep(Duration::from_secs(60)).await;
    world.end();
    let mut histories = Vec::new();
    for client in clients {
        match timeout(PATIENCE, client).await {
            Ok(history) => histories.push(history.expect("a client")),
            Err(_) => world.record.violation("a client never came to rest".into()),
        }
    }
    // Whoever couldn't leave is waited for.
    sleep(Duration::from_secs(60)).await;
    let (stats, streams) = world.left();
    if (stats.sessions, stats.attached, stats.detached, streams) != (0, 0, 0, 0) {
        world.record.violation(format!("when all are gone, {stats:?} and {streams} streams are left"));
    }

    let lives = lock(&world.record.lives);
    let mut violations = world.record.take_violations();
    violations.extend(Case::new(&world.plan.limits, &lives, &histories, &pushes).check());
    Ran { trace: world.record.take_trace(), met: world.record.take_met(), violations }
}

/// The value of a variable, if it is set.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}

#[test]
fn every_seed_keeps_the_promises() {
    let seeds = match (setting("SIGNALBOX_SIM_SEED"), setting("SIGNALBOX_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(40),
    };
    let one = seeds.end - seeds.start == 1;
    let mut met = BTreeMap::new();
    for seed in seeds {
        let ran = run(Plan::of(seed));
        if one {
            println!("{}", ran.trace.join("\n"));
        }
        assert!(
            ran.violations.is_empty(),
            "{} promises broken; SIGNALBOX_SIM_SEED={seed} cargo test --test sim -- --nocapture shows how:\n{}",
            ran.violations.len(),
            ran.violations.join("\n")
        );
        for (what, times) in ran.met {
            *met.entry(what).or_insert(0) += times;
        }
    }
    println!("met {met:#?}");
    if one {
        return;
    }
    // A world in which nothing happens would prove nothing.
    for what in [
        "a broken line",
        "a crash",
        "a drain",
        "a force-disconnect",
        "a gap",
        "a half-close",
        "a hang-up",
        "a join",
        "a leave",
        "a pause in reading",
        "a resume",
        "a resume not honoured",
        "a send repeated after a resume",
        "a send repeated for no reason",
        "a silence too long",
        "a slow consumer",
        "a stall",
        "a stream broken",
        "a switch",
        "a take-over",
        "an answer lost",
        "told to go away",
    ] {
        assert!(met.get(what).is_some_and(|times| *times >= 5), "{what}: {met:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 4] {
        let (one, other) = (run(Plan::of(seed)).trace, run(Plan::of(seed)).trace);
        assert!(one.len() > 1_000, "a trace of {} lines", one.len());
        if let Some((at, (one, other))) = one.iter().zip(&other).enumerate().find(|(_, (one, other))| one != other) {
            panic!("seed {seed}, line {at}:\n{one}\n{other}");
        }
        assert_eq!(one.len(), other.len());
    }
    assert_ne!(run(Plan::of(3)).trace, run(Plan::of(4)).trace);
}

/// A checker that finds nothing would prove nothing either.
#[test]
fn what_breaks_a_promise_is_found() {
    for (sabotage, says) in [
        (Sabotage::Lose, "should be Some(Signal"),
        (Sabotage::Repeat, "was Some(Signal"),
        (Sabotage::Swap, "should be Some("),
        (Sabotage::Hide, "sees {"),
        (Sabotage::SendTwice, "it happened at"),
    ] {
        let ran = run(Plan { sabotage: Some(sabotage), ..Plan::of(0) });
        assert!(ran.violations.iter().any(|violation| violation.contains(says)), "{sabotage:?}: {:#?}", ran.violations);
    }
}
