//! What things are called: sessions, connections, resume tokens, keys.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

#[cfg(feature = "server")]
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
#[cfg(feature = "server")]
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Limits, Reason, Refusal, limits::MAX_IDEMPOTENCY_KEY_BYTES};

/// A place in a session's one total order. The first is 1.
pub type Sequence = u64;

/// Which life of a session: sequences compare only within one.
pub type Epoch = u64;

/// A client's own number of a send; 0 asks for no de-duplication.
pub type SendId = u64;

/// A session's name: visible ASCII, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Parses a name of 1 to `limits.max_session_id_bytes` visible ASCII
    /// characters (0x21 to 0x7E).
    ///
    /// ```
    /// use signalbox::domain::{Limits, Reason, SessionId};
    ///
    /// let limits = Limits::default();
    /// assert_eq!(SessionId::parse("demo", &limits, "session_id")?.as_str(), "demo");
    /// let refusal = SessionId::parse("a demo", &limits, "session_id").unwrap_err();
    /// assert_eq!((refusal.reason, refusal.field), (Reason::SessionIdInvalid, Some("session_id")));
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// `SESSION_ID_INVALID`, blaming `field`.
    pub fn parse(text: &str, limits: &Limits, field: &'static str) -> Result<Self, Refusal> {
        let refuse = |message| Err(Refusal::new(Reason::SessionIdInvalid, message).field(field));
        let most = limits.max_session_id_bytes;
        if text.is_empty() {
            return refuse(format!("the session id is empty; it must have 1 to {most} visible ASCII characters"));
        }
        if limits.exceeds(text.len(), most) {
            let given = text.len();
            return refuse(format!("the session id has {given} bytes; the limit is {most}"));
        }
        if let Some((at, bad)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            return refuse(format!(
                "the session id has the character {bad:?} at byte {at}; only visible ASCII (0x21 to 0x7E) is allowed"
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A connection's name: 122 random bits as a UUID (version 4), never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// The name made of these random bytes (six bits are fixed by RFC 9562).
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The name of these 16 bytes, which [`ConnectionId::bytes`] gave.
    #[cfg(feature = "redis")]
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its 16 bytes.
    #[cfg(feature = "redis")]
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// How long its text is, always.
    pub const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// Its text, written into `buffer`.
    #[must_use]
    pub fn write<'a>(&self, buffer: &'a mut [u8; Self::TEXT_BYTES]) -> &'a str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Parses the one spelling that the server writes: hyphenated, lower case.
    /// Anything else can't be a connection's name.
    ///
    /// ```
    /// use signalbox::domain::ConnectionId;
    ///
    /// let text = "006c501f-5dff-4162-af0f-5e2a8db25b3a";
    /// assert_eq!(ConnectionId::parse(text).map(|id| id.to_string()).as_deref(), Some(text));
    /// assert!(ConnectionId::parse(&text.to_uppercase()).is_none());
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_bytes(text.as_bytes())
    }

    /// As [`ConnectionId::parse`], of what may not even be text.
    #[must_use]
    pub fn parse_bytes(text: &[u8]) -> Option<Self> {
        let text: &[u8; Self::TEXT_BYTES] = text.try_into().ok()?;
        let mut bytes = [0; 16];
        // Looked at once, at the end: most are well spelled.
        let mut wrong = 0;
        for (byte, at) in bytes.iter_mut().zip(DIGITS) {
            let (high, low) = (NIBBLES[usize::from(text[at])], NIBBLES[usize::from(text[at + 1])]);
            wrong |= high | low;
            *byte = high << 4 | low & 0xf;
        }
        let hyphens = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
        (hyphens && wrong & NO_DIGIT == 0).then(|| Self(Uuid::from_bytes(bytes)))
    }
}

/// Where the two digits of each byte begin.
const DIGITS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// What is no digit.
const NO_DIGIT: u8 = 0x80;

/// The value of each digit.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    nibbles
};

/// A map by connection. Its keys are made by the server and random, so that
/// they are hash enough by themselves: a client can look for what it likes, but
/// can't choose what is there.
pub type ConnectionMap<T> = HashMap<ConnectionId, T, BuildHasherDefault<IdHasher>>;

/// Takes of an id what is random.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // The length goes in on some paths, too: it adds nothing.
        for eight in bytes.chunks_exact(8) {
            self.0 = self.0.rotate_left(29) ^ u64::from_le_bytes(eight.try_into().unwrap_or_default());
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The random bytes of a resume token.
#[cfg(feature = "server")]
pub const RESUME_TOKEN_BYTES: usize = 32;

/// The secret that resumes a connection. Only the client keeps it: the server
/// keeps its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(String);

impl ResumeToken {
    /// The token made of these random bytes.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn from_random(bytes: [u8; RESUME_TOKEN_BYTES]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A token as a client presents it; any text may be wrong.
    #[must_use]
    pub fn presented(text: String) -> Self {
        Self(text)
    }

    /// The text for the client.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the server keeps of it.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(secret)")
    }
}

/// The SHA-256 of a resume token. The token has 256 random bits, so neither a
/// salt nor a slow hash would add anything, and comparing hashes leaks nothing
/// about the token by its timing.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

#[cfg(feature = "redis")]
impl TokenHash {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What makes a backend's call safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Parses a key; the empty text is none.
    ///
    /// ```
    /// use signalbox::domain::IdempotencyKey;
    ///
    /// assert!(IdempotencyKey::parse("order 17")?.is_some());
    /// assert!(IdempotencyKey::parse("")?.is_none());
    /// assert!(IdempotencyKey::parse(&"x".repeat(129)).is_err());
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_INVALID` over 128 bytes, blaming `idempotency_key`.
    pub fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        if text.len() > MAX_IDEMPOTENCY_KEY_BYTES {
            let given = text.len();
            return Err(Refusal::new(
                Reason::IdempotencyKeyInvalid,
                format!("the idempotency key has {given} bytes; the limit is {MAX_IDEMPOTENCY_KEY_BYTES}"),
            )
            .field("idempotency_key"));
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// How many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Its text.
    #[cfg(feature = "redis")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_1_to_255_visible_ascii_characters() {
        let limits = Limits::default();
        let parse = |text: &str| SessionId::parse(text, &limits, "session_id");
        assert!(parse("!").is_ok());
        assert!(parse(&"~".repeat(255)).is_ok());
        for (bad, says) in [
            (String::new(), "empty"),
            ("a".repeat(256), "256 bytes; the limit is 255"),
            ("a b".into(), "' ' at byte 1"),
            ("caf\u{e9}".into(), "'\u{e9}' at byte 3"),
            ("a\u{7f}".into(), "at byte 1"),
        ] {
            let refusal = parse(&bad).unwrap_err();
            assert_eq!(refusal.reason, Reason::SessionIdInvalid);
            assert_eq!(refusal.field, Some("session_id"));
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }

    #[test]
    fn a_connection_id_has_one_spelling() {
        let id = ConnectionId::from_random([0xab; 16]);
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        assert_eq!(ConnectionId::parse(&id.to_string().to_uppercase()), None);
        assert_eq!(ConnectionId::parse(&id.to_string().replace('-', "")), None);
        assert_eq!(ConnectionId::parse(&format!("{{{id}}}")), None);
        assert_eq!(ConnectionId::parse(""), None);
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_resume_token_hides_itself() {
        let token = ResumeToken::from_random([1; RESUME_TOKEN_BYTES]);
        assert!(!format!("{token:?}").contains(token.reveal()));
        assert_eq!(ResumeToken::presented(token.reveal().into()).hash(), token.hash());
    }

    #[test]
    fn an_idempotency_key_has_at_most_128_bytes() {
        assert_eq!(IdempotencyKey::parse(""), Ok(None));
        assert!(IdempotencyKey::parse(&"k".repeat(128)).unwrap().is_some());
        let refusal = IdempotencyKey::parse(&"k".repeat(129)).unwrap_err();
        assert!(refusal.message.contains("129 bytes; the limit is 128"));
    }
}
