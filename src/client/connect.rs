//! Streams to a server: gRPC over HTTP/2, or what a test puts in its place.

use std::{error::Error as _, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Uri,
};
use tonic_types::StatusExt as _;

use crate::proto::{JoinRequest, JoinResponse, signaling_service_client::SignalingServiceClient};

use super::{
    ConnectError, Refusal,
    transport::{Secure, connect, deepest},
};

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
#[derive(Clone)]
pub(super) struct Network {
    pub(super) connect_timeout: Duration,
    pub(super) secure: Secure,
}

impl Connector for Network {
    fn open(
        &self,
        endpoint: String,
        authorization: Option<MetadataValue<Ascii>>,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Responses, ConnectError>> {
        let (timeout, secure) = (self.connect_timeout, self.secure.clone());
        Box::pin(async move {
            // A transport of its own: one that broke, or may have, is never
            // used again.
            let channel = connect(&endpoint, timeout, &secure).await?;
            let mut request = Request::new(UnboundedReceiverStream::new(requests));
            if let Some(value) = authorization {
                request.metadata_mut().insert("authorization", value);
            }
            let responses = SignalingServiceClient::new(channel).join(request).await;
            let mut responses = responses.map_err(|status| failed(&endpoint, &status))?.into_inner();
            // What is no server of ours may show only after the headers.
            let first = responses.message().await.map_err(|status| failed(&endpoint, &status))?;
            let rest = responses.map(|response| response.map_err(|status| refusal(&status)));
            Ok(futures_util::stream::iter(first.map(Ok)).chain(rest).boxed())
        })
    }
}

/// A URL, from `http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`.
pub(super) fn parse(endpoint: &str) -> Result<String, ConnectError> {
    let wrong = |why: &str| Err(ConnectError::InvalidEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() });
    let full = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let Ok(uri) = full.parse::<Uri>() else { return wrong("not a URL, as http://127.0.0.1:50051") };
    let port = uri.authority().map(|authority| authority.as_str()).and_then(|authority| authority.rsplit_once(':'));
    // `[::1]` has colons and no port.
    if port.is_some_and(|(_, port)| !port.ends_with(']')) && uri.port_u16().is_none() {
        return wrong("a port is a number from 0 to 65535, as in http://127.0.0.1:50051");
    }
    match uri.scheme_str() {
        _ if uri.host().is_none_or(str::is_empty) => wrong("not a URL, as http://127.0.0.1:50051"),
        Some("http") => Ok(full),
        Some("https") if cfg!(feature = "client-tls") => Ok(full),
        Some("https") => wrong("https needs the feature `client-tls` of this library"),
        _ => wrong("not an http or https URL, as http://127.0.0.1:50051"),
    }
}

/// Why a call on a connection that stood has no answer of the service's.
pub(super) fn failed(endpoint: &str, status: &Status) -> ConnectError {
    let endpoint = endpoint.to_owned();
    let told = refusal(status);
    if !told.reason.is_empty() {
        return ConnectError::Rejected(told);
    }
    // What the peer sends has no source, what happens to the connection has.
    if let Some(source) = status.source() {
        return ConnectError::Lost { endpoint, why: deepest(source).to_string() };
    }
    // An answer that is none of gRPC's is known by tonic's words only.
    let message = &told.message;
    let foreign = message.starts_with("grpc-status header missing") || message.starts_with("protocol error");
    match told.code {
        Code::Unimplemented => ConnectError::NotGrpc { endpoint, why: told.to_string() },
        // 502, 503, 504: a proxy whose server is away.
        Code::Unavailable => ConnectError::Rejected(told),
        _ if foreign => ConnectError::NotGrpc { endpoint, why: told.message },
        _ => ConnectError::Rejected(told),
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
