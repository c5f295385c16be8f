//! The token that a client shows, and where the next comes from.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tonic::metadata::{Ascii, MetadataValue};

use crate::clock::{Clock as _, SystemClock};

use super::ConnectError;

/// A token and the end of its life.
#[derive(Clone)]
pub struct Token {
    bearer: String,
    expires_at: Option<SystemTime>,
}

impl Token {
    /// A token that lasts, as far as the client knows.
    #[must_use]
    pub fn new(bearer: impl Into<String>) -> Self {
        Self { bearer: bearer.into(), expires_at: None }
    }

    /// When it expires: the client asks for another before that.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }
}

/// Never shows the token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A failed callback's error.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

type Callback = dyn Fn(Option<String>) -> BoxFuture<'static, Result<Token, TokenError>> + Send + Sync;

/// Where tokens come from.
#[derive(Clone)]
pub(super) enum TokenSource {
    None,
    Fixed(Token),
    Asked(Arc<Callback>),
}

/// The `authorization` of a call, and how long it lasts.
pub(super) struct Authorization {
    pub(super) value: Option<MetadataValue<Ascii>>,
    pub(super) left: Option<Duration>,
}

/// The tokens for one session, or for none.
pub(super) struct Tokens {
    source: TokenSource,
    session_id: Option<String>,
    latest: Option<Token>,
}

impl Tokens {
    pub(super) fn new(source: TokenSource, session_id: Option<String>) -> Self {
        Self { source, session_id, latest: None }
    }

    /// Whether another can be had.
    pub(super) fn are_renewable(&self) -> bool {
        matches!(self.source, TokenSource::Asked(_))
    }

    /// What to show now; `renew` when the latest is no good any more.
    pub(super) async fn authorization(&mut self, renew: bool) -> Result<Authorization, ConnectError> {
        let now = SystemClock::new().now().wall;
        let left = |token: &Token| token.expires_at.map(|at| at.duration_since(now).unwrap_or_default());
        let token = match &self.source {
            TokenSource::None => return Ok(Authorization { value: None, left: None }),
            TokenSource::Fixed(token) => token.clone(),
            TokenSource::Asked(ask) => match &self.latest {
                Some(token) if !renew && left(token) != Some(Duration::ZERO) => token.clone(),
                _ => {
                    // A panic of the application's must not take the session's
                    // task with it: its sends would never have an outcome.
                    let session_id = self.session_id.clone();
                    let asking = AssertUnwindSafe(async { ask(session_id).await }).catch_unwind();
                    let token = match asking.await {
                        Ok(token) => token.map_err(|error| ConnectError::Token(error.to_string()))?,
                        Err(_) => return Err(ConnectError::Token("the callback for tokens panicked".to_owned())),
                    };
                    self.latest = Some(token.clone());
                    token
                }
            },
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.bearer)
            .parse()
            .map_err(|_| ConnectError::Token("a token has only visible ASCII characters".to_owned()))?;
        value.set_sensitive(true);
        // One that has expired already, by this clock, is renewed when the
        // server says so: ahead of that it would be renewed without end.
        Ok(Authorization { value: Some(value), left: left(&token).filter(|left| !left.is_zero()) })
    }
}
