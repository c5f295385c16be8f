//! The way to a running server.

use std::time::Duration;

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};

use crate::client::{Client, ClientBuilder, ConnectError, ServerClient};

use super::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What every client command takes.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The server, as http://HOST:PORT or HOST:PORT
    #[arg(long, env = "SIGNALBOX_SERVER", value_name = "URL", default_value = "http://127.0.0.1:50051", value_parser = url)]
    server: String,

    /// A token, sent as `authorization: Bearer TOKEN`
    #[arg(long, env = "SIGNALBOX_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = bearer)]
    token: Option<MetadataValue<Ascii>>,

    /// Print JSON, one object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// An endpoint, checked as the client does.
pub(super) fn url(text: &str) -> Result<String, ConnectError> {
    Client::new([text]).map(|_| text.to_owned())
}

/// A token, as its header's value.
pub(super) fn bearer(token: &str) -> Result<MetadataValue<Ascii>, String> {
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| "a token has only visible ASCII characters".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long a command tries again what may help: somebody waits for it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

impl ServerArgs {
    /// The settings of a client that comes back by itself.
    pub(super) fn client(&self) -> ClientBuilder {
        let client = Client::builder().endpoint(self.server.trim_end_matches('/'));
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_a_host_and_port() {
        for good in ["http://127.0.0.1:50051", "localhost:50051", "http://[::1]:1", "example.com"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["https://example.com", "ftp://x", "http://", "", "a b", "localhost:99999"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_ascii_and_hidden() {
        assert!(bearer("a\nb").is_err());
        assert!(!format!("{:?}", bearer("secret").unwrap()).contains("secret"));
    }
}
