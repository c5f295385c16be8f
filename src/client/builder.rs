//! The client: where the servers are, and how to get to them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "client-tls")]
use super::Tls;
use super::{
    ConnectError, Connector, Events, JoinOptions, Session, Token, TokenError,
    connect::{Network, SharedConnector, parse},
    driver::{Driver, MOST_EVENTS, Shared},
    machine::Settings,
    token::{TokenSource, Tokens},
    transport::Secure,
};

/// How long an attempt may take, unless told otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between attempts, unless told otherwise, before jitter.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How long to try to get back in, unless told otherwise.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);
/// How long to try to make a backend's call: whoever waits for it won't for
/// long.
const CALLS_GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Where the servers are, and how to get to them. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) endpoints: Arc<[String]>,
    pub(super) tokens: TokenSource,
    pub(super) connect_timeout: Duration,
    pub(super) back_off: (Duration, Duration),
    pub(super) give_up_after: Duration,
    pub(super) calls_give_up_after: Duration,
    pub(super) secure: Secure,
    connector: SharedConnector,
}

impl Client {
    /// A client of servers at these endpoints, `http://HOST:PORT` or
    /// `HOST:PORT`: any node serves any session. Everything else as
    /// [`builder`](Self::builder) has it unless told otherwise.
    ///
    /// ```
    /// use signalbox::client::{Client, ConnectError};
    ///
    /// assert!(Client::new(["http://10.0.0.1:50051", "10.0.0.2:50051"]).is_ok());
    /// assert!(matches!(Client::new(["ftp://10.0.0.1"]), Err(ConnectError::InvalidEndpoint { .. })));
    /// ```
    ///
    /// # Errors
    /// `InvalidEndpoint`, also for none.
    pub fn new<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, ConnectError> {
        Self::builder().endpoints(endpoints).build()
    }

    /// The settings of a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            endpoints: Vec::new(),
            tokens: TokenSource::None,
            connect_timeout: CONNECT_TIMEOUT,
            back_off: BACK_OFF,
            give_up_after: None,
            connector: None,
            #[cfg(feature = "client-tls")]
            tls: None,
        }
    }

    /// Joins a session. Each endpoint is tried once: what is wrong at the start
    /// should show at the start. From then on the member comes back by itself,
    /// until it leaves or is told to stop.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, Event, JoinOptions, Signal};
    ///
    /// # example::serving(async |url| {
    /// let client = Client::new([url])?;
    /// let (session, mut events) = client.join(JoinOptions::new("demo").connection_data("Ada")).await?;
    /// session.signal(Signal::new("chat", "hello")).await?;
    /// assert!(matches!(events.next().await, Some(Event::Joined { .. })));
    /// let Some(Event::Signal(signal)) = events.next().await else { panic!("a signal") };
    /// assert_eq!((signal.kind.as_str(), signal.data.as_str()), ("chat", "hello"));
    /// session.leave().await;
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// The last endpoint's [`ConnectError`], or the first refusal that another
    /// endpoint would give too.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn join(&self, options: JoinOptions) -> Result<(Session, Events), ConnectError> {
        let tokens = Tokens::new(self.tokens.clone(), Some(options.join.session_id.clone()));
        let shared = Arc::new(Shared::new(Settings {
            endpoints: self.endpoints.to_vec(),
            connect_timeout: self.connect_timeout,
            back_off: self.back_off,
            give_up_after: self.give_up_after,
            renewable: tokens.are_renewable(),
            join: options.join,
            queue: options.queue,
            seed: None,
        }));
        // Dropped, because this future is, it leaves.
        let session = Session::new(Arc::clone(&shared));
        let (events, received) = mpsc::channel(MOST_EVENTS);
        let (first, joined) = oneshot::channel();
        let connector = Arc::clone(&self.connector);
        tokio::spawn(Driver::new(Arc::clone(&shared), connector, tokens, events, first).run());
        match joined.await {
            Ok(Ok(())) => Ok((session, Events { events: received, shared })),
            Ok(Err(error)) => Err(error),
            // Its connector panicked, or its runtime shuts down.
            Err(_) => Err(ConnectError::Unreachable {
                endpoint: self.endpoints.join(", "),
                why: "the task that was to connect is gone".to_owned(),
            }),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// The settings of a [`Client`].
#[must_use]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    tokens: TokenSource,
    connect_timeout: Duration,
    back_off: (Duration, Duration),
    give_up_after: Option<Duration>,
    connector: Option<SharedConnector>,
    #[cfg(feature = "client-tls")]
    tls: Option<Tls>,
}

impl ClientBuilder {
    /// One more place to connect to: `http://HOST:PORT` or `HOST:PORT`, or, with the
    /// feature `client-tls`, `https://HOST:PORT`.
    pub fn endpoint(self, endpoint: impl AsRef<str>) -> Self {
        self.endpoints([endpoint])
    }

    /// More places to connect to, tried in this order.
    pub fn endpoints<E: AsRef<str>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(|endpoint| endpoint.as_ref().to_owned()));
        self
    }

    /// A token, sent as `authorization: Bearer …`. When it expires the member
    /// is out: for longer, see [`token_with`](Self::token_with).
    pub fn token(mut self, bearer: impl Into<String>) -> Self {
        self.tokens = TokenSource::Fixed(Token::new(bearer));
        self
    }

    /// Where tokens come from: asked before the first connection, before a
    /// token expires (a minute, or a tenth of its life), and after one has. The
    /// argument is the session to be joined; none for a
    /// backend's calls. A failure counts as one of the attempt to connect.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use signalbox::client::{Client, Token, TokenError};
    ///
    /// /// Asks whoever signs tokens for one.
    /// async fn fetch(session: Option<String>) -> Result<String, TokenError> {
    ///     Ok(format!("a token for {session:?}"))
    /// }
    ///
    /// let client = Client::builder()
    ///     .endpoint("http://127.0.0.1:50051")
    ///     .token_with(|session| async {
    ///         let expires = SystemTime::now() + Duration::from_secs(3_600);
    ///         Ok(Token::new(fetch(session).await?).expires_at(expires))
    ///     })
    ///     .build()?;
    /// # Ok::<(), signalbox::client::ConnectError>(())
    /// ```
    pub fn token_with<F, R>(mut self, ask: F) -> Self
    where
        F: Fn(Option<String>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Token, TokenError>> + Send + 'static,
    {
        self.tokens = TokenSource::Asked(Arc::new(move |session_id| Box::pin(ask(session_id))));
        self
    }

    /// Whom to trust at endpoints that begin with `https`, and who this client is:
    /// unless told otherwise whom the system trusts, and nobody.
    #[cfg(feature = "client-tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long one attempt may take, until it is in or a backend's call is
    /// answered: 10 s unless told otherwise.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The first and the longest pause between attempts, each doubled from the
    /// one before, and each lengthened at random by up to as much again: 250 ms
    /// and 10 s unless told otherwise. The server may ask for longer ones.
    pub fn back_off(mut self, first: Duration, longest: Duration) -> Self {
        self.back_off = (first, longest.max(first));
        self
    }

    /// How long to try before giving up: unless told otherwise 5 minutes to get
    /// back in, and 30 s for a [backend's call](super::ServerClient). With
    /// zero a call is made at most once at each endpoint.
    pub fn give_up_after(mut self, after: Duration) -> Self {
        self.give_up_after = Some(after);
        self
    }

    /// Opens members' streams in place of the network. For tests.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// The client. Connects to nothing yet.
    ///
    /// # Errors
    /// `InvalidEndpoint`, also for none; `Tls` for a certificate or a key that is no
    /// good.
    pub fn build(self) -> Result<Client, ConnectError> {
        let endpoints = self.endpoints.iter().map(|endpoint| parse(endpoint)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            let why = "there must be at least one, as http://127.0.0.1:50051".to_owned();
            return Err(ConnectError::InvalidEndpoint { endpoint: String::new(), why });
        }
        let secure = self.secure(&endpoints)?;
        let network = Network { connect_timeout: self.connect_timeout, secure: secure.clone() };
        Ok(Client {
            endpoints: endpoints.into(),
            secure,
            tokens: self.tokens,
            connect_timeout: self.connect_timeout,
            back_off: self.back_off,
            give_up_after: self.give_up_after.unwrap_or(GIVE_UP_AFTER),
            calls_give_up_after: self.give_up_after.unwrap_or(CALLS_GIVE_UP_AFTER),
            connector: self.connector.unwrap_or_else(|| Arc::new(network)),
        })
    }

    #[cfg(feature = "client-tls")]
    fn secure(&self, endpoints: &[String]) -> Result<Secure, ConnectError> {
        let is_needed = endpoints.iter().any(|endpoint| endpoint.starts_with("https:"));
        let tls = self.tls.clone().or(is_needed.then(Tls::new));
        let config = tls.map(|tls| tls.config()).transpose();
        let config = config.map_err(|why| ConnectError::Tls { endpoint: String::new(), why })?;
        Ok(Secure { config })
    }

    #[cfg(not(feature = "client-tls"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // As with the feature.
    fn secure(&self, _: &[String]) -> Result<Secure, ConnectError> {
        Ok(Secure::default())
    }
}
