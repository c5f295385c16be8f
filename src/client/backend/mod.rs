//! A backend's calls: signals from the server's side, and the sessions as they
//! are.

mod calls;
mod sessions;

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, sync::Arc};

use futures_util::future::BoxFuture;
use tonic::{Request, transport::Channel};

use crate::{
    domain::{IdempotencyKey, Limits, SessionId},
    proto::{self, session_service_client::SessionServiceClient, signaling_service_client::SignalingServiceClient},
};

use super::{CallError, Client, Connection, Signal, token::Tokens};

use calls::{Answer, Caller};
pub use sessions::{Listing, SessionInfo, Watch, WatchEvent};

/// A backend's side: it sends signals into sessions without being in them,
/// looks at sessions, watches them, and puts connections out. Cheap to clone;
/// clones share their connections, one for each endpoint, opened when it is
/// needed.
///
/// ```no_run
/// # use signalbox::client::{Client, Signal};
/// # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Client::new(["http://127.0.0.1:50051"])?.server();
/// let sent = backend.send_from_server("demo", Signal::new("greeting", "hello")).await?;
/// println!("to {} connections", sent.recipient_count);
/// # Ok(())
/// # }
/// ```
///
/// # Attempts
///
/// A call is made again as long as that is safe and may help: when a server
/// can't be reached or its connection is lost, when it says nothing for
/// [`connect_timeout`](super::ClientBuilder::connect_timeout), and when it is
/// going away or asks for patience. Where the next endpoint may do better it is
/// asked at once; when all were, there is a pause
/// ([`back_off`](super::ClientBuilder::back_off)), never shorter than a server
/// asked for. After
/// [`give_up_after`](super::ClientBuilder::give_up_after), 30 s unless told
/// otherwise, no attempt begins; one under way has its time. Dropping a call
/// ends its attempts, and leaves open whether it is carried out.
///
/// As long as no server has ever answered, every endpoint is tried only once:
/// what is wrong at the start should show at the start.
#[derive(Clone)]
pub struct ServerClient {
    caller: Arc<Caller>,
}

impl Client {
    /// A backend's side of these servers. Connects to nothing yet. Make one and
    /// clone it: each has connections of its own.
    ///
    /// The token, if there is one, must have the role `server`; a callback for
    /// tokens is asked with no session.
    #[must_use]
    pub fn server(&self) -> ServerClient {
        let tokens = Tokens::new(self.tokens.clone(), None);
        let caller = Caller::new(
            &self.endpoints,
            tokens,
            self.connect_timeout,
            self.back_off,
            self.calls_give_up_after,
            &self.secure,
        );
        ServerClient { caller: Arc::new(caller) }
    }
}

impl ServerClient {
    /// Sends a signal into a session, from nobody in it. Await it; nothing is
    /// sent before. [`Signal::retry_after_reconnect`] means nothing here.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{CallError, Client, JoinOptions, Signal};
    ///
    /// # example::serving(async |url| {
    /// let client = Client::new([url])?;
    /// let backend = client.server();
    /// let greeting = || Signal::new("greeting", "hello");
    /// let Err(CallError::Refused(refusal)) = backend.send_from_server("demo", greeting()).await else { panic!("refused") };
    /// assert_eq!(refusal.reason, "SESSION_NOT_FOUND");
    ///
    /// let (_session, _events) = client.join(JoinOptions::new("demo")).await?;
    /// let sent = backend.send_from_server("demo", greeting()).idempotency_key("order 17").await?;
    /// assert_eq!(sent.recipient_count, 1);
    /// let again = backend.send_from_server("demo", greeting()).idempotency_key("order 17").await?;
    /// assert_eq!(again.sequence, sent.sequence);
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// `Refused`: nothing was sent. A signal over a limit that no server can
    /// change is refused here, with the reason that the server would give.
    /// `SESSION_NOT_FOUND`: nobody is in the session. `CONNECTION_NOT_FOUND`:
    /// none of the recipients is.
    ///
    /// `Connect`: no server could be asked, and nothing was sent. `Unknown`: it
    /// may have been sent or not.
    pub fn send_from_server(&self, session_id: impl Into<String>, signal: Signal) -> ServerSend {
        ServerSend {
            caller: Arc::clone(&self.caller),
            session_id: session_id.into(),
            signal,
            idempotency_key: String::new(),
        }
    }

    /// The sessions that exist, in the order of their ids.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions};
    ///
    /// # example::serving(async |url| {
    /// let client = Client::new([url])?;
    /// let (_session, _events) = client.join(JoinOptions::new("demo")).await?;
    /// let names: Vec<_> = client.server().list_sessions().all().await?.into_iter().map(|one| one.session_id).collect();
    /// assert_eq!(names, ["demo"]);
    /// # Ok(())
    /// # });
    /// ```
    pub fn list_sessions(&self) -> Listing<SessionInfo> {
        Listing::new(Arc::clone(&self.caller), |caller, page_size, page_token| {
            Box::pin(async move {
                let request = proto::ListSessionsRequest { page_size, page_token };
                let call = |channel: Channel, request: Request<_>| async move {
                    SessionServiceClient::new(channel).list_sessions(request).await
                };
                let page = caller.ask(request, call).await.map_err(calls::GivenUp::reading)?.answer;
                Ok((page.sessions.into_iter().map(Into::into).collect(), page.next_page_token))
            })
        })
    }

    /// Looks at a session.
    ///
    /// # Errors
    /// `Refused` with `SESSION_NOT_FOUND` when nobody is in it, or `Connect`.
    pub async fn get_session(&self, session_id: impl Into<String>) -> Result<SessionInfo, CallError> {
        let session_id = checked(session_id.into())?;
        let call = |channel: Channel, request: Request<_>| async move {
            SessionServiceClient::new(channel).get_session(request).await
        };
        let asked = self.caller.ask(proto::GetSessionRequest { session_id }, call).await;
        Ok(asked.map_err(calls::GivenUp::reading)?.answer.session.unwrap_or_default().into())
    }

    /// The connections in a session, in the order of joining. Its pages are
    /// refused with `SESSION_NOT_FOUND` when nobody is in it, and with
    /// `PAGE_TOKEN_INVALID` when it ended and began again between two of them:
    /// list anew.
    pub fn list_connections(&self, session_id: impl Into<String>) -> Listing<Connection> {
        let session_id = session_id.into();
        Listing::new(Arc::clone(&self.caller), move |caller, page_size, page_token| {
            let session_id = checked(session_id.clone());
            Box::pin(async move {
                let request = proto::ListConnectionsRequest { session_id: session_id?, page_size, page_token };
                let call = |channel: Channel, request: Request<_>| async move {
                    SessionServiceClient::new(channel).list_connections(request).await
                };
                let page = caller.ask(request, call).await.map_err(calls::GivenUp::reading)?.answer;
                Ok((page.connections.into_iter().map(Into::into).collect(), page.next_page_token))
            })
        })
    }

    /// Disconnects a connection for good, an interrupted one too. When this
    /// comes back with success it is out.
    ///
    /// If an attempt may have been carried out, and the next finds no such
    /// connection, that is success: ids are never used again, so that whatever
    /// ended it, it is out.
    ///
    /// # Errors
    /// `Refused` with `SESSION_NOT_FOUND` or `CONNECTION_NOT_FOUND`: it was not
    /// there. `Connect`: no server could be asked, and nothing happened.
    /// `Unknown`: it may be out or not.
    pub async fn disconnect_connection(
        &self,
        session_id: impl Into<String>,
        connection_id: impl Into<String>,
    ) -> Result<(), CallError> {
        let session_id = checked(session_id.into())?;
        let request = proto::DisconnectConnectionRequest { session_id, connection_id: connection_id.into() };
        let call = |channel: Channel, request: Request<_>| async move {
            SessionServiceClient::new(channel).disconnect_connection(request).await
        };
        match self.caller.ask(request, call).await {
            Ok(_) => Ok(()),
            Err(given_up) if given_up.is_gone_by_now() => Ok(()),
            Err(given_up) => Err(given_up.acting()),
        }
    }

    /// Watches one session, which need not exist yet, or all: first what is
    /// there, then [`WatchEvent::SnapshotComplete`], then what changes, with no
    /// gap between and nothing twice. The changes of one session come in its
    /// order.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions, WatchEvent};
    ///
    /// # example::serving(async |url| {
    /// let client = Client::new([url])?;
    /// let mut watch = client.server().watch_sessions(Some("demo")).await?;
    /// assert!(matches!(watch.next().await, Some(Ok(WatchEvent::SnapshotComplete))));
    /// let (_session, _events) = client.join(JoinOptions::new("demo")).await?;
    /// assert!(matches!(watch.next().await, Some(Ok(WatchEvent::SessionStarted { .. }))));
    /// assert!(matches!(watch.next().await, Some(Ok(WatchEvent::ConnectionCreated { .. }))));
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// `Refused` or `Connect`; so does a watch that breaks end.
    pub async fn watch_sessions(&self, session_id: Option<&str>) -> Result<Watch, CallError> {
        // An empty name must not turn into a watch of all.
        let session_id = session_id.map(|id| checked(id.to_owned())).transpose()?.unwrap_or_default();
        let call = |channel: Channel, request: Request<_>| async move {
            SessionServiceClient::new(channel).watch_sessions(request).await
        };
        let opened = self.caller.ask(proto::WatchSessionsRequest { session_id }, call).await;
        Ok(Watch::new(opened.map_err(calls::GivenUp::reading)?))
    }
}

impl std::fmt::Debug for ServerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerClient").field("endpoints", &self.caller.endpoints().collect::<Vec<_>>()).finish()
    }
}

/// A session's name, checked as a server would, but for its length: how long
/// one may be is the server's to say.
fn checked(session_id: String) -> Result<String, CallError> {
    let defaults = Limits::default();
    let limits = Limits { max_session_id_bytes: defaults.max_session_id_bytes.max(session_id.len()), ..defaults };
    SessionId::parse(&session_id, &limits, "session_id")?;
    Ok(session_id)
}

/// A signal on its way into a session, sent when this is awaited.
#[must_use = "nothing is sent before it is awaited"]
pub struct ServerSend {
    caller: Arc<Caller>,
    session_id: String,
    signal: Signal,
    idempotency_key: String,
}

impl ServerSend {
    /// What makes this signal one and the same, however often it is sent: at
    /// most 128 bytes. Within the session, a call with a key that an accepted
    /// one had is answered as that was, and sends nothing, for 10 minutes at
    /// least. Without one, or with an empty one, the client makes one up, so
    /// that its own attempts are safe; an application that may repeat a call
    /// itself, after a crash or [`CallError::Unknown`], gives its own.
    ///
    /// A key holds as far as the server's memory does. With the memory engine
    /// that is one server, as long as it runs, so that the endpoints of a
    /// client must then be ways to the same server; otherwise an attempt at
    /// another endpoint is another signal. After a lost connection the same
    /// endpoint is tried first.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = key.into();
        self
    }

    async fn send(self) -> Result<Sent, CallError> {
        let session_id = checked(self.session_id)?;
        let defaults = Limits::default();
        let named = self.signal.to.as_ref().map_or(0, |to| to.connection_ids.len());
        // How many may be named is the server's to say, too.
        let limits = Limits { max_recipients: defaults.max_recipients.max(named), ..defaults };
        self.signal.check(&limits).map_err(CallError::Refused)?;
        let idempotency_key = match IdempotencyKey::parse(&self.idempotency_key)? {
            Some(_) => self.idempotency_key,
            None => random_key(),
        };
        let request = proto::SendFromServerRequest {
            session_id,
            signal: Some(self.signal.signal),
            to: self.signal.to,
            idempotency_key,
        };
        let call = |channel: Channel, request: Request<_>| async move {
            SignalingServiceClient::new(channel).send_from_server(request).await
        };
        let sent = self.caller.ask(request, call).await.map_err(calls::GivenUp::acting)?.answer;
        Ok(Sent {
            sequence: sent.sequence,
            not_connected_ids: sent.not_connected_ids,
            recipient_count: sent.recipient_count,
        })
    }
}

impl IntoFuture for ServerSend {
    type Output = Result<Sent, CallError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Shows neither the data nor the key.
impl std::fmt::Debug for ServerSend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSend")
            .field("session_id", &self.session_id)
            .field("signal", &self.signal)
            .finish_non_exhaustive()
    }
}

/// A key that nobody else has: two hashes under keys of 128 bits that the
/// standard library draws from the system. The client has no other need of
/// randomness that good, and so no crate for it.
fn random_key() -> String {
    let half = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", half(), half())
}

/// A signal from a backend was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Its place in the session's order.
    pub sequence: u64,
    /// The recipients named that are not connected, as they were named; the
    /// others get it.
    pub not_connected_ids: Vec<String>,
    /// How many connections get it: those addressed that take its type,
    /// interrupted ones included.
    pub recipient_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_may_move_between_threads() {
        fn moves<T: Send>(_: T) {}
        let backend = Client::new(["127.0.0.1:1"]).unwrap().server();
        moves(backend.send_from_server("s", Signal::new("", "")).into_future());
        moves(backend.list_sessions().all());
        moves(backend.list_connections("s").next_page());
        moves(backend.get_session("s"));
        moves(backend.disconnect_connection("s", "c"));
        moves(backend.watch_sessions(None));
    }

    #[test]
    fn no_two_keys_made_up_are_the_same() {
        let keys: std::collections::HashSet<_> = (0..1_000).map(|_| random_key()).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
