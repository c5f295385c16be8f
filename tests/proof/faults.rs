//! Which faults a connection meets, where and for how long: by seed, so that a
//! plan can be played again; the network's own timing can't.

use std::{
    array,
    fmt::{self, Write as _},
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// From the client, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Fin,
    Reset,
}

/// What happens at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Both ends are told, the server later by `late`.
    Cut { ending: Ending, late: Duration },
    /// This way stands still for a time, then goes on.
    Stall(Duration),
    /// From here on, everything takes longer this way.
    Delay(Duration),
    /// The next bytes come a few at a time.
    Trickle { bytes: usize },
    /// Everything is swallowed, this way or both ways, and nobody is told. When
    /// the client has given up, the server isn't told for `late`.
    HalfOpen { both: bool, late: Duration },
}

/// A fault and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) way: Way,
    /// How many bytes pass before it.
    pub(crate) after: usize,
    pub(crate) fault: Fault,
}

/// What the client says first is said a second time, on another connection,
/// whose answers nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ghost {
    /// Whether it comes before the original.
    pub(crate) first: bool,
    /// How long it stays.
    pub(crate) stays: Duration,
}

/// Everything that is to happen to one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) refused: bool,
    pub(crate) ghost: Option<Ghost>,
    /// In the order of their places, each way.
    pub(crate) troubles: Vec<Trouble>,
}

/// Every kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CutByFin,
    CutByReset,
    Stall,
    Delay,
    Trickle,
    HalfOpen,
    HalfOpenOneWay,
    Duplicate,
    Refuse,
}

impl Kind {
    pub(crate) const ALL: [(Self, &str); 9] = [
        (Self::CutByFin, "cuts, FIN"),
        (Self::CutByReset, "cuts, RST"),
        (Self::Stall, "stalls"),
        (Self::Delay, "delays"),
        (Self::Trickle, "trickles"),
        (Self::HalfOpen, "half-open"),
        (Self::HalfOpenOneWay, "half-open, one way"),
        (Self::Duplicate, "duplicate connections"),
        (Self::Refuse, "refusals"),
    ];
}

impl Fault {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Cut { ending: Ending::Fin, .. } => Kind::CutByFin,
            Self::Cut { ending: Ending::Reset, .. } => Kind::CutByReset,
            Self::Stall(_) => Kind::Stall,
            Self::Delay(_) => Kind::Delay,
            Self::Trickle { .. } => Kind::Trickle,
            Self::HalfOpen { both: true, .. } => Kind::HalfOpen,
            Self::HalfOpen { both: false, .. } => Kind::HalfOpenOneWay,
        }
    }
}

impl Plan {
    /// Of the connection of this number.
    pub(crate) fn of(seed: u64, connection: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32).wrapping_add(connection));
        if dice.random_bool(0.04) {
            return Self { refused: true, ..Self::default() };
        }
        let ghost =
            dice.random_bool(0.05).then(|| Ghost { first: dice.random_bool(0.5), stays: millis(&mut dice, 400) });
        let count = dice.random_range(1..=3);
        let mut troubles: Vec<_> = (0..count).map(|_| harmless(&mut dice)).collect();
        troubles.push(deadly(&mut dice));
        troubles.sort_by_key(|trouble| trouble.after);
        Self { refused: false, ghost, troubles }
    }

    /// Of a connection between a node and what it shares with others: much goes over one,
    /// so that what happens is far apart; and nothing is said twice, by which something
    /// would be asked twice.
    pub(crate) fn to_an_engine(seed: u64, connection: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32).wrapping_add(connection));
        if dice.random_bool(0.04) {
            return Self { refused: true, ..Self::default() };
        }
        let mut troubles: Vec<_> = (0..3).map(|_| harmless(&mut dice)).collect();
        troubles.push(deadly(&mut dice));
        for trouble in &mut troubles {
            let most = 1 << dice.random_range(12..=21);
            trouble.after = dice.random_range(0..most);
            // Longer than an answer may take, sometimes; and than a lease.
            if matches!(trouble.fault, Fault::Stall(_)) {
                trouble.fault = Fault::Stall(millis(&mut dice, 1 << 13));
            }
        }
        troubles.sort_by_key(|trouble| trouble.after);
        Self { refused: false, ghost: None, troubles }
    }

    /// What happens one way.
    pub(crate) fn along(&self, way: Way) -> impl Iterator<Item = Trouble> + use<> {
        self.troubles.clone().into_iter().filter(move |trouble| trouble.way == way)
    }
}

fn millis(dice: &mut StdRng, most: u64) -> Duration {
    Duration::from_millis(dice.random_range(0..most))
}

/// Some byte: in the preface, the headers, the join and its answer; or later, in
/// whatever frame.
fn place(dice: &mut StdRng) -> (Way, usize) {
    let way = if dice.random_bool(0.5) { Way::Up } else { Way::Down };
    let early = dice.random_bool(0.25);
    let most = match (way, early) {
        (_, true) => 600,
        (Way::Up, false) => 1 << dice.random_range(9..=13),
        (Way::Down, false) => 1 << dice.random_range(11..=16),
    };
    (way, dice.random_range(0..most))
}

/// What a connection outlives.
fn harmless(dice: &mut StdRng) -> Trouble {
    let (way, after) = place(dice);
    let fault = match dice.random_range(0..10) {
        // Longer than a silence may be, sometimes.
        0 => Fault::Stall(Duration::from_millis(dice.random_range(400..1_500))),
        1..4 => Fault::Stall(millis(dice, 100)),
        4..7 => Fault::Delay(Duration::from_millis(dice.random_range(1..8))),
        _ => Fault::Trickle { bytes: dice.random_range(16..200) },
    };
    Trouble { way, after, fault }
}

/// What it doesn't.
fn deadly(dice: &mut StdRng) -> Trouble {
    let (way, after) = place(dice);
    let late = if dice.random_bool(0.8) { Duration::ZERO } else { millis(dice, 2_000) };
    let fault = match dice.random_range(0..20) {
        0..9 => Fault::Cut { ending: Ending::Fin, late },
        9..18 => Fault::Cut { ending: Ending::Reset, late },
        18 => Fault::HalfOpen { both: true, late: millis(dice, 2_000) },
        _ => Fault::HalfOpen { both: false, late: millis(dice, 2_000) },
    };
    Trouble { way, after, fault }
}

/// How often each fault was played.
#[derive(Debug)]
pub(crate) struct Tally([AtomicU64; Kind::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Tally {
    pub(crate) fn count(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Played {
        Played(array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

/// How often each fault was played, as of a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Played([u64; Kind::ALL.len()]);

impl Played {
    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for Played {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for (kind, name) in Kind::ALL {
            writeln!(line, "  {name:<24}{:>10}", self.of(kind))?;
        }
        f.write_str(&line)
    }
}

#[test]
fn a_seed_decides_a_plan() {
    for connection in 0..100 {
        assert_eq!(Plan::of(1, connection), Plan::of(1, connection));
    }
    assert!((0..100).any(|connection| Plan::of(1, connection) != Plan::of(2, connection)));
}

#[test]
fn plans_have_every_kind_of_fault_in_them() {
    let plans: Vec<_> = (0..1_000).map(|connection| Plan::of(7, connection)).collect();
    for (kind, name) in Kind::ALL {
        let has = |plan: &&Plan| match kind {
            Kind::Refuse => plan.refused,
            Kind::Duplicate => plan.ghost.is_some(),
            kind => plan.troubles.iter().any(|trouble| trouble.fault.kind() == kind),
        };
        assert!(plans.iter().filter(has).count() > 10, "{name}");
    }
}
