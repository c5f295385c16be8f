//! What is to be sent, what is on its way, and what becomes of it.

use std::collections::VecDeque;

use crate::{
    client::{SendError, Signal},
    proto::{self, JoinRequest, join_request::Frame},
};

/// Something to send that has one outcome.
#[derive(Clone, Debug)]
pub(in crate::client) enum Wanted {
    Signal(Signal),
    /// Disconnects this connection. Waits for a reconnect like a signal.
    Disconnect(String),
}

impl Wanted {
    fn retry(&self) -> bool {
        match self {
            Self::Signal(signal) => signal.retry,
            Self::Disconnect(_) => true,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Signal(signal) => signal.bytes(),
            Self::Disconnect(connection_id) => connection_id.len(),
        }
    }

    fn frame(&self, send_id: u64) -> JoinRequest {
        let frame = match self {
            Self::Signal(Signal { signal, to, .. }) => {
                Frame::Send(proto::SendSignal { send_id, signal: Some(signal.clone()), to: to.clone() })
            }
            Self::Disconnect(connection_id) => {
                Frame::Disconnect(proto::DisconnectConnection { send_id, connection_id: connection_id.clone() })
            }
        };
        JoinRequest { frame: Some(frame) }
    }
}

struct Waiting<T> {
    wanted: Wanted,
    bytes: usize,
    ticket: T,
}

struct Unresolved<T> {
    send_id: u64,
    wanted: Wanted,
    ticket: T,
    /// Whether it must be sent (again).
    due: bool,
}

/// The sends of one client, in their order. `T` is whom to tell the outcome.
pub(super) struct Sends<T> {
    /// Not sent on the present connection.
    waiting: VecDeque<Waiting<T>>,
    waiting_bytes: usize,
    /// Sent, or due to be sent again; by ascending id, those due last.
    unresolved: VecDeque<Unresolved<T>>,
    last_id: u64,
    limits: (usize, usize),
}

impl<T> Sends<T> {
    pub(super) fn new(limits: (usize, usize)) -> Self {
        Self { waiting: VecDeque::new(), waiting_bytes: 0, unresolved: VecDeque::new(), last_id: 0, limits }
    }

    /// Puts one at the end; `at_once` when it is sent in the same breath.
    pub(super) fn push(&mut self, wanted: Wanted, ticket: T, at_once: bool) -> Result<(), (T, SendError)> {
        let bytes = wanted.bytes();
        let full = self.waiting.len() >= self.limits.0 || self.waiting_bytes + bytes > self.limits.1;
        if full && !at_once {
            let full =
                SendError::QueueFull { sends: self.waiting.len(), bytes: self.waiting_bytes, limits: self.limits };
            return Err((ticket, full));
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { wanted, bytes, ticket });
        Ok(())
    }

    /// How many are on their way.
    pub(super) fn unresolved(&self) -> usize {
        self.unresolved.len()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unresolved.is_empty()
    }

    /// What must be sent again, in order: it was allowed before.
    pub(super) fn again(&mut self) -> impl Iterator<Item = JoinRequest> {
        self.unresolved.iter_mut().filter(|send| send.due).map(|send| {
            send.due = false;
            send.wanted.frame(send.send_id)
        })
    }

    /// The next to be sent for the first time.
    pub(super) fn next(&mut self) -> Option<JoinRequest> {
        let Waiting { wanted, bytes, ticket } = self.waiting.pop_front()?;
        self.waiting_bytes -= bytes;
        self.last_id += 1;
        let frame = wanted.frame(self.last_id);
        self.unresolved.push_back(Unresolved { send_id: self.last_id, wanted, ticket, due: false });
        Some(frame)
    }

    /// Whom to tell an outcome; none when it was told before.
    pub(super) fn resolve(&mut self, send_id: u64) -> Option<T> {
        let at = self.unresolved.binary_search_by_key(&send_id, |send| send.send_id).ok()?;
        self.unresolved.remove(at).map(|send| send.ticket)
    }

    /// The stream is lost: those that are not to wait for the next.
    pub(super) fn lost(&mut self) -> Vec<T> {
        let (wait, fail): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|send| send.wanted.retry());
        self.waiting = wait.into();
        self.waiting_bytes = self.waiting.iter().map(|send| send.bytes).sum();
        fail.into_iter().map(|send| send.ticket).collect()
    }

    /// The connection is resumed and the server has decided up to `decided`:
    /// what is above must be sent again. After a loss of the stream those that
    /// are not to be sent later come back: they were not sent, for sure.
    pub(super) fn resumed(&mut self, decided: u64, lost: bool) -> Vec<T> {
        let (keep, fail): (Vec<_>, Vec<_>) =
            self.unresolved.drain(..).partition(|send| send.send_id <= decided || !lost || send.wanted.retry());
        self.unresolved = keep.into();
        for send in &mut self.unresolved {
            send.due = send.send_id > decided;
        }
        // An id that was never decided may still be used only upwards.
        self.last_id = self.last_id.max(decided);
        fail.into_iter().map(|send| send.ticket).collect()
    }

    /// The connection is another: what was on its way on the earlier one, whose
    /// outcome nobody will tell.
    pub(super) fn renewed(&mut self) -> Vec<T> {
        self.last_id = 0;
        self.unresolved.drain(..).map(|send| send.ticket).collect()
    }

    /// What was never sent, and won't be.
    pub(super) fn discard(&mut self) -> Vec<T> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).map(|send| send.ticket).collect()
    }
}
