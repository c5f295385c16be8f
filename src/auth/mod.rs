//! Who may do what. Layer 2: imports the domain and the clock only.
//!
//! A [`Gate`] reads the token of a call's metadata and says what its bearer is
//! granted; the services ask it before the engine hears of the call. Without a
//! key it stands open: whoever reaches the port may do everything, which is why
//! the server then binds only loopback addresses unless told otherwise.

mod bearer;
mod claims;
mod keys;
mod projects;
mod sign;
#[cfg(test)]
mod tests;
mod verifier;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderMap, header::AUTHORIZATION};

use crate::domain::{Reason, Refusal, Role, SessionId};

pub use bearer::{Action, Bearer};
pub use claims::{Audience, Claims, LEEWAY};
pub use keys::{Keys, LEAST_SECRET_BYTES, Secret, WrongKeys};
pub use projects::{ProjectGate, ProjectKeys, Projects, TOKEN_HEADER};
pub use sign::sign;
pub use verifier::{Expected, Verifier};

/// What decides whether a call may be made.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Everyone may do everything: for development.
    Open,
    /// Who shows a token may do what it says.
    Tokens(Arc<Verifier>),
}

/// What the bearer of a token is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it is.
    pub bearer: Bearer,
    /// Who it is, by the token's `sub`; for the audit log.
    pub subject: Option<Arc<str>>,
    /// What its connection's data is; it may not give any itself.
    pub data: Option<String>,
    /// How long the token opens anything, the leeway included; none: for ever.
    pub valid_for: Option<Duration>,
}

impl Grant {
    /// What everyone is granted where there are no tokens.
    fn open() -> Arc<Self> {
        static OPEN: LazyLock<Arc<Grant>> =
            LazyLock::new(|| Arc::new(Grant { bearer: Bearer::Anyone, subject: None, data: None, valid_for: None }));
        Arc::clone(&OPEN)
    }

    /// The role of its connection. Everyone's, where there are no tokens, is the
    /// one that may do most.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.bearer {
            Bearer::Member(role) => role,
            Bearer::Anyone | Bearer::Server => Role::Moderator,
        }
    }
}

/// A call that may not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// Who it is, by the `sub` of a token that is good but not for this.
    pub subject: Option<Arc<str>>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, subject: None }
    }
}

impl Grant {
    fn denied(&self, refusal: Refusal) -> Denied {
        Denied { refusal, subject: self.subject.clone() }
    }
}

impl Gate {
    /// Whether the caller with this metadata may join a session, and as what.
    ///
    /// # Errors
    /// `TOKEN_MISSING`, `TOKEN_INVALID`, `TOKEN_EXPIRED`; `ROLE_FORBIDS` for one
    /// who is no member; `SESSION_FORBIDDEN` when the token opens another
    /// session. Open, none.
    pub fn join(&self, metadata: &HeaderMap, session: &SessionId) -> Result<Arc<Grant>, Denied> {
        let Self::Tokens(verifier) = self else { return Ok(Grant::open()) };
        let (grant, opens) = verifier.verify(token(metadata)?)?;
        grant.bearer.check(Action::Join).map_err(|refusal| grant.denied(refusal))?;
        if opens.as_deref() != Some(session.as_str()) {
            let why = "the token opens another session than the one joined";
            return Err(grant.denied(Refusal::new(Reason::SessionForbidden, why).field("join.session_id")));
        }
        Ok(Arc::new(grant))
    }

    /// Whether the caller with this metadata may call what is for backends.
    ///
    /// # Errors
    /// `TOKEN_MISSING`, `TOKEN_INVALID`, `TOKEN_EXPIRED`; `ROLE_FORBIDS` for all
    /// but backends. Open, none.
    pub fn serve(&self, metadata: &HeaderMap) -> Result<Arc<Grant>, Denied> {
        let Self::Tokens(verifier) = self else { return Ok(Grant::open()) };
        let (grant, _) = verifier.verify(token(metadata)?)?;
        grant.bearer.check(Action::Serve).map_err(|refusal| grant.denied(refusal))?;
        Ok(Arc::new(grant))
    }
}

/// The token that metadata holds.
fn token(metadata: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::new(
            Reason::TokenMissing,
            "there is no token; send one in the metadata, as `authorization: Bearer TOKEN`",
        ));
    };
    if values.next().is_some() {
        return Err(Refusal::new(Reason::TokenInvalid, "there is more than one `authorization`"));
    }
    let bearer = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Refusal::new(Reason::TokenInvalid, "`authorization` is not of the form `Bearer TOKEN`"))
}
