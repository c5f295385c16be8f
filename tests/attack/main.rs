//! Peers that mean harm, against a live server with bystanders.
//!
//! Each attack runs against a server process of its own, beside members of other
//! sessions who go on as before. Recorded: how much the attackers did, what it cost
//! the server, its memory, the bystanders' latency before and meanwhile, and how
//! long a newcomer takes at the end. A stream that a bystander lost, a signal that
//! was lost, repeated or out of order, a server that died or holds more memory than
//! it may: that fails. How late things are is judged with `--strict` only, on a
//! machine that has time.
//!
//! `cargo test` runs each for a moment; `tests/attack/run` for longer.

mod attacks;
mod bystanders;
mod ground;
mod raw;
mod report;
mod server;

use std::{process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use signalbox::bench::Pin;

use report::Report;

/// What is asked for.
struct Asked {
    time: Duration,
    /// Numbers of connections and the like are divided by it.
    divide: usize,
    strict: bool,
    markdown: Option<String>,
    names: Vec<String>,
}

impl Asked {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut asked =
            Self { time: Duration::from_millis(400), divide: 20, strict: false, markdown: None, names: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => {
                    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).expect("--seconds SECONDS");
                    (asked.time, asked.divide) = (Duration::from_secs_f64(seconds), 1);
                }
                "--strict" => asked.strict = true,
                "--markdown" => asked.markdown = arguments.next(),
                // Those of the usual harness, which `cargo test` may pass on.
                flag if flag.starts_with('-') => {}
                name => asked.names.push(name.to_owned()),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|asked| name.contains(asked.as_str()))
    }
}

fn main() -> ExitCode {
    let asked = Asked::parse(std::env::args().skip(1));
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    // The server has the first CPU to itself, where there are two.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let _pin = (cpus > 1).then(|| Pin::to(1).expect("a second CPU"));

    let mut reports: Vec<Report> = Vec::new();
    println!("{}", Report::head());
    for attack in attacks::ALL.iter().filter(|attack| asked.wants(attack.name)) {
        let report = ground::run(attack, asked.time, asked.divide, (cpus > 1).then_some(0));
        println!("{report}");
        reports.push(report);
    }
    if let Some(file) = &asked.markdown {
        std::fs::write(file, report::markdown(&reports)).expect("the table is written");
    }
    let failed: Vec<_> = reports.iter().filter(|report| !report.is_well(asked.strict)).collect();
    for report in &failed {
        println!("\nFAILED {}: {}", report.name, report.wrong(asked.strict).join("; "));
    }
    let (passed, verdict) = (reports.len() - failed.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
        failed.len(),
        attacks::ALL.len() - reports.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
