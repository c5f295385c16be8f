//! The response body of a `Join` stream: what waits in its outbox, as HTTP/2
//! data.
//!
//! An own body, because tonic's encodes per receiver and sends one DATA frame
//! per message; this one hands on bytes that are encoded already and puts many
//! small messages into one frame.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::{
    domain::Ending,
    hub::{Goodbye, Next, Outbox, Outlet},
};

use super::{join::Stream, status, wire};

/// How many bytes of small messages go into one DATA frame.
const CHUNK_BYTES: usize = 64 * 1_024;
/// Messages over this are handed on as they are, without copying.
const SHARED_OVER_BYTES: usize = 4 * 1_024;

enum State {
    Open,
    /// Everything is sent but the trailers.
    Closing(Goodbye),
    Done,
}

/// The body.
pub(super) struct JoinBody {
    outbox: Arc<Outbox>,
    /// None when the hub had no place: the outbox holds only the goodbye.
    outlet: Option<Outlet>,
    stream: Arc<Stream>,
    state: State,
    /// A large message taken while a chunk was being filled.
    held: Option<Bytes>,
    interval: Duration,
    heartbeat: Pin<Box<Sleep>>,
    sent_at: Instant,
}

impl JoinBody {
    pub(super) fn new(outbox: Arc<Outbox>, outlet: Option<Outlet>, stream: Arc<Stream>, interval: Duration) -> Self {
        Self {
            outbox,
            outlet,
            stream,
            state: State::Open,
            held: None,
            interval,
            heartbeat: Box::pin(tokio::time::sleep(interval)),
            sent_at: Instant::now(),
        }
    }

    /// As many waiting messages as go into one chunk.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(held);
        }
        let mut first: Option<Bytes> = None;
        let mut chunk = BytesMut::new();
        loop {
            let filled = first.as_ref().map_or(chunk.len(), Bytes::len);
            let next = if filled >= CHUNK_BYTES { None } else { Some(self.outbox.poll_next(context)) };
            match next {
                Some(Poll::Ready(Next::Frame(frame))) if frame.len() > SHARED_OVER_BYTES => {
                    if filled == 0 {
                        return Poll::Ready(frame);
                    }
                    self.held = Some(frame);
                }
                Some(Poll::Ready(Next::Frame(frame))) => {
                    // A message alone is handed on as it is, too.
                    if filled == 0 {
                        first = Some(frame);
                    } else {
                        if let Some(first) = first.take() {
                            chunk.extend_from_slice(&first);
                        }
                        chunk.extend_from_slice(&frame);
                    }
                    continue;
                }
                Some(Poll::Ready(Next::End(goodbye))) if filled == 0 => {
                    let told = wire::closing(&goodbye.farewell);
                    let silent = goodbye.farewell.ending.reason().is_none();
                    self.state = State::Closing(goodbye);
                    // The client that left asked for the end: it isn't on the
                    // server's own account.
                    return if silent { Poll::Ready(Bytes::new()) } else { Poll::Ready(told) };
                }
                Some(Poll::Ready(Next::Idle(sequence))) if filled == 0 => {
                    ready!(self.poll_silence(context));
                    return Poll::Ready(wire::heartbeat(sequence));
                }
                Some(Poll::Pending) if filled == 0 => return Poll::Pending,
                _ => {}
            }
            return Poll::Ready(first.unwrap_or_else(|| chunk.freeze()));
        }
    }

    /// Ready once nothing was sent for the heartbeat's interval. The timer is
    /// set anew only when it fires, not for each message.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.heartbeat.as_mut().poll(context));
            let due = self.sent_at + self.interval;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.heartbeat.as_mut().reset(due);
        }
    }
}

impl Body for JoinBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Done) {
                State::Open => {
                    this.state = State::Open;
                    let chunk = ready!(this.poll_chunk(context));
                    if chunk.is_empty() {
                        continue;
                    }
                    this.sent_at = Instant::now();
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                State::Closing(goodbye) => {
                    if let Some(outlet) = this.outlet.take() {
                        outlet.closed(goodbye.farewell.ending);
                    }
                    return Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&goodbye)))));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

/// The sure sign that the stream is over, whoever ended it.
impl Drop for JoinBody {
    fn drop(&mut self) {
        let ending = match &self.state {
            State::Closing(goodbye) => goodbye.farewell.ending,
            State::Open | State::Done => Ending::Broken,
        };
        if let Some(outlet) = self.outlet.take() {
            outlet.closed(ending);
        }
        self.stream.gone(ending);
    }
}
