//! One TCP connection of a browser's that speaks HTTP/1.1.

use std::{future::poll_fn, net::IpAddr, sync::Arc, task::Poll, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tonic::body::Body;
use tower::Service as _;

use crate::{
    grpc::{Control, Patient, PeerAddress},
    hub::Bell,
};

use super::{REQUEST_TIMEOUT, Web};

/// The most bytes of a request's head, and what is read at once.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// What HTTP/2 begins with; no method of HTTP/1.1 does. Source: RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI";
/// After how long it is looked again when that much isn't there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Web {
    /// Whether a client begins as HTTP/1.1 does: with a method. Nothing is taken of what it
    /// sends. None: it has gone, or has sent too little for too long.
    pub async fn is_http1(stream: &TcpStream) -> Option<bool> {
        let looking = async {
            loop {
                let mut first = [0; PREFACE.len()];
                let first = match stream.peek(&mut first).await.ok()? {
                    0 => return None,
                    count => &first[..count],
                };
                if !PREFACE.starts_with(first) {
                    return Some(first[0].is_ascii_uppercase());
                }
                if first == PREFACE {
                    return Some(false);
                }
                // It is readable, and stays so.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(REQUEST_TIMEOUT, looking).await.ok().flatten()
    }

    /// Serves one connection to its end, or until `control` ends it. A peer that takes
    /// nothing for as long as `patience` is cut.
    pub async fn serve<I>(self, io: I, peer: Option<IpAddr>, patience: Duration, control: &Arc<Control>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let bell = Arc::<Bell>::default();
        let place = Control::enter(control, Arc::clone(&bell));
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            if let Some(peer) = peer {
                request.extensions_mut().insert(PeerAddress(peer));
            }
            self.clone().call(request)
        });
        let io = TokioIo::new(Patient::new(io, patience));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let mut is_told = false;
        poll_fn(|context| {
            loop {
                bell.take();
                if place.is_cut() {
                    return Poll::Ready(());
                }
                if place.is_finishing() && !std::mem::replace(&mut is_told, true) {
                    connection.as_mut().graceful_shutdown();
                }
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    if let Err(error) = ended {
                        tracing::debug!(?peer, %error, "a connection of gRPC-Web ended");
                    }
                    return Poll::Ready(());
                }
                if bell.rest(context) {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}
