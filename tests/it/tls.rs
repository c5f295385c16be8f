//! TLS: who is let in by it, and certificates that change.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use signalbox::{
    client::{Client, ConnectError, Event, JoinOptions, Signal, Tls},
    proto::LeaveRequest,
};

use crate::{
    auth::file,
    support::{JoinBuilder, TestServer, broadcast, redis::RedisServer, soon},
    web::Page,
};

/// One who certifies.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Identity {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certifies(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Not the authority's own, by which some would take it for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

impl Identity {
    fn files(&self) -> (PathBuf, PathBuf) {
        (file(&self.certificate.pem()), file(&self.key.serialize_pem()))
    }

    fn replaces(&self, (certificate, key): &(PathBuf, PathBuf)) {
        fs::write(certificate, self.certificate.pem()).unwrap();
        fs::write(key, self.key.serialize_pem()).unwrap();
    }
}

/// How a client greets.
struct Greeting<'a> {
    authority: &'a Authority,
    identity: Option<&'a Identity>,
    version: &'static SupportedProtocolVersion,
}

/// A browser that has had no HTTP/2 so far says that it speaks both; some proxies speak the old
/// one alone.
const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Greeting<'_> {
    fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(self.authority.roots());
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
                builder.with_client_auth_cert(vec![identity.certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    async fn shakes_hands(&self, server: &TestServer) -> std::io::Result<TlsStream<TcpStream>> {
        self.shakes_hands_for(server, &BOTH[..1]).await
    }

    /// The same, for one of these protocols.
    async fn shakes_hands_for(
        &self,
        server: &TestServer,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(server.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut config = self.config();
        Arc::make_mut(&mut config).alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        soon("a handshake", TlsConnector::from(config).connect(name, tcp)).await
    }

    /// Whether the server takes it. What it thinks of a client's certificate shows
    /// only after the handshake, in TLS 1.3.
    async fn is_taken(&self, server: &TestServer) -> bool {
        let Ok(mut stream) = self.shakes_hands(server).await else { return false };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if stream.write_all(preface).await.is_err() {
            return false;
        }
        matches!(soon("an answer", stream.read(&mut [0; 9])).await, Ok(length) if length > 0)
    }

    async fn channel(&self, server: &TestServer) -> Channel {
        let stream = self.shakes_hands(server).await.unwrap();
        let mut stream = Some(TokioIo::new(stream));
        let connector = service_fn(move |_: Uri| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| std::io::Error::other("the connection is gone")) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        soon("a connection", endpoint.connect_with_connector(connector)).await.unwrap()
    }
}

/// A server's side for `localhost`, and the file with the authority that it is certified by.
#[cfg(feature = "otlp")]
pub(crate) fn acceptor() -> (tokio_rustls::TlsAcceptor, PathBuf) {
    let authority = Authority::new();
    let identity = authority.certifies("localhost");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(config).into(), file(&authority.0.pem()))
}

async fn start(files: &(PathBuf, PathBuf), flags: &[&str]) -> TestServer {
    let (certificate, key) = (files.0.to_str().unwrap(), files.1.to_str().unwrap());
    TestServer::with(&[&["--tls-cert", certificate, "--tls-key", key], flags].concat()).await
}

fn plain(authority: &Authority) -> Greeting<'_> {
    Greeting { authority, identity: None, version: &TLS13 }
}

#[tokio::test]
async fn members_meet_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let server = start(&authority.certifies("localhost").files(), &[]).await;
    let mut members = Vec::new();
    for version in [&TLS12, &TLS13] {
        let channel = Greeting { authority: &authority, identity: None, version }.channel(&server).await;
        members.push(JoinBuilder::new(channel, "s").enter().await);
    }
    members[0].frame(broadcast(1, "", "encrypted"));
    for member in &mut members {
        assert_eq!(member.heard().await, "encrypted");
    }
}

#[tokio::test]
async fn a_server_that_nobody_trusted_certifies_is_not_taken() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = start(&stranger.certifies("localhost").files(), &[]).await;
    assert!(plain(&authority).shakes_hands(&server).await.is_err());
    assert!(plain(&stranger).is_taken(&server).await);
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_taken() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let ca = file(&clients.0.pem());
    let files = authority.certifies("localhost").files();
    let server = start(&files, &["--tls-client-ca", ca.to_str().unwrap()]).await;
    let (friend, foe) = (clients.certifies("a client"), stranger.certifies("a client"));
    for version in [&TLS12, &TLS13] {
        for (identity, taken) in [(None, false), (Some(&foe), false), (Some(&friend), true)] {
            let greeting = Greeting { authority: &authority, identity, version };
            assert_eq!(greeting.is_taken(&server).await, taken, "{version:?}");
        }
    }
}

#[tokio::test]
async fn certificates_change_without_a_stream_noticing() {
    let authority = Authority::new();
    let (old, new) = (authority.certifies("localhost"), authority.certifies("localhost"));
    let files = old.files();
    let server = start(&files, &[]).await;
    let shown = async || -> CertificateDer<'static> {
        let stream = plain(&authority).shakes_hands(&server).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut member = JoinBuilder::new(plain(&authority).channel(&server).await, "s").enter().await;
    assert_eq!(shown().await, *old.certificate.der());
    new.replaces(&files);
    soon("the new certificate", async { while shown().await != *new.certificate.der() {} }).await;
    member.frame(broadcast(1, "", "still here"));
    assert_eq!(member.heard().await, "still here");
}

#[tokio::test]
async fn other_protocols_than_the_ports_are_cut() {
    let authority = Authority::new();
    let encrypted = start(&authority.certifies("localhost").files(), &[]).await;
    let mut tcp = TcpStream::connect(encrypted.address()).await.unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // The end, or a reset: it has not read all.
    assert!(!matches!(soon("the end", tcp.read(&mut [0; 1])).await, Ok(1)));
    let open = TestServer::start().await;
    assert!(plain(&authority).shakes_hands(&open).await.is_err());
}

/// The library's client of a server.
fn client(server: &TestServer, name: &str, tls: Tls) -> Client {
    let endpoint = format!("https://{name}:{}", server.address().port());
    Client::builder().endpoint(endpoint).tls(tls).give_up_after(Duration::ZERO).build().unwrap()
}

/// What the client is told, when there is no TLS.
async fn told(client: &Client) -> String {
    match soon("an answer", client.join(JoinOptions::new("s"))).await {
        Err(error @ ConnectError::Tls { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it is in"),
    }
}

#[tokio::test]
async fn the_client_joins_and_backends_call_over_tls() {
    let authority = Authority::new();
    let server = start(&authority.certifies("localhost").files(), &[]).await;
    let client = client(&server, "localhost", Tls::new().authority(authority.0.pem()));
    let (session, mut events) = soon("a join", client.join(JoinOptions::new("s"))).await.unwrap();
    let sent = soon("a call", client.server().send_from_server("s", Signal::new("", "encrypted")).into_future())
        .await
        .unwrap();
    assert_eq!(sent.recipient_count, 1);
    let heard = async {
        loop {
            if let Some(Event::Signal(signal)) = events.next().await {
                return signal.data;
            }
        }
    };
    assert_eq!(soon("the signal", heard).await, "encrypted");
    soon("a farewell", session.leave()).await;
}

#[tokio::test]
async fn the_client_says_what_is_wrong_between_it_and_the_server() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let trusting = || Tls::new().authority(authority.0.pem());
    let server = start(&authority.certifies("localhost").files(), &[]).await;
    let stranger = Tls::new().authority(Authority::new().0.pem());
    for (name, tls, says) in
        [("localhost", stranger, "by nobody that is trusted here"), ("127.0.0.1", trusting(), "for another name")]
    {
        let told = told(&client(&server, name, tls)).await;
        assert!(told.contains(says) && told.contains(&format!("https://{name}:")), "{told}");
    }

    let ca = file(&clients.0.pem());
    let picky = start(&authority.certifies("localhost").files(), &["--tls-client-ca", ca.to_str().unwrap()]).await;
    let told = told(&client(&picky, "localhost", trusting())).await;
    assert!(told.contains("wants a certificate of this client"), "{told}");
    let me = clients.certifies("me");
    let tls = trusting().identity(me.certificate.pem(), me.key.serialize_pem());
    soon("a join", client(&picky, "localhost", tls).join(JoinOptions::new("s"))).await.unwrap();

    let open = TestServer::start().await;
    let told = self::told(&client(&open, "localhost", trusting())).await;
    assert!(told.contains("speaks no TLS; is it http?"), "{told}");
    let plain = Client::new([format!("http://localhost:{}", server.address().port())]).unwrap();
    let error = soon("an answer", plain.join(JoinOptions::new("s"))).await.err().unwrap();
    assert!(matches!(&error, ConnectError::NotGrpc { .. }), "{error:?}");

    for (tls, says) in [
        (Tls::new().authority("no PEM"), "the authority's certificate is no good"),
        (trusting().identity(me.certificate.pem(), "no PEM"), "the client's private key is no good"),
        (
            trusting().identity(me.certificate.pem(), clients.certifies("x").key.serialize_pem()),
            "doesn't go with its key",
        ),
    ] {
        let error = Client::builder().endpoint("https://localhost:1").tls(tls).build().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// What commands need: files.
pub(crate) async fn with_files(flags: &[&str]) -> (TestServer, PathBuf) {
    let authority = Authority::new();
    let server = start(&authority.certifies("localhost").files(), flags).await;
    (server, file(&authority.0.pem()))
}

/// By name and password, with a certificate of its own.
#[tokio::test]
async fn a_node_and_its_redis_speak_tls() {
    let authority = Authority::new();
    let ca = file(&authority.0.pem());
    let (server_cert, server_key) = authority.certifies("localhost").files();
    let (node_cert, node_key) = authority.certifies("node").files();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let [ca, server_cert, server_key, node_cert, node_key] =
        [ca, server_cert, server_key, node_cert, node_key].map(|file| file.display().to_string());
    let flags = [
        ["--tls-port", &port],
        ["--tls-cert-file", &server_cert],
        ["--tls-key-file", &server_key],
        ["--tls-ca-cert-file", &ca],
        ["--tls-auth-clients", "yes"],
    ];
    let Some(redis) = RedisServer::on_a_port(&flags.concat()) else { return };
    redis
        .ask(redis::cmd("ACL").arg(&["SETUSER", "node", "on", ">secret", "~signalbox:*", "&signalbox:*", "+@all"][..]));
    let url = format!("rediss://node:secret@localhost:{port}");
    let doctor = async |ca: &str| {
        let flags = ["--redis-ca", ca, "--redis-cert", &node_cert, "--redis-key", &node_key];
        let examined = tokio::process::Command::new(env!("CARGO_BIN_EXE_signalbox"))
            .args(["doctor", "--engine", "redis", "--redis-url", &url])
            .args(flags)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(examined.stdout).unwrap();
        assert!(!said.contains("secret"), "{said}");
        (said, examined.status.code())
    };
    let (said, code) = doctor(&ca).await;
    assert_eq!(code, Some(0), "{said}");
    // One that somebody else certified isn't asked.
    let other = file(&Authority::new().0.pem()).display().to_string();
    let (said, code) = doctor(&other).await;
    assert!(code == Some(1) && said.contains("bad  reach"), "{said}");

    let flags = ["--redis-ca", &ca, "--redis-cert", &node_cert, "--redis-key", &node_key];
    let node = TestServer::at(Some(url), &flags, None).await;
    let mut member = node.join("s").enter().await;
    let sent = member.send("", "over TLS");
    member.accepted(sent).await;
    assert_eq!(member.heard().await, "over TLS");
}

#[tokio::test]
async fn browsers_agree_on_a_version_of_http() {
    let authority = Authority::new();
    let (certificate, key) = authority.certifies("localhost").files();
    let flags = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let greeting = Greeting { authority: &authority, identity: None, version: &TLS13 };
    let server = TestServer::with(&[&flags[..], &["--cors-origin", "http://localhost:8080"]].concat()).await;
    let agreed = |stream: &TlsStream<TcpStream>| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let stream = greeting.shakes_hands_for(&server, &BOTH).await.unwrap();
    assert_eq!(agreed(&stream).as_deref(), Some(BOTH[0]));
    let stream = greeting.shakes_hands_for(&server, &BOTH[1..]).await.unwrap();
    assert_eq!(agreed(&stream).as_deref(), Some(BOTH[1]));
    let answer = Page::of(&server).call_over(stream, "Leave", &LeaveRequest::default()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.end().await.code(), tonic::Code::InvalidArgument);
    // Without gRPC-Web there is none to agree on.
    let server = TestServer::with(&flags).await;
    assert!(greeting.shakes_hands_for(&server, &BOTH[1..]).await.is_err());
}
