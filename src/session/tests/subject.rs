//! What the histories are played on: the session, and whatever must be the same.

use super::super::{Admission, Command, Effect, Handle, Join, SendResult, ServerAccepted, ServerSend, Session};
use crate::{
    clock::Now,
    domain::{ConnectionId, Ending, Epoch, Named, Refusal, ResumeToken, Sequence},
};

/// A session, alone or with what must do the same.
pub(crate) trait Subject {
    fn join(&mut self, now: Now, epoch: Epoch, join: Join, effects: &mut Vec<Effect>) -> Result<Admission, Refusal>;
    fn command(&mut self, now: Now, from: Handle, command: Command, effects: &mut Vec<Effect>);
    fn command_beside(
        &mut self,
        now: Now,
        from: ConnectionId,
        token: &ResumeToken,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SendResult>, Refusal>;
    fn detach(&mut self, now: Now, handle: Handle, ending: Ending, effects: &mut Vec<Effect>);
    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>);
    fn send_from_server(
        &mut self,
        now: Now,
        send: ServerSend,
        effects: &mut Vec<Effect>,
    ) -> Result<ServerAccepted, Refusal>;
    fn disconnect_from_server(
        &mut self,
        now: Now,
        connection: &Named,
        effects: &mut Vec<Effect>,
    ) -> Result<Sequence, Refusal>;
    /// The session itself, to be looked at; what must be the same is held to it.
    fn look(&mut self, now: Now) -> &Session;
}

impl Subject for Session {
    fn join(&mut self, now: Now, epoch: Epoch, join: Join, effects: &mut Vec<Effect>) -> Result<Admission, Refusal> {
        Session::join(self, now, epoch, join, effects)
    }

    fn command(&mut self, now: Now, from: Handle, command: Command, effects: &mut Vec<Effect>) {
        Session::command(self, now, from, command, effects);
    }

    fn command_beside(
        &mut self,
        now: Now,
        from: ConnectionId,
        token: &ResumeToken,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SendResult>, Refusal> {
        Session::command_beside(self, now, from, token, command, effects)
    }

    fn detach(&mut self, now: Now, handle: Handle, ending: Ending, effects: &mut Vec<Effect>) {
        Session::detach(self, now, handle, ending, effects);
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        Session::tick(self, now, effects);
    }

    fn send_from_server(
        &mut self,
        now: Now,
        send: ServerSend,
        effects: &mut Vec<Effect>,
    ) -> Result<ServerAccepted, Refusal> {
        Session::send_from_server(self, now, send, effects)
    }

    fn disconnect_from_server(
        &mut self,
        now: Now,
        connection: &Named,
        effects: &mut Vec<Effect>,
    ) -> Result<Sequence, Refusal> {
        Session::disconnect_from_server(self, now, connection, effects)
    }

    fn look(&mut self, _: Now) -> &Session {
        self
    }
}
