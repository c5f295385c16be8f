//! TCP connections: bound, accepted, handed to their transports, closed.
//!
//! An accept loop of our own, because tonic's spins when file descriptors run
//! out.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    grpc::{Control, InSlowLane, Transport, TransportSettings, Web, turned_away},
    telemetry::{Cap, Metrics},
};

use super::{
    places::{Full, Place, Places},
    tls::Tls,
    workers::Workers,
};

/// Connections waiting to be accepted.
const BACKLOG: i32 = 1_024;
/// The kernel's own signs of life. Source: the contract, the life of a stream, 7.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// How many are accepted in one go.
const AT_ONCE: usize = 2;
/// The pauses after failures to accept.
pub(super) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

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
    settings: Arc<TransportSettings>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    control: Arc<Control>,
    tls: Option<Arc<Tls>>,
    places: Arc<Places>,
}

impl Transports {
    pub(super) fn new(
        settings: TransportSettings,
        tls: Option<Arc<Tls>>,
        places: Arc<Places>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (tasks, control) = (TaskTracker::new(), Arc::default());
        Self { settings: Arc::new(settings), metrics, tasks, control, tls, places }
    }

    /// Accepts connections, for ever.
    pub(super) async fn accept(self, listener: TcpListener, workers: Arc<Workers>) {
        let mut pause = BACK_OFF.0;
        let mut accepted = 0_usize;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    accepted += 1;
                    if accepted.is_multiple_of(AT_ONCE) {
                        // Members' turn.
                        tokio::task::yield_now().await;
                    }
                    self.metrics.accepts.increment(1);
                    match self.places.take(peer.ip()) {
                        Err(full) => self.turn_away(&stream, peer, full),
                        Ok(place) => {
                            if let Err(error) = self.serve(stream, peer, place, workers.next()) {
                                tracing::warn!(%peer, %error, "can't serve a connection");
                            }
                        }
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_failures.increment(1);
                    self.metrics.caps.hit(
                        Cap::OpenFiles,
                        format_args!("can't accept connections ({error}); trying again after a pause of {pause:?}"),
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Says why, if that can be said at once, and closes.
    fn turn_away(&self, stream: &TcpStream, peer: SocketAddr, full: Full) {
        let message = full.message();
        self.metrics.caps.hit(full.cap, format_args!("a TCP connection from {} is closed: {message}", peer.ip()));
        if self.tls.is_none() {
            // What doesn't fit an empty socket is not worth waiting for.
            let _ = stream.try_write(&turned_away(&message));
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place, worker: Option<&Handle>) -> io::Result<()> {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%peer, %error, "can't set socket options");
        }
        let address = peer.ip().to_canonical();
        let (settings, control) = (Arc::clone(&self.settings), Arc::clone(&self.control));
        let tls = self.tls.clone();
        let serve = move |stream: TcpStream| async move {
            let _place = place;
            // In boxes: those without them would have to be as large, and those that
            // haven't shaken hands.
            match tls {
                None => {
                    if settings.web.is_some() {
                        match InSlowLane::new(Web::is_http1(&stream)).await {
                            None => return,
                            Some(true) => return serve_web(stream, address, &settings, &control).await,
                            Some(false) => {}
                        }
                    }
                    Transport::new(stream, Some(address), settings, &control).await;
                }
                Some(tls) => {
                    let Some(stream) = InSlowLane::new(tls.accept(stream, address)).await else { return };
                    if Tls::is_http1(&stream) {
                        return Box::pin(serve_web(stream, address, &settings, &control)).await;
                    }
                    Box::pin(Transport::new(stream, Some(address), settings, &control)).await;
                }
            }
        };
        match worker {
            None => {
                self.tasks.spawn(serve(stream));
            }
            Some(worker) => {
                // Its events must come to the worker that serves it, and so
                // must its timers.
                let stream = stream.into_std()?;
                self.tasks.spawn_on(
                    async move {
                        match TcpStream::from_std(stream) {
                            Ok(stream) => serve(stream).await,
                            Err(error) => tracing::warn!(%peer, %error, "can't serve a connection"),
                        }
                    },
                    worker,
                );
            }
        }
        Ok(())
    }

    /// Ends the connections: those that finish their streams before `deadline`
    /// well, the others then. Whether all finished.
    pub(super) async fn close(self, deadline: Instant) -> bool {
        self.control.finish();
        self.tasks.close();
        let finished = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        self.control.cut();
        finished
    }
}

/// A connection of HTTP/1.1, which only gRPC-Web has.
async fn serve_web<I>(stream: I, address: IpAddr, settings: &TransportSettings, control: &Arc<Control>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(web) = settings.web.clone() {
        let patience = settings.services.limits.reader_timeout;
        InSlowLane::new(web.serve(stream, Some(address), patience, control)).await;
    }
}

/// Errors of the connection that was about to be accepted, not of accepting.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Sets what a connection wants of its socket: no delay, and signs of life.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1))?;
    // A peer whose kernel takes nothing for as long as a dead one is dead.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(KEEPALIVE.0 + KEEPALIVE.1))?;
    Ok(())
}
