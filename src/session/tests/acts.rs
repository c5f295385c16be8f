//! What each step of those inside must lead to, by the contract.

use super::{
    super::{Accepted, Command, Effect, Handle, KEYS_KEPT_FOR, SendResult, ServerAccepted, ServerSend},
    history::{Id, Via, Whom},
    model::World,
};
use crate::domain::{
    Audience, ConnectionId, DisconnectReason, Ending, Event, IdempotencyKey, Limits, Named, Reason, Recipients,
    Refusal, SendId, Sequence, Signal,
};

/// What becomes of an attempt; a refusal is known by its reason.
type Decision<T> = Result<T, Reason>;

impl World {
    /// Does a command, whose effects are known beforehand.
    pub(super) fn commanded(&mut self, via: Via, from: Handle, command: Command, expected: &[Effect]) {
        let effects = self.command(via, from, command);
        assert_eq!(effects, expected);
        self.absorb(&effects);
    }

    /// Does a command. What is answered beside the streams is told as on one: before the
    /// release of any.
    fn command(&mut self, via: Via, from: Handle, command: Command) -> Vec<Effect> {
        let (mut effects, now) = (Vec::new(), super::at(self.now));
        let Via::Beside { is_right } = via else {
            self.session.command(now, from, command, &mut effects);
            return effects;
        };
        let client = self.clients.iter().find(|client| client.id() == from.connection).expect("a client");
        let token = if is_right { client.token.clone() } else { super::token(u64::MAX) };
        match self.session.command_beside(now, from.connection, &token, command, &mut effects) {
            Ok(result) => {
                let at = effects.iter().position(|effect| matches!(effect, Effect::Release(..)));
                let answer = result.map(|result| Effect::Answer(from, result));
                effects.splice(at.unwrap_or(effects.len())..at.unwrap_or(effects.len()), answer);
                self.met(if self.attached.contains_key(&from.connection) { "beside" } else { "beside none" });
            }
            Err(refusal) => {
                assert_eq!((refusal.reason, effects.len()), (Reason::ConnectionNotFound, 0));
                self.met("not known beside");
            }
        }
        effects
    }

    pub(super) fn detach(&mut self, who: usize, via: Via, ending: Ending) {
        let Some((handle, current)) = self.stream(who, via) else { return };
        let (id, window) = (handle.connection, self.clients[who].window);
        let expected = if !current {
            self.met("a stream long gone");
            Vec::new()
        } else if window.is_zero() {
            let reason = match ending {
                Ending::SlowConsumer => DisconnectReason::SlowConsumer,
                _ => DisconnectReason::NetworkDisconnected,
            };
            let mut effects = vec![Effect::Release(handle, ending, false)];
            effects.extend(self.destroyed(id, reason));
            effects
        } else {
            let interrupted = self.entry(self.newest() + 1, Event::Interrupted(id));
            vec![Effect::Release(handle, ending, true), interrupted]
        };
        let mut effects = Vec::new();
        self.session.detach(super::at(self.now), handle, ending, &mut effects);
        assert_eq!(effects, expected);
        self.absorb(&effects);
        if current && !window.is_zero() {
            self.deadlines.insert(id, self.now + window);
        }
    }

    /// Somebody's number for an attempt, and what was decided about it before.
    fn numbered(&mut self, who: usize, id: &Id) -> (SendId, Option<Decision<()>>) {
        let client = &self.clients[who];
        let last = client.last_send_id();
        let send_id = match id {
            Id::Fresh(by) => last + by,
            Id::Backward(by) => (last + 1).saturating_sub(*by),
            Id::Zero => 0,
        };
        if send_id == 0 || send_id > last {
            return (send_id, None);
        }
        let known = client.outcomes.contains_key(&send_id);
        self.met(if known { "a repeat" } else { "a skipped id" });
        (send_id, Some(if known { Ok(()) } else { Err(Reason::SendIdInvalid) }))
    }

    /// Those named who are there, and the names of those who aren't.
    fn found(&self, names: &[String]) -> Decision<(Vec<ConnectionId>, Vec<Named>)> {
        let (mut there, mut not_connected) = (Vec::new(), Vec::new());
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                continue;
            }
            match self.peers.values().find(|peer| peer.info.id.to_string() == *name) {
                Some(peer) => there.push(peer.info.id),
                None => not_connected.push(Named::read(name.clone())),
            }
        }
        if there.is_empty() { Err(Reason::ConnectionNotFound) } else { Ok((there, not_connected)) }
    }

    fn addressed(&self, to: Option<&[Whom]>) -> (Option<Recipients>, Decision<(Audience, Vec<Named>)>) {
        let Some(to) = to else { return (None, Ok((Audience::Everyone, Vec::new()))) };
        let names: Vec<_> = to.iter().map(|whom| self.named(whom)).collect();
        let found = self.found(&names).map(|(there, not_connected)| (Audience::only(there), not_connected));
        (Some(Recipients::parse(names, &Limits::default()).expect("a few recipients")), found)
    }

    /// A signal unlike any other.
    fn fresh_signal(&self, kind: &str) -> Signal {
        super::signal(kind, &format!("after {} of {}", self.newest(), self.epoch))
    }

    pub(super) fn send(
        &mut self,
        who: usize,
        via: Via,
        id: &Id,
        to: Option<&[Whom]>,
        kind: &'static str,
        refused: bool,
    ) {
        let Some((handle, current)) = self.stream(who, via) else { return };
        let (send_id, before) = self.numbered(who, id);
        let signal = self.fresh_signal(kind);
        let (to, found) = self.addressed(to);
        let attempt = if refused { Err(broken()) } else { Ok((signal.clone(), to)) };
        let command = Command::Send(send_id, attempt);
        if !current {
            return self.commanded(via, handle, command, &[]);
        }
        if let Some(before) = before {
            return self.repeated(who, via, handle, send_id, before, command);
        }
        let (limits, now) = (self.limits.clone(), self.now);
        let client = &mut self.clients[who];
        let mut wait = None;
        let decision = if refused {
            Err(broken().reason)
        } else if let Err(needed) = client.allowance.take(&limits, now) {
            wait = Some(needed);
            Err(Reason::RateLimited)
        } else {
            found
        };
        match decision {
            Ok((audience, not_connected)) => {
                let sequence = self.newest() + 1;
                let event = Event::Signal { from: Some(handle.connection), audience, signal };
                let outcome = Ok(Accepted { sequence, not_connected });
                let answer = Effect::Answer(handle, SendResult { send_id, outcome });
                self.commanded(via, handle, command, &[self.entry(sequence, event), answer]);
                self.met("a signal sent");
            }
            Err(reason) => {
                let refusal = self.refused(via, handle, send_id, command);
                assert_eq!((refusal.reason, refusal.retry_after), (reason, wait));
            }
        }
    }

    /// Asks for something decided before: nothing happens but the same answer.
    fn repeated(
        &mut self,
        who: usize,
        via: Via,
        handle: Handle,
        send_id: SendId,
        before: Decision<()>,
        command: Command,
    ) {
        match before {
            Ok(()) => {
                let outcome = self.clients[who].outcomes[&send_id].clone();
                self.commanded(via, handle, command, &[Effect::Answer(handle, SendResult { send_id, outcome })]);
            }
            Err(reason) => assert_eq!(self.refused(via, handle, send_id, command).reason, reason),
        }
    }

    /// Asks for something that gets a refusal and has no other effect.
    fn refused(&mut self, via: Via, from: Handle, send_id: SendId, command: Command) -> Refusal {
        let effects = self.command(via, from, command);
        self.absorb(&effects);
        let [Effect::Answer(to, SendResult { send_id: about, outcome: Err(refusal) })] = effects.as_slice() else {
            panic!("not a refusal alone: {effects:?}");
        };
        assert_eq!((*to, *about), (from, send_id));
        self.met(refusal.reason.name());
        refusal.clone()
    }

    pub(super) fn disconnect(&mut self, who: usize, via: Via, id: &Id, whom: &Whom, refused: bool) {
        let Some((handle, current)) = self.stream(who, via) else { return };
        let (send_id, before) = self.numbered(who, id);
        let name = self.named(whom);
        let attempt = if refused { Err(broken()) } else { Ok(Named::read(name.clone())) };
        let command = Command::Disconnect(send_id, attempt);
        if !current {
            return self.commanded(via, handle, command, &[]);
        }
        if let Some(before) = before {
            return self.repeated(who, via, handle, send_id, before, command);
        }
        let decision = if refused { Err(broken().reason) } else { self.found(&[name]) };
        match decision {
            Ok((there, _)) => {
                let sequence = self.newest() + 1;
                let mut expected = self.destroyed(there[0], DisconnectReason::ForceDisconnected);
                let outcome = Ok(Accepted { sequence, not_connected: Vec::new() });
                expected.push(Effect::Answer(handle, SendResult { send_id, outcome }));
                expected.extend(self.thrown_out(there[0]));
                self.commanded(via, handle, command, &expected);
                self.met(if there[0] == handle.connection { "a self-disconnect" } else { "a disconnect" });
            }
            Err(reason) => assert_eq!(self.refused(via, handle, send_id, command).reason, reason),
        }
    }

    /// The end of a disconnected connection's stream, if it has one.
    fn thrown_out(&self, id: ConnectionId) -> Option<Effect> {
        self.attached.get(&id).map(|(handle, _)| Effect::Release(*handle, Ending::ForceDisconnected, false))
    }

    pub(super) fn disconnect_from_server(&mut self, name: String) {
        let mut expected = Vec::new();
        let decision: Decision<Sequence> = if !self.alive {
            Err(Reason::SessionNotFound)
        } else {
            self.found(std::slice::from_ref(&name)).map(|(there, _)| {
                expected = self.destroyed(there[0], DisconnectReason::ForceDisconnected);
                expected.extend(self.thrown_out(there[0]));
                self.newest() + 1
            })
        };
        let mut effects = Vec::new();
        let outcome = self.session.disconnect_from_server(super::at(self.now), &Named::read(name), &mut effects);
        assert_eq!(outcome.map_err(|refusal| refusal.reason), decision);
        assert_eq!(effects, expected);
        self.absorb(&effects);
    }

    pub(super) fn send_from_server(&mut self, to: Option<&[Whom]>, kind: &'static str, key: Option<u8>) {
        let signal = self.fresh_signal(kind);
        let (to, found) = self.addressed(to);
        let text = key.map_or(String::new(), |key| key.to_string());
        let send = ServerSend { signal: signal.clone(), to, key: IdempotencyKey::parse(&text).expect("a short key") };
        let now = self.now;
        self.responses.retain(|_, (until, _)| *until > now);
        let first = key.and_then(|key| self.responses.get(&key)).map(|(_, first)| first.clone());
        let mut expected = Vec::new();
        let decision = if let Some(first) = first.clone() {
            self.met(if self.alive { "a key repeated" } else { "a key repeated to nobody" });
            Ok(first)
        } else if !self.alive {
            Err(Reason::SessionNotFound)
        } else {
            found.map(|(audience, not_connected)| {
                let sequence = self.newest() + 1;
                let counted = |id| audience.contains(id) && self.wants(id, kind);
                let recipient_count = self.peers.values().filter(|peer| counted(peer.info.id)).count();
                expected.push(self.entry(sequence, Event::Signal { from: None, audience, signal }));
                ServerAccepted { sequence, not_connected, recipient_count }
            })
        };
        let mut effects = Vec::new();
        let outcome = self.session.send_from_server(super::at(self.now), send, &mut effects);
        assert_eq!(outcome.map_err(|refusal| refusal.reason), decision);
        assert_eq!(effects, expected);
        self.absorb(&effects);
        if let (Some(key), None, Ok(response)) = (key, first, decision) {
            self.responses.insert(key, (self.now + KEYS_KEPT_FOR, response));
        }
    }

    /// Whether somebody's filter, as it is now, lets signals of a type pass.
    fn wants(&self, id: ConnectionId, kind: &str) -> bool {
        let client = self.clients.iter().find(|client| client.id() == id).expect("a client");
        let (_, wish) = client.wishes.last().expect("a wish");
        wish.kinds.is_empty() || wish.kinds.contains(&kind)
    }
}

/// A limit broken before the session was asked.
fn broken() -> Refusal {
    Refusal::new(Reason::SignalDataTooLarge, "the data is too large").field("signal.data")
}
