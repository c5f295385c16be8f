//! The port for OpenTok's REST calls: HTTP/1.1, a port of its own.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    grpc::{InSlowLane, Patient},
    rest::Rest,
    telemetry::Cap,
};

use super::listen::{BACK_OFF, is_of_one_connection, tune};

/// The most connections at once; others wait until one ends.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a caller may take for a request's head, and be silent before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller may take nothing of its answers.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a head; as many wait of answers.
const BUFFER_BYTES: usize = 16 * 1_024;

/// How many connections there may be when so many files may be open: at most a
/// quarter of them.
pub(super) fn places(open_files: Option<usize>) -> usize {
    open_files.map_or(MAX_CONNECTIONS, |files| (files / 4).clamp(1, MAX_CONNECTIONS))
}

/// The port's connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct RestPort {
    rest: Rest,
    tasks: TaskTracker,
    cut: CancellationToken,
    places: Arc<Semaphore>,
    most: usize,
}

impl RestPort {
    /// A port with so many places.
    pub(super) fn new(rest: Rest, places: usize) -> Self {
        let tasks = TaskTracker::new();
        Self { rest, tasks, cut: CancellationToken::new(), places: Arc::new(Semaphore::new(places)), most: places }
    }

    /// Accepts connections, for ever.
    pub(super) async fn accept(self, listener: TcpListener) {
        let mut pause = BACK_OFF.0;
        loop {
            let place = self.place().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    self.rest.hub.metrics().accepts.increment(1);
                    self.serve(stream, peer, place);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.rest.hub.metrics().accept_failures.increment(1);
                    self.rest.hub.metrics().caps.hit(
                        Cap::OpenFiles,
                        format_args!("can't accept connections for REST ({error}); trying again after {pause:?}"),
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// A place, when there is one. None: there will never be.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let what = format!("there are {} connections for REST, which is the limit; others wait", self.most);
        self.rest.hub.metrics().caps.hit(Cap::Rest, what);
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%peer, %error, "can't set socket options");
        }
        let (rest, cut) = (self.rest.clone(), self.cut.clone());
        let served = async move {
            let _place = place;
            if let Some(Err(error)) = cut.run_until_cancelled(connection(rest, stream, peer.ip())).await {
                tracing::debug!(%peer, %error, "REST connection ended");
            }
        };
        // A backend that calls much is no queue for members.
        self.tasks.spawn(InSlowLane::new(served));
    }

    /// Ends the connections: those that have had their answers before `deadline`
    /// well, the others then. Whether all had. Nothing is accepted any more.
    pub(super) async fn close(self, deadline: Instant) -> bool {
        self.tasks.close();
        let finished = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        self.cut.cancel();
        finished
    }
}

/// Serves a connection to its end, which is near when the hub drains.
async fn connection(rest: Rest, stream: TcpStream, peer: IpAddr) -> hyper::Result<()> {
    let hub = rest.hub.clone();
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        let rest = rest.clone();
        async move { Ok::<_, Infallible>(rest.answer(request, peer).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(Patient::new(stream, READER_TIMEOUT)), service)
    );
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = hub.draining() => {}
    }
    // It would close those at once that have not asked anything yet: they are told
    // to go when they do.
    if has_asked.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
    }
    connection.await
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{super::listen::bind, *};
    use crate::{
        auth::ProjectGate,
        clock::SystemClock,
        domain::Limits,
        engine::MemoryEngine,
        grpc,
        hub::{Capacity, Hub},
        telemetry::Registry,
    };

    /// A port with so many places, and where it is and counts.
    fn port(places: usize) -> (RestPort, SocketAddr, Registry) {
        let (limits, registry) = (Arc::<Limits>::default(), Registry::new());
        let hub = Hub::new(&limits, Capacity::default(), grpc::ENCODING, Arc::new(registry.metrics()));
        let clock = Arc::new(SystemClock::new());
        let engine = Arc::new(MemoryEngine::new(Arc::clone(&limits), clock, Arc::new(hub.clone())));
        let port = RestPort::new(Rest { engine, hub, gate: ProjectGate::Open, limits }, places);
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(port.clone().accept(listener));
        (port, address, registry)
    }

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: rest\r\n\r\n").await.unwrap();
    }

    async fn answered(stream: &mut TcpStream) {
        let mut answer = vec![0; 4_096];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 404 "), "{:?}", &answer[..read]);
    }

    #[tokio::test]
    async fn beyond_its_places_callers_wait_and_are_answered_then() {
        let (port, address, registry) = port(2);
        let mut there = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            ask(&mut stream).await;
            answered(&mut stream).await;
            there.push(stream);
        }
        let mut waits = TcpStream::connect(address).await.unwrap();
        ask(&mut waits).await;
        for stream in &mut there {
            ask(stream).await;
            answered(stream).await;
        }
        let nothing = waits.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(registry.render().contains("signalbox_cap_hits_total{cap=\"rest_transports\"} 1"));
        there.pop();
        answered(&mut waits).await;
        // Those that are silent are cut in time.
        assert!(!port.close(Instant::now()).await);
        assert_eq!(waits.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[test]
    fn it_takes_a_quarter_of_the_open_files_at_most() {
        for (files, most) in [(None, 1_024), (Some(1_000_000), 1_024), (Some(1_024), 256), (Some(1), 1)] {
            assert_eq!(places(files), most, "{files:?}");
        }
    }
}
