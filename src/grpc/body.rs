//! The response body of a `Join` stream for an HTTP server that isn't our own:
//! what the stream sends, as data and trailers.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::domain::Ending;

use super::{
    join::Stream,
    outgoing::{Outgoing, SHARED_OVER_BYTES, Step},
    status,
};

/// How many bytes of small messages go into one piece: some pieces wait beside the outbox.
const CHUNK_BYTES: usize = 16 * 1_024;

/// The body.
pub(super) struct JoinBody {
    outgoing: Outgoing,
    stream: Arc<Stream>,
    /// What was taken while a chunk was being filled.
    held: Option<Step>,
    timer: Pin<Box<Sleep>>,
    /// When it was last asked for more, and has had any.
    asked_at: Option<Instant>,
    done: bool,
}

impl JoinBody {
    pub(super) fn new(outgoing: Outgoing, stream: Arc<Stream>) -> Self {
        let timer = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
        Self { outgoing, stream, held: None, timer, asked_at: None, done: false }
    }

    /// The next step, data of many small messages gathered.
    fn gather(&mut self) -> Step {
        let mut chunk = BytesMut::new();
        loop {
            let now = Instant::now();
            match self.held.take().unwrap_or_else(|| self.outgoing.step(now)) {
                Step::Data(data) if chunk.is_empty() && data.len() > SHARED_OVER_BYTES => return Step::Data(data),
                Step::Data(data) if data.len() <= SHARED_OVER_BYTES && chunk.len() < CHUNK_BYTES => {
                    chunk.extend_from_slice(&data);
                }
                // It is asked for again.
                Step::Wait(_) if !chunk.is_empty() => return Step::Data(chunk.freeze()),
                other if !chunk.is_empty() => {
                    self.held = Some(other);
                    return Step::Data(chunk.freeze());
                }
                other => return other,
            }
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
        if this.done {
            return Poll::Ready(None);
        }
        let bell = Arc::clone(this.outgoing.outbox().bell());
        loop {
            bell.take();
            match this.gather() {
                Step::Data(data) => {
                    this.asked_at = Some(Instant::now());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Step::Trailers(goodbye) => {
                    this.done = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&goodbye)))));
                }
                Step::Wait(until) => {
                    if !bell.rest(context) {
                        continue;
                    }
                    let Some(until) = until else { return Poll::Pending };
                    if this.timer.deadline() != until {
                        this.timer.as_mut().reset(until);
                    }
                    ready!(this.timer.as_mut().poll(context));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}

impl JoinBody {
    /// Whether its client has taken nothing of what waits for so long that whoever cut its
    /// connection most likely did for that.
    fn is_behind(&self) -> bool {
        let is_long = |since: Instant| since.elapsed() >= self.outgoing.patience() / 2;
        !self.done && !self.outgoing.is_idle() && self.asked_at.is_some_and(is_long)
    }
}

/// The sure sign that the stream is over, whoever ended it.
impl Drop for JoinBody {
    fn drop(&mut self) {
        if self.is_behind() {
            self.outgoing.close(Ending::SlowConsumer);
        }
        self.stream.gone(self.outgoing.ending());
    }
}
