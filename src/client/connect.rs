//! Streams to a server: gRPC over plain-text HTTP/2, or what a test puts in
//! its place.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Uri},
};
use tonic_types::StatusExt as _;

use crate::proto::{JoinRequest, JoinResponse, signaling_service_client::SignalingServiceClient};

use super::{ConnectError, Refusal};

/// HTTP/2 pings find a dead server even where no heartbeats are asked for.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// What a client sends on one stream; its end is a half-close.
pub type Requests = mpsc::UnboundedReceiver<JoinRequest>;

/// What a server answers. The stream's end is the status OK, an error any
/// other.
pub type Responses = BoxStream<'static, Result<JoinResponse, Refusal>>;

/// Opens `Join` streams.
///
/// The network, unless a test replaces it by
/// [`ClientBuilder::connector`](super::ClientBuilder::connector).
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream to `endpoint`, showing `authorization`. The first of the
    /// `requests` is there already. Dropped when it takes too long.
    ///
    /// # Errors
    /// Why there is no stream. `Rejected` for what the server refused.
    fn open(
        &self,
        endpoint: String,
        authorization: Option<MetadataValue<Ascii>>,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Responses, ConnectError>>;
}

/// The network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub(super) connect_timeout: Duration,
}

impl Connector for Network {
    fn open(
        &self,
        endpoint: String,
        authorization: Option<MetadataValue<Ascii>>,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Responses, ConnectError>> {
        let timeout = self.connect_timeout;
        Box::pin(async move {
            // A transport of its own: one that broke, or may have, is never
            // used again.
            let channel = connect(&endpoint, timeout).await?;
            let mut request = Request::new(UnboundedReceiverStream::new(requests));
            if let Some(value) = authorization {
                request.metadata_mut().insert("authorization", value);
            }
            let responses = SignalingServiceClient::new(channel).join(request).await;
            let responses = responses.map_err(|status| failed(&endpoint, &status))?.into_inner();
            Ok(responses.map(|response| response.map_err(|status| refusal(&status))).boxed())
        })
    }
}

/// A URL, from `http://HOST:PORT` or `HOST:PORT`.
pub(super) fn parse(endpoint: &str) -> Result<String, ConnectError> {
    let wrong = |why: &str| Err(ConnectError::InvalidEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() });
    let full = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let Ok(uri) = full.parse::<Uri>() else { return wrong("not a URL, as http://127.0.0.1:50051") };
    match uri.scheme_str() {
        _ if uri.host().is_none_or(str::is_empty) => wrong("not a URL, as http://127.0.0.1:50051"),
        Some("http") => Ok(full),
        Some("https") => wrong("https is not supported by this version; use http"),
        _ => wrong("not an http URL, as http://127.0.0.1:50051"),
    }
}

/// Connects.
pub(super) async fn connect(endpoint: &str, timeout: Duration) -> Result<Channel, ConnectError> {
    let invalid = |why: String| ConnectError::InvalidEndpoint { endpoint: endpoint.to_owned(), why };
    let connecting = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| invalid(error.to_string()))?
        .connect_timeout(timeout)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .tcp_nodelay(true);
    connecting.connect().await.map_err(|error| unreached(endpoint, &error, timeout))
}

/// Why there is no transport.
fn unreached(endpoint: &str, error: &tonic::transport::Error, timeout: Duration) -> ConnectError {
    let endpoint = endpoint.to_owned();
    if let Some(io) = cause::<io::Error>(error) {
        return match io.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::ConnectionRefused { endpoint },
            io::ErrorKind::TimedOut => ConnectError::TimedOut { endpoint, after: timeout },
            _ => ConnectError::Unreachable { endpoint, why: io.to_string() },
        };
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    let why = deepest.to_string();
    // The time-out's type is no public one.
    if why.contains("deadline") || why.contains("timed out") {
        ConnectError::TimedOut { endpoint, after: timeout }
    } else {
        ConnectError::Unreachable { endpoint, why }
    }
}

/// Why there is no stream on a transport that stands.
pub(super) fn failed(endpoint: &str, status: &Status) -> ConnectError {
    let told = refusal(status);
    if !told.reason.is_empty() {
        return ConnectError::Rejected(told);
    }
    let not_grpc = |why: String| ConnectError::NotGrpc { endpoint: endpoint.to_owned(), why };
    if let Some(h2) = status.source().and_then(|source| cause_of::<h2::Error>(source)) {
        // What a peer that speaks HTTP/1, or anything else, says is no HTTP/2.
        if h2.get_io().is_none() && !h2.is_remote() {
            return not_grpc(format!("what it says is no HTTP/2: {h2}"));
        }
    }
    match status.code() {
        Code::Unimplemented => not_grpc(status.message().to_owned()),
        _ if status.message().contains("content-type") => not_grpc(status.message().to_owned()),
        _ => ConnectError::Rejected(told),
    }
}

fn cause<T: std::error::Error + 'static>(error: &tonic::transport::Error) -> Option<&T> {
    error.source().and_then(cause_of)
}

fn cause_of<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    match error.downcast_ref() {
        Some(found) => Some(found),
        None => error.source().and_then(cause_of),
    }
}

/// What a status says.
pub(super) fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details();
    let field = details.bad_request().and_then(|bad| bad.field_violations.first()).map(|one| one.field.clone());
    let message = match (status.message(), status.source()) {
        ("", Some(source)) => source.to_string(),
        (message, _) => message.to_owned(),
    };
    Refusal {
        code: status.code(),
        reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
        message,
        field,
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// A connector that everyone may share.
pub(super) type SharedConnector = Arc<dyn Connector>;
