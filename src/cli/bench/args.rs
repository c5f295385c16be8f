//! The flags of `signalbox bench`.

use std::time::Duration;

use clap::{Args, Subcommand, builder::RangedU64ValueParser};
use tonic::metadata::{Ascii, MetadataValue};

use crate::bench::{Fanout, Idle, Joins, MIN_SIZE, Mixed, Options, Pace, Pairs, Unary, Work};

use super::super::connect::{bearer, url};

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Without --server each run starts a server of this same executable, without its rate limits \
        (mixed: with them), and ends it afterwards.\n\nExamples:\n  \
        signalbox bench fanout                              as fast as it goes, to 100 receivers\n  \
        signalbox bench fanout --in-flight 1                one after the other\n  \
        signalbox bench pairs --rate 10000                  at a rate that it can bear\n  \
        signalbox bench idle --members 10000                memory per member\n  \
        signalbox bench join --server localhost:50051       a running server\n  \
        signalbox bench unary --server-cpu 0 --load-cpu 1 --runs 3 --json"
)]
pub(in crate::cli) struct BenchArgs {
    #[command(subcommand)]
    work: WorkArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum WorkArgs {
    /// Signals to everyone in a session: deliveries a second, CPU per delivery
    ///
    /// Members join sessions, over a TCP connection each; some of them send to
    /// all. Counts deliveries: signals at one of their receivers. Latency is from
    /// the sending of a signal (with --rate: from when it was due) to each
    /// receiver.
    Fanout(FanoutArgs),
    /// Sessions of two that signal to each other: messages a second, CPU per message
    ///
    /// Each pair plays ping-pong with one signal, by address. Counts messages, one
    /// way; latency is one way too. With --rate all members send in turn, at that
    /// rate, whatever comes back.
    Pairs(PairsArgs),
    /// Signals from a backend, by unary calls: calls a second, CPU per call
    ///
    /// A backend signals to everyone in one session. Counts the calls that were
    /// answered; latency is from call to answer. The CPU per call has the
    /// deliveries to the members in it.
    Unary(UnaryArgs),
    /// Members that join: joins a second, CPU per join
    ///
    /// Each joins over a new TCP connection, into a session of its own, and
    /// resets the connection as soon as it is in. Latency is from connecting to
    /// `joined`. The CPU per join has the leaving in it.
    Join(JoinArgs),
    /// Members that only are there: memory per member
    ///
    /// The server's memory before the first member and with all of them, and its
    /// CPU while nothing happens. At the end each session is sent a signal, which
    /// every member must have: all are there still. A connection is an open file of
    /// the load and one of the server, whose limits are raised as far as may be;
    /// over IPv4 loopback some 25,000 connections come from 127.0.0.1, the next as
    /// many from 127.0.0.2, and so on.
    Idle(IdleArgs),
    /// Good members with bad clients among them: what those do to the good ones' latency
    ///
    /// Good members signal to everyone in their session, at a rate that the
    /// server's limits allow; bad clients come on top, a third each: slow readers
    /// (join and stop reading), flooders (send far over the rate limit) and
    /// senders of messages over 64 KiB, all of which come again when they are
    /// ended, on a thread that runs only while the measuring one waits. The server
    /// that is started has its default limits. A round measures the good ones
    /// without the bad, with them, and without them again: what differs between the
    /// first and the last is the machine's. Ratios of the p99 over the one without:
    /// of the tenth of a second in the middle of all, by its p99; of the rounds, by
    /// their median; of all together. The last two are moved by a machine that
    /// stalls. Times count from when a signal was sent; how late the load was in
    /// that is told. Exits with 1 when a good signal did not reach a good member
    /// exactly once.
    Mixed(MixedArgs),
}

#[derive(Args, Clone, Debug)]
struct FanoutArgs {
    /// Sessions
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count(1_000_000))]
    sessions: usize,

    /// Members of each session, all of whom get every signal
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = count(1_000_000))]
    receivers: usize,

    /// Members of each session that send, in turn; they receive too
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count(1_000_000))]
    senders: usize,

    #[command(flatten)]
    size: Size,

    /// Signals in flight per session: sent and not yet at all receivers
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = count(1_000_000))]
    in_flight: usize,

    /// Signals per second over all sessions, instead of a number in flight
    #[arg(long, value_name = "RATE", conflicts_with = "in_flight", value_parser = rate)]
    rate: Option<f64>,

    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct PairsArgs {
    /// Sessions of two
    #[arg(long, value_name = "COUNT", default_value = "500", value_parser = count(1_000_000))]
    pairs: usize,

    #[command(flatten)]
    size: Size,

    /// Signals per second over all pairs, instead of ping-pong
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,

    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct UnaryArgs {
    /// Members of the session, who get every signal
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = count(1_000_000))]
    members: usize,

    /// TCP connections of the backend
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count(10_000))]
    connections: usize,

    #[command(flatten)]
    size: Size,

    /// Calls in flight over all connections of the backend; a server takes 1,000 on each
    #[arg(long, value_name = "COUNT", default_value = "128", value_parser = count(1_000_000))]
    in_flight: usize,

    /// Calls per second, instead of a number in flight
    #[arg(long, value_name = "RATE", conflicts_with = "in_flight", value_parser = rate)]
    rate: Option<f64>,

    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct JoinArgs {
    /// Joins that are measured
    #[arg(long, value_name = "COUNT", default_value = "5000", value_parser = count(100_000_000))]
    joins: usize,

    /// Joins at once
    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = count(10_000))]
    concurrency: usize,

    /// All join one session and stay until the last is in (none is told of the others)
    #[arg(long)]
    one_session: bool,

    /// Joins before the measured ones, for so long
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warm_up: Duration,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct IdleArgs {
    /// Members
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count(10_000_000))]
    members: usize,

    /// Members on one TCP connection; a server takes 1,000
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count(100_000))]
    per_connection: usize,

    /// Members in one session
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = count(10_000_000))]
    per_session: usize,

    /// Time for the server to settle when all are in
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    settle: Duration,

    /// How long they are held after that, while the server's CPU is measured
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    hold: Duration,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct MixedArgs {
    /// Good members, on a TCP connection each
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count(1_000_000))]
    members: usize,

    /// Good members in one session
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = count(1_000_000))]
    per_session: usize,

    #[command(flatten)]
    size: Size,

    /// Good signals per second over all members, who take turns
    #[arg(long, value_name = "RATE", default_value = "2000", value_parser = rate)]
    rate: f64,

    /// Bad clients on top, in per cent of the good members; at least one
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = rate)]
    bad: f64,

    /// Signals per second of each flooder
    #[arg(long, value_name = "RATE", default_value = "2000", value_parser = rate)]
    flood_rate: f64,

    /// Bytes of each of those; the largest make a slow reader overflow soonest
    #[arg(long, value_name = "BYTES", default_value = "8192", value_parser = RangedU64ValueParser::<usize>::new().range(1..=8_192))]
    flood_size: usize,

    /// How long a bad client stays away when it was ended
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = duration)]
    pause: Duration,

    /// How often it is measured: without bad clients, with them, and without them again
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = count(1_000))]
    rounds: usize,

    /// How long the load runs before each time that is measured
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    warm_up: Duration,

    /// How long each is measured
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    time: Duration,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone, Debug)]
struct Size {
    /// Bytes of each signal's data: 32, which tell when it was due, to 8192
    #[arg(long = "size", value_name = "BYTES", default_value = "64", value_parser = RangedU64ValueParser::<usize>::new().range(MIN_SIZE as u64..=8_192))]
    bytes: usize,
}

#[derive(Args, Clone, Debug)]
struct Times {
    /// How long the load runs before it is measured
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warm_up: Duration,

    /// How long it is measured
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    time: Duration,
}

const SERVER: &str = "Server";

/// What every work takes.
#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    /// A running server, as http://HOST:PORT or HOST:PORT; its rate limit must allow the load (but for mixed --signals-per-second 0)
    #[arg(long, value_name = "URL", value_parser = url, help_heading = SERVER)]
    pub(super) server: Option<String>,

    /// The running server's process, when it isn't found by its port
    #[arg(long, value_name = "PID", requires = "server", help_heading = SERVER)]
    pub(super) pid: Option<u32>,

    /// A token, sent as `authorization: Bearer TOKEN`
    #[arg(long, env = "SIGNALBOX_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = bearer, help_heading = SERVER)]
    token: Option<MetadataValue<Ascii>>,

    /// A flag for the server that is started, as --serve-flag=--outbox-events=0; may be repeated
    #[arg(long = "serve-flag", value_name = "FLAG", conflicts_with = "server", allow_hyphen_values = true, help_heading = SERVER)]
    pub(super) serve_flags: Vec<String>,

    /// The one CPU for the server that is started, from 0
    #[arg(long, value_name = "CPU", conflicts_with = "server", help_heading = SERVER)]
    pub(super) server_cpu: Option<usize>,

    /// The one CPU for the load, from 0
    #[arg(long, value_name = "CPU")]
    pub(super) load_cpu: Option<usize>,

    /// Runs, of whose figures the median is shown
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count(1_000))]
    pub(super) runs: usize,

    /// Print one JSON object: nanoseconds, bytes, shares of one CPU
    #[arg(long)]
    pub(super) json: bool,
}

impl Common {
    /// The token by itself.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.token.as_ref()?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

impl BenchArgs {
    /// What to do, how, and where.
    pub(super) fn parts(self) -> (Work, Options, Common) {
        let paced = |rate: Option<f64>, in_flight| rate.map_or(Pace::InFlight(in_flight), Pace::Rate);
        let (work, warm_up, measured, common) = match self.work {
            WorkArgs::Fanout(FanoutArgs { sessions, receivers, senders, size, in_flight, rate, times, common }) => {
                let pace = paced(rate, in_flight);
                let work = Work::Fanout(Fanout { sessions, receivers, senders, size: size.bytes, pace });
                (work, times.warm_up, times.time, common)
            }
            WorkArgs::Pairs(PairsArgs { pairs, size, rate, times, common }) => {
                (Work::Pairs(Pairs { pairs, size: size.bytes, rate }), times.warm_up, times.time, common)
            }
            WorkArgs::Unary(UnaryArgs { members, connections, size, in_flight, rate, times, common }) => {
                let pace = paced(rate, in_flight);
                (Work::Unary(Unary { members, connections, size: size.bytes, pace }), times.warm_up, times.time, common)
            }
            WorkArgs::Join(JoinArgs { joins, concurrency, one_session, warm_up, common }) => {
                (Work::Join(Joins { joins, concurrency, together: one_session }), warm_up, Duration::ZERO, common)
            }
            WorkArgs::Idle(IdleArgs { members, per_connection, per_session, settle, hold, common }) => {
                (Work::Idle(Idle { members, per_connection, per_session }), settle, hold, common)
            }
            WorkArgs::Mixed(args) => {
                let work = Work::Mixed(Mixed {
                    members: args.members,
                    per_session: args.per_session,
                    size: args.size.bytes,
                    rate: args.rate,
                    bad: (args.members as f64 * args.bad / 100.0).ceil() as usize,
                    flood_rate: args.flood_rate,
                    flood_size: args.flood_size,
                    pause: args.pause,
                    rounds: args.rounds,
                });
                (work, args.warm_up, args.time, args.common)
            }
        };
        (work, Options { warm_up, measured, ..Options::default() }, common)
    }
}

fn count(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

fn rate(text: &str) -> Result<f64, String> {
    let good = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 100e6);
    good.ok_or_else(|| "not a number above 0, to 100000000".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; durations read 500ms, 30s, 2m"))?;
    let most = Duration::from_secs(86_400);
    if duration > most { Err("over a day".to_owned()) } else { Ok(duration) }
}
