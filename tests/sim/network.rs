//! The network between one client and the server: it delays, stalls and breaks
//! at any byte, and each side finds out when it finds out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

/// Chunks on their way to a client that doesn't read: the window of HTTP/2.
const CHUNKS_UNDER_WAY: usize = 4;
/// Bytes that the server can still write after the line broke, before its
/// buffers are full. They are lost.
const BUFFERED_BYTES: usize = 4_096;

/// What reaches a client.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes(Bytes),
    /// The server ended the stream, with these trailers.
    End(HeaderMap),
    /// The stream broke, and the client knows.
    Broken,
}

struct Line {
    /// Nothing moves any more.
    broken: CancellationToken,
    /// The server has found out that the stream is gone.
    server_knows: CancellationToken,
    stalled_until: Mutex<Instant>,
    latency: Duration,
}

impl Line {
    /// When what is sent now arrives.
    fn arrival(&self) -> Instant {
        let stalled = *self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
        stalled.max(Instant::now() + self.latency)
    }
}

/// A client's end of one stream.
pub(crate) struct Wire {
    up: Option<mpsc::UnboundedSender<(Instant, Bytes)>>,
    down: mpsc::Receiver<(Instant, Arrival)>,
    arriving: Option<(Instant, Arrival)>,
    line: Arc<Line>,
}

/// The server's end of one stream before it answered: what it reads, and what
/// it is handed its answer by.
pub(crate) struct FarEnd {
    pub(crate) requests: Body,
    down: mpsc::Sender<(Instant, Arrival)>,
    line: Arc<Line>,
}

/// A stream through a network of this latency; `server` is cancelled when the
/// server dies, and `cut` is how many bytes of a chunk a breaking line lets
/// through.
pub(crate) fn stream(latency: Duration, server: &CancellationToken, cut: usize) -> (Wire, FarEnd) {
    let line = Arc::new(Line {
        broken: CancellationToken::new(),
        server_knows: server.child_token(),
        stalled_until: Mutex::new(Instant::now()),
        latency,
    });
    let (up, going_up) = mpsc::unbounded_channel();
    let (down, coming_down) = mpsc::channel(CHUNKS_UNDER_WAY);
    let (into_body, requests) = mpsc::unbounded_channel();
    tokio::spawn(carry_up(going_up, into_body, Arc::clone(&line), cut));
    let requests = UnboundedReceiverStream::new(requests).map(|chunk| chunk.map(http_body::Frame::data));
    let far = FarEnd { requests: Body::new(StreamBody::new(requests)), down, line: Arc::clone(&line) };
    (Wire { up: Some(up), down: coming_down, arriving: None, line }, far)
}

impl Wire {
    /// Sends bytes; they may never arrive.
    pub(crate) fn send(&self, bytes: Bytes) {
        if let Some(up) = &self.up {
            let _ = up.send((self.line.arrival(), bytes));
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        self.up = None;
    }

    /// What arrives next. Cancelling loses nothing. Never, once the line broke.
    pub(crate) async fn receive(&mut self) -> Arrival {
        if self.arriving.is_none() {
            let next = tokio::select! {
                biased;
                () = self.line.broken.cancelled() => std::future::pending().await,
                next = self.down.recv() => next,
            };
            self.arriving = Some(next.unwrap_or((Instant::now(), Arrival::Broken)));
        }
        let at = self.arriving.as_ref().map_or_else(Instant::now, |(at, _)| *at);
        tokio::select! {
            biased;
            () = self.line.broken.cancelled() => std::future::pending().await,
            () = sleep_until(at) => {}
        }
        self.arriving.take().map_or(Arrival::Broken, |(_, arrival)| arrival)
    }

    /// What is sent from now on, in both directions, arrives only after a while.
    pub(crate) fn stall(&self, time: Duration) {
        *self.line.stalled_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// The line breaks. The first `cut` bytes of what was about to arrive still
    /// do; the server finds out after a while.
    pub(crate) fn break_line(&mut self, cut: usize, server_knows_after: Duration) -> Option<Bytes> {
        self.line.broken.cancel();
        let line = Arc::clone(&self.line);
        tokio::spawn(async move {
            tokio::time::sleep(server_knows_after).await;
            line.server_knows.cancel();
        });
        match self.arriving.take().or_else(|| self.down.try_recv().ok()) {
            Some((_, Arrival::Bytes(bytes))) => Some(bytes.slice(..cut.min(bytes.len()))),
            _ => None,
        }
    }
}

/// A client that hangs up: the server is told.
impl Drop for Wire {
    fn drop(&mut self) {
        if !self.line.broken.is_cancelled() {
            self.line.broken.cancel();
            self.line.server_knows.cancel();
        }
    }
}

async fn carry_up(
    mut queue: mpsc::UnboundedReceiver<(Instant, Bytes)>,
    body: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    line: Arc<Line>,
    cut: usize,
) {
    loop {
        let (at, bytes) = tokio::select! {
            biased;
            () = line.broken.cancelled() => break,
            () = line.server_knows.cancelled() => break,
            next = queue.recv() => match next {
                Some(next) => next,
                // A half-close: the body ends well.
                None => return,
            },
        };
        tokio::select! {
            biased;
            () = line.broken.cancelled() => {
                let _ = body.send(Ok(bytes.slice(..cut.min(bytes.len()))));
                break;
            }
            () = line.server_knows.cancelled() => break,
            () = sleep_until(at) => {
                let _ = body.send(Ok(bytes));
            }
        }
    }
    line.server_knows.cancelled().await;
    let _ = body.send(Err(std::io::Error::other("the stream broke")));
}

impl FarEnd {
    /// Carries the server's answer to the client, until either ends.
    pub(crate) async fn answer(self, mut body: Body) {
        let Self { requests: _, down, line } = self;
        let mut lost = 0;
        loop {
            if line.broken.is_cancelled() {
                if lost >= BUFFERED_BYTES {
                    return line.server_knows.cancelled().await;
                }
            } else {
                tokio::select! {
                    biased;
                    () = line.server_knows.cancelled() => {}
                    () = line.broken.cancelled() => continue,
                    // The only sender there is, so that the room stays.
                    room = down.reserve() => drop(room),
                }
            }
            let frame = tokio::select! {
                biased;
                () = line.server_knows.cancelled() => {
                    let _ = down.try_send((line.arrival(), Arrival::Broken));
                    return;
                }
                frame = body.frame() => frame,
            };
            let Some(Ok(frame)) = frame else { return };
            let arrival = match frame.into_data() {
                Ok(bytes) => {
                    lost += if line.broken.is_cancelled() { bytes.len() } else { 0 };
                    Arrival::Bytes(bytes)
                }
                Err(other) => Arrival::End(other.into_trailers().unwrap_or_default()),
            };
            let _ = down.try_send((line.arrival(), arrival));
            if body.is_end_stream() {
                return;
            }
        }
    }

    /// Takes the requests out, for the server.
    pub(crate) fn take_requests(&mut self) -> Body {
        std::mem::replace(&mut self.requests, Body::empty())
    }
}
