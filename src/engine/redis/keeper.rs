//! Keeps this node's lease in one partition, and the partition in order.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{Epoch, SessionId};

use super::{
    Beat, Counts, Pulse, Store, Trouble, channel,
    part::{Live, Part},
    recover::{self, LOST},
    servers::Servers,
    wire::{Hears, Wire},
};

/// How long a lease lasts: a node that says nothing for so long is dead to the others.
pub(super) const LEASE: Duration = Duration::from_secs(8);

/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(1);

/// By how much sooner its node takes it for over than Redis.
const MARGIN: Duration = Duration::from_millis(500);

/// How long a node whose lease is over is waited for: when Redis was away for all, all of
/// them come back, and have their streams still.
const GRACE: Duration = Duration::from_secs(3);

/// How long streams stay while Redis can't be reached; then their clients try elsewhere.
const STREAMS_STAY: Duration = Duration::from_secs(75);

/// After how many beats in vain a connection is given up.
const BEATS_IN_VAIN: u32 = 3;

/// The pauses between attempts to connect.
const PAUSES: [u64; 5] = [50, 100, 200, 500, 1_000];

/// How many sessions are looked at with each beat, whether anything was missed.
const LOOKED_AT: usize = 4;

/// How many sessions are dealt with in one go.
const PAGE: usize = 100;

/// One partition's.
pub(super) struct Keeper {
    pub(super) part: Arc<Part>,
    pub(super) servers: Arc<Servers>,
    /// The node's name, without what tells its incarnations apart.
    pub(super) node: String,
    /// The present incarnation, and the process that knows it.
    pub(super) name: Option<(String, String)>,
    /// The session that was looked at last.
    pub(super) looked_at: Option<SessionId>,
    pub(super) away_since: Option<Instant>,
    pub(super) evicts: Arc<AtomicBool>,
}

impl Keeper {
    /// For ever.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            match self.begin().await {
                Ok(live) => {
                    failures = 0;
                    self.is_back(&live);
                    self.hold(&live).await;
                }
                Err(Trouble::Wait) => failures = 0,
                Err(trouble) => {
                    if self.away_since.is_none() || failures == 0 {
                        tracing::warn!(partition = self.part.number, %trouble, "Redis can't be asked; trying again");
                    }
                    failures += 1;
                }
            }
            self.is_away();
            let pause = PAUSES[(failures as usize).min(PAUSES.len() - 1)];
            tokio::time::sleep(Duration::from_millis(pause + u64::from(super::random::<1>()[0]) * pause / 1_024)).await;
        }
    }

    fn is_back(&mut self, live: &Arc<Live>) {
        self.away_since = None;
        self.part.is_live(live);
        self.part.home.spawn(recover::resync_all(Arc::clone(&self.part), Arc::clone(live)));
    }

    fn is_away(&mut self) {
        self.part.is_away();
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if since.elapsed() > STREAMS_STAY {
            self.part.slots().iter().for_each(|slot| slot.end_all(None, LOST));
        }
    }

    /// Gets a lease: the one there was, if Redis still has it.
    async fn begin(&mut self) -> Result<Arc<Live>, Trouble> {
        let wire = self.servers.wire(self.part.number).await?;
        let before = self.name.clone();
        if let Some((name, _)) = before.as_ref().filter(|(_, run_id)| run_id == wire.run_id()) {
            match self.take(&wire, name.clone(), Beat::default()).await {
                Err(Trouble::Fenced) => Counts::add(&self.part.home.counts.fenced),
                taken => return taken,
            }
        }
        let id: u64 = u64::from_be_bytes(super::random());
        let name = format!("{}:{id:016x}", self.node);
        let anew = Some(wire.run_id().to_owned());
        let before = before.map(|(name, _)| (name, LEASE));
        let live = self.take(&wire, name.clone(), Beat { anew, before, ..Beat::default() }).await?;
        self.name = Some((name, wire.run_id().to_owned()));
        Ok(live)
    }

    async fn take(&self, wire: &Arc<Wire>, name: String, beat: Beat) -> Result<Arc<Live>, Trouble> {
        let part: Weak<dyn Hears> = Arc::downgrade(&(Arc::clone(&self.part) as Arc<dyn Hears>));
        wire.listen(&channel(self.part.number, &name), part).await?;
        let store = Store::new(name, Arc::clone(&self.part.home.limits), self.part.home.partitions);
        let sent = Instant::now();
        let pulse = self.beat(&store, wire, beat).await?;
        let live = Live::new(store, Arc::clone(wire), Arc::clone(&self.part.clock), sent + LEASE - MARGIN);
        self.part.is_in(pulse.era);
        if pulse.is_new_era && self.name.is_some() {
            tracing::warn!(partition = self.part.number, "Redis lacks what it had told; sessions begin anew");
            self.part.home.spawn(sweep(Arc::clone(&self.part), Arc::clone(&live), pulse.era));
        }
        Ok(live)
    }

    async fn beat(&self, store: &Store, wire: &Wire, beat: Beat) -> Result<Pulse, Trouble> {
        let watched = if self.part.watches() { LEASE } else { Duration::ZERO };
        let beat = Beat { lease: LEASE, patience: GRACE, watched, clock: self.part.clock.highest(), ..beat };
        let began = Instant::now();
        let pulse = store.beat(&mut wire.redis(), self.part.number, &beat).await?;
        if wire.is_closed() {
            return Err(Trouble::Nonsense("the connection is not to be trusted"));
        }
        self.part.home.counts.took(began.elapsed());
        Ok(pulse)
    }

    /// Renews a lease until it is lost, or the connection is.
    async fn hold(&mut self, live: &Arc<Live>) {
        let began = Instant::now();
        let (mut next, mut in_vain) = (began, 0);
        loop {
            tokio::select! {
                () = live.wire.closed() => return,
                () = self.part.doubted() => {}
                () = tokio::time::sleep_until(next) => {}
                () = self.part.due() => {
                    self.part.home.spawn(reap(Arc::clone(&self.part), Arc::clone(live)));
                    continue;
                }
            }
            let sent = Instant::now();
            next = sent + BEAT;
            match self.beat(&live.store, &live.wire, Beat::default()).await {
                Ok(pulse) => {
                    in_vain = 0;
                    // Before it is longer: by this node's clock it may have been over for a
                    // moment, in which nothing was heard and callers began to wait.
                    let was_away = self.part.live().is_none();
                    live.extend(sent + LEASE - MARGIN);
                    // Another node may have found that something is lost.
                    if self.part.is_in(pulse.era) || was_away {
                        self.is_back(live);
                    }
                    self.attend(live, pulse, began.elapsed() > GRACE);
                }
                Err(trouble) => {
                    tracing::debug!(partition = self.part.number, %trouble, "a beat failed");
                    if matches!(trouble, Trouble::Fenced) {
                        Counts::add(&self.part.home.counts.fenced);
                        tracing::warn!(partition = self.part.number, "this node's lease is over; it begins anew");
                        return;
                    }
                    self.part.trouble(live, &trouble);
                    self.is_away();
                    in_vain += 1;
                    if in_vain == BEATS_IN_VAIN || trouble.changed_nothing() {
                        live.wire.close();
                    }
                }
            }
        }
    }

    /// Does what a beat told of.
    fn attend(&mut self, live: &Arc<Live>, pulse: Pulse, may_evict: bool) {
        let home = &self.part.home;
        if let Some(due) = pulse.due {
            // By the server's clock.
            let lease = u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
            let wait = Duration::from_micros(due.saturating_sub(pulse.until - lease.min(pulse.until)));
            self.part.is_due(Instant::now() + wait);
        }
        if may_evict && !pulse.dead.is_empty() && !self.evicts.swap(true, Ordering::AcqRel) {
            let evicts = Arc::clone(&self.evicts);
            let evicting = evict(Arc::clone(&self.part), Arc::clone(live), pulse.dead);
            home.spawn(async move {
                evicting.await;
                evicts.store(false, Ordering::Release);
            });
        }
        let slots = self.part.slots_after(self.looked_at.as_ref(), LOOKED_AT);
        self.looked_at = slots.last().map(|slot| slot.id.clone());
        if !slots.is_empty() {
            let live = Arc::clone(live);
            home.spawn(async move {
                for slot in slots {
                    recover::resync(&slot, &live).await;
                }
            });
        }
    }
}

/// Removes what is left of the sessions of an era that is over.
async fn sweep(part: Arc<Part>, live: Arc<Live>, era: Epoch) {
    let mut after = None;
    let swept = async {
        loop {
            let names = live.store.names(&mut live.redis(), part.number, after.as_ref(), PAGE).await?;
            for name in &names {
                live.store.sweep(&mut live.redis(), name, era).await?;
            }
            after = names.last().cloned();
            if names.len() < PAGE {
                return Ok::<_, Trouble>(());
            }
        }
    };
    if let Err(trouble) = swept.await {
        part.trouble(&live, &trouble);
    }
}

/// Ends the windows that are over.
async fn reap(part: Arc<Part>, live: Arc<Live>) {
    // So that not all nodes do it at once.
    tokio::time::sleep(Duration::from_millis(u64::from(super::random::<1>()[0]) / 4)).await;
    let reaped = async {
        loop {
            let sessions = live.store.due(&mut live.redis(), part.number, PAGE).await?;
            for session in &sessions {
                part.done(session, live.heard(live.store.reap(&mut live.redis(), session).await)?);
            }
            if sessions.len() < PAGE {
                return Ok::<_, Trouble>(());
            }
        }
    };
    if let Err(trouble) = reaped.await {
        part.trouble(&live, &trouble);
    }
}

/// Tells what became of the connections of dead nodes.
async fn evict(part: Arc<Part>, live: Arc<Live>, dead: Vec<String>) {
    tokio::time::sleep(Duration::from_millis(u64::from(super::random::<1>()[0]))).await;
    for node in dead {
        let evicted = async {
            loop {
                let sessions = live.store.sessions_on(&mut live.redis(), part.number, &node, PAGE).await?;
                if sessions.is_empty() {
                    live.store.forget(&mut live.redis(), part.number, &node).await?;
                    return Ok::<_, Trouble>(());
                }
                let mut count = 0;
                for session in &sessions {
                    count += part.done(session, live.heard(live.store.lose(&mut live.redis(), session, &node).await)?);
                }
                part.home.counts.evictions.fetch_add(count as u64, Ordering::Relaxed);
                tracing::info!(
                    node,
                    partition = part.number,
                    connections = count,
                    "a node is dead; its connections are waited for"
                );
                if count == 0 {
                    // It came back, or another node was quicker.
                    return Ok(());
                }
            }
        };
        if let Err(trouble) = evicted.await {
            part.trouble(&live, &trouble);
        }
    }
}

/// Gives up the lease of a node that ends. What it has still is found when the lease would
/// be over.
pub(super) async fn give_up(part: &Part) {
    let Some(live) = part.live() else { return };
    let given_up = async {
        let left = live.store.sessions_on(&mut live.redis(), part.number, live.store.node(), 1).await?;
        if left.is_empty() {
            live.store.forget(&mut live.redis(), part.number, live.store.node()).await?;
        }
        Ok::<_, Trouble>(())
    };
    if let Err(trouble) = given_up.await {
        tracing::debug!(partition = part.number, %trouble, "a lease isn't given up");
    }
}
