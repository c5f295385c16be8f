//! The reading half of a transport's turn: what came, as far as it fits the turn and
//! the peer's pace.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{
    http2::Error,
    session::Command,
    telemetry::{Cap, audit},
};

use super::{Over, Phase, Rates, Scratch, Transport, WORK_PER_TURN, lane::HEAVY_BYTES};

/// What is read at once.
const READ_BYTES: usize = 64 * 1_024;
/// How often a turn reads: others want their turn.
const READS_PER_TURN: usize = 4;
/// How long a turn reads, when there is that much: the others' turn.
const TURN: Duration = Duration::from_micros(200);
/// After how many events it is looked how long that was.
const LOOK_EVENTS: usize = 8;
/// How many HTTP/2 frames a turn reads, whatever they are for.
const FRAMES_PER_TURN: u32 = 512;
/// How much a peer may leave unread before its requests are left unread, too.
const UNREAD_BYTES: usize = 1_048_576;
/// Who sends so much meanwhile doesn't listen.
const LINGER_BYTES: usize = 1_048_576;
/// What TLS begins with, before its version. Source: RFC 8446, 5.1.
const TLS_HANDSHAKE: u8 = 22;

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    /// Counts for its pace what was read.
    fn spend(&mut self, now: Instant, frames: u32) {
        let bytes = self.heard_bytes - std::mem::replace(&mut self.paid_bytes, self.heard_bytes);
        let messages = std::mem::take(&mut self.messages) + frames as usize;
        let rates = self.settings.rates;
        if let Some(until) = self.pace.spend(now, bytes, messages, rates) {
            if self.paced.is_none() {
                let who = self.peer.map_or_else(String::new, |peer| format!(" from {}", peer.0));
                let Rates { bytes, messages } = rates;
                let what = format_args!(
                    "a TCP connection{who} sends more than {bytes} bytes or {messages} messages a second; it is read later"
                );
                self.settings.services.hub.metrics().caps.hit(Cap::Pace, what);
            }
            self.paced = Some(until);
            self.is_set &= self.timer_at <= until;
        }
    }

    /// Reads what is there. Whether there is more to deal with in a next turn.
    pub(super) fn read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<bool, Over> {
        // Those of the turn before: what was read was read.
        let frames = self.http.allow(FRAMES_PER_TURN);
        if frames > 0 || self.heard_bytes != self.paid_bytes {
            self.spend(now, frames);
        }
        if let Some(until) = self.paced {
            if now < until {
                return Ok(false);
            }
            self.paced = None;
        }
        if let Some(stream) = self.backlogged.take() {
            self.on_data(context, stream, &[], false, &mut scratch.commands);
            self.submit(&mut scratch.commands);
        }
        if !self.leftover.is_empty() {
            let leftover = std::mem::take(&mut self.leftover);
            self.digest(context, &leftover, &mut scratch.commands, now);
        }
        if scratch.read.is_empty() {
            scratch.read.resize(READ_BYTES, 0);
        }
        let more = self.read_into(context, &mut scratch.read, &mut scratch.commands, now)?;
        self.note_midway(now);
        Ok(more)
    }

    fn read_into(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        commands: &mut Vec<Command>,
        now: Instant,
    ) -> Result<bool, Over> {
        for _ in 0..READS_PER_TURN {
            if self.is_full() {
                return Ok(false);
            }
            if !self.leftover.is_empty() || self.backlogged.is_some() {
                return Ok(true);
            }
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.io).poll_read(context, &mut read) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(Over),
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Err(Over),
                Poll::Ready(Ok(())) => {}
            }
            let length = read.filled().len();
            tracing::trace!(peer = ?self.peer, bytes = length, "read");
            self.heard_bytes = self.heard_bytes.saturating_add(length);
            self.heard_at = now;
            if length > HEAVY_BYTES {
                self.moves_much(now);
            }
            self.pinged_at = None;
            if self.phase == Phase::Serving {
                self.digest(context, &buffer[..length], commands, now);
                continue;
            }
            self.thrown_away += length;
            if self.thrown_away > LINGER_BYTES {
                return Err(Over);
            }
            // Nothing of it matters: the others' turn.
            return Ok(true);
        }
        Ok(true)
    }

    /// Whether the peer asks and doesn't read the answers.
    pub(super) fn is_full(&mut self) -> bool {
        self.http.output().len() > UNREAD_BYTES
    }

    /// Deals with what came, as far as it fits the turn.
    fn digest(&mut self, context: &mut Context<'_>, bytes: &[u8], commands: &mut Vec<Command>, now: Instant) {
        let mut input = bytes;
        let mut events = 0_usize;
        while self.work < WORK_PER_TURN && self.backlogged.is_none() {
            events += 1;
            if events.is_multiple_of(LOOK_EVENTS) && now.elapsed() > TURN {
                break;
            }
            match self.http.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => self.on_event(context, event, commands),
                Err(error) => {
                    self.explain(bytes);
                    self.fail(&error);
                    input = &[];
                    break;
                }
            }
        }
        self.submit(commands);
        if !input.is_empty() {
            self.leftover.extend_from_slice(input);
        }
    }

    /// The peer is told what is wrong with it, and that was it.
    pub(super) fn fail(&mut self, error: &Error) {
        tracing::debug!(peer = ?self.peer, code = ?error.code, why = %error.why, "connection error");
        self.http.go_away(error);
        self.phase = Phase::Closing;
        (self.leftover, self.backlogged) = (Vec::new(), None);
    }

    /// Says so when a client took the port for another's.
    fn explain(&self, bytes: &[u8]) {
        if let (true, [TLS_HANDSHAKE, 3, ..], Some(peer)) = (bytes.len() == self.heard_bytes, bytes, self.peer) {
            audit::mistaken(peer.0, "a client speaks TLS to this port, which is for plain text; it needs http");
        }
    }
}
