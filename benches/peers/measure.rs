//! One run: a fresh server, the load, and what came of it.

use std::{io, time::Duration};

use signalbox::bench::{
    Fanout, Idle, Joins, Latency, Options, Pace, Pairs, Report, Signalbox, Unary, Unit, Work, run as put_load,
    wire::Peer,
};

use super::{
    centrifugo::Centrifugo,
    floor::Floor,
    machine::Cores,
    mosquitto::Mosquitto,
    nats::Nats,
    probe::probe,
    redis::Redis,
    results::Sample,
    servers::{Kind, Program, Server},
    socketio::SocketIo,
    works::{SESSIONS_RATE, SIGNAL, Shape},
};

/// Calls and joins on their way at once.
const CALLS: usize = 128;
const JOINS_AT_ONCE: usize = 16;
/// Members that share a connection, where they do.
const SHARE: usize = 1000;
/// Members of each session of idle ones.
const IDLE_SESSION: usize = 10;

fn peer(kind: Kind, server: &Server, inboxes: bool) -> Box<dyn Peer> {
    let address = server.address;
    match kind {
        Kind::Signalbox => Box::new(Signalbox::new(address)),
        Kind::Floor => Box::new(Floor { address }),
        Kind::Nats => Box::new(Nats { address, inboxes }),
        Kind::Redis => Box::new(Redis { address, inboxes }),
        Kind::Mosquitto => Box::new(Mosquitto { address, inboxes }),
        Kind::SocketIo => Box::new(SocketIo { address }),
        Kind::Centrifugo => Box::new(Centrifugo { address, inboxes }),
    }
}

fn work(shape: Shape, rate: Option<f64>, brief: bool) -> Work {
    match shape {
        Shape::Fanout { receivers, in_flight, bytes } => {
            let pace = Pace::InFlight(in_flight);
            Work::Fanout(Fanout { sessions: 1, receivers, senders: 1, size: bytes, pace })
        }
        Shape::Pairs { pairs, .. } => Work::Pairs(Pairs { pairs, size: SIGNAL, rate }),
        Shape::Sessions { sessions } => {
            let pace = Pace::Rate(SESSIONS_RATE);
            Work::Fanout(Fanout { sessions, receivers: 1, senders: 1, size: SIGNAL, pace })
        }
        Shape::Unary { members } => {
            Work::Unary(Unary { members, connections: 1, size: SIGNAL, pace: Pace::InFlight(CALLS) })
        }
        Shape::Join => {
            let joins = if brief { 3000 } else { 10_000 };
            Work::Join(Joins { joins, concurrency: JOINS_AT_ONCE, together: false })
        }
        Shape::Idle { members, shared } => {
            let per_connection = if shared { SHARE } else { 1 };
            Work::Idle(Idle { members, per_connection, per_session: IDLE_SESSION })
        }
    }
}

/// `None` when the peer has no counterpart of the work. A `brief` run is shorter
/// than a figure to quote needs.
pub(crate) fn run(
    program: &Program,
    shape: Shape,
    rate: Option<f64>,
    cores: Cores,
    brief: bool,
) -> io::Result<Option<Sample>> {
    let server = program.start(cores)?;
    let peer = peer(program.kind, &server, shape.addresses());
    probe(&*peer)?;
    let (warm_up, measured) = if brief { (300, 700) } else { (2000, 4000) };
    let options = Options {
        warm_up: Duration::from_millis(warm_up),
        measured: Duration::from_millis(measured),
        pids: vec![server.pid()],
        ..Options::default()
    };
    match put_load(&*peer, &work(shape, rate, brief), &options) {
        Ok(report) => Ok(Some(sample(&report))),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

fn sample(report: &Report) -> Sample {
    let units = report.units as f64;
    let member = report.unit == Unit::Member;
    let latency = report.latencies.as_ref().map(|latencies| Latency::of(&latencies.measured));
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let cpu = report.server.map(|used| micros(used.cpu_ns) / units);
    let memory = report.server.map(|used| (used.rss as f64 - used.rss_before as f64) / units);
    Sample {
        cpu: cpu.filter(|_| !member),
        rate: (!member).then_some(units / report.seconds),
        p50: latency.map(|latency| micros(latency.p50)),
        p99: latency.map(|latency| micros(latency.p99)),
        memory: memory.filter(|_| member),
    }
}
