//! The way to a running server.

use std::time::Duration;

use clap::Args;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    client::{Client, ClientBuilder, ServerClient},
    proto::session_service_client::SessionServiceClient,
};

use super::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings find a dead server within 30 s.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// What every client command takes.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The server, as http://HOST:PORT or HOST:PORT
    #[arg(long, env = "SIGNALBOX_SERVER", value_name = "URL", default_value = "http://127.0.0.1:50051", value_parser = url)]
    server: Uri,

    /// A token, sent as `authorization: Bearer TOKEN`
    #[arg(long, env = "SIGNALBOX_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = bearer)]
    token: Option<MetadataValue<Ascii>>,

    /// Print JSON, one object per line
    #[arg(long)]
    pub(super) json: bool,
}

fn url(text: &str) -> Result<Uri, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = full.parse().map_err(|_| "not a URL, as http://127.0.0.1:50051".to_owned())?;
    match uri.scheme_str() {
        _ if uri.host().is_none_or(str::is_empty) => Err("not a URL, as http://127.0.0.1:50051".into()),
        Some("http") => Ok(uri),
        Some("https") => Err("https is not supported by this version; use http".into()),
        _ => Err("not an http URL, as http://127.0.0.1:50051".into()),
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, String> {
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| "a token has only visible ASCII characters".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Puts the token on every call.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// How long a command tries again what may help: somebody waits for it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

type Transport = InterceptedService<Channel, Bearer>;

impl ServerArgs {
    /// The settings of a client that comes back by itself.
    pub(super) fn client(&self) -> ClientBuilder {
        let client = Client::builder().endpoint(self.server.to_string().trim_end_matches('/'));
        let bearer = self.token.as_ref().and_then(|token| token.to_str().ok()?.strip_prefix("Bearer "));
        match bearer {
            Some(token) => client.token(token),
            None => client,
        }
    }

    /// A backend's side of the server.
    pub(super) fn backend(&self) -> Result<ServerClient, Failure> {
        Ok(self.client().connect_timeout(CONNECT_TIMEOUT).give_up_after(GIVE_UP_AFTER).build()?.server())
    }

    pub(super) async fn sessions(&self) -> Result<SessionServiceClient<Transport>, Failure> {
        Ok(SessionServiceClient::with_interceptor(self.connect().await?, Bearer(self.token.clone())))
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from(self.server.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .tcp_nodelay(true);
        endpoint.connect().await.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            Failure::Refused(format!(
                "can't connect to {}: {cause}\nIs a server running there? `signalbox` starts one; --server names another.",
                self.server
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_a_host_and_port() {
        for good in ["http://127.0.0.1:50051", "localhost:50051", "http://[::1]:1", "example.com"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["https://example.com", "ftp://x", "http://", "", "a b"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_ascii_and_hidden() {
        assert!(bearer("a\nb").is_err());
        assert!(!format!("{:?}", bearer("secret").unwrap()).contains("secret"));
    }
}
