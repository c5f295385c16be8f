//! Asks a server's admin port what `/status.json` says.

use std::{fmt, io, str::FromStr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::server::{Snapshot, VERSION};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer: a thousand sessions with the longest names are a thirtieth of it.
const MOST_BYTES: usize = 16 * 1_024 * 1_024;

/// Where a server's admin port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The host and the port, for the header `host`.
    authority: String,
    /// The same, to connect to.
    host: String,
    port: u16,
    /// What stands before `/status.json`.
    path: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("the admin port speaks plain HTTP: it is http://HOST:PORT".to_owned());
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("it names no host")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("it is http://HOST:PORT, and nothing else".to_owned());
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => 80,
            None => return Err("its port must be between 0 and 65535".to_owned()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority: authority.to_string(), host, port, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.authority, self.path)
    }
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoSnapshot {
    /// Too many ask too many things: in a while.
    Later,
    /// There is nobody, or somebody else.
    Away(String),
}

/// Which sessions are wanted, as the part of an address after its question mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted(String);

impl Wanted {
    /// So many, in this order, with this in their names.
    pub(super) fn new(most: usize, sort: &str, reverse: bool, filter: &str) -> Self {
        let order = if reverse { "last" } else { "first" };
        let mut wanted = format!("sessions={most}&sort={sort}&order={order}&filter=");
        for byte in filter.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => wanted.push(char::from(byte)),
                byte => wanted.push_str(&format!("%{byte:02X}")),
            }
        }
        Self(wanted)
    }
}

/// Asks once: the answer, read, and as it came.
pub(super) async fn fetch(endpoint: &Endpoint, wanted: &Wanted) -> Result<(Snapshot, Bytes), NoSnapshot> {
    match timeout(PATIENCE, ask(endpoint, wanted)).await {
        Ok(answer) => answer,
        Err(_) => Err(NoSnapshot::Away(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn ask(endpoint: &Endpoint, wanted: &Wanted) -> Result<(Snapshot, Bytes), NoSnapshot> {
    let away = |error: &dyn fmt::Display| NoSnapshot::Away(error.to_string());
    let stream =
        TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(|error| away(&plain(&error)))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
    // Ends when the answer has been read, or nobody waits for it any more.
    tokio::spawn(connection);
    let request = Request::get(format!("{}/status.json?{}", endpoint.path, wanted.0)).header(HOST, &endpoint.authority);
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| away(&error))?;
    let answer =
        sender.send_request(request).await.map_err(|error| away(&format!("it doesn't speak HTTP: {error}")))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| away(&format!("its answer broke off: {error}")))?.to_bytes();
    match status {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS => return Err(NoSnapshot::Later),
        StatusCode::NOT_FOUND => {
            return Err(away(&"it has no status: not a signalbox's admin port, or an older one's"));
        }
        status => return Err(away(&format!("HTTP {status}: {}", String::from_utf8_lossy(&body).trim()))),
    }
    let snapshot: Snapshot =
        serde_json::from_slice(&body).map_err(|error| away(&format!("its answer is no status: {error}")))?;
    if snapshot.version != VERSION {
        let version = snapshot.version;
        return Err(away(&format!("its status has version {version}; this command reads version {VERSION}")));
    }
    Ok((snapshot, body))
}

/// What most often goes wrong, without the system's number for it.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_a_url_or_a_host_and_port() {
        let endpoint = |text: &str| text.parse::<Endpoint>();
        let read = endpoint("http://127.0.0.1:9464/").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.path.as_str()), ("127.0.0.1", 9_464, ""));
        assert_eq!(endpoint("localhost:1").unwrap().to_string(), "localhost:1");
        let read = endpoint("http://[::1]:7/node-1/").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.path.as_str()), ("::1", 7, "/node-1"));
        assert_eq!(endpoint("http://example.com").unwrap().port, 80);
        for bad in ["https://127.0.0.1:9464", "", "http://", "a b", "http://user@host:1", "localhost:99999", "h:1/?x=1"]
        {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_is_encoded() {
        let wanted = Wanted::new(7, "rate", true, "a&b=%é");
        assert_eq!(wanted.0, "sessions=7&sort=rate&order=last&filter=a%26b%3D%25%C3%A9");
    }
}
