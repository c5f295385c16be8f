//! TCP connections: bound, accepted, served over HTTP/2, closed.
//!
//! An accept loop of our own, because tonic's spins when file descriptors run
//! out, sets no time-out for the preface and waits for silent peers for ever.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, service::Routes};
use tower::Service as _;

use crate::{grpc::PeerAddress, telemetry::Metrics};

use super::{Config, preface::Prefaced};

/// Connections waiting to be accepted.
const BACKLOG: i32 = 1_024;
/// HTTP/2 windows: 64 KiB breaks fast senders of small frames, more than 1 MiB
/// gives nothing.
const WINDOW_BYTES: u32 = 1_048_576;
/// Pings find dead peers within 30 s. Source: the contract, the life of a
/// stream, 7.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// How many streams a peer may make us reset before its connection is ended.
const MAX_LOCAL_RESETS: usize = 1_024;
/// The most bytes of a request's headers.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1_024;
/// The pauses after failures to accept.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Binds an address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the last run's connections to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(StdListener::from(socket))
    };
    bound().map_err(|error| io::Error::new(error.kind(), format!("can't listen on {address}: {error}")))
}

/// The gRPC port's connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transports {
    routes: Routes,
    http: http2::Builder<TokioExecutor>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    /// Finish your streams and go.
    finish: CancellationToken,
    /// Go.
    cut: CancellationToken,
}

impl Transports {
    pub(super) fn new(routes: Routes, config: &Config, metrics: Arc<Metrics>) -> Self {
        let streams = config.max_streams_per_transport;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_local_error_reset_streams(MAX_LOCAL_RESETS)
            .max_concurrent_streams(if streams == 0 { u32::MAX } else { streams });
        Self {
            routes,
            http,
            metrics,
            tasks: TaskTracker::new(),
            finish: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Accepts connections, for ever.
    pub(super) async fn accept(self, listener: TcpListener) {
        let mut pause = BACK_OFF.0;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    self.metrics.accepts.increment(1);
                    self.tasks.spawn(self.clone().serve(stream, peer));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_failures.increment(1);
                    tracing::warn!(%error, ?pause, "can't accept connections; trying again after a pause");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%peer, %error, "can't set socket options");
        }
        let routes = self.routes;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut routes = routes.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(PeerAddress(peer.ip().to_canonical()));
            async move { routes.call(request).await }
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(Prefaced::new(stream)), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.finish.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection.as_mut() => served,
                    () = self.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    /// Ends the connections: those that finish their streams before `deadline`
    /// well, the others then. Whether all finished.
    pub(super) async fn close(self, deadline: Instant) -> bool {
        self.finish.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        self.cut.cancel();
        finished
    }
}

/// Errors of the connection that was about to be accepted, not of accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1))?;
    // A peer whose kernel takes nothing for as long as a dead one is dead.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(KEEPALIVE.0 + KEEPALIVE.1))?;
    Ok(())
}
