//! What connections and backends ask of a session once it exists.

use crate::{
    clock::Now,
    domain::{
        Audience, ConnectionId, DisconnectReason, Ending, Event, IdempotencyKey, Named, Recipients, Refusal,
        ResumeToken, SendId, Sequence, Signal,
    },
};

use super::{
    Session,
    effect::{Accepted, Effect, Handle, SendResult, ServerAccepted},
    member::Stream,
    refusals::{nobody_there, none_connected, not_connected, unknown_connection},
};

/// What a connection asks for. An attempt that broke a limit before it came
/// here, or that its role forbids, is a decision too: it is remembered, and its
/// repeat repeats it.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a signal; to everyone when there are no recipients.
    Send(SendId, Result<(Signal, Option<Recipients>), Refusal>),
    /// Disconnect another connection.
    Disconnect(SendId, Result<Named, Refusal>),
    /// Leave, after everything asked before.
    Leave,
}

/// What a backend asks for.
#[derive(Clone, Debug)]
pub struct ServerSend {
    /// The signal.
    pub signal: Signal,
    /// Whom it is for; everyone when unset.
    pub to: Option<Recipients>,
    /// What makes it safe to repeat.
    pub key: Option<IdempotencyKey>,
}

/// Where a signal goes: those in the session, and the names that aren't.
struct Resolved {
    audience: Audience,
    not_connected: Vec<Named>,
}

/// What came of a command, beside its effects: to be told in this order.
struct Done {
    result: Option<SendResult>,
    /// The stream that ends by it.
    release: Option<Effect>,
}

impl Session {
    /// Does what a connection asks for. Ignored when the stream isn't the
    /// connection's newest: its client has a newer one, and learns there what
    /// was decided.
    pub fn command(&mut self, now: Now, from: Handle, command: Command, effects: &mut Vec<Effect>) {
        let Some(joined) = self.attached(from) else { return };
        let Done { result, release } = self.take(now, joined, from.connection, command, effects);
        effects.extend(result.map(|result| Effect::Answer(from, result)));
        effects.extend(release);
    }

    /// Does what a connection asks for beside its stream, by the secret that resumes it;
    /// an interrupted one too. The outcome, unless it leaves: that is told here alone.
    ///
    /// # Errors
    /// `CONNECTION_NOT_FOUND`: no such connection, its window is over, or it isn't the
    /// secret; which, isn't said.
    pub fn command_beside(
        &mut self,
        now: Now,
        from: ConnectionId,
        token: &ResumeToken,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SendResult>, Refusal> {
        let joined = self.known(now, from, token).ok_or_else(unknown_connection)?;
        let Done { result, release } = self.take(now, joined, from, command, effects);
        effects.extend(release);
        Ok(result)
    }

    /// The member that knows this secret.
    fn known(&self, now: Now, connection: ConnectionId, token: &ResumeToken) -> Option<Sequence> {
        let joined = *self.index.get(&connection)?;
        let member = self.members.get(&joined)?;
        let is_over = matches!(member.stream, Stream::Detached(until) if until <= now.monotonic);
        (member.token == token.hash() && !is_over).then_some(joined)
    }

    fn take(
        &mut self,
        now: Now,
        joined: Sequence,
        from: ConnectionId,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Done {
        let decided = |send_id, outcome| Done { result: Some(SendResult { send_id, outcome }), release: None };
        match command {
            Command::Leave => {
                let release = self.release(joined, Ending::Left);
                self.destroy(now, joined, DisconnectReason::ClientDisconnected, effects);
                Done { result: None, release }
            }
            Command::Send(send_id, attempt) => {
                let outcome = match self.decided(joined, send_id) {
                    Some(outcome) => outcome,
                    None => {
                        let outcome = self.signal(now, joined, from, attempt, effects);
                        self.decide(joined, send_id, outcome)
                    }
                };
                decided(send_id, outcome)
            }
            Command::Disconnect(send_id, attempt) => {
                if let Some(outcome) = self.decided(joined, send_id) {
                    return decided(send_id, outcome);
                }
                let (outcome, release) = match self.disconnect(now, attempt, effects) {
                    Ok((accepted, release)) => (Ok(accepted), release),
                    Err(refusal) => (Err(refusal), None),
                };
                let outcome = self.decide(joined, send_id, outcome);
                // The answer goes before the release: somebody may have
                // disconnected itself.
                Done { release, ..decided(send_id, outcome) }
            }
        }
    }

    /// The release of a member's stream, if it has one.
    fn release(&self, joined: Sequence, ending: Ending) -> Option<Effect> {
        let member = self.members.get(&joined)?;
        let handle = Handle { connection: member.info.id, generation: member.generation };
        member.is_attached().then_some(Effect::Release(handle, ending, false))
    }

    /// Takes a signal from a backend.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`; `CONNECTION_NOT_FOUND` when none of the recipients
    /// is in the session.
    pub fn send_from_server(
        &mut self,
        now: Now,
        send: ServerSend,
        effects: &mut Vec<Effect>,
    ) -> Result<ServerAccepted, Refusal> {
        self.responses.tick(now.monotonic);
        if let Some(first) = send.key.as_ref().and_then(|key| self.responses.get(key)) {
            return Ok(first.clone());
        }
        self.exists()?;
        let Resolved { audience, not_connected } = self.resolve(send.to)?;
        let recipient_count = self.count(&audience, &send.signal);
        let sequence = self.append(now, Event::Signal { from: None, audience, signal: send.signal }, effects);
        let response = ServerAccepted { sequence, not_connected, recipient_count };
        if let Some(key) = send.key {
            self.responses.remember(key, response.clone(), now.monotonic);
        }
        Ok(response)
    }

    /// Disconnects a connection for a backend.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `CONNECTION_NOT_FOUND`.
    pub fn disconnect_from_server(
        &mut self,
        now: Now,
        connection: &Named,
        effects: &mut Vec<Effect>,
    ) -> Result<Sequence, Refusal> {
        self.exists()?;
        let (sequence, release) = self.force_disconnect(now, connection, effects)?;
        effects.extend(release);
        Ok(sequence)
    }

    /// Whether anybody is in the session.
    fn exists(&self) -> Result<(), Refusal> {
        if self.members.is_empty() {
            return Err(nobody_there());
        }
        Ok(())
    }

    /// What has been decided about a send already.
    fn decided(&self, joined: Sequence, send_id: SendId) -> Option<Result<Accepted, Refusal>> {
        self.members.get(&joined)?.ledger.decided(send_id)
    }

    /// Remembers a decision. The member may be gone by it.
    fn decide(
        &mut self,
        joined: Sequence,
        send_id: SendId,
        outcome: Result<Accepted, Refusal>,
    ) -> Result<Accepted, Refusal> {
        if let Some(member) = self.members.get_mut(&joined) {
            let before = member.ledger.held();
            member.ledger.decide(send_id, &outcome, self.is_frugal);
            self.outcomes_held = self.outcomes_held - before + member.ledger.held();
        }
        outcome
    }

    fn signal(
        &mut self,
        now: Now,
        joined: Sequence,
        from: ConnectionId,
        attempt: Result<(Signal, Option<Recipients>), Refusal>,
        effects: &mut Vec<Effect>,
    ) -> Result<Accepted, Refusal> {
        let Some(member) = self.members.get_mut(&joined) else { return Err(nobody_there()) };
        let (signal, to) = attempt?;
        member.bucket.take(now.monotonic, &self.limits)?;
        let Resolved { audience, not_connected } = self.resolve(to)?;
        let sequence = self.append(now, Event::Signal { from: Some(from), audience, signal }, effects);
        Ok(Accepted { sequence, not_connected })
    }

    fn disconnect(
        &mut self,
        now: Now,
        attempt: Result<Named, Refusal>,
        effects: &mut Vec<Effect>,
    ) -> Result<(Accepted, Option<Effect>), Refusal> {
        let (sequence, release) = self.force_disconnect(now, &attempt?, effects)?;
        Ok((Accepted { sequence, not_connected: Vec::new() }, release))
    }

    /// Destroys a connection; the release of its stream, if it has one, is
    /// handed back so that it can be the last effect.
    fn force_disconnect(
        &mut self,
        now: Now,
        connection: &Named,
        effects: &mut Vec<Effect>,
    ) -> Result<(Sequence, Option<Effect>), Refusal> {
        let joined = match connection {
            Named::Id(id) => self.index.get(id).copied(),
            Named::Other(_) => None,
        };
        let found = joined.and_then(|joined| {
            let release = self.release(joined, Ending::ForceDisconnected);
            let sequence = self.destroy(now, joined, DisconnectReason::ForceDisconnected, effects)?;
            Some((sequence, release))
        });
        found.ok_or_else(not_connected)
    }

    /// Finds the recipients.
    fn resolve(&self, to: Option<Recipients>) -> Result<Resolved, Refusal> {
        let Some(to) = to else {
            return Ok(Resolved { audience: Audience::Everyone, not_connected: Vec::new() });
        };
        let mut connected = Vec::with_capacity(to.named().len());
        let mut not_connected = Vec::new();
        for named in to.named() {
            match named {
                Named::Id(id) if self.index.contains_key(id) => connected.push(*id),
                absent => not_connected.push(absent.clone()),
            }
        }
        if connected.is_empty() {
            return Err(none_connected(not_connected.len()));
        }
        Ok(Resolved { audience: Audience::only(connected), not_connected })
    }

    /// How many connections get a server signal.
    fn count(&self, audience: &Audience, signal: &Signal) -> usize {
        match audience {
            Audience::Everyone if self.filtering == 0 => self.members.len(),
            Audience::Everyone => {
                self.members.values().filter(|member| member.view.signal_types.admit(signal.kind())).count()
            }
            Audience::Only(ids) => ids
                .iter()
                .filter_map(|id| self.members.get(self.index.get(id)?))
                .filter(|member| member.view.signal_types.admit(signal.kind()))
                .count(),
        }
    }
}
