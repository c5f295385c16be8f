//! What is measured, and of whom.

use super::servers::Kind;

/// One piece of work, the same for every peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Names it in `--only`, in the goals and in the file of results.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    /// What the server's CPU is divided by.
    pub(crate) unit: &'static str,
    pub(crate) shape: Shape,
    /// Part of `--quick`.
    pub(crate) quick: bool,
    /// Measured of Signalbox, NATS and the floor alone: it shows how a cost
    /// grows, and the others' costs are known by one point.
    pub(crate) few: bool,
}

/// The load's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Broadcasts of `bytes` to `receivers`, with `in_flight` of them on the way.
    Fanout { receivers: usize, in_flight: usize, bytes: usize },
    /// Members that address each other in turn, each pair in a session of its
    /// own; at `half` of the rate that the same peer reached just before.
    Pairs { pairs: usize, half: bool },
    /// Members alone in a session each, who send to themselves in turn,
    /// [`SESSIONS_RATE`] a second in all: as many, however many sessions there are.
    Sessions { sessions: usize },
    /// Server signals to a session of `members`, pipelined.
    Unary { members: usize },
    /// Connecting, joining and leaving.
    Join,
    /// Members that are there and silent, each on a connection of its own or
    /// sharing them.
    Idle { members: usize, shared: bool },
}

impl Shape {
    /// Whether members need addresses: where a peer has none of its own, they
    /// subscribe to one more subject, which no other work shall pay for.
    pub(crate) fn addresses(self) -> bool {
        matches!(self, Self::Pairs { .. })
    }
}

impl Job {
    pub(crate) fn is_for(self, kind: Kind) -> bool {
        !self.few || matches!(kind, Kind::Signalbox | Kind::Floor | Kind::Nats)
    }
}

pub(crate) const SIGNAL: usize = 64;
pub(crate) const SESSIONS_RATE: f64 = 10_000.0;
const LARGE: usize = 8 * 1024;
const SATURATED: usize = 256;

const fn fanout(slug: &'static str, title: &'static str, receivers: usize, in_flight: usize) -> Job {
    let shape = Shape::Fanout { receivers, in_flight, bytes: SIGNAL };
    Job { slug, title, unit: "delivery", shape, quick: false, few: false }
}

const fn pairs(slug: &'static str, title: &'static str, pairs: usize, half: bool) -> Job {
    Job { slug, title, unit: "message", shape: Shape::Pairs { pairs, half }, quick: false, few: false }
}

const fn sessions(slug: &'static str, title: &'static str, sessions: usize) -> Job {
    Job { slug, title, unit: "delivery", shape: Shape::Sessions { sessions }, quick: false, few: false }
}

const fn quick(job: Job) -> Job {
    Job { quick: true, ..job }
}

const fn few(job: Job) -> Job {
    Job { few: true, ..job }
}

/// In the order in which they are run and shown.
pub(crate) const JOBS: &[Job] = &[
    quick(fanout("fanout-100", "Broadcast to 100, 256 in flight", 100, SATURATED)),
    fanout("fanout-1000", "Broadcast to 1,000, 256 in flight", 1000, SATURATED),
    quick(fanout("single-100", "Broadcast to 100, one in flight", 100, 1)),
    fanout("single-1000", "Broadcast to 1,000, one in flight", 1000, 1),
    Job {
        shape: Shape::Fanout { receivers: 100, in_flight: SATURATED, bytes: LARGE },
        ..fanout("fanout-8k", "Broadcast of 8 KB to 100, 256 in flight", 100, SATURATED)
    },
    quick(pairs("pairs-500", "500 pairs, addressed, full load", 500, false)),
    pairs("pairs-500-half", "500 pairs, addressed, half load", 500, true),
    quick(Job {
        slug: "unary",
        title: "Server signal to 10, pipelined",
        unit: "call",
        shape: Shape::Unary { members: 10 },
        quick: false,
        few: false,
    }),
    quick(Job {
        slug: "join",
        title: "Connect, join and leave",
        unit: "join",
        shape: Shape::Join,
        quick: false,
        few: false,
    }),
    Job {
        slug: "idle",
        title: "10,000 idle members, a connection each",
        unit: "member",
        shape: Shape::Idle { members: 10_000, shared: false },
        quick: false,
        few: false,
    },
    Job {
        slug: "idle-shared",
        title: "10,000 idle members on shared connections",
        unit: "member",
        shape: Shape::Idle { members: 10_000, shared: true },
        quick: false,
        few: false,
    },
    few(fanout("fanout-10", "Broadcast to 10, 256 in flight", 10, SATURATED)),
    few(fanout("fanout-10000", "Broadcast to 10,000, 256 in flight", 10_000, SATURATED)),
    few(sessions("sessions-1", "10,000 signals a second in 1 session", 1)),
    few(sessions("sessions-100", "10,000 signals a second in 100 sessions", 100)),
    few(sessions("sessions-1000", "10,000 signals a second in 1,000 sessions", 1000)),
    few(sessions("sessions-10000", "10,000 signals a second in 10,000 sessions", 10_000)),
];
