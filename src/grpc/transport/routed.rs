//! Every other call, by the generated services: a request body fed by the
//! transport, and a task that brings the response back.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::{sync::mpsc, task::AbortHandle};
use tonic::body::Body;

use crate::{
    engine::lock,
    grpc::{PeerAddress, Web},
    http2::Head,
    hub::{Bell, Bits},
    telemetry::CallSpan,
};

use super::TransportSettings;

/// How many pieces of a response wait for the transport.
const PIECES: usize = 8;

#[derive(Default)]
struct Requests {
    pieces: VecDeque<Bytes>,
    ended: bool,
    broken: bool,
    /// Bytes read since the transport last asked.
    read: usize,
    waker: Option<Waker>,
}

/// The pipe from a transport to the body of a request.
struct Pipe {
    requests: Mutex<Requests>,
    bell: Arc<Bell>,
    bit: Bits,
}

impl Pipe {
    fn change(&self, change: impl FnOnce(&mut Requests)) {
        let mut requests = lock(&self.requests);
        change(&mut requests);
        if let Some(waker) = requests.waker.take() {
            drop(requests);
            waker.wake();
        }
    }
}

/// The body.
struct RequestBody(Arc<Pipe>);

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut requests = lock(&self.0.requests);
        if let Some(piece) = requests.pieces.pop_front() {
            requests.read += piece.len();
            drop(requests);
            self.0.bell.ring(self.0.bit);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if requests.broken {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        if requests.ended {
            return Poll::Ready(None);
        }
        requests.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let requests = lock(&self.0.requests);
        requests.ended && requests.pieces.is_empty()
    }
}

/// A piece of a response.
pub(super) enum Piece {
    Head(StatusCode, HeaderMap, bool),
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// What a routed call has to send next.
pub(super) enum Next {
    Piece(Piece),
    Nothing,
    /// Its task is gone without an end.
    Broken,
}

/// One call.
pub(super) struct Routed {
    pipe: Arc<Pipe>,
    pieces: mpsc::Receiver<Piece>,
    task: AbortHandle,
    held: Option<Bytes>,
}

impl Routed {
    /// Hands a request to the services.
    pub(super) fn new(
        settings: &TransportSettings,
        head: &Head,
        end: bool,
        (peer, span): (Option<PeerAddress>, Option<Arc<CallSpan>>),
        bell: &Arc<Bell>,
        bit: Bits,
    ) -> Result<Self, http::Error> {
        let requests = Mutex::new(Requests { ended: end, ..Requests::default() });
        let pipe = Arc::new(Pipe { requests, bell: Arc::clone(bell), bit });
        let mut request = Request::builder().method(head.method()).uri(head.path()).version(http::Version::HTTP_2);
        for (name, value) in head.fields() {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::new(RequestBody(Arc::clone(&pipe))))?;
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(span) = span {
            request.extensions_mut().insert(span);
        }
        let (sender, pieces) = mpsc::channel(PIECES);
        let mut out = Out { sender: Some(sender), bell: Arc::clone(bell), bit, patience: None };
        let task = match settings.web.as_ref().filter(|_| Web::is_for(request.method(), request.headers())) {
            Some(web) => {
                out.patience = Some(settings.services.limits.reader_timeout);
                out.bring_from(web.clone(), request)
            }
            None => out.bring_from(settings.routes.clone(), request),
        };
        Ok(Self { pipe, pieces, task, held: None })
    }

    pub(super) fn bit(&self) -> Bits {
        self.pipe.bit
    }

    /// Takes in what came.
    pub(super) fn receive(&mut self, data: &[u8], end: bool) {
        self.pipe.change(|requests| {
            if !data.is_empty() {
                requests.pieces.push_back(Bytes::copy_from_slice(data));
            }
            requests.ended |= end;
        });
    }

    /// How many bytes the service has read since it was asked last.
    pub(super) fn read(&self) -> usize {
        std::mem::take(&mut lock(&self.pipe.requests).read)
    }

    /// The next thing to send.
    pub(super) fn next(&mut self) -> Next {
        if let Some(held) = self.held.take() {
            return Next::Piece(Piece::Data(held));
        }
        match self.pieces.try_recv() {
            Ok(piece) => Next::Piece(piece),
            Err(mpsc::error::TryRecvError::Empty) => Next::Nothing,
            Err(mpsc::error::TryRecvError::Disconnected) => Next::Broken,
        }
    }

    /// Keeps data that the window has no room for.
    pub(super) fn keep(&mut self, rest: Bytes) {
        self.held = Some(rest);
    }
}

/// The client is gone, or needs nothing more.
impl Drop for Routed {
    fn drop(&mut self) {
        self.task.abort();
        self.pipe.change(|requests| requests.broken = true);
    }
}

/// The way of a response back to the transport.
struct Out {
    sender: Option<mpsc::Sender<Piece>>,
    bell: Arc<Bell>,
    bit: Bits,
    /// How long the client may take nothing; none where the service sees to that.
    patience: Option<Duration>,
}

impl Out {
    /// Has a service answer. Rings at the end too, when the sender is gone.
    fn bring_from<S>(self, mut service: S, request: Request<Body>) -> AbortHandle
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
    {
        let task = tokio::spawn(async move {
            let Ok(response) = service.call(request).await;
            self.bring(response).await;
        });
        task.abort_handle()
    }

    /// Whether the transport still takes it.
    async fn send(&self, piece: Piece) -> bool {
        let Some(sender) = &self.sender else { return false };
        let sending = sender.send(piece);
        let sent = match self.patience {
            None => sending.await.is_ok(),
            Some(patience) => tokio::time::timeout(patience, sending).await.is_ok_and(|sent| sent.is_ok()),
        };
        self.bell.ring(self.bit);
        sent
    }

    async fn bring(&self, response: Response<Body>) {
        let (head, mut body) = response.into_parts();
        let ends = body.is_end_stream();
        if !self.send(Piece::Head(head.status, head.headers, ends)).await || ends {
            return;
        }
        while let Some(Ok(frame)) = body.frame().await {
            let piece = match frame.into_data() {
                Ok(data) if data.is_empty() => continue,
                Ok(data) => Piece::Data(data),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => {
                        self.send(Piece::Trailers(trailers)).await;
                        return;
                    }
                    Err(_) => continue,
                },
            };
            if !self.send(piece).await {
                return;
            }
        }
        self.send(Piece::End).await;
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.sender = None;
        self.bell.ring(self.bit);
    }
}
