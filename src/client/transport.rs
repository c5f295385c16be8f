//! HTTP/2 connections to a server, in plain text or over TLS.
//!
//! A connection is not used before the server has greeted: until then nothing
//! was asked of it, so that one that is no server, or says nothing, is told
//! apart from one that has a request and lost the answer.

use std::{
    error::Error,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{ServiceExt as _, service_fn};

use super::ConnectError;

/// HTTP/2 pings find a dead server even where no heartbeats are asked for.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Enough to know HTTP/2 by: the server's first frame must be SETTINGS, whose
/// length begins with 0 and whose type is 4. Source: RFC 9113, 3.4 and 4.1.
const ENOUGH: usize = 4;
/// What begins with this is TLS: an alert. Source: RFC 8446, 5.1.
const TLS_ALERT: u8 = 21;
/// How much of a stranger's greeting is told.
const TOLD: usize = 64;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects, and waits until the server has said that it speaks HTTP/2.
///
/// The channel is one TCP connection: once that is gone every call on it fails
/// with [`tonic::ConnectError`] among its sources, having asked nothing.
///
/// # Errors
/// All but `Rejected` and `Token`.
pub(super) async fn connect(endpoint: &str, timeout: Duration, secure: &Secure) -> Result<Channel, ConnectError> {
    match tokio::time::timeout(timeout, greeted(endpoint, secure)).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectError::TimedOut { endpoint: endpoint.to_owned(), after: timeout }),
    }
}

async fn greeted(endpoint: &str, secure: &Secure) -> Result<Channel, ConnectError> {
    let (heard, greeting) = oneshot::channel();
    let settings = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| ConnectError::InvalidEndpoint { endpoint: endpoint.to_owned(), why: error.to_string() })?
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    let (mut heard, secure) = (Some(heard), secure.clone());
    let connector = service_fn(move |uri: Uri| {
        let (heard, secure) = (heard.take(), secure.clone());
        async move {
            let Some(heard) = heard else { return Err("the connection is gone".into()) };
            let mut http = HttpConnector::new();
            http.set_nodelay(true);
            http.enforce_http(false);
            let tcp = http.oneshot(uri.clone()).await?.into_inner();
            let io = secure.over(&uri, tcp).await?;
            Ok::<_, BoxError>(TokioIo::new(Listening { io, first: Vec::with_capacity(TOLD), heard: Some(heard) }))
        }
    });
    let channel = settings.connect_with_connector(connector).await.map_err(|error| unreached(endpoint, &error))?;
    match greeting.await {
        Ok(Greeting::Http2) => Ok(channel),
        Ok(Greeting::NoTls(why)) => Err(ConnectError::Tls { endpoint: endpoint.to_owned(), why }),
        Ok(Greeting::Other(why)) => Err(ConnectError::NotGrpc { endpoint: endpoint.to_owned(), why }),
        // So do servers of HTTP/1, too, that know no other way to refuse it.
        Err(_) => {
            let why = "it closes the connection without a word".to_owned();
            Err(ConnectError::NotGrpc { endpoint: endpoint.to_owned(), why })
        }
    }
}

/// Why there is no TCP connection.
fn unreached(endpoint: &str, error: &tonic::transport::Error) -> ConnectError {
    let endpoint = endpoint.to_owned();
    if let Some(why) = explain(error) {
        return ConnectError::Tls { endpoint, why };
    }
    match cause::<io::Error>(error) {
        Some(io) if io.kind() == io::ErrorKind::ConnectionRefused => ConnectError::ConnectionRefused { endpoint },
        Some(io) => ConnectError::Unreachable { endpoint, why: io.to_string() },
        None => ConnectError::Unreachable { endpoint, why: deepest(error).to_string() },
    }
}

/// The first error of a type among an error and its causes.
pub(super) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    match error.downcast_ref() {
        Some(found) => Some(found),
        None => error.source().and_then(cause),
    }
}

/// What an error comes down to.
pub(super) fn deepest<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, deepest)
}

/// What a peer said first.
enum Greeting {
    Http2,
    /// Nothing, because TLS failed after all: why.
    #[cfg_attr(not(feature = "client-tls"), allow(dead_code))]
    NoTls(String),
    /// Something else: what, for people.
    Other(String),
}

impl Greeting {
    fn read(first: &[u8]) -> Self {
        if first[0] == 0 && first[3] == 4 {
            return Self::Http2;
        }
        if first[0] == TLS_ALERT {
            return Self::Other("it speaks TLS; is it https?".to_owned());
        }
        let text = String::from_utf8_lossy(first);
        Self::Other(format!("it says {:?}", text.lines().next().unwrap_or_default()))
    }
}

/// With what to reach servers whose endpoints begin with `https`.
#[derive(Clone, Default)]
pub(super) struct Secure {
    #[cfg(feature = "client-tls")]
    pub(super) config: Option<std::sync::Arc<rustls::ClientConfig>>,
}

#[cfg(feature = "client-tls")]
type Io = tokio_util::either::Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>;

#[cfg(feature = "client-tls")]
impl Secure {
    async fn over(self, uri: &Uri, tcp: TcpStream) -> io::Result<Io> {
        match self.config.filter(|_| uri.scheme_str() == Some("https")) {
            None => Ok(Io::Left(tcp)),
            Some(config) => Ok(Io::Right(Box::new(super::tls::shake(config, uri, tcp).await?))),
        }
    }
}

#[cfg(feature = "client-tls")]
use super::tls::explain;

#[cfg(not(feature = "client-tls"))]
type Io = TcpStream;

#[cfg(not(feature = "client-tls"))]
impl Secure {
    async fn over(self, _: &Uri, tcp: TcpStream) -> io::Result<Io> {
        Ok(tcp)
    }
}

#[cfg(not(feature = "client-tls"))]
fn explain(_: &(dyn Error + 'static)) -> Option<String> {
    None
}

/// A connection that tells what comes first on it. Dropped before anything
/// came, it tells that by dropping `heard`.
struct Listening {
    io: Io,
    first: Vec<u8>,
    heard: Option<oneshot::Sender<Greeting>>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        // So TLS 1.3 refuses a client: after the handshake.
        if let Err(error) = &read
            && let Some(why) = explain(error)
            && let Some(heard) = self.heard.take()
        {
            let _ = heard.send(Greeting::NoTls(why));
        }
        if self.heard.is_some() {
            let new = &buffer.filled()[before..];
            let room = TOLD - self.first.len();
            self.first.extend_from_slice(&new[..new.len().min(room)]);
            if new.is_empty() || self.first.len() >= ENOUGH {
                let heard = self.heard.take();
                if let Some(heard) = heard.filter(|_| self.first.len() >= ENOUGH) {
                    // Nobody waits for it when the attempt was given up.
                    let _ = heard.send(Greeting::read(&self.first));
                }
            }
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
