//! Random histories: what clients, backends, networks and clocks may do to one
//! session.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select};

use super::super::View;
use crate::domain::{Ending, Limits, Role, SignalTypes};

/// The types of signals in the histories.
const KINDS: [&str; 3] = ["", "chat", "typing"];

/// One of the clients there have been so far: mostly, but not only, of those
/// that are still there.
pub(super) type Who = usize;

/// What a client wishes to see, and how long it wants to be waited for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) window: Duration,
    pub(super) kinds: Vec<&'static str>,
    pub(super) suppress_connection_events: bool,
    pub(super) suppress_own_signals: bool,
}

impl Wish {
    pub(super) fn view(&self) -> View {
        let kinds = self.kinds.iter().map(ToString::to_string).collect();
        View {
            signal_types: SignalTypes::parse(kinds, &Limits::default(), "signal_types").expect("valid types"),
            suppress_connection_events: self.suppress_connection_events,
            suppress_own_signals: self.suppress_own_signals,
        }
    }
}

/// A connection as somebody names it.
#[derive(Clone, Debug)]
pub(super) enum Whom {
    Client(Who),
    /// A connection that never was.
    Stranger,
    /// What can't be a connection.
    Nonsense,
}

/// The send id that a client uses.
#[derive(Clone, Debug)]
pub(super) enum Id {
    /// Above all before it, by this much.
    Fresh(u64),
    /// This far below the next: decided, or skipped.
    Backward(u64),
    Zero,
}

/// Which stream of a client something comes from, or how else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Newest,
    /// The one before, which a resume replaced.
    Earlier,
    /// From none: by the secret that resumes it, or by another.
    Beside {
        is_right: bool,
    },
}

/// What a client presents when it comes back.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    Right,
    WrongToken,
    NoConnection,
    OtherEpoch,
    /// As if it had seen nothing, not even its own joining.
    Nothing,
    /// Beyond the newest by this much.
    Future(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Join {
        role: Role,
        wish: Wish,
    },
    Send {
        who: Who,
        via: Via,
        id: Id,
        to: Option<Vec<Whom>>,
        kind: &'static str,
        refused: bool,
    },
    Disconnect {
        who: Who,
        via: Via,
        id: Id,
        whom: Whom,
        refused: bool,
    },
    Leave {
        who: Who,
        via: Via,
    },
    Detach {
        who: Who,
        via: Via,
        ending: Ending,
    },
    /// `lost` events and outcomes had not reached the client.
    Resume {
        who: Who,
        claim: Claim,
        lost: usize,
        wish: Wish,
    },
    SendFromServer {
        to: Option<Vec<Whom>>,
        kind: &'static str,
        key: Option<u8>,
    },
    DisconnectFromServer {
        whom: Whom,
    },
    /// A backend disconnects everyone.
    Clear,
    Pass {
        time: Duration,
        tick: bool,
    },
}

fn wish() -> impl Strategy<Value = Wish> {
    let window = select(vec![0, 2_000, 5_000, 5_000, 5_000, 3_600_000]).prop_map(Duration::from_millis);
    let kinds = prop_oneof![3 => Just(Vec::new()), 1 => proptest::sample::subsequence(KINDS.to_vec(), 1..=2)];
    (window, kinds, prop::bool::weighted(0.2), prop::bool::weighted(0.3)).prop_map(
        |(window, kinds, suppress_connection_events, suppress_own_signals)| Wish {
            window,
            kinds,
            suppress_connection_events,
            suppress_own_signals,
        },
    )
}

fn whom() -> impl Strategy<Value = Whom> {
    prop_oneof![8 => any::<Who>().prop_map(Whom::Client), 1 => Just(Whom::Stranger), 1 => Just(Whom::Nonsense)]
}

fn to() -> impl Strategy<Value = Option<Vec<Whom>>> {
    prop_oneof![2 => Just(None), 2 => vec(whom(), 1..=3).prop_map(Some)]
}

fn send_id() -> impl Strategy<Value = Id> {
    prop_oneof![
        6 => (1_u64..=2).prop_map(Id::Fresh),
        3 => (1_u64..=4).prop_map(Id::Backward),
        1 => Just(Id::Zero),
    ]
}

fn via() -> impl Strategy<Value = Via> {
    prop_oneof![9 => Just(Via::Newest), 1 => Just(Via::Earlier)]
}

/// The same, or beside all of them.
fn any_via() -> impl Strategy<Value = Via> {
    prop_oneof![
        15 => via(),
        4 => Just(Via::Beside { is_right: true }),
        1 => Just(Via::Beside { is_right: false }),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![
        16 => Just(Claim::Right),
        1 => Just(Claim::WrongToken),
        1 => Just(Claim::NoConnection),
        1 => Just(Claim::OtherEpoch),
        1 => Just(Claim::Nothing),
        1 => (1_u64..=2).prop_map(Claim::Future),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop_oneof![1 => Just(Role::Subscriber), 4 => Just(Role::Publisher), 3 => Just(Role::Moderator)];
    let ending = select(vec![Ending::Broken, Ending::SlowConsumer, Ending::GoingAway]);
    // Up to the longest window, beyond it, and a key's whole life.
    let time = select(vec![0, 50, 250, 500, 500, 1_000, 1_000, 1_000, 1_950, 2_000, 5_000, 300_000])
        .prop_map(Duration::from_millis);
    prop_oneof![
        4 => (role, wish()).prop_map(|(role, wish)| Step::Join { role, wish }),
        18 => (any::<Who>(), any_via(), send_id(), to(), select(KINDS.to_vec()), prop::bool::weighted(0.1)).prop_map(
            |(who, via, id, to, kind, refused)| Step::Send { who, via, id, to, kind, refused }
        ),
        3 => (any::<Who>(), any_via(), send_id(), whom(), prop::bool::weighted(0.1)).prop_map(
            |(who, via, id, whom, refused)| Step::Disconnect { who, via, id, whom, refused }
        ),
        1 => (any::<Who>(), any_via()).prop_map(|(who, via)| Step::Leave { who, via }),
        5 => (any::<Who>(), via(), ending).prop_map(|(who, via, ending)| Step::Detach { who, via, ending }),
        8 => (any::<Who>(), claim(), 0_usize..=3, wish()).prop_map(
            |(who, claim, lost, wish)| Step::Resume { who, claim, lost, wish }
        ),
        4 => (to(), select(KINDS.to_vec()), prop::option::of(0_u8..3)).prop_map(
            |(to, kind, key)| Step::SendFromServer { to, kind, key }
        ),
        1 => whom().prop_map(|whom| Step::DisconnectFromServer { whom }),
        1 => Just(Step::Clear),
        4 => (time, any::<bool>()).prop_map(|(time, tick)| Step::Pass { time, tick }),
    ]
}

/// Limits so small that a short history meets them.
pub(super) fn limits() -> impl Strategy<Value = Limits> {
    (5_usize..=8, 2_u32..=3, 1_u32..=2, 3_usize..=5).prop_map(
        |(log_events, signal_burst, signals_per_second, max_connections_per_session)| Limits {
            log_events,
            signal_burst,
            signals_per_second,
            max_connections_per_session,
            max_resume_window: Duration::from_secs(10),
            ..Limits::default()
        },
    )
}

pub(super) fn history() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..=100)
}
