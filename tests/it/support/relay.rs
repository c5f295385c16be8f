//! The network between a client and a server, in a test's hands.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What passes.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Where to.
    server: SocketAddr,
    /// How often everything was cut.
    cuts: u64,
    /// Whether new connections are cut at once.
    down: bool,
    requests_held: bool,
    answers_held: bool,
}

/// Forwards TCP connections from a port of its own.
pub(crate) struct Relay {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    running: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Weather { server, cuts: 0, down: false, requests_held: false, answers_held: false };
        let weather = watch::Sender::new(weather);
        let running = tokio::spawn(accept(listener, weather.clone()));
        Self { address, weather, running }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection, and those that come until [`mend`](Self::mend).
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.down = true;
        });
    }

    pub(crate) fn mend(&self) {
        self.weather.send_modify(|weather| weather.down = false);
    }

    /// Lets no byte through, either way; nobody is told.
    pub(crate) fn hold(&self) {
        self.weather.send_modify(|weather| {
            weather.requests_held = true;
            weather.answers_held = true;
        });
    }

    /// Lets no byte of the server's through.
    pub(crate) fn hold_answers(&self) {
        self.weather.send_modify(|weather| weather.answers_held = true);
    }

    /// Lets everything through again, what was held first.
    pub(crate) fn release(&self) {
        self.weather.send_modify(|weather| {
            weather.requests_held = false;
            weather.answers_held = false;
        });
    }

    /// From here on leads to another server.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.weather.send_modify(|weather| weather.server = server);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn accept(listener: TcpListener, weather: watch::Sender<Weather>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let now = *weather.borrow();
        if now.down {
            continue;
        }
        let mut cut = weather.subscribe();
        let (requests, answers) = (weather.subscribe(), weather.subscribe());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(now.server).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Whichever ends first ends both.
            tokio::select! {
                () = carry(from_client, to_server, requests, |weather| weather.requests_held) => {}
                () = carry(from_server, to_client, answers, |weather| weather.answers_held) => {}
                _ = cut.wait_for(|weather| weather.cuts != now.cuts) => {}
            }
        });
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    held: fn(&Weather) -> bool,
) {
    let mut buffer = vec![0; 16_384];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if weather.wait_for(|weather| !held(weather)).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
