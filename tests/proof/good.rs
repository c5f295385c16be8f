//! Made-up evidence with no violation in it: what an honest service and honest
//! clients leave behind, by seed. For the lies to be told about.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::history::{Entry, Evidence, History, Members, Outcome, Place, Record, Rest, State, Thing};

const CLIENTS: usize = 6;
const STEPS: usize = 400;

/// A thing in the order and whom it is for.
struct Happened {
    thing: Thing,
    to: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Out,
    Up,
    Down,
}

struct Client {
    history: History,
    line: Line,
    connection: String,
    epoch: u64,
    /// It has seen its part of the order up to here.
    seen: u64,
    /// Decided, and the answer was lost.
    unheard: Vec<(String, Outcome)>,
    /// Lost before they were decided.
    kept: Vec<(String, Option<Vec<String>>)>,
}

struct World {
    dice: StdRng,
    epoch: u64,
    order: Vec<Happened>,
    members: Members,
    clients: Vec<Client>,
    backend: History,
    counter: usize,
    /// Whether the first client never loses its line while a server runs.
    witness: bool,
}

/// Evidence of some clients that come, go, send, and lose their lines, over some
/// restarts of the server.
pub(crate) fn evidence(seed: u64) -> Evidence {
    play(seed, false)
}

/// The same with one among them who sees everything, so that a lie can't be the
/// truth about what nobody saw.
pub(crate) fn witnessed(seed: u64) -> Evidence {
    play(seed, true)
}

fn play(seed: u64, witness: bool) -> Evidence {
    let mut world = World {
        witness,
        dice: StdRng::seed_from_u64(seed),
        epoch: 1_000,
        order: Vec::new(),
        members: Members::new(),
        clients: Vec::new(),
        backend: History { name: "the backend".into(), ..History::default() },
        counter: 0,
    };
    world.fill_up();
    world.join(0);
    for _ in 0..STEPS {
        world.step();
        if witness {
            world.read(0, true);
        }
    }
    world.settle()
}

impl World {
    fn fill_up(&mut self) {
        while self.clients.iter().filter(|client| !client.is_over()).count() < CLIENTS {
            let name = format!("client {}", self.clients.len());
            self.clients.push(Client {
                history: History { name, records: Vec::new() },
                line: Line::Out,
                connection: String::new(),
                epoch: 0,
                seen: 0,
                unheard: Vec::new(),
                kept: Vec::new(),
            });
        }
    }

    fn stays(&self, at: usize) -> bool {
        self.witness && at == 0
    }

    fn number(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn newest(&self) -> u64 {
        self.order.len() as u64
    }

    /// Gives a thing its place.
    fn happens(&mut self, thing: Thing, to: Option<Vec<String>>) -> u64 {
        apply(&mut self.members, &thing);
        self.order.push(Happened { thing, to });
        self.newest()
    }

    fn step(&mut self) {
        let at = self.dice.random_range(0..self.clients.len());
        if self.clients[at].is_over() {
            return self.fill_up();
        }
        match (self.clients[at].line, self.dice.random_range(0..100)) {
            (Line::Up, 85..) if self.stays(at) => {}
            (_, 0) => self.restart(),
            (_, 1..8) => self.push(),
            (Line::Out, _) => self.join(at),
            (Line::Up, 8..45) => self.read(at, false),
            (Line::Up, 45..85) => self.send(at),
            (Line::Up, 85..97) => self.lose(at),
            (Line::Up, _) => self.leave(at),
            (Line::Down, 8..50) => self.resume(at),
            (Line::Down, 50..60) => self.send_nothing(at),
            (Line::Down, 60..68) => self.resume_with_gap(at),
            (Line::Down, 68..72) => self.window_over(at),
            (Line::Down, _) => {}
        }
    }

    fn restart(&mut self) {
        self.epoch += 1_000;
        self.order.clear();
        self.members.clear();
        for client in self.clients.iter_mut().filter(|client| client.line == Line::Up) {
            client.line = Line::Down;
            client.history.records.push(Record::Reconnecting);
        }
        if self.witness {
            self.resume(0);
        }
    }

    fn join(&mut self, at: usize) {
        let entry = self.enter(at);
        self.clients[at].history.records.push(Record::Joined(entry));
    }

    /// A new connection.
    fn enter(&mut self, at: usize) -> Entry {
        let connection = format!("c{}", self.number());
        let sequence = self.happens(Thing::Created(connection.clone()), None);
        let (place, members) = (Place::new(self.epoch, sequence), self.members.clone());
        let client = &mut self.clients[at];
        (client.line, client.epoch, client.seen) = (Line::Up, self.epoch, sequence);
        client.connection.clone_from(&connection);
        for (tag, _) in std::mem::take(&mut client.unheard) {
            client.decided(tag, Outcome::Unknown);
        }
        for (tag, _) in std::mem::take(&mut client.kept) {
            client.decided(tag, Outcome::Unknown);
        }
        Entry { place, connection, members }
    }

    /// Whom a client sees at the place that it has seen.
    fn view(&self, client: &Client) -> Members {
        let mut members = Members::new();
        self.order[..client.seen as usize].iter().for_each(|happened| apply(&mut members, &happened.thing));
        members.insert(client.connection.clone(), State::Connected);
        members
    }

    fn read(&mut self, at: usize, all: bool) {
        let newest = self.newest();
        let client = &mut self.clients[at];
        let to = if all { newest } else { self.dice.random_range(client.seen..=newest) };
        for sequence in client.seen + 1..=to {
            let Happened { thing, to } = &self.order[sequence as usize - 1];
            let due = match thing.subject() {
                Some(subject) => subject != client.connection,
                None => to.as_ref().is_none_or(|to| to.contains(&client.connection)),
            };
            if due {
                let place = Place::new(self.epoch, sequence);
                client.history.records.push(Record::Saw { place, thing: thing.clone() });
            }
        }
        client.seen = to;
    }

    /// Everyone, some, or some of whom not all are there.
    fn recipients(&mut self) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self.members.keys().cloned().collect();
        let dice = self.dice.random_range(0..10);
        if dice < 6 {
            return None;
        }
        while ids.len() > 2 {
            ids.swap_remove(self.dice.random_range(0..ids.len()));
        }
        if dice > 7 {
            ids.push("nobody".into());
        }
        if dice == 9 {
            ids.retain(|id| id == "nobody");
        }
        Some(ids).filter(|ids| !ids.is_empty())
    }

    /// What the server makes of a send.
    fn decide(&mut self, tag: &str, from: Option<String>, to: Option<Vec<String>>) -> Outcome {
        let is_there = |id: &&String| self.members.contains_key(*id);
        let absent: Vec<String> = to.iter().flatten().filter(|id| !is_there(id)).cloned().collect();
        if to.as_ref().is_some_and(|to| to.len() == absent.len()) {
            return Outcome::Refused { reason: "CONNECTION_NOT_FOUND".into() };
        }
        let sequence = self.happens(Thing::Signal { tag: tag.into(), from }, to);
        Outcome::Accepted { epoch: Some(self.epoch), sequence, not_connected: absent }
    }

    fn send(&mut self, at: usize) {
        let (tag, to, stays) = (format!("t{}", self.number()), self.recipients(), self.stays(at));
        let client = &mut self.clients[at];
        client.history.records.push(Record::Sent { tag: tag.clone(), to: to.clone() });
        if !stays && self.dice.random_bool(0.1) {
            client.kept.push((tag, to));
            return self.lose(at);
        }
        let from = Some(client.connection.clone());
        let outcome = self.decide(&tag, from, to);
        if !stays && self.dice.random_bool(0.1) {
            self.clients[at].unheard.push((tag, outcome));
            return self.lose(at);
        }
        self.clients[at].decided(tag, outcome);
    }

    /// What isn't to be sent after a resume.
    fn send_nothing(&mut self, at: usize) {
        let tag = format!("t{}", self.number());
        let client = &mut self.clients[at];
        client.history.records.push(Record::Sent { tag: tag.clone(), to: None });
        client.decided(tag, Outcome::NotSent);
    }

    /// A server signal.
    fn push(&mut self) {
        let (tag, to) = (format!("s{}", self.number()), self.recipients());
        self.backend.records.push(Record::Sent { tag: tag.clone(), to: to.clone() });
        let mut outcome = if self.members.is_empty() {
            Outcome::Refused { reason: "SESSION_NOT_FOUND".into() }
        } else {
            self.decide(&tag, None, to)
        };
        if let Outcome::Accepted { epoch, .. } = &mut outcome {
            *epoch = epoch.filter(|_| self.dice.random_bool(0.5));
        }
        self.backend.records.push(Record::Decided { tag, outcome });
    }

    fn lose(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.line = Line::Down;
        client.history.records.push(Record::Reconnecting);
        let id = client.connection.clone();
        self.happens(Thing::Interrupted(id), None);
    }

    fn leave(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.line = Line::Out;
        client.history.records.push(Record::Disconnected { reason: String::new() });
        let id = client.connection.clone();
        self.happens(Thing::Destroyed(id), None);
    }

    fn window_over(&mut self, at: usize) {
        let id = self.clients[at].connection.clone();
        if self.members.contains_key(&id) {
            self.happens(Thing::Destroyed(id), None);
        }
    }

    fn resume(&mut self, at: usize) {
        let client = &self.clients[at];
        let id = client.connection.clone();
        if !self.members.contains_key(&id) {
            let entry = self.enter(at);
            return self.clients[at].history.records.push(Record::Reconnected { gap: true, entry });
        }
        let place = Place::new(client.epoch, client.seen);
        let entry = Entry { place, connection: id.clone(), members: self.view(client) };
        self.clients[at].history.records.push(Record::Reconnected { gap: false, entry });
        self.restore(at, id);
        self.send_again(at);
    }

    fn resume_with_gap(&mut self, at: usize) {
        let id = self.clients[at].connection.clone();
        if !self.members.contains_key(&id) {
            return;
        }
        let sequence = self.restore(at, id.clone());
        let entry = Entry { place: Place::new(self.epoch, sequence), connection: id, members: self.members.clone() };
        let client = &mut self.clients[at];
        client.seen = sequence;
        client.history.records.push(Record::Reconnected { gap: true, entry });
        self.send_again(at);
    }

    fn restore(&mut self, at: usize, id: String) -> u64 {
        let client = &mut self.clients[at];
        client.line = Line::Up;
        for (tag, outcome) in std::mem::take(&mut client.unheard) {
            client.decided(tag, outcome);
        }
        self.happens(Thing::Restored(id), None)
    }

    fn send_again(&mut self, at: usize) {
        for (tag, to) in std::mem::take(&mut self.clients[at].kept) {
            let outcome = self.decide(&tag, Some(self.clients[at].connection.clone()), to);
            self.clients[at].decided(tag, outcome);
        }
    }

    /// Everyone comes back and sees everything.
    fn settle(mut self) -> Evidence {
        for at in 0..self.clients.len() {
            match self.clients[at].line {
                Line::Down => self.resume(at),
                Line::Out if !self.clients[at].is_over() => self.join(at),
                _ => {}
            }
        }
        self.push();
        for at in 0..self.clients.len() {
            if self.clients[at].line == Line::Up {
                self.read(at, true);
                let members = self.view(&self.clients[at]);
                self.clients[at].history.records.push(Record::AtRest { members });
            }
        }
        let histories = self.clients.into_iter().map(|client| client.history).chain([self.backend]).collect();
        Evidence { histories, rest: Ok(Rest { epoch: self.epoch, members: self.members }) }
    }
}

impl Client {
    fn is_over(&self) -> bool {
        matches!(self.history.records.last(), Some(Record::Disconnected { .. }))
    }

    fn decided(&mut self, tag: String, outcome: Outcome) {
        self.history.records.push(Record::Decided { tag, outcome });
    }
}

fn apply(members: &mut Members, thing: &Thing) {
    match thing {
        Thing::Signal { .. } => {}
        Thing::Created(id) | Thing::Restored(id) => drop(members.insert(id.clone(), State::Connected)),
        Thing::Interrupted(id) => drop(members.insert(id.clone(), State::Interrupted)),
        Thing::Destroyed(id) => drop(members.remove(id)),
    }
}
