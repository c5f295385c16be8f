//! `signalbox bench`: load on a server, and what it costs there.

mod args;
mod table;

use std::{
    io::{self, IsTerminal as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::{
    self, Options, Pin, Progress, Report, Signalbox, Started, Summary, Work, listener, wire::Capability,
};

pub(super) use self::args::BenchArgs;
use self::args::Common;
use super::{failure::Failure, output};

/// How long each of a name's addresses may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(args: BenchArgs) -> Result<(), Failure> {
    let (work, options, common) = args.parts();
    let stop = options.stop.clone();
    let json = common.json;
    // The load is one thread that blocks: it has none of the runtime's to itself.
    let running = tokio::task::spawn_blocking(move || all_runs(&work, options, &common));
    let stopping = tokio::spawn(stop_when_told(stop)?);
    let done = running.await.map_err(io::Error::other)?;
    stopping.abort();
    // Not by the kind: a connection that the server closed is no closed output.
    let (summary, place) = done.map_err(|error| Failure::Refused(error.to_string()))?;
    output::line(&if json { summary.json().to_string() } else { table::table(&summary, place) })?;
    match summary.figure("good_lost").unwrap_or(0.0) + summary.figure("good_twice").unwrap_or(0.0) {
        0.0 => Ok(()),
        wrong => Err(Failure::Refused(format!("{wrong} good signals were lost or came twice"))),
    }
}

/// Ends the load at SIGINT or SIGTERM, so that no server that it started is
/// left.
fn stop_when_told(stop: Arc<AtomicBool>) -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.store(true, Ordering::Relaxed);
    })
}

/// Where the server is that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Started for each run.
    Ours,
    /// On this machine: its process is known.
    Here,
    /// Somewhere.
    Elsewhere,
}

fn all_runs(work: &Work, mut options: Options, common: &Common) -> io::Result<(Summary, Place)> {
    let mut reports = Vec::new();
    let mut place = Place::Ours;
    for run in 1..=common.runs {
        let bar = bar(run, common.runs);
        let shown = bar.clone();
        options.progress = Some(Arc::new(move |progress| show(&shown, progress)));
        let report = one_run(work, &mut options, common, &mut place);
        bar.finish_and_clear();
        reports.push(report?);
    }
    let summary = Summary::of(&reports).ok_or_else(|| io::Error::other("no run was asked for"))?;
    Ok((summary, place))
}

fn one_run(work: &Work, options: &mut Options, common: &Common, place: &mut Place) -> io::Result<Report> {
    let started;
    let address = match &common.server {
        Some(server) => {
            let address = resolve(server)?;
            options.pids = common.pid.or_else(|| listener(address)).into_iter().collect();
            *place = if options.pids.is_empty() { Place::Elsewhere } else { Place::Here };
            address
        }
        None => {
            bench::make_room(work)?;
            // A new one for each run: none inherits another's memory.
            let start = if work.needs(Capability::Limits) { Started::with_limits } else { Started::start };
            started = start(&std::env::current_exe()?, &common.serve_flags, common.server_cpu)?;
            options.pids = vec![started.pid()];
            started.address()
        }
    };
    let _pin = common.load_cpu.map(Pin::to).transpose()?;
    let mut peer = Signalbox::new(address);
    if let Some(token) = common.bearer() {
        peer = peer.token(token);
    }
    bench::run(&peer, work, options)
}

/// The address of a server that was named as a URL or a host and port.
fn resolve(server: &str) -> io::Result<SocketAddr> {
    let unknown = |why: String| io::Error::new(io::ErrorKind::NotFound, format!("can't find {server}: {why}"));
    if server.starts_with("https:") {
        return Err(unknown("the bench speaks plain text only, and wants the http port".to_owned()));
    }
    let uri: http::Uri = server.trim_end_matches('/').parse().map_err(|error| unknown(format!("{error}")))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let found = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    let found: Vec<_> = found.collect();
    // A name may have several, of which the server listens on one.
    let answers = |address: &&SocketAddr| found.len() == 1 || TcpStream::connect_timeout(address, PATIENCE).is_ok();
    let address = found.iter().find(answers).or(found.first());
    address.copied().ok_or_else(|| unknown("it has no address".to_owned()))
}

/// A bar for a run; nothing is seen of it where there is no terminal.
fn bar(run: usize, runs: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let of = if runs > 1 { format!("run {run} of {runs}: ") } else { String::new() };
    let style = ProgressStyle::with_template("{prefix}{msg:12} {wide_bar} {percent:>3} %");
    let bar = ProgressBar::new(0).with_prefix(of);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(progress.stage);
    bar.set_length(progress.of);
    bar.set_position(progress.done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_by_url_or_host_and_port() {
        for (server, address) in [
            ("http://127.0.0.1:7", "127.0.0.1:7"),
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("http://127.0.0.1/", "127.0.0.1:80"),
            ("http://[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(resolve(server).unwrap(), address.parse().unwrap(), "{server}");
        }
        let error = resolve("nowhere.invalid:1").unwrap_err().to_string();
        assert!(error.contains("nowhere.invalid:1"), "{error}");
    }
}
