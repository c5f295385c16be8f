//! The writing half of a transport's turn: what its streams have to send, in
//! as few frames and system calls as it takes.

use std::{
    io::{self, IoSlice},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    grpc::{outgoing::SHARED_OVER_BYTES, status},
    http2::{ErrorCode, StreamId},
    hub::Goodbye,
    telemetry::CallStatus,
};

use super::{
    Over, Scratch, Transport, block,
    join::Fill,
    lane::HEAVY_BYTES,
    routed::{Next, Piece},
    send::Answer,
    stream::Kind,
};

/// How much is made ready for the socket before it is written: what waits
/// beyond stays in the outboxes, where it counts.
const OUTPUT_BYTES: usize = 128 * 1_024;
/// How much a turn writes: the others' turn.
const WRITTEN_PER_TURN: usize = 256 * 1_024;
/// How many slices one system call writes.
const SLICES: usize = 64;

impl<I: AsyncRead + AsyncWrite + Unpin> Transport<I> {
    /// Sends what there is until the socket takes no more, or there is nothing
    /// left. Ready when everything is written.
    pub(super) fn write(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<Poll<()>, Over> {
        let mut wrote = 0;
        loop {
            let is_heavy = self.heavy_until.is_some();
            self.pump(&mut scratch.parts, now, if is_heavy { OUTPUT_BYTES } else { HEAVY_BYTES });
            wrote += self.http.output().len();
            if wrote > HEAVY_BYTES {
                self.moves_much(now);
            }
            match self.flush(context) {
                Poll::Ready(Ok(())) if self.dirty.is_empty() => return Ok(Poll::Ready(())),
                Poll::Ready(Ok(())) if wrote > if is_heavy { WRITTEN_PER_TURN } else { HEAVY_BYTES } => {
                    // The others' turn.
                    context.waker().wake_by_ref();
                    return Ok(Poll::Pending);
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Over),
                Poll::Pending => {
                    let mut due = None;
                    for id in self.dirty.iter() {
                        if let Some(Kind::Join(join)) = self.http.get_mut(id).map(|stream| &mut stream.kind) {
                            join.stall(now);
                            due = [due, join.due()].into_iter().flatten().min();
                        }
                    }
                    self.is_due(due);
                    return Ok(Poll::Pending);
                }
            }
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let output = self.http.output();
        while !output.is_empty() {
            let io = Pin::new(&mut self.io);
            let written = match output.only_slice() {
                Some(one) => ready!(io.poll_write(context, one)),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = output.slices(&mut slices);
                    ready!(io.poll_write_vectored(context, &slices[..count]))
                }
            }?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes ready what the streams have, each a frame in turn.
    fn pump(&mut self, parts: &mut Vec<Bytes>, now: Instant, most: usize) {
        while self.http.output().len() < most {
            let Some(id) = self.dirty.pop() else { return };
            if let Some(stream) = self.http.get_mut(id) {
                stream.is_dirty = false;
                if self.pump_one(id, parts, now) {
                    self.mark(id);
                }
            }
        }
    }

    /// Makes ready what one stream has. Whether it may have more that can be
    /// sent now.
    fn pump_one(&mut self, id: StreamId, parts: &mut Vec<Bytes>, now: Instant) -> bool {
        let limit = self.http.capacity(id).min(self.http.max_frame());
        self.is_starved |= limit == 0;
        let Some(stream) = self.http.get_mut(id) else { return false };
        match &mut stream.kind {
            Kind::Join(join) => {
                if join.waits(now) {
                    return false;
                }
                // A panic costs its stream and nothing else.
                let Ok(fill) = catch_unwind(AssertUnwindSafe(|| join.fill(limit, now, parts))) else {
                    join.panicked();
                    parts.clear();
                    self.ended(id, CallStatus::INTERNAL, None);
                    drop(self.http.reset(id, ErrorCode::INTERNAL_ERROR));
                    return false;
                };
                let due = join.due();
                self.frame(id, parts);
                match fill {
                    Fill::More => {
                        if limit == 0 {
                            self.is_due(due);
                        }
                        limit > 0
                    }
                    Fill::Dry => {
                        self.is_due(due);
                        false
                    }
                    Fill::End(goodbye) => {
                        self.end(id, &goodbye);
                        false
                    }
                }
            }
            Kind::Send(call) => {
                if let Some(rest) = call.take_rest() {
                    self.send_rest(id, rest);
                }
                false
            }
            Kind::Routed(routed) => {
                let read = routed.read();
                let next = routed.next();
                if read > 0 {
                    self.http.consumed(id, read);
                }
                self.bring(id, next, limit)
            }
        }
    }

    /// Puts parts into one DATA frame, copied where that costs less.
    fn frame(&mut self, id: StreamId, parts: &mut Vec<Bytes>) {
        let length = match &parts[..] {
            [] => return,
            [part] => part.len(),
            parts => parts.iter().map(Bytes::len).sum(),
        };
        self.http.begin_data(id, length, false);
        let output = self.http.output();
        if let [part] = &parts[..]
            && part.len() <= SHARED_OVER_BYTES
        {
            output.copy(part);
            return parts.clear();
        }
        for part in parts.drain(..) {
            if part.len() > SHARED_OVER_BYTES { output.share(part) } else { output.copy(&part) }
        }
    }

    /// Ends a `Join` stream.
    pub(super) fn end(&mut self, id: StreamId, goodbye: &Goodbye) {
        let reason = goodbye.refusal.as_ref().map(|refusal| refusal.reason).or(goodbye.farewell.ending.reason());
        match reason {
            None => self.answered(id),
            Some(reason) => self.ended(id, reason.code().into(), Some(reason.name())),
        }
        if reason.is_none() {
            self.http.send_headers(id, block::ok(), true);
        } else {
            self.http.send_headers(id, &block::of(None, &status::trailers(goodbye)), true);
        }
        drop(self.http.finish(id));
    }

    /// Answers a `SendFromServer`.
    pub(super) fn answer(&mut self, id: StreamId, answer: Answer) {
        match answer {
            Answer::Message(message) => {
                self.is_known = true;
                self.http.send_headers(id, block::response(), false);
                self.send_rest(id, message);
            }
            Answer::Refused(refusal) => {
                self.ended(id, refusal.reason.code().into(), Some(refusal.reason.name()));
                let response: http::Response<()> = status::status(&refusal).into_http();
                self.http.send_headers(id, &block::of(Some(response.status()), response.headers()), true);
                drop(self.http.finish(id));
            }
        }
    }

    fn send_rest(&mut self, id: StreamId, mut message: Bytes) {
        while !message.is_empty() {
            let limit = self.http.capacity(id).min(self.http.max_frame());
            if limit == 0 {
                // The window's opening marks it again.
                self.is_starved = true;
                if let Some(Kind::Send(call)) = self.http.get_mut(id).map(|stream| &mut stream.kind) {
                    call.keep(message);
                }
                return;
            }
            let part = message.split_to(limit.min(message.len()));
            self.http.begin_data(id, part.len(), false);
            self.http.output().share(part);
        }
        self.http.send_headers(id, block::ok(), true);
        self.answered(id);
        drop(self.http.finish(id));
    }

    /// Sends a piece of a routed response. Whether there may be more.
    fn bring(&mut self, id: StreamId, next: Next, limit: usize) -> bool {
        match next {
            Next::Nothing => return false,
            Next::Broken => {
                self.ended(id, CallStatus::INTERNAL, None);
                drop(self.http.reset(id, ErrorCode::INTERNAL_ERROR));
            }
            Next::Piece(Piece::Head(status, headers, end)) => {
                self.http.send_headers(id, &block::of(Some(status), &headers), end);
                if !end {
                    return true;
                }
                self.ended_by(id, &headers);
                drop(self.http.finish(id));
            }
            Next::Piece(Piece::Data(mut data)) => {
                let part = data.split_to(limit.min(data.len()));
                if !part.is_empty() {
                    self.http.begin_data(id, part.len(), false);
                    self.http.output().share(part);
                }
                if data.is_empty() {
                    return true;
                }
                if let Some(Kind::Routed(routed)) = self.http.get_mut(id).map(|stream| &mut stream.kind) {
                    routed.keep(data);
                }
                return limit > 0;
            }
            Next::Piece(Piece::Trailers(trailers)) => {
                self.http.send_headers(id, &block::of(None, &trailers), true);
                self.ended_by(id, &trailers);
                drop(self.http.finish(id));
            }
            Next::Piece(Piece::End) => {
                self.http.begin_data(id, 0, true);
                self.ended(id, CallStatus::UNKNOWN, None);
                drop(self.http.finish(id));
            }
        }
        false
    }
}
