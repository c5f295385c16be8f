//! Every client, in every language, through the same scenarios: `clients/scenarios.json`,
//! played on each client's agent (`clients/agent.md`) against a real server, through a
//! network that can be taken away, and through the proof's own faults. Prints a table.
//!
//! The Rust client's agent is built with the tests; those of other languages are taken
//! from where `SIGNALBOX_TEST_CLIENTS` says that `tests/all` has installed them, or left out.
//! `SIGNALBOX_CONFORMANCE=resume` plays one scenario.

mod agent;
#[path = "../proof/faults.rs"]
#[allow(dead_code, reason = "the proof needs all of it")]
mod faults;
mod play;
#[path = "../proof/proxy/mod.rs"]
#[allow(dead_code, reason = "the proof needs all of it")]
mod proxy;
mod servers;
mod way;

use std::{collections::BTreeMap, path::Path, time::Duration};

use agent::Language;
use play::{Scenario, play};

/// How long a scenario may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_passes_every_scenario() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/scenarios.json");
    let scenarios: Vec<Scenario> =
        serde_json::from_str(&std::fs::read_to_string(file).expect("the scenarios")).expect("scenarios");
    let languages = Language::installed();
    let only = std::env::var("SIGNALBOX_CONFORMANCE").ok();
    let mut table = BTreeMap::<&str, Vec<String>>::new();
    let mut failures = Vec::new();
    for scenario in scenarios.iter().filter(|one| only.as_ref().is_none_or(|only| one.name == *only)) {
        let played = languages.iter().map(|language| tokio::time::timeout(PATIENCE, play(scenario, language)));
        for (language, played) in languages.iter().zip(futures_util::future::join_all(played).await) {
            let played = played.unwrap_or_else(|_| Err(format!("not done within {PATIENCE:?}")));
            let cell = if played.is_ok() { "ok" } else { "FAILED" };
            table.entry(&scenario.name).or_default().push(cell.to_owned());
            if let Err(why) = played {
                failures.push(format!("{}, {}: {why}", language.name, scenario.name));
            }
        }
    }
    let heads: String = languages.iter().map(|language| format!(" {:>10} |", language.name)).collect();
    println!("| {:<18} |{heads}\n|{}|{}", "", "-".repeat(20), "-----------:|".repeat(languages.len()));
    for scenario in &scenarios {
        let Some(cells) = table.get(&*scenario.name) else { continue };
        let cells: String = cells.iter().map(|cell| format!(" {cell:>10} |")).collect();
        println!("| {:<18} |{cells}", scenario.name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
