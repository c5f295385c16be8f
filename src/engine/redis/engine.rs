//! The engine: any number of nodes, one authority.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, task::JoinSet, time::Instant};

use crate::{
    domain::{ConnectionId, Ending, Limits, Named, Refusal, ResumeToken, Sequence, SessionId},
    engine::{
        BoxFuture, Connections, Engine, Figure, FigureValue, Joined, Node, OutletId, Page, SURVEYED_AT_ONCE, Sight,
        Stats, Watch,
    },
    session::{
        Admission, Command, Facts, Handle as StreamHandle, Join, Outcome, SendResult, ServerAccepted, ServerSend,
        nobody_there, unknown_connection,
    },
};

use super::{
    Counts, Done, Partitions, RedisSettings, Trouble,
    keeper::Keeper,
    link::{Held, RedisLink},
    part::{Attempts, Home, Live, Part},
    servers::Servers,
    slot::{Arrival, Slot},
};

/// Sessions in Redis, as one of the nodes that serve them. Cheap to clone.
#[derive(Clone)]
pub struct RedisEngine(Arc<Inner>);

struct Inner {
    home: Arc<Home>,
    parts: Vec<Arc<Part>>,
    servers: Arc<Servers>,
    node: String,
}

impl RedisEngine {
    /// An engine that [`RedisEngine::run`] connects. To be made within a runtime, on which
    /// is done what no other does.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(settings: RedisSettings, limits: Arc<Limits>, node: Arc<dyn Node>, partitions: Partitions) -> Self {
        let home = Arc::new(Home { node, limits, counts: Counts::default(), partitions, runtime: Handle::current() });
        let name = format!("{:016x}", u64::from_be_bytes(super::random()));
        let parts = partitions.all().map(|number| Part::new(number, &home)).collect();
        let servers = Arc::new(Servers::new(settings));
        Self(Arc::new(Inner { home, parts, servers, node: name }))
    }

    /// Has each answer's time told.
    pub fn observe(&self, observe: super::Observe) {
        // Only the first who asks.
        let _ = self.0.home.counts.observe.set(observe);
    }

    /// Keeps the node's leases, and sessions in order, for ever.
    pub async fn run(&self) {
        let mut keepers = JoinSet::new();
        for part in &self.0.parts {
            let keeper = Keeper {
                part: Arc::clone(part),
                servers: Arc::clone(&self.0.servers),
                node: self.0.node.clone(),
                name: None,
                looked_at: None,
                away_since: None,
                evicts: Arc::default(),
            };
            keepers.spawn(keeper.run());
        }
        keepers.join_all().await;
    }
}

impl Inner {
    fn part(&self, session: &SessionId) -> &Arc<Part> {
        &self.parts[usize::from(self.home.partitions.of(session))]
    }
}

/// A connection may be brought into a session until this is dropped.
struct Entered(Arc<Slot>, ConnectionId);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.left(self.1);
    }
}

/// A join, which goes on when nobody waits for it any more: whom it let in is let go then.
struct Joining(oneshot::Receiver<Result<Joined, Refusal>>);

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.close();
        if let Ok(Ok(joined)) = self.0.try_recv() {
            let_go(&joined);
        }
    }
}

/// Nobody waits for a join any more. Who is new knows no secret to come back with.
fn let_go(joined: &Joined) {
    match joined.admission.outcome {
        Outcome::New => joined.link.submit(Command::Leave),
        Outcome::Resumed | Outcome::ResumedWithGap => joined.link.detach(Ending::Broken),
    }
}

/// Asks for a join until it is known what came of it. Whom one may have brought in of
/// which that isn't known is let go: the next is by another name.
async fn ask(entered: &mut Entered, join: &mut Join) -> Result<(Arc<Live>, Done<Result<Admission, Refusal>>), Refusal> {
    let slot = Arc::clone(&entered.0);
    let part = &slot.part;
    let mut attempts = Attempts::new(part);
    let mut is_begun = false;
    loop {
        let live = attempts.next().await.inspect_err(|_| slot.doubt(is_begun))?;
        let began = Instant::now();
        let asked = live.heard(live.store.join(&mut live.redis(), &slot.id, None, join.clone()).await);
        let is_known = asked.as_ref().map_or_else(Trouble::changed_nothing, |_| true);
        if !is_known {
            // As long as it is so, it is that handle's first stream. A resume may have
            // brought it in, too, where there was nothing to come back to.
            slot.is_gone(StreamHandle { connection: join.fresh_id, generation: 1 }, Ending::Left);
            slot.doubt(true);
            let is_new = entered.1 == join.fresh_id;
            join.fresh_id = ConnectionId::from_random(super::random());
            join.fresh_token = ResumeToken::from_random(super::random());
            if is_new {
                slot.left(entered.1);
                entered.1 = join.fresh_id;
                slot.entered(entered.1);
            }
        }
        is_begun |= !is_known && join.resume.is_some();
        if let Some(done) = attempts.done(&live, asked, true).inspect_err(|_| slot.doubt(is_begun))? {
            part.home.counts.took(began.elapsed());
            return Ok((live, done));
        }
    }
}

async fn join(part: Arc<Part>, session: SessionId, outlet: OutletId, mut join: Join) -> Result<Joined, Refusal> {
    let connection = join.resume.as_ref().and_then(|resume| resume.connection).unwrap_or(join.fresh_id);
    let mut entered = Entered(part.enter(&session, connection), connection);
    let (live, done) = ask(&mut entered, &mut join).await?;
    let slot = &entered.0;
    let Done { answer, epoch, effects, .. } = done;
    let mut admission = match answer {
        Ok(admission) => admission,
        Err(refusal) => {
            slot.answered(epoch, effects, None);
            return Err(refusal);
        }
    };
    let link = RedisLink::new(slot, admission.handle);
    let arrival = Arrival { outlet, link: Arc::clone(&link), window: admission.window };
    let missed = slot.answered(epoch, effects, Some(arrival));
    let link = Arc::new(Held(link));
    let joined = |admission| Joined { admission, link: link.clone() };
    let mut entries: Vec<_> = admission.missed.iter().collect();
    if let Some((after, up_to)) = missed.between {
        match read_between(&live, &session, epoch, after, up_to).await {
            Some(between) => {
                let me: StreamHandle = admission.handle;
                entries.extend(between.into_iter().filter(|entry| join.view.admits(entry, me.connection)));
            }
            None => {
                crate::engine::Link::detach(&*link, Ending::Broken);
                return Err(super::part::away("events came faster than they could be read"));
            }
        }
    }
    if missed.between.is_some() || !missed.entries.is_empty() {
        entries.extend(missed.entries);
        admission.missed = entries.into_iter().collect();
    }
    Ok(joined(admission))
}

/// Events from the log, all of them, or nothing.
async fn read_between(
    live: &Live,
    session: &SessionId,
    epoch: u64,
    after: Sequence,
    up_to: Sequence,
) -> Option<Vec<Arc<crate::domain::Entry>>> {
    let mut all = Vec::new();
    let mut last = after;
    while last < up_to {
        let page = live.heard(live.store.read(&mut live.redis(), session, epoch, last).await).ok()?.answer?;
        last = page.last()?.sequence;
        all.extend(page.into_iter().filter(|entry| entry.sequence <= up_to));
    }
    Some(all)
}

impl Engine for RedisEngine {
    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::run(self))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for part in &self.0.parts {
                part.emptied().await;
                super::keeper::give_up(part).await;
            }
        })
    }

    fn is_ready(&self) -> Result<(), String> {
        let parts = &self.0.parts;
        let away = parts.iter().filter(|part| part.live().is_none()).count();
        if away == 0 { Ok(()) } else { Err(format!("Redis is away for {away} of {} partitions", parts.len())) }
    }

    fn figures(&self) -> Vec<Figure> {
        let parts = &self.0.parts;
        let left = parts.iter().map(|part| part.live().map_or(Duration::ZERO, |live| live.left())).min();
        let away = parts.iter().filter(|part| part.live().is_none()).count();
        let mut figures = self.0.home.counts.figures();
        let mut now = |name, help, value| figures.push(Figure { name, help, value: FigureValue::Now(value) });
        now(
            "signalbox_engine_lease_seconds",
            "How long the shortest of this node's leases still lasts",
            left.unwrap_or_default().as_secs_f64(),
        );
        now("signalbox_engine_partitions_away", "Partitions that can't be served now", away as f64);
        figures
    }

    fn join(&self, session: SessionId, outlet: OutletId, wish: Join) -> BoxFuture<'_, Result<Joined, Refusal>> {
        Box::pin(async move {
            let part = Arc::clone(self.0.part(&session));
            let budget = part.home.node.budget();
            if wish.resume.is_none() {
                budget.admits()?;
            }
            let (told, hears) = oneshot::channel();
            let home = Arc::clone(&part.home);
            home.spawn(async move {
                if let Err(Ok(joined)) = told.send(join(part, session, outlet, wish).await) {
                    let_go(&joined);
                }
            });
            let mut joining = Joining(hears);
            let joined = (&mut joining.0).await;
            joined.unwrap_or_else(|_| Err(super::part::away("the join was given up")))
        })
    }

    fn command_beside(
        &self,
        session: SessionId,
        connection: ConnectionId,
        token: ResumeToken,
        commands: Vec<Command>,
    ) -> BoxFuture<'_, Result<Vec<SendResult>, Refusal>> {
        Box::pin(async move {
            let part = self.0.part(&session);
            let leaves = matches!(commands[..], [Command::Leave]);
            let is_safe = commands.iter().all(|command| match command {
                Command::Send(id, _) | Command::Disconnect(id, _) => *id != 0,
                Command::Leave => true,
            });
            let commands = Arc::new(commands);
            let mut attempts = Attempts::new(part);
            let mut may_have_left = false;
            loop {
                let live = attempts.next().await?;
                let asked = live.store.command_beside(&mut live.redis(), &session, connection, &token, &commands).await;
                let asked = live.heard(asked);
                may_have_left |= leaves && asked.as_ref().is_err_and(|trouble| !trouble.changed_nothing());
                if let Some(done) = attempts.done(&live, asked, is_safe)? {
                    return match part.done(&session, done) {
                        Some(results) => Ok(results),
                        None if may_have_left => Ok(Vec::new()),
                        None => Err(unknown_connection()),
                    };
                }
            }
        })
    }

    fn send_from_server(&self, session: SessionId, send: ServerSend) -> BoxFuture<'_, Result<ServerAccepted, Refusal>> {
        Box::pin(async move {
            let part = self.0.part(&session);
            let is_safe = send.key.is_some();
            let mut attempts = Attempts::new(part);
            loop {
                let live = attempts.next().await?;
                let done = live.heard(live.store.send_from_server(&mut live.redis(), &session, send.clone()).await);
                if let Some(done) = attempts.done(&live, done, is_safe)? {
                    return part.done(&session, done);
                }
            }
        })
    }

    fn disconnect(&self, session: SessionId, connection: Named) -> BoxFuture<'_, Result<Sequence, Refusal>> {
        Box::pin(async move {
            let part = self.0.part(&session);
            let mut attempts = Attempts::new(part);
            loop {
                let live = attempts.next().await?;
                let done = live.heard(live.store.disconnect(&mut live.redis(), &session, &connection).await);
                if let Some(done) = attempts.done(&live, done, false)? {
                    return part.done(&session, done);
                }
            }
        })
    }

    fn session(&self, session: SessionId) -> BoxFuture<'_, Result<Facts, Refusal>> {
        Box::pin(async move {
            let looked = super::listing::look(self.0.part(&session), &session, 0, 0).await?;
            Ok(looked.ok_or_else(nobody_there)?.0)
        })
    }

    fn sessions(
        &self,
        after: Option<SessionId>,
        most: usize,
    ) -> BoxFuture<'_, Result<Page<(SessionId, Facts)>, Refusal>> {
        Box::pin(super::listing::sessions(&self.0.parts, after, most))
    }

    fn connections(
        &self,
        session: SessionId,
        after: Sequence,
        most: usize,
    ) -> BoxFuture<'_, Result<Connections, Refusal>> {
        Box::pin(async move {
            let looked = super::listing::look(self.0.part(&session), &session, after, most + 1).await?;
            let (facts, mut items) = looked.ok_or_else(nobody_there)?;
            let more = items.len() > most;
            items.truncate(most);
            Ok(Connections { epoch: facts.epoch, page: Page { items, more } })
        })
    }

    fn watch(&self, session: Option<SessionId>) -> BoxFuture<'_, Result<Watch, Refusal>> {
        Box::pin(super::watching::watch(self.0.parts.clone(), session))
    }

    fn stats(&self) -> Stats {
        let sessions = self.0.parts.iter().map(|part| part.len()).sum();
        let attached = self.0.home.counts.attached.load(Ordering::Relaxed);
        Stats { sessions, attached: usize::try_from(attached).unwrap_or(0), detached: 0 }
    }

    fn survey(&self, show: &mut dyn FnMut(&SessionId, Sight)) {
        for part in &self.0.parts {
            let mut after = None;
            loop {
                let slots = part.slots_after(after.as_ref(), SURVEYED_AT_ONCE);
                let Some(last) = slots.last() else { break };
                after = Some(last.id.clone());
                for slot in slots {
                    if let Some(sight) = slot.sight() {
                        show(&slot.id, sight);
                    }
                }
            }
        }
    }

    fn node(&self) -> Option<&str> {
        Some(&self.0.node)
    }
}
