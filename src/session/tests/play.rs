//! What each step of a history must lead to, by the contract.

use std::sync::Arc;

use super::{
    super::{
        Admission, Command, ConnectionView, Effect, Handle, Join, KEYS_KEPT_FOR, Missed, Outcome, Resume, SendResult,
    },
    history::{Claim, Step, Via, Wish},
    model::{Allowance, Client, World},
};
use crate::domain::{ConnectionId, ConnectionInfo, DisconnectReason, Ending, Entry, Event, Reason, Role, Sequence};

impl World {
    pub(super) fn play(&mut self, step: Step) {
        match step {
            Step::Join { role, wish } => self.join(role, wish),
            Step::Resume { who, claim, lost, wish } => {
                let Some(who) = self.client(who) else { return };
                self.resume(who, claim, lost, wish);
            }
            Step::Send { who, via, id, to, kind, refused } => {
                let Some(who) = self.client(who) else { return };
                self.send(who, via, &id, to.as_deref(), kind, refused);
            }
            Step::Disconnect { who, via, id, whom, refused } => {
                let Some(who) = self.client(who) else { return };
                self.disconnect(who, via, &id, &whom, refused);
            }
            Step::Leave { who, via } => {
                let Some((handle, current)) = self.client(who).and_then(|who| self.stream(who, via)) else { return };
                let mut expected = Vec::new();
                if current {
                    expected.extend(self.destroyed(handle.connection, DisconnectReason::ClientDisconnected));
                    let stream = self.attached.get(&handle.connection);
                    expected.extend(stream.map(|(stream, _)| Effect::Release(*stream, Ending::Left, false)));
                }
                self.commanded(via, handle, Command::Leave, &expected);
            }
            Step::Detach { who, via, ending } => {
                let Some(who) = self.client(who) else { return };
                self.detach(who, via, ending);
            }
            Step::SendFromServer { to, kind, key } => self.send_from_server(to.as_deref(), kind, key),
            Step::DisconnectFromServer { whom } => self.disconnect_from_server(self.named(&whom)),
            Step::Clear => {
                while let Some(peer) = self.peers.values().next() {
                    self.disconnect_from_server(peer.info.id.to_string());
                }
            }
            Step::Pass { time, tick } => {
                self.now += time;
                if tick {
                    self.tick();
                }
            }
        }
        self.check();
    }

    /// Everyone's stream breaks and time passes: nothing stays behind.
    pub(super) fn end(mut self) {
        for who in 0..self.clients.len() {
            self.detach(who, Via::Newest, Ending::Broken);
            self.check();
        }
        self.now += self.limits.max_resume_window;
        self.tick();
        self.check();
        assert_eq!(self.session.look(super::at(self.now)).facts(), None);
        self.now += KEYS_KEPT_FOR;
        self.tick();
        let session = self.session.look(super::at(self.now));
        assert!(session.is_forgettable());
        assert_eq!(session.next_deadline(), None);
    }

    fn tick(&mut self) {
        let mut effects = Vec::new();
        self.session.tick(super::at(self.now), &mut effects);
        assert!(self.expire(&effects).is_empty(), "a tick does nothing else");
        let next = self.session.look(super::at(self.now)).next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "a tick leaves nothing behind");
    }

    /// Checks that the effects begin with the end of the windows that are
    /// over, and hands back the others.
    fn expire<'a>(&mut self, effects: &'a [Effect]) -> &'a [Effect] {
        let joined = |id| self.peers.iter().find(|(_, peer)| peer.info.id == id).map(|(joined, _)| *joined);
        let mut due: Vec<_> = self.deadlines.iter().filter(|(_, at)| **at <= self.now).collect();
        due.sort_by_key(|(id, at)| (**at, joined(**id)));
        let ids: Vec<_> = due.into_iter().map(|(id, _)| *id).collect();
        let mut done = 0;
        for id in ids {
            let expected = self.destroyed(id, DisconnectReason::NetworkDisconnected);
            assert_eq!(effects[done..done + expected.len()], expected);
            self.absorb(&expected);
            done += expected.len();
            self.met("a window over");
        }
        let now = self.now;
        self.responses.retain(|_, (until, _)| *until > now);
        &effects[done..]
    }

    pub(super) fn entry(&self, sequence: Sequence, event: Event) -> Effect {
        Effect::Entry(Arc::new(Entry { sequence, at: super::at(self.now).wall, event }))
    }

    /// The effects of a connection's end.
    pub(super) fn destroyed(&self, id: ConnectionId, reason: DisconnectReason) -> Vec<Effect> {
        let mut effects = vec![self.entry(self.newest() + 1, Event::Destroyed(id, reason))];
        if self.peers.len() == 1 {
            effects.push(Effect::Ended);
        }
        effects
    }

    fn snapshot(&self, me: ConnectionId, wish: &Wish) -> Vec<ConnectionView> {
        let all = self.peers.values().filter(|peer| !wish.suppress_connection_events || peer.info.id == me);
        all.map(|peer| ConnectionView { info: Arc::clone(&peer.info), interrupted: peer.interrupted }).collect()
    }

    fn join(&mut self, role: Role, wish: Wish) {
        let join = self.asking(role, &wish, None);
        self.enter(join, wish);
    }

    fn asking(&self, role: Role, wish: &Wish, resume: Option<Resume>) -> Join {
        let serial = self.clients.len() as u64;
        let (fresh_id, fresh_token) = (super::id(serial), super::token(serial));
        Join { data: serial.to_string(), role, window: wish.window, view: wish.view(), resume, fresh_id, fresh_token }
    }

    /// Somebody joins who isn't there, whatever it presents.
    fn enter(&mut self, join: Join, wish: Wish) {
        let (mut effects, now) = (Vec::new(), super::at(self.now));
        let admission = self.session.join(now, self.epoch + 1, join.clone(), &mut effects);
        let effects = self.expire(&effects);
        let most = self.limits.max_connections_per_session;
        if self.peers.len() == most {
            let refusal = admission.unwrap_err();
            assert_eq!(refusal.reason, Reason::SessionFull);
            assert!(refusal.message.contains(&format!("{most} connections; the limit is {most}")));
            assert_eq!(effects, []);
            return self.met("a full session");
        }
        let admission = admission.expect("there is room");
        let info = Arc::new(ConnectionInfo {
            id: join.fresh_id,
            created_at: now.wall,
            data: join.data.clone(),
            role: join.role,
        });
        let mut expected = Vec::new();
        let joined = if self.alive { self.newest() + 1 } else { 1 };
        if !self.alive {
            self.epoch += 1;
            expected.push(Effect::Started);
            self.met("a session started");
        }
        expected.push(self.entry(joined, Event::Created(Arc::clone(&info))));
        expected.push(Effect::Attach(admission.handle, wish.view()));
        assert_eq!(effects, expected);
        self.absorb(effects);
        let window = wish.window.min(self.limits.max_resume_window);
        let expected = Admission {
            handle: Handle { connection: info.id, ..admission.handle },
            outcome: Outcome::New,
            info: Arc::clone(&info),
            snapshot: self.snapshot(info.id, &wish),
            epoch: self.epoch,
            sequence: joined,
            token: join.fresh_token.clone(),
            window,
            last_send_id: 0,
            restated: Vec::new(),
            missed: Missed::default(),
        };
        assert_eq!(admission, expected);
        self.clients.push(Client {
            info,
            token: join.fresh_token,
            joined,
            epoch: self.epoch,
            streams: vec![admission.handle],
            window,
            wishes: vec![(joined, wish)],
            base: joined,
            received: Vec::new(),
            outcomes: Default::default(),
            allowance: Allowance::full(&self.limits, self.now),
        });
    }

    fn resume(&mut self, who: usize, claim: Claim, lost: usize, wish: Wish) {
        let client = &self.clients[who];
        let id = client.id();
        let last_sequence = client.received.iter().nth_back(lost).map_or(client.base, |entry| entry.sequence);
        let known = client.outcomes.keys().nth_back(lost).copied().unwrap_or(0);
        let mut resume = Resume {
            connection: Some(id),
            token: client.token.clone(),
            epoch: client.epoch,
            last_sequence,
            last_result_send_id: known,
        };
        let mut honoured = self.is_peer(id) && self.deadlines.get(&id).is_none_or(|until| *until > self.now);
        match claim {
            Claim::Right => {}
            Claim::WrongToken => (resume.token, honoured) = (super::token(u64::MAX), false),
            Claim::NoConnection => (resume.connection, honoured) = (None, false),
            Claim::OtherEpoch => resume.epoch += 1,
            Claim::Nothing => resume.last_sequence = 0,
            Claim::Future(by) => {
                // Windows that are over by now take their places first: what
                // comes after them is the future.
                let due = self.deadlines.values().filter(|until| **until <= self.now).count() as Sequence;
                resume.last_sequence = self.newest() + due + by;
            }
        }
        let role = self.clients[who].info.role;
        let join = self.asking(role, &wish, Some(resume.clone()));
        if !honoured {
            self.met("a resume not honoured");
            return self.enter(join, wish);
        }
        let mut effects = Vec::new();
        let admission = self.session.join(super::at(self.now), self.epoch + 1, join, &mut effects).expect("a resume");
        let effects = self.expire(&effects);
        let (newest, client) = (self.newest(), &self.clients[who]);
        let old = *client.streams.last().expect("a client has had a stream");
        // What the log holds of what came after the claim, or can't know.
        let since = resume.last_sequence.max(client.joined);
        let behind = newest.checked_sub(since);
        let reached =
            resume.epoch == self.epoch && behind.is_some_and(|behind| behind <= self.limits.log_events as u64);
        let taken_over = self.attached.contains_key(&id);
        let first = if taken_over {
            Effect::Release(old, Ending::TakenOver, true)
        } else {
            self.entry(newest + 1, Event::Restored(id))
        };
        assert_eq!(effects, [first, Effect::Attach(admission.handle, wish.view())]);
        self.absorb(effects);
        self.deadlines.remove(&id);

        let window = wish.window.min(self.limits.max_resume_window);
        let client = &mut self.clients[who];
        client.window = window;
        client.received.retain(|entry| entry.sequence <= since);
        client.wishes.retain(|(after, _)| *after < since);
        client.wishes.push((since, wish.clone()));
        client.streams.push(admission.handle);
        let restated = client.outcomes.range(known + 1..);
        let mut expected = Admission {
            handle: Handle { connection: id, ..admission.handle },
            outcome: Outcome::Resumed,
            info: Arc::clone(&client.info),
            snapshot: Vec::new(),
            epoch: self.epoch,
            sequence: since,
            token: client.token.clone(),
            window,
            last_send_id: client.last_send_id(),
            restated: restated.map(|(id, outcome)| SendResult { send_id: *id, outcome: outcome.clone() }).collect(),
            missed: Missed::default(),
        };
        if reached {
            let missed = self.order[since as usize..].iter().filter(|entry| client.is_entitled_to(entry));
            expected.missed = missed.cloned().collect();
            client.base = client.base.min(since);
            client.received.extend(admission.missed.iter());
        } else {
            (client.base, client.wishes) = (self.order.len() as Sequence, vec![(0, wish.clone())]);
            client.received.clear();
            expected.outcome = Outcome::ResumedWithGap;
            expected.sequence = client.base;
            expected.snapshot = self.snapshot(id, &wish);
        }
        assert_eq!(admission, expected);
        self.met(if taken_over { "a stream taken over" } else { "a connection restored" });
        self.met(if reached { "a resume" } else { "a gap" });
        self.met(if admission.missed.is_empty() { "nothing missed" } else { "events missed" });
        self.met(if admission.restated.is_empty() { "nothing restated" } else { "outcomes restated" });
    }
}
