//! The keys that tokens are verified with, each pinned to one algorithm.

use std::{collections::BTreeMap, fmt};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};

/// The least bytes of an HS256 secret. Source: RFC 7518, section 3.2.
pub const LEAST_SECRET_BYTES: usize = 32;

/// A secret that tokens are signed and verified with, by HS256. Never shows
/// itself.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why keys can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongKeys(String);

impl fmt::Display for WrongKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongKeys {}

impl WrongKeys {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    pub(super) fn of(error: &jsonwebtoken::errors::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret that a file holds, or a variable. One line end behind it,
    /// which editors and `echo` leave, is not part of it.
    ///
    /// # Errors
    /// When it is shorter than 32 bytes.
    pub fn new(text: &[u8]) -> Result<Self, WrongKeys> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() < LEAST_SECRET_BYTES {
            let given = text.len();
            return Err(WrongKeys(format!(
                "a secret for HS256 has at least {LEAST_SECRET_BYTES} bytes; this one has {given}"
            )));
        }
        Ok(Self(text.to_vec()))
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A key, and the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys that tokens are verified with.
#[derive(Clone, Default)]
pub struct Keys {
    secret: Option<Key>,
    public: BTreeMap<Option<String>, Key>,
}

/// Counts them; shows none.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.public.keys().collect();
        f.debug_struct("Keys").field("secret", &self.secret.is_some()).field("public", &names).finish()
    }
}

impl Keys {
    /// Keys of a secret, of a JSON Web Key Set, or of both.
    ///
    /// # Errors
    /// When the set isn't one, has no key that can be used, two with the same
    /// `kid`, or a key that is not what it says.
    pub fn new(secret: Option<&Secret>, jwks: Option<&[u8]>) -> Result<Self, WrongKeys> {
        let secret =
            secret.map(|secret| Key { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.bytes()) });
        let public = jwks.map(read_set).transpose()?.unwrap_or_default();
        Ok(Self { secret, public })
    }

    /// How many public keys there are.
    #[must_use]
    pub fn public_count(&self) -> usize {
        self.public.len()
    }

    /// The key of a token whose header says this: the secret for HS256, else the
    /// one that `kid` names, or the only one there is. The algorithm is the
    /// key's, whatever the token says.
    pub(super) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&Key> {
        if algorithm == Algorithm::HS256 {
            return self.secret.as_ref();
        }
        match kid {
            Some(kid) => self.public.get(&Some(kid.to_owned())),
            None if self.public.len() == 1 => self.public.values().next(),
            None => None,
        }
    }
}

fn read_set(jwks: &[u8]) -> Result<BTreeMap<Option<String>, Key>, WrongKeys> {
    let set: JwkSet =
        serde_json::from_slice(jwks).map_err(|error| WrongKeys(format!("not a JSON Web Key Set: {error}")))?;
    let mut keys = BTreeMap::new();
    for jwk in &set.keys {
        let Some(algorithm) = algorithm(jwk)? else { continue };
        let kid = jwk.common.key_id.clone();
        let named = kid.as_deref().map_or_else(|| "a key without kid".to_owned(), |kid| format!("the key {kid:?}"));
        let key = DecodingKey::from_jwk(jwk).map_err(|error| WrongKeys(format!("{named} can't be read: {error}")))?;
        if keys.insert(kid, Key { algorithm, key }).is_some() {
            return Err(WrongKeys(format!("{named} is there twice; each needs a kid of its own")));
        }
    }
    if keys.is_empty() {
        return Err(WrongKeys("no key in the set is for ES256, EdDSA (Ed25519) or RS256".to_owned()));
    }
    Ok(keys)
}

/// The algorithm that a key is for; none when it is for something else than
/// signing tokens by one of ours.
fn algorithm(jwk: &Jwk) -> Result<Option<Algorithm>, WrongKeys> {
    if jwk.common.public_key_use.as_ref().is_some_and(|what| *what != PublicKeyUse::Signature) {
        return Ok(None);
    }
    let fits = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        // A secret has no business in a file of public keys.
        AlgorithmParameters::OctetKey(_) => {
            return Err(WrongKeys("the set holds a secret (kty oct); secrets have a file of their own".to_owned()));
        }
        _ => return Ok(None),
    };
    let said = jwk.common.key_algorithm.as_ref().map(|said| format!("{said:?}"));
    match said {
        // RS384 of the same kind of key, say: not one of ours.
        Some(said) if said != format!("{fits:?}") => Ok(None),
        _ => Ok(Some(fits)),
    }
}
