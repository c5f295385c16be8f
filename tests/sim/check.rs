//! What everyone saw and was told, held against what really happened and what
//! is promised.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message as _;
use signalbox::{
    domain::{Audience, ConnectionId, DisconnectReason, Entry, Event, Limits},
    grpc::ENCODING,
    proto::{self, JoinOutcome, join_response::Event as Seen},
};

use super::record::{History, Life, Push, Stream, View};

/// The members of a session, and whether each is interrupted.
pub(crate) type Members = BTreeMap<ConnectionId, bool>;

/// What there is to check.
pub(crate) struct Case<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) lives: &'a [Life],
    pub(crate) histories: &'a [History],
    pub(crate) pushes: &'a [Push],
    /// In which life each connection was.
    pub(crate) homes: HashMap<ConnectionId, usize>,
    pub(crate) violations: Vec<String>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(limits: &'a Limits, lives: &'a [Life], histories: &'a [History], pushes: &'a [Push]) -> Self {
        let mut case = Self { limits, lives, histories, pushes, homes: HashMap::new(), violations: Vec::new() };
        for (at, life) in lives.iter().enumerate() {
            for entry in &life.order {
                if let Event::Created(info) = &entry.event
                    && case.homes.insert(info.id, at).is_some()
                {
                    case.violations.push(format!("the connection id {} was used twice", info.id));
                }
            }
        }
        case
    }

    /// Every promise broken.
    pub(crate) fn check(mut self) -> Vec<String> {
        for history in self.histories {
            self.streams(history);
        }
        self.epochs();
        self.windows();
        self.sends();
        self.pushes();
        self.violations
    }

    pub(crate) fn claim(&mut self, true_: bool, what: impl FnOnce() -> String) {
        if !true_ {
            self.violations.push(what());
        }
    }

    /// Who was in a session, just after the entry with this sequence.
    pub(crate) fn members(&self, life: usize, sequence: u64) -> Members {
        let mut members = Members::new();
        for entry in &self.lives[life].order[..sequence as usize] {
            match &entry.event {
                Event::Signal { .. } => {}
                Event::Created(info) => drop(members.insert(info.id, false)),
                Event::Destroyed(id, _) => drop(members.remove(id)),
                Event::Interrupted(id) => drop(members.insert(*id, true)),
                Event::Restored(id) => drop(members.insert(*id, false)),
            }
        }
        members
    }

    /// One order, nothing lost, nothing twice, and the same membership for
    /// everyone at each place.
    fn streams(&mut self, history: &History) {
        let name = &history.name;
        let mut view = Members::new();
        let mut newest: Option<(ConnectionId, u64)> = None;
        for stream in &history.streams {
            let Some(joined) = &stream.joined else { continue };
            let me = parse(&joined.connection.as_ref().expect("joined tells the connection").connection_id);
            let Some(&life) = self.homes.get(&me) else {
                self.violations.push(format!("{name}: nobody created {me}"));
                continue;
            };
            let order = &self.lives[life].order;
            if self.lives[life].session != history.session || stream.complete_to > order.len() as u64 {
                self.violations.push(format!("{name}: {} is not a place of its session", stream.complete_to));
                continue;
            }
            self.outcome(name, stream, joined, me, life);

            let due: Vec<Seen> = order[joined.sequence as usize..stream.complete_to as usize]
                .iter()
                .filter(|entry| is_entitled(&stream.view, me, entry))
                .map(on_the_wire)
                .collect();
            let same = due == stream.events;
            self.claim(same, || {
                let at = due.iter().zip(&stream.events).take_while(|(due, seen)| due == seen).count();
                let (saw, was_due) = (stream.events.get(at), due.get(at));
                format!("{name}, {me} after {}: event {at} was {saw:?} and should be {was_due:?}", joined.sequence)
            });

            if !stream.view.suppress_connection_events {
                if joined.outcome() != JoinOutcome::Resumed {
                    view = joined.connections.iter().map(member).collect();
                    self.membership(name, me, &view, life, joined.sequence);
                }
                stream.events.iter().for_each(|event| apply(&mut view, event));
                self.membership(name, me, &view, life, stream.complete_to);
            } else if joined.outcome() != JoinOutcome::Resumed {
                let alone = joined.connections.iter().map(|connection| parse(&connection.connection_id)).eq([me]);
                self.claim(alone, || format!("{name}: a snapshot of others, though their events are suppressed"));
            }
            if let Some((before, seen)) = newest
                && before == me
                && joined.outcome() == JoinOutcome::Resumed
            {
                self.claim(joined.sequence == seen, || format!("{name}: resumed at {}, not {seen}", joined.sequence));
            }
            newest = Some((me, stream.complete_to));
        }
        self.claim(history.rest.is_some(), || format!("{name} never came to rest"));
    }

    /// Whether a join may have gone as it went.
    fn outcome(&mut self, name: &str, stream: &Stream, joined: &proto::Joined, me: ConnectionId, life: usize) {
        let order = &self.lives[life].order;
        let place = joined.sequence;
        let claimed = stream.claim.as_ref().map(|claim| (claim, parse(&claim.connection_id)));
        let fits = |since: u64| {
            let missed = &order[since as usize..place as usize];
            let bytes = missed.iter().map(Entry::size).sum();
            !self.limits.exceeds(missed.len(), self.limits.log_events)
                && !self.limits.exceeds(bytes, self.limits.log_bytes)
        };
        let right = match (joined.outcome(), claimed) {
            (JoinOutcome::New, claimed) => {
                let created = matches!(&order[place as usize - 1].event, Event::Created(info) if info.id == me);
                // Only if there is nothing to resume any more.
                created && claimed.is_none_or(|(_, before)| self.is_over(before, life, place))
            }
            (JoinOutcome::Resumed, Some((claim, before))) => {
                before == me
                    && claim.epoch == joined.epoch
                    && claim.last_sequence == place
                    && joined.connections.is_empty()
            }
            // Only if the log could not reach back.
            (JoinOutcome::ResumedWithGap, Some((claim, before))) => before == me && !fits(claim.last_sequence),
            _ => false,
        };
        self.claim(right, || format!("{name}: {joined:?} is no answer to {:?}", stream.claim));
    }

    /// Whether a connection was gone by a place in a life.
    fn is_over(&self, connection: ConnectionId, life: usize, place: u64) -> bool {
        let Some(&home) = self.homes.get(&connection) else { return false };
        let by = if home == life { place as usize } else { self.lives[home].order.len() };
        let gone = |entry: &Entry| matches!(entry.event, Event::Destroyed(id, _) if id == connection);
        self.lives[home].house != self.lives[life].house || self.lives[home].order[..by].iter().any(gone)
    }

    fn membership(&mut self, name: &str, me: ConnectionId, view: &Members, life: usize, place: u64) {
        // A connection isn't told of itself; it is there.
        let others = |members: &Members| members.clone().into_iter().filter(|(id, _)| *id != me).collect::<Members>();
        let is = others(&self.members(life, place));
        let seen = others(view);
        self.claim(seen == is, || format!("{name}, {me} at {place}: sees {seen:?}, and there are {is:?}"));
    }

    /// Each life of a session has an epoch of its own, above the earlier ones.
    fn epochs(&mut self) {
        let mut epochs: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for joined in self.histories.iter().flat_map(|history| &history.streams).filter_map(|s| s.joined.as_ref()) {
            let me = parse(&joined.connection.as_ref().expect("joined tells the connection").connection_id);
            if let Some(life) = self.homes.get(&me) {
                epochs.entry(*life).or_default().insert(joined.epoch);
            }
        }
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (life, of) in epochs {
            let session = self.lives[life].session.as_str();
            let above = of.len() == 1 && of.first() > last.get(session);
            last.extend(of.last().map(|epoch| (session, *epoch)));
            self.claim(above, || format!("the epochs {of:?} of life {life} of {session}"));
        }
    }

    /// Interrupted connections are waited for as long as was granted.
    fn windows(&mut self) {
        let granted: HashMap<ConnectionId, u64> = self
            .histories
            .iter()
            .flat_map(|history| &history.streams)
            .filter_map(|stream| stream.joined.as_ref())
            .map(|joined| {
                let id = &joined.connection.as_ref().expect("joined tells the connection").connection_id;
                (parse(id), joined.resume_window.as_ref().map_or(0, |window| window.seconds.cast_unsigned()))
            })
            .collect();
        for life in self.lives {
            let mut interrupted = HashMap::new();
            for entry in &life.order {
                match &entry.event {
                    Event::Interrupted(id) => drop(interrupted.insert(*id, entry.at)),
                    Event::Restored(id) => drop(interrupted.remove(id)),
                    Event::Destroyed(id, DisconnectReason::NetworkDisconnected) => {
                        let Some(window) = granted.get(id) else { continue };
                        let waited = interrupted
                            .remove(id)
                            .map_or(0, |since| entry.at.duration_since(since).expect("time goes on").as_millis());
                        // A timer of the runtime fires up to a millisecond late.
                        let right = (u128::from(window * 1_000)..=u128::from(window * 1_000 + 2)).contains(&waited);
                        self.claim(right, || format!("{id} was waited for {waited} ms, not {window} s"));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What a client sees of an entry.
pub(crate) fn on_the_wire(entry: &Entry) -> Seen {
    let frame = (ENCODING.entry)(entry);
    proto::JoinResponse::decode(&frame[5..]).expect("a JoinResponse").event.expect("an event")
}

/// Whether the contract entitles a connection to an event.
fn is_entitled(view: &View, me: ConnectionId, entry: &Entry) -> bool {
    match &entry.event {
        Event::Signal { from, audience, signal } => {
            let addressed = match audience {
                Audience::Everyone => true,
                Audience::Only(ids) => ids.contains(&me),
            };
            let wanted = view.types.is_empty() || view.types.iter().any(|kind| kind == signal.kind().as_str());
            addressed && wanted && !(view.suppress_own_signals && *from == Some(me))
        }
        Event::Created(info) => !view.suppress_connection_events && info.id != me,
        Event::Destroyed(id, _) | Event::Interrupted(id) | Event::Restored(id) => {
            !view.suppress_connection_events && *id != me
        }
    }
}

fn member(connection: &proto::Connection) -> (ConnectionId, bool) {
    (parse(&connection.connection_id), connection.state() == proto::ConnectionState::Interrupted)
}

fn apply(view: &mut Members, event: &Seen) {
    match event {
        Seen::ConnectionCreated(created) => view.extend(created.connection.iter().map(member)),
        Seen::ConnectionDestroyed(destroyed) => drop(view.remove(&parse(&destroyed.connection_id))),
        Seen::ConnectionInterrupted(interrupted) => drop(view.insert(parse(&interrupted.connection_id), true)),
        Seen::ConnectionRestored(restored) => drop(view.insert(parse(&restored.connection_id), false)),
        _ => {}
    }
}

pub(crate) fn parse(id: &str) -> ConnectionId {
    ConnectionId::parse(id).expect("a connection id")
}
