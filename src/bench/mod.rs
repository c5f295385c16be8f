//! Load on a server, and what it costs there. Layer 5, beside the command.
//!
//! [`run`] puts one [`Work`] on one [`Peer`] and gives a [`Report`]. The load is
//! one thread on a bare epoll loop. It is the same for every peer: what differs
//! is in the peer's [`wire::Wire`]. [`Signalbox`] is one; a comparison brings
//! others.
//!
//! ```no_run
//! use signalbox::bench::{self, Fanout, Options, Pace, Signalbox, Started, Summary, Work};
//!
//! // Whoever starts the peer knows its process.
//! let server = Started::start("target/dist/signalbox".as_ref(), &[], Some(0))?;
//! let options = Options { pids: vec![server.pid()], ..Options::default() };
//! let work = Work::Fanout(Fanout {
//!     sessions: 1,
//!     receivers: 100,
//!     senders: 1,
//!     size: 64,
//!     pace: Pace::InFlight(256),
//! });
//! let report = bench::run(&Signalbox::new(server.address()), &work, &options)?;
//! println!("{}", Summary::of(&[report]).expect("one run").json());
//! # Ok::<(), std::io::Error>(())
//! ```

mod cpu;
mod drive;
mod files;
mod histogram;
mod net;
mod options;
mod payload;
mod report;
mod signalbox;
mod sources;
mod started;
mod summary;
mod usage;
pub mod wire;
mod work;
mod works;

use std::io;

pub use self::{
    cpu::Pin,
    histogram::{Latencies, Latency},
    options::{Options, Progress},
    payload::MIN_SIZE,
    report::{Fates, Hostile, Ratios, Report, Setting, Unit, Used},
    signalbox::Signalbox,
    started::Started,
    summary::Summary,
    usage::{Usage, listener},
    wire::Peer,
    work::{Fanout, Idle, Joins, Mixed, Pace, Pairs, Unary, Work},
};

use self::{sources::Sources, wire::Capability};

/// Raises this process's limit of open files to what a work needs, as far as it
/// may. [`run`] does so too; before a server is started it makes the server
/// inherit it.
///
/// # Errors
/// `InvalidInput`: the limit can't be raised so far; says how it can be.
pub fn make_room(work: &Work) -> io::Result<()> {
    files::allow(work.connections())
}

/// Puts a work on a peer, once.
///
/// # Errors
/// `Unsupported` when the peer can't do the work; `Interrupted` when
/// [`Options::stop`] was set; `InvalidInput` when the work asks for nothing, or
/// for more connections than this process or the server may open, or than there
/// are ports for; `TimedOut` when nothing
/// comes for [`Options::patience`]. Else what the peer did: it isn't there, it
/// closed a connection, refused or ended a member.
pub fn run(peer: &dyn Peer, work: &Work, options: &Options) -> io::Result<Report> {
    work.check()?;
    for capability in [Capability::Address, Capability::Unary, Capability::SharedConnection, Capability::Limits] {
        if work.needs(capability) && peer.lacks(capability) {
            let (peer, work) = (peer.name(), work.name());
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{peer} has no counterpart of {work}")));
        }
    }
    make_room(work)?;
    if let [server] = options.pids[..] {
        files::suffice(server, work.connections())?;
    }
    Sources::new(peer.address()).suffice(work.connections())?;
    match work {
        Work::Fanout(fanout) => works::fanout::run(peer, fanout, options),
        Work::Pairs(pairs) => works::pairs::run(peer, pairs, options),
        Work::Unary(unary) => works::unary::run(peer, unary, options),
        Work::Join(joins) => works::join::run(peer, joins, options),
        Work::Idle(idle) => works::idle::run(peer, idle, options),
        Work::Mixed(mixed) => works::mixed::run(peer, mixed, options),
    }
}
