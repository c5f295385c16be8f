//! One member of the session, over and over: it joins, sends whatever the storm
//! does, and writes down what it did, was told and saw. By the Rust client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::client::{Accepted, Client, Connection, Event, Events, JoinOptions, SendError, Session, Signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    history::{Entry, Members, Outcome, Place, Record, Recorder, State, Thing},
    stage::{SESSION, Scene, Stage, Status, data, is_fence, pause, tag},
};

/// Who is there, in a history's words.
pub(crate) fn members(connections: &[Connection]) -> Members {
    let state = |connection: &Connection| if connection.interrupted { State::Interrupted } else { State::Connected };
    connections.iter().map(|connection| (connection.connection_id.clone(), state(connection))).collect()
}

/// An outcome, in a history's words.
fn outcome(told: Result<Accepted, SendError>) -> Outcome {
    match told {
        Ok(Accepted { epoch, sequence, not_connected_ids: not_connected, .. }) => {
            Outcome::Accepted { epoch: Some(epoch), sequence, not_connected }
        }
        Err(SendError::Refused(refusal)) => Outcome::Refused { reason: refusal.reason },
        Err(SendError::QueueFull { .. } | SendError::Disconnected | SendError::Over) => Outcome::NotSent,
        Err(_) => Outcome::Unknown,
    }
}

/// What came of a life.
enum Ended {
    /// Out of the session.
    Out,
    /// At rest, like everyone.
    Resting,
}

/// Lives in the session until the run is over. The first one is the witness: it
/// meets no faults but the servers' ends, so that it sees the whole order.
pub(crate) async fn live(stage: Arc<Stage>, number: usize) {
    let mut dice = StdRng::seed_from_u64(stage.seed.wrapping_mul(1_000).wrapping_add(number as u64));
    let client = if number == 0 { &stage.clean } else { &stage.faulty };
    for life in 0.. {
        stage.is(number, Status::Busy("joining"));
        let window = Duration::from_millis([0, 400, 1_500, 3_000, 3_000, 3_000, 5_000, 5_000][dice.random_range(0..8)]);
        let window = if number == 0 || stage.is_steady { Duration::from_secs(5) } else { window };
        let Some((session, events)) = join(&stage, client, window, &mut dice).await else { break };
        let recorder = stage.recorder(format!("{number}.{life}"));
        let life = Life {
            stage: &stage,
            number,
            prefix: format!("{number}.{life}."),
            dice: &mut dice,
            session,
            events,
            recorder,
            epoch: 0,
            count: 0,
            outcomes: FuturesUnordered::new(),
            calm: false,
        };
        if let Ended::Resting = life.run().await {
            break;
        }
    }
    stage.is(number, Status::Gone);
}

/// Gets in, however long it takes; but in a calm world nobody new comes.
async fn join(stage: &Stage, client: &Client, window: Duration, dice: &mut StdRng) -> Option<(Session, Events)> {
    while !stage.calm.is_cancelled() {
        let options = JoinOptions::new(SESSION).resume_window(window);
        match client.join(options).await {
            Ok(joined) => return Some(joined),
            Err(_) => sleep(pause(dice, 30)).await,
        }
    }
    None
}

/// From a join to the end of the session for this client.
struct Life<'a> {
    stage: &'a Stage,
    number: usize,
    prefix: String,
    dice: &'a mut StdRng,
    session: Session,
    events: Events,
    recorder: Recorder,
    epoch: u64,
    count: usize,
    outcomes: FuturesUnordered<BoxFuture<'static, (String, Result<Accepted, SendError>)>>,
    calm: bool,
}

impl Life<'_> {
    async fn run(mut self) -> Ended {
        let mut acts_at = Instant::now();
        self.is(Status::Busy("living"));
        loop {
            if self.calm {
                let settled = self.outcomes.is_empty();
                self.is(if settled { Status::Settled } else { Status::Busy("waiting for outcomes") });
            }
            tokio::select! {
                event = self.events.next() => {
                    let Some(event) = event else { break };
                    if let Some(fence) = self.saw(event)
                        && self.rests_at(fence).await
                    {
                        self.session.leave().await;
                        return Ended::Resting;
                    }
                }
                Some((tag, told)) = self.outcomes.next(), if !self.outcomes.is_empty() => self.decided(tag, told),
                () = sleep_until(acts_at), if !self.calm => {
                    self.act().await;
                    // The witness sees more than it says.
                    acts_at = Instant::now() + pause(self.dice, if self.number == 0 { 500 } else { 120 });
                }
                () = self.stage.calm.cancelled(), if !self.calm => self.calm = true,
            }
        }
        self.is(Status::Busy("over, waiting for outcomes"));
        while let Some((tag, told)) = self.outcomes.next().await {
            self.decided(tag, told);
        }
        Ended::Out
    }

    /// Whether this is where everyone rests; else there will be another fence.
    async fn rests_at(&mut self, fence: u64) -> bool {
        self.is(Status::Fenced(fence));
        let mut scene = self.stage.scene.subscribe();
        // The stage outlives its members.
        let Ok(next) = scene.wait_for(|scene| *scene > Scene::UpTo(fence)).await.map(|scene| *scene) else {
            return false;
        };
        if next == Scene::Rest {
            self.recorder.record(Record::AtRest { members: members(&self.session.connections()) });
        }
        next == Scene::Rest
    }

    fn is(&self, status: Status) {
        self.stage.is(self.number, status);
    }

    fn decided(&self, tag: String, told: Result<Accepted, SendError>) {
        self.recorder.record(Record::Decided { tag, outcome: outcome(told) });
    }

    async fn act(&mut self) {
        match self.dice.random_range(0..1_000) {
            0..20 if self.stage.is_steady => self.send(),
            0..6 if self.number > 0 => {
                self.is(Status::Busy("leaving"));
                self.session.leave().await;
            }
            6..10 if self.number > 0 => {
                self.is(Status::Busy("leaving now"));
                self.session.leave_now().await;
            }
            // Reads nothing for a time.
            10..20 if self.number > 0 => sleep(pause(self.dice, 600)).await,
            20..60 => (0..self.dice.random_range(2..20)).for_each(|_| self.send()),
            _ => self.send(),
        }
    }

    /// To everyone, to some, to some of whom not all need be there any more.
    fn send(&mut self) {
        self.count += 1;
        let tag = format!("{}{}", self.prefix, self.count);
        let to = match self.dice.random_range(0..10) {
            0..6 => None,
            6..9 => {
                let there = self.session.connections();
                let mut some = |_| there.get(self.dice.random_range(0..there.len().max(1)));
                let ids: BTreeMap<_, _> = (0..3).filter_map(&mut some).map(|one| (&one.connection_id, ())).collect();
                Some(ids.into_keys().cloned().collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
            }
            _ => Some((0..self.dice.random_range(1..4)).map(|_| self.stage.somebody(self.dice)).collect()),
        };
        let mut signal = Signal::new("", data(self.dice, &tag)).retry_after_reconnect(self.dice.random_bool(0.8));
        if let Some(to) = &to {
            signal = signal.to(to.clone());
        }
        self.recorder.record(Record::Sent { tag: tag.clone(), to });
        let told = self.session.signal(signal);
        self.outcomes.push(async move { (tag, told.await) }.boxed());
    }

    /// Writes an event down; tells the number of a fence.
    fn saw(&mut self, event: Event) -> Option<u64> {
        let mut fence = None;
        let record = match event {
            Event::Joined { connection, connections, epoch, sequence } => {
                Record::Joined(self.entry(&connection, &connections, epoch, sequence))
            }
            Event::Reconnected { gap, connection, connections, epoch, sequence } => {
                Record::Reconnected { gap, entry: self.entry(&connection, &connections, epoch, sequence) }
            }
            Event::ConnectionCreated { sequence, connection } => {
                self.stage.meet(&connection.connection_id);
                self.thing(sequence, Thing::Created(connection.connection_id))
            }
            Event::ConnectionDestroyed { sequence, connection_id, .. } => {
                self.thing(sequence, Thing::Destroyed(connection_id))
            }
            Event::ConnectionInterrupted { sequence, connection_id } => {
                self.thing(sequence, Thing::Interrupted(connection_id))
            }
            Event::ConnectionRestored { sequence, connection_id } => {
                self.thing(sequence, Thing::Restored(connection_id))
            }
            Event::Signal(signal) => {
                let tag = tag(&signal.data).to_owned();
                fence = is_fence(&tag);
                self.thing(signal.sequence, Thing::Signal { tag, from: signal.from })
            }
            Event::Reconnecting { .. } => Record::Reconnecting,
            Event::Disconnected { reason, .. } => Record::Disconnected { reason: reason.to_string() },
            other => Record::Disconnected { reason: format!("an event that nobody knows: {other:?}") },
        };
        self.recorder.record(record);
        fence
    }

    fn thing(&self, sequence: u64, thing: Thing) -> Record {
        Record::Saw { place: Place::new(self.epoch, sequence), thing }
    }

    fn entry(&mut self, connection: &Connection, connections: &[Connection], epoch: u64, sequence: u64) -> Entry {
        self.epoch = epoch;
        self.stage.meet(&connection.connection_id);
        let (place, connection) = (Place::new(epoch, sequence), connection.connection_id.clone());
        Entry { place, connection, members: members(connections) }
    }
}
