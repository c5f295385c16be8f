//! Runs the same work against Signalbox, five peers and the floor, and writes
//! what it cost. `benches/compare` installs the peers and calls this.

mod centrifugo;
mod floor;
#[path = "../floor/frames.rs"]
mod frames;
mod goals;
mod machine;
mod measure;
mod mosquitto;
mod nats;
mod plots;
mod probe;
mod redis;
mod rest;
mod results;
mod servers;
mod socketio;
mod svg;
mod table;
mod websocket;
mod works;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime},
};

use clap::Parser;

use machine::Cores;
use results::{Metric, Results, Row, Sample};
use servers::{Kind, Program};
use works::{JOBS, Job, Shape};

/// Compare Signalbox with its peers and with the floor
#[derive(Debug, Parser)]
#[command(name = "benches/compare", disable_version_flag = true)]
struct Arguments {
    /// Only the work of this name (see the table of a whole run); may be repeated
    #[arg(long, value_name = "WORK", value_parser = JOBS.iter().map(|job| job.slug).collect::<Vec<_>>())]
    only: Vec<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',', value_parser = Kind::ALL.map(Kind::slug))]
    peers: Vec<String>,
    /// Runs of each work; figures are their medians
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: Option<u16>,
    /// Few works, three short runs, and only Signalbox, NATS and the floor: for CI
    #[arg(long)]
    quick: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Measure nothing: make the page and the charts again from compare.json
    #[arg(long, conflicts_with_all = ["only", "peers", "runs", "quick"])]
    draw: bool,
    /// Where the page, the charts and the figures go
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The server's binary
    #[arg(long, hide = true)]
    signalbox: PathBuf,
    /// The floor's binary
    #[arg(long, hide = true)]
    floor: PathBuf,
    /// Where the peers were installed
    #[arg(long, hide = true)]
    tools: PathBuf,
    /// `cargo bench` gives it to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_none_or(|first| first == "--bench") {
        eprintln!("this needs the peers installed: run benches/compare");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    match if arguments.draw { draw(&arguments.out) } else { compare(&arguments) } {
        Ok(results) if arguments.check => check(&results),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/compare: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn wants(&self, kind: Kind) -> bool {
        if !self.peers.is_empty() {
            return self.peers.iter().any(|peer| peer == kind.slug());
        }
        !self.quick || matches!(kind, Kind::Signalbox | Kind::Floor | Kind::Nats)
    }

    fn jobs(&self) -> Vec<Job> {
        let wanted = |job: &&Job| match self.only.as_slice() {
            [] => !self.quick || job.quick,
            only => only.iter().any(|slug| slug == job.slug),
        };
        JOBS.iter().filter(wanted).copied().collect()
    }

    fn runs(&self) -> usize {
        self.runs.map_or(if self.quick { 3 } else { 5 }, usize::from)
    }
}

fn compare(arguments: &Arguments) -> io::Result<Results> {
    let cores = Cores::find()?;
    machine::raise_open_files()?;
    let mut programs = Vec::new();
    let mut absent = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|&kind| arguments.wants(kind)) {
        match Program::find(kind, &arguments.signalbox, &arguments.floor, &arguments.tools) {
            Ok(program) => programs.push(program),
            Err(missing) => {
                println!("left out: {missing}");
                absent.push(missing);
            }
        }
    }
    let busy = machine::busy();
    if let Some(busy) = &busy {
        println!("beware: {busy}");
    }
    let mut results = Results {
        machine: machine::describe(),
        busy,
        taken: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()[..10].to_owned(),
        runs: arguments.runs(),
        programs,
        absent,
        rows: Vec::new(),
    };
    let begun = Instant::now();
    for job in arguments.jobs() {
        println!("\n== {} (--only {})", job.title, job.slug);
        let row = run_job(job, &results, arguments, cores);
        results.rows.push(row);
    }
    write_all(&results, &arguments.out)?;
    println!("\n{} s in all; written to {}\n", begun.elapsed().as_secs(), arguments.out.display());
    for verdict in goals::judge(&results) {
        println!("{verdict}");
    }
    Ok(results)
}

/// Makes again what is made of the figures.
fn draw(out: &Path) -> io::Result<Results> {
    let file = out.join("compare.json");
    let json = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let unreadable = || io::Error::other(format!("{} is not of this program's making", file.display()));
    let results = Results::read(&json).ok_or_else(unreadable)?;
    write_all(&results, out)?;
    Ok(results)
}

/// Every round lets each peer run once, in turn: what else the machine does, and
/// how warm it is, comes to all of them.
fn run_job(job: Job, results: &Results, arguments: &Arguments, cores: Cores) -> Row {
    let programs = || results.programs.iter().filter(|program| job.is_for(program.kind));
    let mut row = Row { job, samples: programs().map(|program| (program.kind, Vec::new())).collect() };
    for round in 1..=results.runs {
        for (place, program) in programs().enumerate() {
            let rate = half_rate(job, program.kind, results);
            let sample = match measure::run(program, job.shape, rate, cores, arguments.quick) {
                Ok(None) => continue,
                Ok(Some(sample)) => {
                    println!("{round}  {:<10}  {}", program.kind.name(), told(&sample, job));
                    Some(sample)
                }
                Err(error) => {
                    println!("{round}  {:<10}  failed: {error}", program.kind.name());
                    None
                }
            };
            row.samples[place].1.push(sample);
        }
    }
    row
}

/// Half of what the same peer did under full load, for work at half load.
fn half_rate(job: Job, kind: Kind, results: &Results) -> Option<f64> {
    let Shape::Pairs { pairs, half: true } = job.shape else { return None };
    let full = results.rows.iter().find(|row| row.job.shape == Shape::Pairs { pairs, half: false })?;
    Some(full.median(kind, Metric::Rate)? / 2.0)
}

fn told(sample: &Sample, job: Job) -> String {
    let figures = [
        (sample.cpu, " µs/", job.unit),
        (sample.memory, " bytes/", job.unit),
        (sample.rate, "/s", ""),
        (sample.p50, " µs p50", ""),
        (sample.p99, " µs p99", ""),
    ];
    let told =
        figures.into_iter().filter_map(|(value, unit, per)| Some(format!("{}{unit}{per}", table::figure(value?))));
    told.collect::<Vec<_>>().join("  ")
}

fn write_all(results: &Results, out: &Path) -> io::Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("compare.json"), format!("{:#}\n", results.json()))?;
    fs::write(out.join("compare.md"), table::page(results))?;
    for (file, drawing) in plots::draw(results) {
        fs::write(out.join(file), drawing)?;
    }
    Ok(())
}

fn check(results: &Results) -> ExitCode {
    let verdicts = goals::judge(results);
    let missed = verdicts.iter().filter(|verdict| !verdict.met).count();
    if verdicts.is_empty() {
        println!("\nno goal could be judged: its work or its peer was not measured");
        return ExitCode::FAILURE;
    }
    println!("\n{} of {} goals met", verdicts.len() - missed, verdicts.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
