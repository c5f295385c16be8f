//! Peers that are no server, or a bad one.

use std::{net::SocketAddr, sync::Arc};

use h2::server::SendResponse;
use http::{HeaderMap, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Somebody at an endpoint, as long as this lives.
pub(crate) struct Peer {
    address: SocketAddr,
    running: JoinHandle<()>,
}

impl Peer {
    async fn new<F: Future<Output = ()> + Send + 'static>(meet: impl Fn(TcpStream) -> F + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(meet(stream));
            }
        });
        Self { address, running }
    }

    /// Has the port, and doesn't listen.
    pub(crate) fn refusing() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let running = tokio::spawn(async move {
            let _held = socket;
            std::future::pending().await
        });
        Self { address, running }
    }

    /// Accepts, and says nothing.
    pub(crate) async fn silent() -> Self {
        Self::new(|stream| async move {
            let _held = stream;
            std::future::pending().await
        })
        .await
    }

    /// Accepts, and hangs up.
    pub(crate) async fn hanging_up() -> Self {
        Self::new(|stream| async move { drop(stream) }).await
    }

    /// Answers whatever comes with these bytes.
    pub(crate) async fn saying(answer: &'static [u8]) -> Self {
        Self::new(move |mut stream| async move {
            let mut request = [0; 1_024];
            if matches!(stream.read(&mut request).await, Ok(1..)) {
                // A client that has heard enough hangs up.
                let _ = stream.write_all(answer).await;
                while matches!(stream.read(&mut request).await, Ok(1..)) {}
            }
        })
        .await
    }

    /// Speaks HTTP/2, and answers each request, known by its headers, with what
    /// `answer` gives; none: never.
    pub(crate) async fn http2(answer: impl Fn(&HeaderMap) -> Option<Response<()>> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::new(move |stream| {
            let answer = Arc::clone(&answer);
            async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                let mut unanswered: Vec<SendResponse<bytes::Bytes>> = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    match answer(request.headers()) {
                        Some(response) => drop(respond.send_response(response, true)),
                        None => unanswered.push(respond),
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[derive(Clone, Copy, Default)]
struct Wire {
    /// How often everything was cut.
    cuts: u64,
    down: bool,
    answers_held: bool,
}

/// Forwards TCP connections to a server, until it doesn't.
pub(crate) struct Lossy {
    peer: Peer,
    wire: Arc<watch::Sender<Wire>>,
    refused: watch::Receiver<u64>,
}

impl Lossy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let wire = Arc::new(watch::Sender::new(Wire::default()));
        let (refuse, refused) = watch::channel(0);
        let (wires, refuse) = (Arc::clone(&wire), Arc::new(refuse));
        let peer = Peer::new(move |client| {
            let (mut held, mut cut) = (wires.subscribe(), wires.subscribe());
            let refuse = Arc::clone(&refuse);
            async move {
                let now = *cut.borrow_and_update();
                if now.down {
                    drop(client);
                    return refuse.send_modify(|refused| *refused += 1);
                }
                let Ok(server) = TcpStream::connect(server).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let answers = async {
                    let mut bytes = [0; 1_024];
                    while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                        // What is held when everything is cut is lost.
                        let passes =
                            held.wait_for(|wire| !wire.answers_held).await.is_ok_and(|wire| wire.cuts == now.cuts);
                        if !passes || to_client.write_all(&bytes[..length]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    () = answers => {}
                    _ = cut.wait_for(|wire| wire.cuts != now.cuts) => {}
                }
            }
        })
        .await;
        Self { peer, wire, refused }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.peer.endpoint()
    }

    /// Keeps what the server says.
    pub(crate) fn hold_answers(&self) {
        self.wire.send_modify(|wire| wire.answers_held = true);
    }

    /// Breaks every connection, with what was held; new ones pass.
    pub(crate) fn cut(&self) {
        self.wire.send_modify(|wire| *wire = Wire { cuts: wire.cuts + 1, ..Wire::default() });
    }

    /// Breaks every connection, and those that come until [`cut`](Self::cut).
    pub(crate) fn down(&self) {
        self.cut();
        self.wire.send_modify(|wire| wire.down = true);
    }

    /// Waits until somebody has tried to connect while it is down.
    pub(crate) async fn missed(&mut self) {
        super::soon("a connection refused", self.refused.wait_for(|refused| *refused > 0)).await.unwrap();
    }
}
