//! The connection to an OTLP receiver: over TLS where its address says `https`.
//!
//! tonic could do that, too; but with its TLS compiled in, it refuses the connectors
//! of others, by which the client here speaks TLS.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Where `https` is, unless an address says otherwise.
const PORT: u16 = 443;

/// A channel that connects when it is used. To be called in a runtime, which then does
/// its work.
pub(super) fn channel(endpoint: &str, timeout: Duration) -> Result<Channel, String> {
    let settings = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| error.to_string())?;
    let settings = settings.timeout(timeout).connect_timeout(timeout);
    if settings.uri().scheme_str() != Some("https") {
        return Ok(settings.connect_lazy());
    }
    let config = Arc::new(config()?);
    Ok(settings.connect_with_connector_lazy(service_fn(move |uri: Uri| {
        let config = Arc::clone(&config);
        async move { connect(config, &uri).await.map(TokioIo::new) }
    })))
}

fn config() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!("the system knows no authorities{why}"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn connect(config: Arc<ClientConfig>, uri: &Uri) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(PORT))).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, tcp).await
}
