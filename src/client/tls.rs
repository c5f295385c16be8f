//! TLS to servers: whom to trust, and who this client is.

use std::{error::Error, io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Uri;

/// Whom a client trusts, and who it is, where endpoints begin with `https`: TLS
/// 1.2 or 1.3.
///
/// ```
/// # #[tokio::main] async fn main() {
/// # let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
/// use signalbox::client::{Client, Tls};
///
/// let tls = Tls::new().authority(ca);
/// let client = Client::builder().endpoint("https://localhost:50051").tls(tls).build();
/// # assert!(client.is_ok());
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Trusts whom the system trusts, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts servers certified by these authorities, certificates in PEM, and no
    /// others.
    pub fn authority(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities = Some(pem.as_ref().to_vec());
        self
    }

    /// Shows a certificate to servers that ask for one: the chain and its private
    /// key, in PEM.
    pub fn identity(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some((chain.as_ref().to_vec(), key.as_ref().to_vec()));
        self
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain, "the client's certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| format!("the client's private key is no good: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the client's certificate doesn't go with its key: {error}"))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for certificate in certificates(pem, "the authority's certificate")? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("the authority's certificate is no good: {error}"))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
                    return Err(format!("the system knows no authorities{why}: name one"));
                }
            }
        }
        Ok(roots)
    }
}

/// Never shows the key.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8], whose: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(chain) if chain.is_empty() => Err(format!("{whose} is no good: there is none in PEM")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{whose} is no good: {error}")),
    }
}

/// Shakes hands with the server at `uri`.
pub(super) async fn shake(config: Arc<ClientConfig>, uri: &Uri, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, tcp).await
}

/// What went wrong between here and a server, if TLS did, for people.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    // An `io::Error` shows what is in it as itself, and not among its sources.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let found = inner.and_then(|inner| inner.downcast_ref::<TlsError>()).or_else(|| error.downcast_ref());
    let Some(tls) = found else { return error.source().and_then(explain) };
    let told = match tls {
        // The second: by one who calls himself as one that is trusted.
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the server's certificate is by nobody that is trusted here; name its authority".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the server's certificate has expired ({tls})")
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the server's certificate is for another name ({tls})"),
        TlsError::InvalidMessage(_) => "it speaks no TLS; is it http?".to_owned(),
        TlsError::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            format!("the server wants a certificate of this client, or none that it has ({tls})")
        }
        TlsError::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            format!("the server doesn't trust this client's certificate ({tls})")
        }
        other => other.to_string(),
    };
    Some(told)
}
