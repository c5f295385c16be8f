//! Signs tokens.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use super::{Claims, Secret, WrongKeys};

/// A token with these claims, signed by HS256.
///
/// # Errors
/// When the claims can't be written, as an `exp` that is not a number.
pub fn sign(claims: &Claims, secret: &Secret) -> Result<String, WrongKeys> {
    let key = EncodingKey::from_secret(secret.bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|error| WrongKeys::of(&error))
}
