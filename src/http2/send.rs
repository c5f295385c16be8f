//! What this side says.

use super::{
    Connection, Error, ErrorCode, StreamId,
    connection::Phase,
    frame::{self, FRAME_BYTES, FrameHead, flag, kind},
    window,
};

/// What keepalive pings carry, to tell them from the others.
pub(super) const PING: [u8; 8] = *b"keepaliv";

/// Its answer says that no stream is under way that the peer opened before it
/// knew.
pub(super) const SHUT_DOWN_PING: [u8; 8] = *b"shutdown";

/// Larger DATA frames than this save nothing and hold up the other streams.
const MAX_FRAME_BYTES: usize = 65_536;

/// A table size of 0. Source: RFC 7541, section 6.3.
const NO_TABLE: u8 = 0x20;

impl<S> Connection<S> {
    /// Bytes of a stream's data were dealt with, and the peer may send as many
    /// more. Also for streams that are gone: the window of the connection
    /// counts all.
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        self.refund_connection(bytes);
        self.refund_stream(stream, bytes);
    }

    pub(super) fn refund_connection(&mut self, bytes: usize) {
        if let Some(bytes) = self.inbound.refund(bytes, self.settings.connection_window) {
            frame::write_window_update(0, bytes, &mut self.output);
        }
    }

    pub(super) fn refund_stream(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.request_ended) else { return };
        if let Some(bytes) = stream.inbound.refund(bytes, self.settings.stream_window) {
            frame::write_window_update(id, bytes, &mut self.output);
        }
    }

    /// Sends headers, or trailers. `block` is made by [`hpack::encode`](super::hpack::encode);
    /// with `end` nothing follows on this side. Nothing happens where the stream is gone.
    pub fn send_headers(&mut self, stream: StreamId, block: &[u8], end: bool) {
        let Some(open) = self.streams.get_mut(stream).filter(|stream| !stream.answer_ended) else { return };
        if !open.answered {
            open.answered = true;
            self.guard.answered();
        }
        open.answer_ended = end;
        self.write_block(stream, block, end);
    }

    pub(super) fn write_block(&mut self, stream: StreamId, block: &[u8], end: bool) {
        let update: &[u8] = if self.peer.shrank_table { &[NO_TABLE] } else { &[] };
        if self.peer.shrank_table {
            self.peer.shrank_table = false;
            self.peer.uses_no_table = true;
        }
        let (first, mut rest) = block.split_at(block.len().min(FRAME_BYTES - update.len()));
        let end_stream = if end { flag::END_STREAM } else { 0 };
        let end_headers = |rest: &[u8]| if rest.is_empty() { flag::END_HEADERS } else { 0 };
        let length = update.len() + first.len();
        FrameHead::new(length, kind::HEADERS, end_stream | end_headers(rest), stream).write(&mut self.output);
        self.output.copy(update);
        self.output.copy(first);
        while !rest.is_empty() {
            let next;
            (next, rest) = rest.split_at(rest.len().min(FRAME_BYTES));
            FrameHead::new(next.len(), kind::CONTINUATION, end_headers(rest), stream).write(&mut self.output);
            self.output.copy(next);
        }
    }

    /// How many bytes of DATA may be sent now; 0 where the stream is gone.
    pub fn capacity(&self, stream: StreamId) -> usize {
        match self.streams.get(stream) {
            Some(stream) if !stream.answer_ended => stream.outbound.left().min(self.outbound.left()),
            _ => 0,
        }
    }

    /// How many bytes a DATA frame may carry: from 16,384 to 65,536.
    pub fn max_frame(&self) -> usize {
        (self.peer.max_frame as usize).min(MAX_FRAME_BYTES)
    }

    /// Begins a DATA frame of `len` bytes, not more than [`capacity`](Self::capacity)
    /// and [`max_frame`](Self::max_frame). Exactly as many must follow in the output. One
    /// of nothing may be sent whatever the capacity is; where the stream is
    /// gone nothing happens.
    pub fn begin_data(&mut self, stream: StreamId, len: usize, end: bool) {
        debug_assert!(len == 0 || len <= self.capacity(stream), "more data than the window");
        debug_assert!(len <= self.max_frame(), "more data than a frame carries");
        match self.streams.get_mut(stream) {
            Some(open) if !open.answer_ended => {
                open.outbound.take(len);
                open.answer_ended = end;
            }
            _ if len == 0 => return,
            _ => {}
        }
        self.outbound.take(len);
        self.guard.useful();
        let flags = if end { flag::END_STREAM } else { 0 };
        FrameHead::new(len, kind::DATA, flags, stream).write(&mut self.output);
    }

    /// Resets a stream and forgets it. What the user kept of it.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) -> Option<S> {
        self.remove_early(stream, code).flatten()
    }

    /// Forgets a stream after this side was ended. What the user kept of it.
    ///
    /// Where the request isn't at its end, the peer is told that the rest of it
    /// isn't needed. Source: RFC 9113, section 8.1.
    pub fn finish(&mut self, stream: StreamId) -> Option<S> {
        let open = self.streams.get(stream)?;
        debug_assert!(open.answer_ended, "a stream is finished before its answer");
        if !open.answer_ended {
            return self.reset(stream, ErrorCode::INTERNAL_ERROR);
        }
        if !open.request_ended {
            return self.reset(stream, ErrorCode::NO_ERROR);
        }
        self.streams.remove(stream)?.state
    }

    /// Asks for a sign of life; [`Event::Pong`](super::Event::Pong) is the answer.
    pub fn ping(&mut self) {
        self.pings = self.pings.saturating_add(1);
        frame::write_ping(PING, 0, &mut self.output);
    }

    /// Asks the peer to open no more streams. Those that are open go on, and
    /// so do those that it opens before it knows; later ones are refused.
    pub fn shut_down(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Asked;
            frame::write_go_away(window::MAX_BYTES, ErrorCode::NO_ERROR, "", &mut self.output);
            frame::write_ping(SHUT_DOWN_PING, 0, &mut self.output);
        }
    }

    pub(super) fn say_last(&mut self) {
        self.phase = Phase::Last(self.closed.last());
        frame::write_go_away(self.closed.last(), ErrorCode::NO_ERROR, "", &mut self.output);
    }

    /// Tells the peer why the connection ends, before it is closed.
    pub fn go_away(&mut self, error: &Error) {
        let last = match self.phase {
            Phase::Last(last) => last,
            Phase::Open | Phase::Asked => self.closed.last(),
        };
        self.phase = Phase::Last(last);
        frame::write_go_away(last, error.code, error.why, &mut self.output);
    }

    /// Whether [`shut_down`](Self::shut_down) or [`go_away`](Self::go_away) was called.
    pub fn is_shutting_down(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether a shutdown has come to its end: nothing is open, and nothing
    /// that the peer opens will be served. To be closed once the output is written.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Last(_)) && self.streams.len() == 0
    }
}
