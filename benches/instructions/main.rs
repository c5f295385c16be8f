//! One hot scenario, a fixed number of times, for `benches/hot` to count the
//! instructions of.
//!
//! `instructions NAME` runs one; `--list` prints the names, each with how many
//! operations are counted.

mod scenarios;
#[path = "../../tests/allocations/wire.rs"]
mod wire;
mod world;

use std::process::ExitCode;

use scenarios::{SCENARIOS, Scenario};

/// What `benches/hot` has callgrind count: only within this function.
#[inline(never)]
fn counted(rounds: u32, round: &mut dyn FnMut()) {
    for _ in 0..rounds {
        round();
    }
}

fn run(scenario: &Scenario) {
    let mut round = (scenario.prepare)(scenario.warm_up + scenario.rounds);
    for _ in 0..scenario.warm_up {
        round();
    }
    counted(scenario.rounds, &mut *round);
}

fn main() -> ExitCode {
    // Cargo adds its own.
    let name = std::env::args().skip(1).find(|argument| argument != "--bench");
    match name.as_deref() {
        None => SCENARIOS.iter().for_each(run),
        Some("--list") => SCENARIOS.iter().for_each(|scenario| {
            println!("{} {}", scenario.name, scenario.rounds * scenario.operations);
        }),
        Some(name) => match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => run(scenario),
            None => {
                eprintln!("there is no scenario {name:?}; --list tells the names");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}
