//! The reference: what the effects add up to, for the session and for each of
//! its clients. It knows nothing of how the session keeps its state.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    super::{Accepted, Effect, Facts, Generation, Handle, OUTCOMES_KEPT, ServerAccepted, View},
    history::{Via, Who, Whom, Wish},
    subject::Subject,
};
use crate::domain::{
    Audience, ConnectionId, ConnectionInfo, Entry, Epoch, Event, Limits, Refusal, ResumeToken, SendId, Sequence,
};

/// A connection, as everyone is told of it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) interrupted: bool,
}

/// A connection, as its client remembers it, with what it has asked for.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) token: ResumeToken,
    pub(super) joined: Sequence,
    pub(super) epoch: Epoch,
    /// Its streams, the newest last.
    pub(super) streams: Vec<Handle>,
    pub(super) window: Duration,
    /// What it wished, and after which place.
    pub(super) wishes: Vec<(Sequence, Wish)>,
    /// The place of its newest snapshot, or of its claim if that was earlier.
    pub(super) base: Sequence,
    pub(super) received: Vec<Arc<Entry>>,
    /// What was decided about its sends, for ever.
    pub(super) outcomes: BTreeMap<SendId, Result<Accepted, Refusal>>,
    pub(super) allowance: Allowance,
}

impl Client {
    pub(super) fn id(&self) -> ConnectionId {
        self.info.id
    }

    pub(super) fn last_send_id(&self) -> SendId {
        self.outcomes.last_key_value().map_or(0, |(id, _)| *id)
    }

    pub(super) fn last_sequence(&self) -> Sequence {
        self.received.last().map_or(self.base, |entry| entry.sequence)
    }

    /// Whether the contract entitles it to an event.
    pub(super) fn is_entitled_to(&self, entry: &Entry) -> bool {
        let me = self.info.id;
        let (_, wish) = self.wishes.iter().rfind(|(since, _)| *since < entry.sequence).expect("a wish in force");
        match &entry.event {
            Event::Signal { from, audience, signal } => {
                let addressed = match audience {
                    Audience::Everyone => true,
                    Audience::Only(ids) => ids.contains(&me),
                };
                let wanted = wish.kinds.is_empty() || wish.kinds.iter().any(|kind| *kind == signal.kind().as_str());
                addressed && wanted && !(wish.suppress_own_signals && *from == Some(me))
            }
            Event::Created(info) => info.id != me && !wish.suppress_connection_events,
            Event::Destroyed(id, _) | Event::Interrupted(id) | Event::Restored(id) => {
                *id != me && !wish.suppress_connection_events
            }
        }
    }
}

/// How many signals a client may send: a bucket of thousandths, filled by the
/// millisecond.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    level: u128,
    at: Duration,
}

impl Allowance {
    pub(super) fn full(limits: &Limits, now: Duration) -> Self {
        Self { level: u128::from(limits.signal_burst) * 1_000, at: now }
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&mut self, limits: &Limits, now: Duration) -> Result<(), Duration> {
        let rate = limits.signals_per_second;
        let filled = self.level + (now - self.at).as_millis() * u128::from(rate);
        self.level = filled.min(u128::from(limits.signal_burst) * 1_000);
        self.at = now;
        match self.level.checked_sub(1_000) {
            Some(left) => {
                self.level = left;
                Ok(())
            }
            None => Err(Duration::from_millis((1_000 - self.level) as u64) / rate),
        }
    }
}

/// What no stream is: of what is asked beside them.
pub(super) const NO_STREAM: Generation = 0;

/// A session, and everything that its effects add up to.
pub(super) struct World {
    pub(super) limits: Arc<Limits>,
    pub(super) session: Box<dyn Subject>,
    pub(super) now: Duration,
    /// The newest epoch given out.
    pub(super) epoch: Epoch,
    pub(super) alive: bool,
    pub(super) started_at: SystemTime,
    /// This life's whole order.
    pub(super) order: Vec<Arc<Entry>>,
    pub(super) peers: BTreeMap<Sequence, Peer>,
    pub(super) attached: BTreeMap<ConnectionId, (Handle, View)>,
    handles: HashSet<Handle>,
    pub(super) clients: Vec<Client>,
    /// When the interrupted must be back.
    pub(super) deadlines: BTreeMap<ConnectionId, Duration>,
    pub(super) responses: BTreeMap<u8, (Duration, ServerAccepted)>,
    /// How often each thing worth meeting was met.
    pub(super) tally: BTreeMap<&'static str, usize>,
}

impl World {
    pub(super) fn new(limits: Arc<Limits>, session: Box<dyn Subject>) -> Self {
        Self {
            session,
            limits,
            now: Duration::from_secs(1),
            epoch: 0,
            alive: false,
            started_at: SystemTime::UNIX_EPOCH,
            order: Vec::new(),
            peers: BTreeMap::new(),
            attached: BTreeMap::new(),
            handles: HashSet::new(),
            clients: Vec::new(),
            deadlines: BTreeMap::new(),
            responses: BTreeMap::new(),
            tally: BTreeMap::new(),
        }
    }

    pub(super) fn met(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(super) fn newest(&self) -> Sequence {
        self.order.len() as Sequence
    }

    pub(super) fn is_peer(&self, id: ConnectionId) -> bool {
        self.peers.values().any(|peer| peer.info.id == id)
    }

    /// Where in `clients` somebody is.
    pub(super) fn client(&self, who: Who) -> Option<usize> {
        let there: Vec<_> = (0..self.clients.len()).filter(|at| self.is_peer(self.clients[*at].id())).collect();
        match (who / 8).checked_rem(there.len()) {
            Some(at) if !who.is_multiple_of(8) => Some(there[at]),
            _ => who.checked_rem(self.clients.len()),
        }
    }

    pub(super) fn named(&self, whom: &Whom) -> String {
        match whom {
            Whom::Client(who) => self.client(*who).map_or("nobody yet".into(), |at| self.clients[at].id().to_string()),
            Whom::Stranger => super::id(u64::MAX).to_string(),
            Whom::Nonsense => "nobody".into(),
        }
    }

    /// The stream that a client acts on, and whether it is the one it has; beside all of
    /// them, none that there is, and whether that has an effect.
    pub(super) fn stream(&self, who: usize, via: Via) -> Option<(Handle, bool)> {
        let client = &self.clients[who];
        let handle = match via {
            Via::Newest => *client.streams.last()?,
            Via::Earlier => *client.streams.iter().nth_back(1)?,
            Via::Beside { is_right } => {
                let id = client.id();
                let is_there = self.is_peer(id) && self.deadlines.get(&id).is_none_or(|until| *until > self.now);
                return Some((Handle { connection: id, generation: NO_STREAM }, is_right && is_there));
            }
        };
        let current = self.attached.get(&client.id()).is_some_and(|(attached, _)| *attached == handle);
        Some((handle, current))
    }

    /// Adds effects up, in their order.
    pub(super) fn absorb(&mut self, effects: &[Effect]) {
        let mut released = Vec::new();
        for effect in effects {
            match effect {
                Effect::Started => {
                    assert!(!self.alive, "a session starts once");
                    self.alive = true;
                    self.started_at = super::at(self.now).wall;
                    self.order.clear();
                }
                Effect::Entry(entry) => self.append(entry),
                Effect::Attach(handle, view) => {
                    assert!(self.handles.insert(*handle), "every stream is another one");
                    let before = self.attached.insert(handle.connection, (*handle, view.clone()));
                    assert_eq!(before, None, "a connection has one stream");
                }
                Effect::Release(handle, _, resumable) => {
                    let (attached, _) = self.attached.remove(&handle.connection).expect("a stream to release");
                    assert_eq!(attached, *handle);
                    released.push((handle.connection, *resumable));
                    self.check_complete(handle.connection);
                }
                Effect::Answer(handle, result) => {
                    if handle.generation != NO_STREAM {
                        let (attached, _) = self.attached.get(&handle.connection).expect("a stream to answer on");
                        assert_eq!(attached, handle);
                    }
                    self.decided(handle.connection, result.send_id, &result.outcome);
                }
                Effect::Ended => {
                    assert!(self.alive && self.peers.is_empty());
                    self.alive = false;
                }
            }
        }
        for (connection, resumable) in released {
            assert_eq!(self.is_peer(connection), resumable, "a released stream knows whether its connection lives");
        }
        assert_eq!(self.alive, !self.peers.is_empty(), "a session lives as long as somebody is in it");
    }

    fn append(&mut self, entry: &Arc<Entry>) {
        assert!(self.alive, "events happen in a session that exists");
        assert_eq!(entry.sequence, self.newest() + 1, "one order, without holes");
        assert_eq!(entry.at, super::at(self.now).wall);
        match &entry.event {
            Event::Signal { from, audience, .. } => {
                assert!(from.is_none_or(|from| self.is_peer(from)), "the sender is there");
                let Audience::Only(ids) = audience else { return self.deliver(entry) };
                assert!(!ids.is_empty() && ids.iter().all(|id| self.is_peer(*id)), "the recipients are there");
            }
            Event::Created(info) => {
                assert!(!self.is_peer(info.id));
                self.peers.insert(entry.sequence, Peer { info: Arc::clone(info), interrupted: false });
            }
            Event::Destroyed(id, _) => {
                let joined = self.peers.iter().find(|(_, peer)| peer.info.id == *id).map(|(joined, _)| *joined);
                self.peers.remove(&joined.expect("who is destroyed was there"));
                self.deadlines.remove(id);
            }
            Event::Interrupted(id) => self.turn(*id, true),
            Event::Restored(id) => self.turn(*id, false),
        }
        self.deliver(entry);
    }

    fn turn(&mut self, id: ConnectionId, interrupted: bool) {
        let peer = self.peers.values_mut().find(|peer| peer.info.id == id).expect("it is there");
        assert_ne!(peer.interrupted, interrupted, "interrupted and restored take turns");
        peer.interrupted = interrupted;
    }

    /// What a node does with an event: the streams get what their views admit.
    fn deliver(&mut self, entry: &Arc<Entry>) {
        self.order.push(Arc::clone(entry));
        for client in &mut self.clients {
            let id = client.id();
            if self.attached.get(&id).is_some_and(|(_, view)| view.admits(entry, id)) {
                assert!(client.last_sequence() < entry.sequence, "in order, and nothing twice");
                client.received.push(Arc::clone(entry));
            }
        }
    }

    /// A send has one outcome, however often it is asked for.
    fn decided(&mut self, connection: ConnectionId, send_id: SendId, outcome: &Result<Accepted, Refusal>) {
        let client = self.clients.iter_mut().find(|client| client.id() == connection).expect("a client");
        if send_id > client.last_send_id() {
            client.outcomes.insert(send_id, outcome.clone());
        } else if let Some(first) = client.outcomes.get(&send_id) {
            assert_eq!(first, outcome, "a send is decided once");
        }
    }

    /// Nothing that a client is entitled to is missing, and nothing else came.
    pub(super) fn check_complete(&self, connection: ConnectionId) {
        let client = self.clients.iter().find(|client| client.id() == connection).expect("a client");
        let due = self.order[client.base as usize..].iter().filter(|entry| client.is_entitled_to(entry));
        assert!(
            client.received.iter().eq(due.clone()),
            "{connection} got {:?} after {}, and was entitled to {:?}",
            client.received,
            client.base,
            due.collect::<Vec<_>>()
        );
    }

    /// What the session says of itself is what its effects add up to.
    pub(super) fn check(&mut self) {
        let (newest, now) = (self.newest(), super::at(self.now));
        let session = self.session.look(now);
        let told: Vec<_> = session.connections(0).map(|(at, view)| (at, view.info, view.interrupted)).collect();
        let known: Vec<_> =
            self.peers.iter().map(|(at, peer)| (*at, Arc::clone(&peer.info), peer.interrupted)).collect();
        assert_eq!(told, known, "the membership");
        for (at, peer) in &self.peers {
            assert_eq!(self.attached.contains_key(&peer.info.id), !peer.interrupted, "a stream, or interrupted");
            assert_eq!(self.deadlines.contains_key(&peer.info.id), peer.interrupted, "interrupted, until a deadline");
            assert!(session.connections(*at).map(|(at, _)| at).eq(self.peers.range(at + 1..).map(|(at, _)| *at)));
        }
        let facts = self.alive.then_some(Facts {
            connections: self.peers.len(),
            interrupted: self.deadlines.len(),
            epoch: self.epoch,
            sequence: newest,
            created_at: self.started_at,
        });
        assert_eq!(session.facts(), facts);
        assert_eq!(session.is_forgettable(), !self.alive && self.responses.is_empty());
        let expiries = self.responses.values().map(|(until, _)| *until);
        assert_eq!(session.next_deadline(), self.deadlines.values().copied().chain(expiries).min());
        assert!(session.log.size().0 <= self.limits.log_events, "the log is bounded");
        assert!(self.peers.len() <= self.limits.max_connections_per_session, "the session is bounded");
        assert_eq!(session.index.len(), self.peers.len());
        for member in session.members.values() {
            assert!(member.ledger.after(0).len() <= OUTCOMES_KEPT, "a ledger is bounded");
        }
    }
}
