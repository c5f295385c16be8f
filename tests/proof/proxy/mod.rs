//! A TCP proxy that plays faults, in front of servers that may come and go.

mod opening;
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::faults::{Ending, Fault, Ghost, Kind, Plan, Played, Tally, Trouble, Way};
use opening::Opening;

/// How long the ends of a connection that was finished may take to finish too.
const FAREWELL: Duration = Duration::from_secs(1);

/// A listening port, until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: CancellationToken,
}

/// What is to happen to the connection of a number.
type Plans = Box<dyn Fn(u64) -> Plan + Send + Sync>;

struct Shared {
    plans: Plans,
    backends: Mutex<Vec<SocketAddr>>,
    connections: AtomicU64,
    tally: Tally,
    calm: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// One that plays a plan for each connection, by its number.
    pub(crate) async fn start(
        plans: impl Fn(u64) -> Plan + Send + Sync + 'static,
        backends: Vec<SocketAddr>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            plans: Box::new(plans),
            backends: Mutex::new(backends),
            connections: AtomicU64::new(0),
            tally: Tally::default(),
            calm: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, Arc::clone(&shared))));
        Ok(Self { address, shared, end })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections go from now on: to any of these; to none, they are
    /// refused.
    pub(crate) fn lead_to(&self, backends: Vec<SocketAddr>) {
        *self.shared.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends;
    }

    /// No more faults. Connections that were to have some end now.
    pub(crate) fn calm_down(&self) {
        self.shared.calm.cancel();
    }

    pub(crate) fn played(&self) -> Played {
        self.shared.tally.read()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.calm_down();
        self.end.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // What can't be accepted is a refusal like another.
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let plan = if shared.calm.is_cancelled() { Plan::default() } else { (shared.plans)(number) };
        let shared = Arc::clone(&shared);
        shared.tasks.clone().spawn(async move { shared.serve(client, plan, number).await });
    }
}

/// How a connection came to its end.
enum End {
    /// One of the two closed it.
    Closed,
    Cut {
        ending: Ending,
        late: Duration,
    },
}

impl Shared {
    async fn serve(&self, mut client: TcpStream, plan: Plan, number: u64) {
        if plan.refused {
            self.tally.count(Kind::Refuse);
            return reset(&client);
        }
        let Some(mut server) = self.dial(number).await else { return reset(&client) };
        let _ = client.set_nodelay(true);
        let faulty = plan != Plan::default();
        let (dead, half_open) = (AtomicBool::new(false), AtomicBool::new(false));
        let line = Line { shared: self, plan: &plan, number, dead: &dead, half_open: &half_open };
        let end = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            tokio::select! {
                end = line.pump(Way::Up, from_client, to_server) => end,
                end = line.pump(Way::Down, from_server, to_client) => end,
                () = self.calm.cancelled(), if faulty => End::Cut { ending: Ending::Reset, late: Duration::ZERO },
            }
        };
        match end {
            End::Closed if half_open.into_inner() => {
                let late = plan.troubles.iter().find_map(|trouble| match trouble.fault {
                    Fault::HalfOpen { late, .. } => Some(late),
                    _ => None,
                });
                drop(client);
                self.hold(late.unwrap_or_default()).await;
                reset(&server);
            }
            End::Closed => {}
            End::Cut { ending: Ending::Reset, late } => {
                reset(&client);
                drop(client);
                self.hold(late).await;
                reset(&server);
            }
            End::Cut { ending: Ending::Fin, late } => {
                tokio::join!(finish(client), async {
                    self.hold(late).await;
                    finish(server).await;
                });
            }
        }
    }

    /// Waits, but not in a calm world.
    async fn hold(&self, late: Duration) {
        let _ = timeout(late, self.calm.cancelled()).await;
    }

    async fn dial(&self, number: u64) -> Option<TcpStream> {
        let to = {
            let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (number as usize).checked_rem(backends.len())?;
            backends[at]
        };
        let server = TcpStream::connect(to).await.ok()?;
        let _ = server.set_nodelay(true);
        Some(server)
    }

    /// A second copy of what a client said first.
    async fn haunt(&self, opening: &[u8], number: u64) -> Option<TcpStream> {
        let mut server = self.dial(number).await?;
        server.write_all(opening).await.ok()?;
        self.tally.count(Kind::Duplicate);
        Some(server)
    }
}

/// One connection while its bytes pass.
struct Line<'a> {
    shared: &'a Shared,
    plan: &'a Plan,
    number: u64,
    /// Whether everything is swallowed, both ways.
    dead: &'a AtomicBool,
    /// Whether anything is.
    half_open: &'a AtomicBool,
}

impl Line<'_> {
    /// Passes bytes on one way, until the connection's end.
    async fn pump(&self, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut troubles = self.plan.along(way).peekable();
        let mut opening = self.plan.ghost.filter(|_| way == Way::Up).map(|ghost| (ghost, Opening::default()));
        let (mut passed, mut delay, mut trickles, mut mute) = (0, Duration::ZERO, 0, false);
        let mut buffer = vec![0; 16_384];
        loop {
            while let Some(Trouble { fault, .. }) = troubles.next_if(|trouble| trouble.after <= passed) {
                // Nobody notices more on a line that passes nothing.
                if mute || self.dead.load(Ordering::Relaxed) {
                    continue;
                }
                self.shared.tally.count(fault.kind());
                match fault {
                    Fault::Cut { ending, late } => return End::Cut { ending, late },
                    Fault::Stall(time) => sleep(time).await,
                    Fault::Delay(time) => delay = time,
                    Fault::Trickle { bytes } => trickles = bytes,
                    Fault::HalfOpen { both, .. } => {
                        mute = true;
                        self.half_open.store(true, Ordering::Relaxed);
                        self.dead.store(both, Ordering::Relaxed);
                    }
                }
            }
            let next = troubles.peek().map_or(buffer.len(), |trouble| trouble.after - passed).min(buffer.len());
            let most = if trickles > 0 { next.min(3) } else { next };
            let count = match from.read(&mut buffer[..most]).await {
                Ok(count) if count > 0 => count,
                _ => return End::Closed,
            };
            passed += count;
            if mute || self.dead.load(Ordering::Relaxed) {
                continue;
            }
            if trickles > 0 {
                trickles = trickles.saturating_sub(count);
                sleep(Duration::from_millis(1)).await;
            }
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let said = opening.as_mut().and_then(|(ghost, opening)| Some((*ghost, opening.hear(&buffer[..count])?)));
            if let Some((ghost, said)) = &said
                && ghost.first
            {
                self.haunt(*ghost, said).await;
                // For the server to have read it.
                sleep(Duration::from_millis(20)).await;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return End::Closed;
            }
            if let Some((ghost, said)) = &said
                && !ghost.first
            {
                self.haunt(*ghost, said).await;
            }
        }
    }

    async fn haunt(&self, ghost: Ghost, said: &[u8]) {
        let Some(mut server) = self.shared.haunt(said, self.number).await else { return };
        let calm = self.shared.calm.clone();
        self.shared.tasks.spawn(async move {
            let mut nobody = vec![0; 16_384];
            let reads = async { while server.read(&mut nobody).await.is_ok_and(|count| count > 0) {} };
            let _ = timeout(ghost.stays, calm.run_until_cancelled(reads)).await;
            reset(&server);
        });
    }
}

/// Has the connection end with a reset, when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ends a connection well, at whatever byte it is: not by a reset, which would
/// take back what was not read yet.
async fn finish(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut nobody = vec![0; 16_384];
    let reads = async { while stream.read(&mut nobody).await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(FAREWELL, reads).await;
}
