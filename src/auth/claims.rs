//! What a token says, and whether that holds now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::domain::{Reason, Refusal, Role};

use super::{Bearer, Grant, verifier::Expected};

/// How far the clocks of those who make tokens may be off.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The claims of a token, as they are written. Source: the contract, who may
/// do what; RFC 7519.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Claims {
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<Number>,
    /// When it begins, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Number>,
    /// Who its bearer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The one session that it opens; absent for a `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// `subscriber`, `publisher` (as when it is absent), `moderator`, `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What becomes the connection's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Whom a token is for: one, or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, who: &str) -> bool {
        match self {
            Self::One(one) => one == who,
            Self::Many(many) => many.iter().any(|one| one == who),
        }
    }
}

impl Claims {
    /// What they grant now, and the session that they open.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXPIRED`.
    pub(super) fn grant(self, expected: &Expected, now: SystemTime) -> Result<(Grant, Option<String>), Refusal> {
        if !self.aud.as_ref().is_some_and(|aud| aud.has(&expected.audience)) {
            return Err(invalid(format!("its aud is not {:?}", expected.audience)));
        }
        if let Some(issuer) = &expected.issuer
            && self.iss.as_ref() != Some(issuer)
        {
            return Err(invalid(format!("its iss is not {issuer:?}")));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let valid_for = left(self.exp.as_ref(), now)?;
        begun(self.nbf.as_ref(), "nbf", now)?;
        let bearer = match &self.role {
            None => Bearer::Member(Role::Publisher),
            Some(name) => Bearer::named(name).ok_or_else(|| {
                let known: Vec<_> = Bearer::NAMED.iter().map(|bearer| bearer.name()).collect();
                invalid(format!("its role is none of {}", known.join(", ")))
            })?,
        };
        match (bearer, &self.session) {
            (Bearer::Server, Some(_)) => return Err(invalid("a server's names no session, and this one does")),
            (Bearer::Member(_), None) => return Err(invalid("it names no session; only a server's may not")),
            _ => {}
        }
        let subject = self.sub.map(Into::into);
        Ok((Grant { bearer, subject, data: self.data, valid_for: Some(valid_for) }, self.session))
    }
}

/// How long a token opens anything yet, the leeway included.
pub(super) fn left(exp: Option<&Number>, now: Duration) -> Result<Duration, Refusal> {
    let exp = exp.ok_or_else(|| invalid("it has no exp"))?;
    let left = seconds(exp, "exp")?.saturating_add(LEEWAY).checked_sub(now).filter(|left| !left.is_zero());
    left.ok_or_else(|| {
        let leeway = LEEWAY.as_secs();
        Refusal::new(Reason::TokenExpired, format!("the token has expired, more than the leeway of {leeway} s ago"))
    })
}

/// Refuses a date that is still to come.
pub(super) fn begun(date: Option<&Number>, name: &str, now: Duration) -> Result<(), Refusal> {
    match date {
        Some(date) if seconds(date, name)? > now.saturating_add(LEEWAY) => {
            Err(invalid(format!("its {name} is more than the leeway of {} s ahead", LEEWAY.as_secs())))
        }
        _ => Ok(()),
    }
}

fn seconds(date: &Number, name: &str) -> Result<Duration, Refusal> {
    let seconds = date.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| invalid(format!("its {name} is not a date")))
}

/// A token that is no good, and why.
pub(super) fn invalid(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::TokenInvalid, format!("the token is not valid: {why}"))
}
