//! `signalbox serve`: the server as a process, with its first lines, its
//! signals and its exit code.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    server::{ServeArgs, Server},
    telemetry::{LogFormat, init_logging, watch_panics},
};

/// For how many open files there is room from the beginning.
const TABLE_FILES: usize = 65_536;

/// Serves until SIGTERM or SIGINT and the drain that follows.
///
/// Exits 0 when drained, 2 for a configuration that can't be, 1 when an address
/// can't be bound; a second signal exits at once with 128 and its number.
pub(super) async fn serve(args: ServeArgs) -> ExitCode {
    let (format, level) = (args.log_format, args.log_level.clone());
    let mut config = match args.check() {
        Ok(config) => config,
        Err(wrong) => return bad_usage(&wrong),
    };
    if config.workers == 0 {
        config.workers = std::thread::available_parallelism().map_or(1, usize::from);
    }
    if let Err(wrong) = init_logging(format, &level) {
        return bad_usage(&format!("invalid value '{level}' for '--log-level': {wrong}"));
    }
    watch_panics();
    config.open_files = raise_open_files();
    use_small_pages();
    make_room_for_files(config.open_files);
    let (listen, has_tokens, has_tls) = (config.listen, config.tokens.is_some(), config.tls.is_some());
    let is_for_all_pages = config.origins.are_all();
    let bound = Server::bind(config).and_then(|server| {
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let addresses = (server.grpc_address()?, server.admin_address()?, server.rest_address()?);
        Ok((server, signals, addresses))
    });
    let (server, (mut terminate, mut interrupt), (grpc, admin, rest)) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            eprintln!("signalbox: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(why) = server.check().await {
        eprintln!("signalbox: {why}");
        return ExitCode::FAILURE;
    }
    if !listen.ip().is_loopback() && !has_tokens {
        tracing::warn!(address = %listen, "open to everyone who reaches this address: there are no tokens");
    }
    if is_for_all_pages && !has_tokens {
        tracing::warn!("open to every page that a browser here opens: --cors-origin is *, and there are no tokens");
    }
    match format {
        // Whoever started it may have closed its output: no reason to stop.
        LogFormat::Text => drop(greet((grpc, admin, rest), has_tokens, has_tls)),
        LogFormat::Json => {
            let [admin, rest] = [admin, rest].map(|address| address.map(|address| address.to_string()));
            tracing::info!(%grpc, admin, rest, "listening");
        }
    }

    let (asked, shutdown) = oneshot::channel();
    let listening = tokio::spawn(async move {
        let (name, _) = next_signal(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "shutting down; a second signal exits at once");
        let _ = asked.send(());
        let (_, number) = next_signal(&mut terminate, &mut interrupt).await;
        std::process::exit(128 + number);
    });
    server
        .run(async {
            // An error would mean that the task above is gone: it never ends.
            let _ = shutdown.await;
        })
        .await;
    listening.abort();
    ExitCode::SUCCESS
}

/// Has the kernel's table of open files be as large as it may come to be, up to half a
/// megabyte: whenever it grows, all threads wait for tens of milliseconds.
fn make_room_for_files(most: Option<usize>) {
    let last = most.unwrap_or(TABLE_FILES).min(TABLE_FILES).saturating_sub(1);
    if let Ok(last) = i32::try_from(last)
        && let Err(error) = rustix::io::fcntl_dupfd_cloexec(io::stderr(), last)
    {
        tracing::debug!(%error, "can't make room for open files");
    }
}

/// Has memory come in small pages: to fill one of 2 MiB takes milliseconds, in which
/// nobody is served, and a server takes memory when it has most to do.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "can't turn off transparent huge pages");
    }
}

/// Raises the soft limit of open files to the hard one: each TCP connection is
/// one, and soft limits are often 1,024.
/// How many there may be now; none when they aren't limited.
fn raise_open_files() -> Option<usize> {
    let hard = getrlimit(Resource::Nofile).maximum;
    match setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        Ok(()) => tracing::debug!(limit = hard, "open files, and so TCP connections, are limited; none: they aren't"),
        Err(error) => tracing::warn!(%error, "can't raise the limit of open files"),
    }
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}

/// The first lines: what listens, and what to try next.
fn greet(
    (grpc, admin, rest): (SocketAddr, Option<SocketAddr>, Option<SocketAddr>),
    has_tokens: bool,
    has_tls: bool,
) -> io::Result<()> {
    let me = std::env::args().next().unwrap_or_else(|| "signalbox".to_owned());
    let near = reachable(grpc);
    let server = match has_tls {
        // By name, as certificates have it.
        true => format!(" --server https://localhost:{} --ca ca.pem", near.port()),
        false if near.to_string() == DEFAULT_ADDRESS => String::new(),
        false => format!(" --server http://{near}"),
    };
    let call = format!("localhost:{} signalbox.v1.SignalingService/Join", near.port());
    let mut out = io::stdout().lock();
    let to = if has_tokens { "to those who show a token" } else { "open to everyone who reaches it (no tokens)" };
    writeln!(out, "signalbox {} is listening, {to}", env!("CARGO_PKG_VERSION"))?;
    let scheme = if has_tls { "https" } else { "http" };
    writeln!(out, "  gRPC   {scheme}://{near}")?;
    match admin.map(reachable) {
        Some(admin) => writeln!(out, "  admin  http://{admin}  (/status, /metrics, /livez, /readyz)")?,
        None => writeln!(out, "  admin  off")?,
    }
    if let Some(rest) = rest.map(reachable) {
        writeln!(out, "  REST   http://{rest}  (OpenTok's calls of a server)")?;
    }
    writeln!(out, "Try, from another terminal:")?;
    if has_tokens {
        writeln!(
            out,
            "  export SIGNALBOX_TOKEN=$({me} token --session demo --expires 1h)   # with the server's --jwt-secret-file"
        )?;
    }
    writeln!(out, "  {me} join demo{server}")?;
    let security = if has_tls { "-cacert ca.pem" } else { "-plaintext" };
    let header = if has_tokens { "-H \"authorization: Bearer $SIGNALBOX_TOKEN\" " } else { "" };
    writeln!(out, "  grpcurl {security} {header}-d '{{\"join\":{{\"session_id\":\"demo\"}}}}' {call}")?;
    writeln!(out, "Ctrl-C ends it.")?;
    out.flush()
}

/// Where the commands look when they aren't told.
const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

/// An address that a client on this machine can call.
fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.port()),
        _ => bound,
    }
}

fn bad_usage(wrong: &str) -> ExitCode {
    eprintln!("error: {wrong}\n\nFor more information, try '--help'.");
    ExitCode::from(2)
}
