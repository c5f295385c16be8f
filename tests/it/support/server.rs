//! The server, in this process, on ports that the system picks.

use std::net::SocketAddr;

use clap::Parser;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tonic::transport::Channel;

use signalbox::{
    proto::{session_service_client::SessionServiceClient, signaling_service_client::SignalingServiceClient},
    server::{ServeArgs, Server},
};

use super::{Event, JoinBuilder, Member, Raw, from_server, redis::RedisServer, soon};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
}

/// A running server.
pub(crate) struct TestServer {
    address: SocketAddr,
    admin: SocketAddr,
    rest: Option<SocketAddr>,
    channel: Channel,
    shutdown: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    /// Kept as long as the server.
    redis: Option<RedisServer>,
}

impl TestServer {
    /// One with the defaults.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with flags, as `--signal-burst`, `3`.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        // The whole suite runs over Redis when it is told so: each server has one of its own.
        let over_redis = std::env::var("SIGNALBOX_TESTS_ENGINE").is_ok_and(|engine| engine == "redis");
        let redis = over_redis.then(|| RedisServer::start().expect("a redis-server"));
        let url = redis.as_ref().map(RedisServer::url);
        Self::at(url, flags, redis).await
    }

    /// One of those that share a Redis.
    pub(crate) async fn on(redis: &RedisServer, flags: &[&str]) -> Self {
        Self::at(Some(redis.url()), flags, None).await
    }

    /// One with this engine, if it has another than that in memory.
    pub(crate) async fn at(url: Option<String>, flags: &[&str], redis: Option<RedisServer>) -> Self {
        let ports = ["signalbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let engine = url.iter().flat_map(|url| ["--engine", "redis", "--redis-url", url]);
        let arguments = ports.iter().copied().chain(flags.iter().copied()).chain(engine);
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        let server = Server::bind(arguments.serve.check().unwrap()).unwrap();
        let address = server.grpc_address().unwrap();
        let admin = server.admin_address().unwrap().unwrap();
        let rest = server.rest_address().unwrap();
        let (shutdown, asked) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            // A test that drops its server without a drain ends it all.
            let _ = asked.await;
        }));
        // Over TLS tests connect by themselves.
        let channel = match flags.contains(&"--tls-cert") {
            true => Channel::from_static("http://localhost").connect_lazy(),
            false => connect(address).await,
        };
        if url.is_some() {
            soon("a server that is ready", async {
                while http_get(admin, "/readyz").await.0 != 200 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        Self { address, admin, rest, channel, shutdown: Some(shutdown), running, redis }
    }

    /// Whether it is one of many, or could be.
    pub(crate) fn has_many_nodes(&self) -> bool {
        self.redis.is_some()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where REST is served, by a server that was told to.
    pub(crate) fn rest(&self) -> SocketAddr {
        self.rest.expect("a server with --rest")
    }

    /// A TCP connection of its own.
    pub(crate) async fn channel(&self) -> Channel {
        connect(self.address).await
    }

    pub(crate) fn signaling(&self) -> SignalingServiceClient<Channel> {
        SignalingServiceClient::new(self.channel.clone())
    }

    pub(crate) fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }

    /// A client below gRPC.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.address, 65_535).await
    }

    /// The beginning of a join.
    pub(crate) fn join(&self, session: &str) -> JoinBuilder {
        JoinBuilder::new(self.channel.clone(), session)
    }

    /// The status and the body of a GET on the admin port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        http_get(self.admin, path).await
    }

    /// The value of a metric, named with its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.get("/metrics").await;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in\n{page}"))
    }

    /// Waits until a metric has fallen to `most`.
    pub(crate) async fn until_at_most(&self, name: &str, most: f64) {
        soon(name, async { while self.metric(name).await > most {} }).await;
    }

    /// Checks that nothing came to a member of `session` before what is sent to
    /// it now.
    pub(crate) async fn nothing_reached(&self, bystander: &mut Member, session: &str) {
        let marker = self.signaling().send_from_server(from_server(session, "marker")).await.unwrap();
        let event = bystander.next().await;
        let place = marker.into_inner().sequence;
        assert!(matches!(&event, Event::Signal(signal) if signal.sequence == place), "{event:?} reached a bystander");
    }

    /// Begins the drain.
    pub(crate) fn shut_down(&mut self) {
        let _ = self.shutdown.take().expect("a server is shut down once").send(());
    }

    /// Waits until `run` is back.
    pub(crate) async fn stopped(self) {
        soon("the end of the server", self.running).await.unwrap();
    }
}

pub(super) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    soon("a connection", endpoint.connect()).await.unwrap()
}

/// A GET over HTTP/1.1, on a connection of its own.
pub(crate) async fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut answer = String::new();
    soon("an answer of the admin port", async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    })
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
