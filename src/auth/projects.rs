//! OpenTok's way to say who calls: a project's key, and a token by its secret.
//!
//! Source: OpenTok's REST API reference, authentication
//! (<https://tokbox.com/developer/rest/#authentication>).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::UNIX_EPOCH,
};

use http::HeaderMap;
use jsonwebtoken::{Algorithm, DecodingKey, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Number;

use crate::{
    clock::Clock,
    domain::{Reason, Refusal},
};

use super::{
    Secret, WrongKeys,
    claims::{begun, invalid, left},
    verifier::{claims, explain, header},
};

/// The header that has the token.
pub const TOKEN_HEADER: &str = "x-opentok-auth";

/// The most bytes of a project's key.
const MAX_KEY_BYTES: usize = 128;

/// The projects that may call, each with its secrets. Never shows them.
#[derive(Clone)]
pub struct ProjectKeys(BTreeMap<String, Vec<DecodingKey>>);

/// Names the projects; shows no secret.
impl fmt::Debug for ProjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProjectKeys").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl ProjectKeys {
    /// Reads lines of `KEY SECRET`. Empty ones, and those that begin with `#`, say
    /// nothing. A key may have several secrets, each on a line of its own: any of
    /// them will do, so that they can be changed one after the other.
    ///
    /// # Errors
    /// Which line is wrong, and how: it is no key and a secret; the key is no
    /// visible ASCII or over 128 bytes; the secret is shorter than 32 bytes. That
    /// there is no line. Nothing of a line is shown.
    pub fn read(text: &[u8]) -> Result<Self, WrongKeys> {
        let mut projects: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let wrong = |why: &dyn fmt::Display| WrongKeys::new(format!("line {number}: {why}"));
            let line = std::str::from_utf8(line).map_err(|_| wrong(&"it is no UTF-8"))?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let (Some(key), Some(secret), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong(&"it is not of the form KEY SECRET, two words"));
            };
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(&"the key has characters that are not visible ASCII"));
            }
            if key.len() > MAX_KEY_BYTES {
                let given = key.len();
                return Err(wrong(&format!("the key has {given} bytes; the limit is {MAX_KEY_BYTES}")));
            }
            let secret = Secret::new(secret.as_bytes()).map_err(|why| wrong(&why))?;
            projects.entry(key.to_owned()).or_default().push(DecodingKey::from_secret(secret.bytes()));
        }
        if projects.is_empty() {
            return Err(WrongKeys::new("there is no project in it; a line of one reads KEY SECRET"));
        }
        Ok(Self(projects))
    }
}

/// What a token says, as it is written.
#[derive(Deserialize)]
struct ProjectClaims {
    iss: Option<Issuer>,
    ist: Option<String>,
    iat: Option<Number>,
    nbf: Option<Number>,
    exp: Option<Number>,
}

/// A project's key. OpenTok's are numbers, and some write them as such.
#[derive(Deserialize)]
#[serde(untagged)]
enum Issuer {
    Text(String),
    Number(u64),
}

impl Issuer {
    fn is(&self, project: &str) -> bool {
        match self {
            Self::Text(text) => text == project,
            Self::Number(number) => number.to_string() == project,
        }
    }
}

/// Verifies tokens of projects, by keys that can be replaced while it is in use.
pub struct Projects {
    keys: RwLock<Arc<ProjectKeys>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Projects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Projects").field(&self.keys()).finish()
    }
}

impl Projects {
    /// The projects with these keys.
    #[must_use]
    pub fn new(keys: ProjectKeys, clock: Arc<dyn Clock>) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), clock }
    }

    /// Verifies by these keys from here on.
    pub fn replace(&self, keys: ProjectKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn keys(&self) -> Arc<ProjectKeys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a token is one of this project's now.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXPIRED`. Neither shows anything of the token.
    pub fn verify(&self, project: &str, token: &str) -> Result<(), Refusal> {
        let algorithm = header(token)?.alg;
        if algorithm != Algorithm::HS256 {
            return Err(invalid(format!("its algorithm is {algorithm:?}; a project's is HS256")));
        }
        let keys = self.keys();
        let secrets = keys.0.get(project).ok_or_else(|| invalid("there is no project with this key"))?;
        for secret in secrets {
            match claims::<ProjectClaims>(token, algorithm, secret) {
                Ok(claims) => return self.grants(&claims, project),
                // Another of its secrets may have signed it.
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => return Err(explain(&error)),
            }
        }
        Err(explain(&ErrorKind::InvalidSignature.into()))
    }

    fn grants(&self, claims: &ProjectClaims, project: &str) -> Result<(), Refusal> {
        if !claims.iss.as_ref().is_some_and(|issuer| issuer.is(project)) {
            return Err(invalid("its iss is not the project of the path"));
        }
        if claims.ist.as_deref() != Some("project") {
            return Err(invalid("its ist is not \"project\""));
        }
        let now = self.clock.now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        left(claims.exp.as_ref(), now)?;
        begun(claims.iat.as_ref(), "iat", now)?;
        begun(claims.nbf.as_ref(), "nbf", now)
    }
}

/// What decides whether a REST call may be made.
#[derive(Clone, Debug)]
pub enum ProjectGate {
    /// Everyone may make it: for development.
    Open,
    /// Who shows a token of the project may.
    Projects(Arc<Projects>),
}

impl ProjectGate {
    /// Whether the caller with these headers may call as this project.
    ///
    /// # Errors
    /// `TOKEN_MISSING`, `TOKEN_INVALID`, `TOKEN_EXPIRED`. Open, none.
    pub fn check(&self, headers: &HeaderMap, project: &str) -> Result<(), Refusal> {
        let Self::Projects(projects) = self else { return Ok(()) };
        let mut values = headers.get_all(TOKEN_HEADER).iter();
        let Some(value) = values.next() else {
            let why = "there is no token; send one in the header X-OPENTOK-AUTH";
            return Err(Refusal::new(Reason::TokenMissing, why));
        };
        if values.next().is_some() {
            return Err(Refusal::new(Reason::TokenInvalid, "there is more than one X-OPENTOK-AUTH"));
        }
        let token = value.to_str().map_err(|_| Refusal::new(Reason::TokenInvalid, "X-OPENTOK-AUTH is no token"))?;
        projects.verify(project, token.trim())
    }

    /// Whether it looks at who calls.
    #[must_use]
    pub fn asks(&self) -> bool {
        matches!(self, Self::Projects(_))
    }
}
