//! The way to a running server.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};

use crate::client::{Client, ClientBuilder, ConnectError, ServerClient, Tls};

use super::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What every client command takes.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The server, as http://HOST:PORT, https://HOST:PORT or HOST:PORT
    #[arg(long, env = "SIGNALBOX_SERVER", value_name = "URL", default_value = "http://127.0.0.1:50051", value_parser = url)]
    server: String,

    /// A token, sent as `authorization: Bearer TOKEN`
    #[arg(long, env = "SIGNALBOX_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = bearer)]
    token: Option<MetadataValue<Ascii>>,

    /// With https: trust servers certified by these authorities, in PEM, rather than those that the system trusts
    #[arg(long, env = "SIGNALBOX_CA", value_name = "FILE")]
    ca: Option<PathBuf>,

    /// With https: the certificate to show to a server that asks for one, in PEM
    #[arg(long, env = "SIGNALBOX_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, env = "SIGNALBOX_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// Print JSON, one object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// An endpoint, checked as the client does.
pub(super) fn url(text: &str) -> Result<String, ConnectError> {
    // What the system trusts is none of an endpoint's business.
    Client::new([text.replacen("https:", "http:", 1)]).map(|_| text.to_owned())
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
    pub(super) fn client(&self) -> Result<ClientBuilder, Failure> {
        let mut client = Client::builder().endpoint(self.server.trim_end_matches('/'));
        if let Some(tls) = self.tls()? {
            client = client.tls(tls);
        }
        let bearer = self.token.as_ref().and_then(|token| token.to_str().ok()?.strip_prefix("Bearer "));
        Ok(match bearer {
            Some(token) => client.token(token),
            None => client,
        })
    }

    /// What its files say, if there are any.
    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let read = |file: &PathBuf, flag: &str| {
            fs::read(file).map_err(|error| Failure::Usage(format!("can't read {flag} {}: {error}", file.display())))
        };
        let mut tls = Tls::new();
        if let Some(file) = &self.ca {
            tls = tls.authority(read(file, "--ca")?);
        }
        if let Some((certificate, key)) = self.client_cert.as_ref().zip(self.client_key.as_ref()) {
            tls = tls.identity(read(certificate, "--client-cert")?, read(key, "--client-key")?);
        }
        Ok((self.ca.is_some() || self.client_cert.is_some()).then_some(tls))
    }

    /// A backend's side of the server.
    pub(super) fn backend(&self) -> Result<ServerClient, Failure> {
        Ok(self.client()?.connect_timeout(CONNECT_TIMEOUT).give_up_after(GIVE_UP_AFTER).build()?.server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_a_host_and_port() {
        for good in
            ["http://127.0.0.1:50051", "localhost:50051", "http://[::1]:1", "example.com", "https://example.com"]
        {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["ftp://x", "http://", "", "a b", "localhost:99999"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_ascii_and_hidden() {
        assert!(bearer("a\nb").is_err());
        assert!(!format!("{:?}", bearer("secret").unwrap()).contains("secret"));
    }
}
