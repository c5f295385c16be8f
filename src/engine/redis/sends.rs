//! What streams ask for, on its way to Redis: that of many streams of a partition in one
//! script. Half of what a script costs Redis is for the script, whatever is in it; so while
//! one is under way, what comes waits for the next. Where little comes, nothing waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use redis::{ErrorKind, RedisError, ServerErrorKind, aio::ConnectionLike};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    domain::{ConnectionId, Named, Refusal, ResumeToken, SendId, SessionId},
    engine::lock,
    session::{Command, Effect, Handle, OUTCOMES_KEPT, SendResult, View},
};

use super::{
    Trouble,
    keys::Keys,
    link::size,
    part::Live,
    reply::{self, Told},
    scripts,
    slot::Slot,
    store::{Call, Done, Store, names},
};

/// How many commands one script takes: Lua holds some thousand values at once, and Redis
/// serves nobody else meanwhile.
pub(super) const TOGETHER: usize = 64;

/// And how many bytes of them, about.
const BYTES_TOGETHER: usize = 256 * 1024;

/// What a stream asks for, in its order: no more than 64 commands.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The session that it is in.
    pub session: SessionId,
    /// The stream.
    pub from: Handle,
    /// What the node has refused before, and told: to be kept, so that it isn't decided
    /// again.
    pub refused: Arc<Vec<(SendId, Refusal)>>,
    /// What is to be done.
    pub commands: Arc<Vec<Command>>,
}

impl Asked {
    /// Whether nobody goes by it, so that it may be asked with others.
    fn is_signals(&self) -> bool {
        self.commands.iter().all(|command| matches!(command, Command::Send(..) | Command::Disconnect(_, Err(_))))
    }
}

impl Store {
    /// Does what one stream asks for, in its order.
    ///
    /// # Errors
    /// When it isn't known whether that happened.
    pub async fn send(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        from: Handle,
        commands: Vec<Command>,
    ) -> Call<Done<()>> {
        let (session, refused) = (session.clone(), Arc::default());
        let asked = Asked { session, from, refused, commands: Arc::new(commands) };
        self.send_all(redis, &[asked]).await?.answer.remove(0)
    }

    /// Does what a connection asks for beside its stream, by its secret. None: it isn't
    /// known; else the outcomes, which a leave has none of.
    ///
    /// # Errors
    /// When it isn't known whether that happened.
    pub async fn command_beside(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        connection: ConnectionId,
        token: &ResumeToken,
        commands: &Arc<Vec<Command>>,
    ) -> Call<Done<Option<Vec<SendResult>>>> {
        // No stream has such a generation.
        let from = Handle { connection, generation: 0 };
        let (session, refused) = (session.clone(), Arc::default());
        let asked = Asked { session, from, refused, commands: Arc::clone(commands) };
        let Done { answer, clock, .. } = self.send_by(redis, &[asked], Some(token)).await?;
        let one = answer.into_iter().next().ok_or(Trouble::Nonsense("less than there should be"))??;
        let Done { epoch, effects: all, .. } = one;
        let is_known = !all.is_empty();
        let (mut results, mut effects) = (Vec::new(), Vec::new());
        for (place, effect) in all {
            match effect {
                Effect::Answer(to, result) if to == from => results.push(result),
                effect => effects.push((place, effect)),
            }
        }
        Ok(Done { answer: is_known.then_some(results), epoch, clock, effects })
    }

    /// Does what streams ask for: one's, or what several do if it is signals alone. What came
    /// of each, in the same order.
    ///
    /// # Errors
    /// When it isn't known whether that happened, of all or of one.
    pub async fn send_all(&self, redis: &mut impl ConnectionLike, asked: &[Asked]) -> Call<Done<Vec<Call<Done<()>>>>> {
        self.send_by(redis, asked, None).await
    }

    /// The same; where there is a secret, it is one connection's, that asks by it.
    async fn send_by(
        &self,
        redis: &mut impl ConnectionLike,
        asked: &[Asked],
        secret: Option<&ResumeToken>,
    ) -> Call<Done<Vec<Call<Done<()>>>>> {
        let Some(first) = asked.first() else { return Err(Trouble::Nonsense("nothing was asked")) };
        let are_signals = secret.is_none() && asked.iter().all(Asked::is_signals);
        // Leaving is possible when memory is short, too.
        let script = match (&first.commands[..], secret) {
            ([Command::Leave], None) => &scripts::LEAVE,
            ([Command::Leave], Some(_)) => &scripts::LEAVE_BESIDE,
            (_, Some(_)) => &scripts::BESIDE,
            _ if are_signals => &scripts::SEND,
            _ => &scripts::SEND_AND_MORE,
        };
        let keys = Keys::of(&first.session, self.partitions);
        let shared = if are_signals { keys.first()[..2].to_vec() } else { [&keys.first()[..], &keys.more()].concat() };
        let own = shared.len() + 1;
        let mut call = self.call(script, &shared, &first.session);
        call.arg(self.limits.signals_per_second).arg(self.limits.signal_burst).arg(OUTCOMES_KEPT).arg(own);
        let mut last_key = own - 1 + 3 * asked.len();
        let mut disconnected = Vec::new();
        for Asked { session, from, refused, commands } in asked {
            let keys = Keys::of(session, self.partitions);
            call.key(keys.session()).key(keys.log()).key(keys.outcomes(&from.connection));
            call.arg(session.as_str()).arg(&from.connection.bytes()[..]).arg(from.generation);
            call.arg(3 * refused.len() + commands.iter().map(arguments).sum::<usize>());
            for (id, refusal) in &**refused {
                call.arg("K").arg(digits(*id)).arg(reply::keep(refusal));
            }
            for command in &**commands {
                match command {
                    Command::Leave => {
                        call.arg("L");
                    }
                    Command::Send(id, Err(refusal)) | Command::Disconnect(id, Err(refusal)) => {
                        call.arg("R").arg(digits(*id)).arg(reply::keep(refusal));
                    }
                    Command::Send(id, Ok((signal, to))) => {
                        call.arg("S").arg(digits(*id)).arg(signal.kind().as_str()).arg(signal.data());
                        names(&mut call, to.as_ref().map(|to| to.named()));
                    }
                    Command::Disconnect(id, Ok(named)) => {
                        if let Named::Id(other) = named {
                            disconnected.push(keys.outcomes(other));
                            last_key += 1;
                        }
                        call.arg("D").arg(digits(*id)).arg(reply::name(named)).arg(last_key);
                    }
                }
            }
        }
        call.key(disconnected);
        if let Some(secret) = secret {
            call.arg(&secret.hash().bytes()[..]);
        }
        let (Told { clock, .. }, mut values) = self.ask(call, redis, &View::default()).await?;
        let answer = asked.iter().map(|_| Ok(served(values.next()?, clock, self))).collect::<Call<_>>()?;
        Ok(Done { answer, epoch: 0, clock, effects: Vec::new() })
    }
}

/// What came of what one stream asked for.
fn served(value: redis::Value, clock: u64, store: &Store) -> Call<Done<()>> {
    let mut values = reply::Values::within(value)?;
    let epoch = match values.next()? {
        redis::Value::Int(epoch) => epoch as u64,
        error => {
            let error = String::from_utf8_lossy(&reply::bytes(error)?).into_owned();
            let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
            return Err(RedisError::from((kind, "a script failed", error)).into());
        }
    };
    Ok(Done { answer: (), epoch, clock, effects: values.effects(&View::default(), &store.limits)? })
}

/// How many arguments a command has.
fn arguments(command: &Command) -> usize {
    match command {
        Command::Leave => 1,
        Command::Send(_, Err(_)) | Command::Disconnect(_, Err(_)) => 3,
        Command::Disconnect(_, Ok(_)) => 4,
        Command::Send(_, Ok((_, to))) => 5 + to.as_ref().map_or(0, |to| to.named().len()),
    }
}

/// An id as scripts compare it.
fn digits(id: SendId) -> String {
    format!("{id:020}")
}

/// What streams of a partition wait to have asked.
#[derive(Default)]
pub(super) struct Sends(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    is_served: bool,
}

struct Waiting {
    slot: Arc<Slot>,
    asked: Asked,
    told: oneshot::Sender<Result<(), Trouble>>,
}

impl Sends {
    /// What is asked next: together what may be.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.0);
        let (mut count, mut bytes) = (0, 0);
        let mut next: Vec<Waiting> = Vec::new();
        while let Some(waiting) = queue.waiting.front() {
            count += waiting.asked.refused.len() + waiting.asked.commands.len();
            bytes += waiting.asked.commands.iter().map(size).sum::<usize>();
            let may_join = next.is_empty()
                || (count <= TOGETHER
                    && bytes <= BYTES_TOGETHER
                    && [&next[0], waiting].iter().all(|one| one.asked.is_signals()));
            if !may_join {
                break;
            }
            next.extend(queue.waiting.pop_front());
        }
        queue.is_served = !next.is_empty();
        next
    }
}

impl Live {
    /// Has something done that a stream asks for, and what comes of it done here, even if
    /// the caller doesn't wait for it.
    pub(super) async fn send(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        from: Handle,
        refused: &Arc<Vec<(SendId, Refusal)>>,
        commands: &Arc<Vec<Command>>,
    ) -> Call<()> {
        let (told, tells) = oneshot::channel();
        let (session, refused) = (slot.id.clone(), Arc::clone(refused));
        let asked = Asked { session, from, refused, commands: Arc::clone(commands) };
        let is_served = {
            let mut queue = lock(&self.sends.0);
            queue.waiting.push_back(Waiting { slot: Arc::clone(slot), asked, told });
            std::mem::replace(&mut queue.is_served, true)
        };
        if !is_served {
            slot.part.home.spawn(serve(Arc::clone(self)));
        }
        tells.await.unwrap_or(Err(Trouble::Nonsense("what was asked was not heard to its end")))
    }
}

/// Asks what waits, until nothing does.
async fn serve(live: Arc<Live>) {
    let mut serving = Serving { live, is_over: false };
    loop {
        let live = &serving.live;
        let next = live.sends.next();
        if next.is_empty() {
            serving.is_over = true;
            return;
        }
        let asked: Vec<_> = next.iter().map(|waiting| waiting.asked.clone()).collect();
        let began = Instant::now();
        let done = live.heard(live.store.send_all(&mut live.redis(), &asked).await);
        let mut done = done.map(|done| done.answer.into_iter());
        for Waiting { slot, told, .. } in next {
            let came = match &mut done {
                Ok(done) => done.next().unwrap_or(Err(Trouble::Nonsense("less than there should be"))),
                Err(trouble) => Err(trouble.clone()),
            };
            if came.is_ok() {
                slot.part.home.counts.took(began.elapsed());
            }
            // Who asked may be gone.
            let _ = told.send(came.map(|done| slot.done(done)));
        }
    }
}

/// Whoever serves. Should it end half-way, those who wait are told, and the next is served.
struct Serving {
    live: Arc<Live>,
    is_over: bool,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.is_over {
            *lock(&self.live.sends.0) = Queue::default();
        }
    }
}
