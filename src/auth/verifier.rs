//! Verifies tokens.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::de::DeserializeOwned;

use crate::{clock::Clock, domain::Refusal};

use super::{
    Grant, Keys,
    claims::{Claims, invalid},
};

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who makes tokens; none: whoever has a key.
    pub issuer: Option<String>,
    /// Whom they are for.
    pub audience: String,
}

/// Verifies tokens with keys that can be replaced while it is in use.
pub struct Verifier {
    keys: RwLock<Arc<Keys>>,
    expected: Expected,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys()).field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier by these keys.
    #[must_use]
    pub fn new(keys: Keys, expected: Expected, clock: Arc<dyn Clock>) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), expected, clock }
    }

    /// Verifies by these keys from here on. Streams that are in stay.
    pub fn replace(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a token grants now, and the session that it opens.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXPIRED`. Neither shows anything of the token but
    /// its algorithm and `kid`.
    pub fn verify(&self, token: &str) -> Result<(Grant, Option<String>), Refusal> {
        let header = header(token)?;
        let keys = self.keys();
        let found = keys.find(header.alg, header.kid.as_deref());
        let key = found.ok_or_else(|| match &header.kid {
            Some(kid) => invalid(format!("there is no key {:?} for {:?}", short(kid), header.alg)),
            None => invalid(format!("there is no key for {:?} without a kid", header.alg)),
        })?;
        if header.alg != key.algorithm {
            return Err(invalid(format!("its algorithm is {:?}; its key is for {:?}", header.alg, key.algorithm)));
        }
        let claims: Claims = claims(token, key.algorithm, &key.key).map_err(|error| explain(&error))?;
        claims.grant(&self.expected, self.clock.now().wall)
    }
}

/// The header of a token. It is what the token says, not what is so.
pub(super) fn header(token: &str) -> Result<Header, Refusal> {
    // `none` and everything else that the library doesn't know fails here.
    let header = decode_header(token).map_err(|_| invalid("it is no JWT with a known algorithm"))?;
    // Source: RFC 7515, section 4.1.11: what must be understood and isn't.
    if header.crit.is_some() {
        return Err(invalid("its header asks for extensions (crit), and there are none"));
    }
    Ok(header)
}

/// The claims of a token that this key has signed. They are checked by who
/// asks, against our clock and with words of ours.
pub(super) fn claims<C: DeserializeOwned>(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Result<C, Error> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode(token, key, &validation).map(|token| token.claims)
}

/// Why a token can't be read.
pub(super) fn explain(error: &Error) -> Refusal {
    match error.kind() {
        ErrorKind::InvalidSignature => invalid("its signature doesn't match"),
        // What the library says of claims may quote them.
        ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::Base64(_) => invalid("a claim is not of its type"),
        _ => invalid(error),
    }
}

/// The beginning of what a stranger wrote.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
