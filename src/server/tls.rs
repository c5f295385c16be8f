//! TLS: certificates read from files, and again when the files change. Streams
//! that are there stay.

use std::{
    fmt,
    io::Cursor,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::telemetry::audit;

use super::follow::{follow, read, wrong};

/// How long a peer may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client that speaks it calls HTTP/1.1. Source: RFC 7301, 6.
const HTTP1: &[u8] = b"http/1.1";
/// What a TLS record with a handshake begins with. Source: RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// Whether HTTP/1.1 is offered, too.
    http1: bool,
}

/// What the files held. Never shows the key.
#[derive(PartialEq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl TlsSettings {
    /// Settings of these files; none when there are none. The files are read
    /// once, to say at once what is wrong with them.
    ///
    /// # Errors
    /// What to tell the operator: the flag, the file, and what is wrong with it.
    pub(super) fn new(
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
        http1: bool,
    ) -> Result<Option<Self>, String> {
        let settings = match (cert, key) {
            (Some(cert), Some(key)) => Self { cert, key, client_ca, http1 },
            (None, None) if client_ca.is_none() => return Ok(None),
            (None, None) => return Err("--tls-client-ca needs --tls-cert and --tls-key".to_owned()),
            (Some(_), None) => return Err("--tls-cert needs --tls-key, the certificate's private key".to_owned()),
            (None, Some(_)) => return Err("--tls-key needs --tls-cert, the key's certificate".to_owned()),
        };
        settings.config(&settings.read()?)?;
        Ok(Some(settings))
    }

    fn read(&self) -> Result<Contents, String> {
        Ok(Contents {
            cert: read(&self.cert, "--tls-cert")?,
            key: read(&self.key, "--tls-key")?,
            client_ca: self.client_ca.as_deref().map(|file| read(file, "--tls-client-ca")).transpose()?,
        })
    }

    fn config(&self, contents: &Contents) -> Result<ServerConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&contents.cert, &self.cert, "--tls-cert")?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| wrong(&self.key, "--tls-key", &format!("no private key in PEM: {error}")))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?;
        let builder = match (&contents.client_ca, &self.client_ca) {
            (Some(pem), Some(file)) => builder.with_client_cert_verifier(client_verifier(pem, file, provider)?),
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&self.cert, "--tls-cert", &format!("it doesn't go with --tls-key: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        if self.http1 {
            config.alpn_protocols.push(HTTP1.to_vec());
        }
        Ok(config)
    }
}

fn certificates(pem: &[u8], file: &Path, flag: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(Cursor::new(pem)).collect();
    let chain = read.map_err(|error| wrong(file, flag, &error))?;
    if chain.is_empty() {
        return Err(wrong(file, flag, &"no certificate in PEM"));
    }
    Ok(chain)
}

fn client_verifier(
    pem: &[u8],
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let flag = "--tls-client-ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, file, flag)? {
        roots.add(certificate).map_err(|error| wrong(file, flag, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| wrong(file, flag, &error))
}

/// The TLS of a server.
pub(super) struct Tls {
    config: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// The TLS of these settings, and what keeps its certificates fresh: to be
    /// run beside it.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(super) fn new(settings: TlsSettings) -> Result<(Arc<Self>, impl Future<Output = ()> + Send), String> {
        let contents = settings.read()?;
        let config = RwLock::new(Arc::new(settings.config(&contents)?));
        let tls = Arc::new(Self { config });
        let fresh = {
            let tls = Arc::clone(&tls);
            async move {
                let read = {
                    let settings = settings.clone();
                    move || settings.read()
                };
                follow("certificates", contents, read, |read| {
                    let config = Arc::new(settings.config(read)?);
                    *tls.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                    Ok(())
                })
                .await;
            }
        };
        Ok((tls, fresh))
    }

    /// Whether HTTP/1.1 was agreed on.
    pub(super) fn is_http1(stream: &TlsStream<TcpStream>) -> bool {
        stream.get_ref().1.alpn_protocol() == Some(HTTP1)
    }

    /// Shakes hands. None: it was not to be, and is logged.
    pub(super) async fn accept(&self, stream: TcpStream, peer: IpAddr) -> Option<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        let shaking = async {
            let mut first = [0];
            // Nothing at all is no mistake to speak of: a check whether the port is open.
            if stream.peek(&mut first).await.ok()? == 0 {
                return None;
            }
            if first[0] != HANDSHAKE {
                audit::mistaken(peer, "a client speaks plain text to this port, which is for TLS; it needs https");
                return None;
            }
            match TlsAcceptor::from(config).accept(stream).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    audit::handshake_failed(peer, &error);
                    None
                }
            }
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => {
                tracing::debug!(%peer, timeout = ?HANDSHAKE_TIMEOUT, "no TLS handshake in time");
                None
            }
        }
    }
}
