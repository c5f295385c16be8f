//! One stream's way to Redis: what it asks for goes there in its order, together as far as
//! it came together.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Charge, Ending, Named, Refusal, SendId, Spent},
    engine::{Link, lock},
    session::{Command, Handle, OUTCOMES_KEPT, SendResult},
};

use super::{
    Trouble,
    part::{Attempts, PATIENCE, away, unsure},
    sends::TOGETHER,
    slot::Slot,
};

/// How long a stream's end is tried to be told before it is left for later.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// One stream's.
pub(super) struct RedisLink {
    slot: Arc<Slot>,
    handle: Handle,
    queue: Mutex<Queue>,
    /// The stream ended: nothing it asks for has an effect.
    over: CancellationToken,
}

struct Queue {
    commands: VecDeque<Command>,
    /// What was refused here and is not known to Redis: with the next that it is asked it
    /// learns of them. Else a resume would find later sends decided, and never tell of
    /// these.
    refused: Arc<Vec<(SendId, Refusal)>>,
    ending: Option<Ending>,
    is_served: bool,
    /// How many bytes these take, and those that Redis is being asked: when it is slow, or
    /// away, senders must not fill this node's memory.
    bytes: usize,
    charge: Charge,
}

enum Work {
    Commands(Vec<Command>),
    Detach(Ending),
}

impl RedisLink {
    pub(super) fn new(slot: &Arc<Slot>, handle: Handle) -> Arc<Self> {
        let slot = Arc::clone(slot);
        let charge = Charge::new(&slot.part.home.node.budget(), Spent::Waiting);
        let queue = Queue {
            commands: VecDeque::new(),
            refused: Arc::default(),
            ending: None,
            is_served: false,
            bytes: 0,
            charge,
        };
        Arc::new(Self { slot, handle, queue: Mutex::new(queue), over: CancellationToken::new() })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// The stream ended.
    pub(super) fn is_over(&self) {
        self.over.cancel();
    }

    /// The stream is to end, after what was asked before.
    pub(super) fn end(self: &Arc<Self>, ending: Ending) {
        self.add(|queue| {
            queue.ending.get_or_insert(ending);
        });
    }

    fn add(self: &Arc<Self>, add: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queue);
        if self.over.is_cancelled() || queue.ending.is_some() {
            return;
        }
        add(&mut queue);
        if !std::mem::replace(&mut queue.is_served, true) {
            self.slot.part.home.spawn(Arc::clone(self).serve());
        }
    }

    /// Takes commands in, as long as there is place for them; the others are refused, in
    /// their order.
    fn submit(self: &Arc<Self>, commands: impl Iterator<Item = Command>) {
        self.add(|queue| {
            let share = self.slot.part.home.node.budget().share();
            for command in commands {
                let command = match command {
                    Command::Send(id, Ok(_)) | Command::Disconnect(id, Ok(_))
                        if queue.bytes + size(&command) > share =>
                    {
                        let why = "it is slow, and as much waits for it as this node has memory for";
                        Command::Send(id, Err(away(why)))
                    }
                    command => command,
                };
                queue.bytes += size(&command);
                queue.commands.push_back(command);
            }
            queue.charge.set(queue.bytes);
        });
    }

    /// So many bytes of commands are dealt with.
    fn is_done(&self, bytes: usize) {
        let mut queue = lock(&self.queue);
        queue.bytes = queue.bytes.saturating_sub(bytes);
        let left = queue.bytes;
        queue.charge.set(left);
    }

    fn next(&self) -> Option<Work> {
        let mut queue = lock(&self.queue);
        if self.over.is_cancelled() {
            queue.commands.clear();
            queue.ending = None;
            queue.bytes = 0;
            queue.charge.set(0);
        }
        if !queue.commands.is_empty() {
            let count = queue.commands.len().min(TOGETHER);
            return Some(Work::Commands(queue.commands.drain(..count).collect()));
        }
        queue.is_served = queue.ending.is_some();
        queue.ending.map(Work::Detach)
    }

    async fn serve(self: Arc<Self>) {
        while let Some(work) = self.next() {
            match work {
                Work::Commands(commands) => {
                    let bytes = commands.iter().map(size).sum();
                    tokio::select! {
                        () = self.ask(commands) => {}
                        () = self.over.cancelled() => {}
                    }
                    self.is_done(bytes);
                }
                Work::Detach(ending) => {
                    self.detach(ending).await;
                    self.over.cancel();
                }
            }
        }
    }

    /// Has commands done. What may have been done is asked again until it is known: a send
    /// with an id is decided once.
    async fn ask(&self, commands: Vec<Command>) {
        let mut commands = Arc::new(commands);
        let part = &self.slot.part;
        let mut is_begun = false;
        let until = Instant::now() + PATIENCE;
        let mut why = None;
        while !commands.is_empty() {
            let live = if is_begun {
                part.when_live().await
            } else {
                match tokio::time::timeout_at(until, part.when_live()).await {
                    Ok(live) => live,
                    Err(_) => {
                        let why: Option<Trouble> = why;
                        let why = why.map_or_else(|| "it can't be reached".to_owned(), |why| why.to_string());
                        return self.refuse(Arc::make_mut(&mut commands), &away(&why), |_| true);
                    }
                }
            };
            let refused = Arc::clone(&lock(&self.queue).refused);
            let trouble = match live.send(&self.slot, self.handle, &refused, &commands).await {
                Ok(()) => {
                    // Nothing else is asked, or refused, for this stream meanwhile.
                    lock(&self.queue).refused = Arc::default();
                    return;
                }
                Err(trouble) => trouble,
            };
            part.trouble(&live, &trouble);
            let commands = Arc::make_mut(&mut commands);
            if trouble.is_final() {
                let leaves = commands.len() > 1 && matches!(commands.last(), Some(Command::Leave));
                let leave = commands.split_off(commands.len() - usize::from(leaves));
                self.refuse(commands, &away(&trouble.to_string()), |_| true);
                *commands = leave;
                continue;
            }
            if !trouble.changed_nothing() {
                is_begun = true;
                // These have nothing by which they could be asked for again.
                self.refuse(commands, &unsure(&trouble), |id| id == 0);
            }
            super::Counts::add(&part.home.counts.retries);
            why = Some(trouble);
        }
    }

    /// Refuses those with such ids; a leave has none.
    fn refuse(&self, commands: &mut Vec<Command>, refusal: &Refusal, which: impl Fn(u64) -> bool) {
        let mut results = Vec::new();
        commands.retain(|command| match command {
            Command::Send(send_id, _) | Command::Disconnect(send_id, _) if which(*send_id) => {
                results.push(SendResult { send_id: *send_id, outcome: Err(refusal.clone()) });
                false
            }
            _ => true,
        });
        {
            let mut queue = lock(&self.queue);
            let refused = Arc::make_mut(&mut queue.refused);
            refused.extend(results.iter().filter(|one| one.send_id != 0).map(|one| (one.send_id, refusal.clone())));
            let too_many = refused.len().saturating_sub(OUTCOMES_KEPT);
            refused.drain(..too_many);
        }
        self.slot.answer(self.handle, &results);
        // Who wants to leave, and can't, is let go, and Redis told as soon as it can be.
        if matches!(commands[..], [Command::Leave]) && which(1) {
            commands.clear();
            self.slot.gone(self.handle, Ending::Left);
        }
    }

    async fn detach(&self, ending: Ending) {
        let part = &self.slot.part;
        let told = tokio::time::timeout(TOLD_WITHIN, async {
            let mut attempts = Attempts::new(part);
            loop {
                let live = attempts.next().await.ok()?;
                let done = live.store.detach(&mut live.redis(), &self.slot.id, self.handle, ending).await;
                let done = live.heard(done);
                match attempts.done(&live, done, true) {
                    Ok(Some(done)) => return Some(done),
                    Ok(None) => {}
                    Err(_) => return None,
                }
            }
        });
        match told.await {
            Ok(Some(done)) => {
                self.slot.done(done);
                // Where Redis knew of no such stream, it said nothing of it.
                self.slot.end(self.handle, crate::session::Farewell { ending, resumable: false, retry_after: None });
            }
            _ => self.slot.gone(self.handle, ending),
        }
    }
}

/// How many bytes of memory a command takes.
pub(super) fn size(command: &Command) -> usize {
    let more = match command {
        Command::Send(_, Ok((signal, to))) => {
            let names = to.as_ref().map_or(0, |to| to.named().iter().map(Named::size).sum());
            signal.data().len() + signal.kind().as_str().len() + names
        }
        Command::Disconnect(_, Ok(named)) => named.size(),
        Command::Send(_, Err(refusal)) | Command::Disconnect(_, Err(refusal)) => refusal.message.len(),
        Command::Leave => 0,
    };
    std::mem::size_of::<Command>() + more
}

/// What an engine's users hold: it knows its stream.
pub(super) struct Held(pub(super) Arc<RedisLink>);

impl Link for Held {
    fn submit(&self, command: Command) {
        self.0.submit(std::iter::once(command));
    }

    fn submit_all(&self, commands: &mut Vec<Command>) {
        self.0.submit(commands.drain(..));
    }

    fn detach(&self, ending: Ending) {
        self.0.end(ending);
    }
}
