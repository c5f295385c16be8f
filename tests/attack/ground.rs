//! How an attack is played: calm, attack, end, a newcomer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    attacks::Attack,
    bystanders::{Bystanders, newcomer},
    raw::Peer,
    report::Report,
    server::{Kind, MEMORY, Server},
};

/// What a TCP connection takes beside what is counted, in bytes: its buffers, half
/// a page here and there.
const CONNECTION_BYTES: u64 = 48 * 1_024;
/// The same with TLS, whose buffers are larger.
const TLS_BYTES: u64 = 64 * 1_024;
/// What allocators and the metrics of what never happened before may take.
const SLACK: u64 = 24 * 1_024 * 1_024;

/// How long a round of calm, or of attack, is at the most.
const ROUND: Duration = Duration::from_millis(2_500);

/// How long what the last round left behind may take to be cleared away, before a
/// round counts as calm.
const SETTLE: Duration = Duration::from_secs(1);

/// What attackers work with.
pub(crate) struct Ground {
    pub(crate) address: SocketAddr,
    pub(crate) until: Instant,
    divide: usize,
    units: AtomicU64,
    connections: AtomicU64,
    joined: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Ground {
    pub(crate) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// So many, in a long run; at least one.
    pub(crate) fn many(&self, number: usize) -> usize {
        (number / self.divide).max(1)
    }

    /// So much was done.
    pub(crate) fn count(&self, units: usize) {
        self.units.fetch_add(units as u64, Ordering::Relaxed);
    }

    /// A connection was made.
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// What the server said to it.
    pub(crate) fn answered(&self, answer: impl Into<String>) {
        *self.answers.lock().expect("nobody panics").entry(answer.into()).or_default() += 1;
    }

    /// How a peer ended.
    pub(crate) fn over(&self, peer: &mut Peer) {
        let _ = peer.read();
        match &peer.goaway {
            Some((code, why)) => self.answered(format!("GOAWAY {code} {why:?}")),
            None if !self.is_on() => {}
            None => self.answered("cut"),
        }
        if peer.resets > 0 {
            self.answered("RST_STREAM");
        }
        if peer.ended > 0 {
            self.answered("status");
        }
        self.joined.fetch_add(peer.joined, Ordering::Relaxed);
    }

    /// Has several attackers, each on a connection of its own that is made anew
    /// when the server ends it, write what `batch` says, over and over.
    pub(crate) fn flood(
        &self,
        attackers: usize,
        settings: &[(u16, u32)],
        batch: impl Fn(&mut Peer) -> (usize, Vec<u8>) + Sync,
    ) {
        thread::scope(|scope| {
            for _ in 0..attackers {
                scope.spawn(|| {
                    make_room();
                    while self.is_on() {
                        let Ok(mut peer) = Peer::greet(self.address, settings) else {
                            thread::sleep(Duration::from_millis(5));
                            continue;
                        };
                        self.connected();
                        while self.is_on() {
                            let (units, bytes) = batch(&mut peer);
                            if peer.write(&bytes).and_then(|()| peer.read()).is_err() {
                                break;
                            }
                            self.count(units);
                        }
                        self.over(&mut peer);
                    }
                });
            }
        });
    }
}

/// Attackers leave the CPU that they share with the bystanders to those: what is
/// measured is the server.
pub(crate) fn make_room() {
    let me = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(me), 19);
    // A nice one still has its slice of 3 ms; an idle one is put aside at once.
    let number = me.as_raw_nonzero().to_string();
    let _ = Command::new("chrt").args(["--idle", "--pid", "0", &number]).stderr(Stdio::null()).status();
}

pub(crate) fn run(attack: &Attack, time: Duration, divide: usize, cpu: Option<usize>) -> Report {
    let mut server = Server::start(attack.kind, cpu);
    let bystanders = Bystanders::enter(&server);
    // Once, so that what is made at the first time is there.
    thread::sleep(time.min(Duration::from_secs(1)));
    bystanders.take();
    let before = server.memory().0;
    server.forget_peak();
    let mut ground = Ground {
        address: server.address,
        until: Instant::now(),
        divide,
        units: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        joined: AtomicU64::new(0),
        answers: Mutex::default(),
    };
    // In turn, because machines have moods.
    let rounds = (time.as_secs_f64() / ROUND.as_secs_f64()).ceil().max(1.0) as u32;
    let (mut calm, mut attacked) = (bystanders.take(), bystanders.take());
    let (mut cpu, mut took, mut ended) = (Duration::ZERO, Duration::ZERO, Instant::now());
    for round in 0..rounds {
        if round > 0 {
            thread::sleep(SETTLE);
        }
        bystanders.take();
        thread::sleep(time / rounds);
        calm.add(bystanders.take()).expect("the same digits");
        let (cpu_before, begun) = (server.cpu(), Instant::now());
        ground.until = begun + time / rounds;
        thread::scope(|scope| {
            scope.spawn(|| {
                make_room();
                (attack.run)(&ground);
            });
        });
        attacked.add(bystanders.take()).expect("the same digits");
        ended = Instant::now();
        took += ended - begun;
        cpu += server.cpu().saturating_sub(cpu_before);
    }
    let newcomer = newcomer(&server, ended);
    let connections = ground.connections.load(Ordering::Relaxed);
    let peak = server.memory().1;
    let accept_failures = server.metric("signalbox_tcp_accept_failures_total");
    let (streams_lost, signals_lost, sends_lost) = bystanders.leave();
    let each = if attack.kind == Kind::Tls { TLS_BYTES } else { CONNECTION_BYTES };
    let held = (attack.held)(&ground) as u64;
    Report {
        name: attack.name,
        seconds: took.as_secs_f64(),
        units: ground.units.load(Ordering::Relaxed),
        unit: attack.unit,
        wants_refusals: attack.kind == Kind::Tokens,
        joined: ground.joined.load(Ordering::Relaxed),
        connections,
        cpu: cpu.as_secs_f64() / took.as_secs_f64(),
        memory: (before, peak, server.memory().0),
        memory_bound: before + MEMORY * 5 / 4 + held * each + SLACK,
        calm,
        attacked,
        newcomer,
        streams_lost,
        signals_lost,
        sends_lost,
        is_alive: server.is_alive(),
        accept_failures: accept_failures.unwrap_or(0.0),
        refusals_logged: server.refusals_logged.load(Ordering::Relaxed),
        answers: ground.answers.into_inner().expect("nobody panics"),
    }
}
