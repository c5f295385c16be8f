//! Every reason for a refusal or an ended stream, and what it implies.

use std::{fmt, time::Duration};

/// The `google.rpc.Code`s in use, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The request is wrong and stays wrong.
    InvalidArgument = 3,
    /// Something had to happen in time and didn't.
    DeadlineExceeded = 4,
    /// What was named isn't there.
    NotFound = 5,
    /// Known, but not allowed.
    PermissionDenied = 7,
    /// A limit is used up.
    ResourceExhausted = 8,
    /// Somebody else's action ended it.
    Aborted = 10,
    /// Try again, here or elsewhere.
    Unavailable = 14,
    /// Not known.
    Unauthenticated = 16,
}

impl Code {
    /// The name as gRPC writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Aborted => "ABORTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, retry $retry:literal, may_have_happened $may:literal;)*) => {
        /// A stable reason, for programs. The names are the wire's.
        ///
        /// ```
        /// use signalbox::domain::{Code, Reason};
        ///
        /// let reason = Reason::ALL.iter().find(|one| one.name() == "RATE_LIMITED").unwrap();
        /// assert_eq!(reason.code(), Code::ResourceExhausted);
        /// assert!(reason.retry_helps() && !reason.may_have_happened());
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its gRPC status code.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// Whether the same request can succeed later, unchanged.
            #[must_use]
            pub fn retry_helps(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }

            /// Whether the request may have had its effect nevertheless.
            #[must_use]
            pub fn may_have_happened(self) -> bool {
                match self { $(Self::$variant => $may,)* }
            }
        }
    };
}

reasons! {
    /// The type has a forbidden character, or there are too many types.
    SignalTypeInvalid = "SIGNAL_TYPE_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// The session's name isn't one.
    SessionIdInvalid = "SESSION_ID_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// No recipients, or too many.
    RecipientsInvalid = "RECIPIENTS_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// The id goes backwards, and its outcome isn't known (any more).
    SendIdInvalid = "SEND_ID_INVALID", InvalidArgument, retry false, may_have_happened true;
    /// No frame of the contract.
    FrameInvalid = "FRAME_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// The first frame is no `join`.
    JoinRequired = "JOIN_REQUIRED", InvalidArgument, retry false, may_have_happened false;
    /// A second `join`.
    AlreadyJoined = "ALREADY_JOINED", InvalidArgument, retry false, may_have_happened false;
    /// Too many bytes of data.
    SignalDataTooLarge = "SIGNAL_DATA_TOO_LARGE", InvalidArgument, retry false, may_have_happened false;
    /// Too many bytes of type.
    SignalTypeTooLarge = "SIGNAL_TYPE_TOO_LARGE", InvalidArgument, retry false, may_have_happened false;
    /// Too many bytes of connection data.
    ConnectionDataTooLarge = "CONNECTION_DATA_TOO_LARGE", InvalidArgument, retry false, may_have_happened false;
    /// Too many bytes of idempotency key.
    IdempotencyKeyInvalid = "IDEMPOTENCY_KEY_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// A page token that isn't of this listing.
    PageTokenInvalid = "PAGE_TOKEN_INVALID", InvalidArgument, retry false, may_have_happened false;
    /// No `join` in time.
    JoinTimeout = "JOIN_TIMEOUT", DeadlineExceeded, retry true, may_have_happened false;
    /// No token where one is needed.
    TokenMissing = "TOKEN_MISSING", Unauthenticated, retry false, may_have_happened false;
    /// A token that doesn't verify.
    TokenInvalid = "TOKEN_INVALID", Unauthenticated, retry false, may_have_happened false;
    /// A token whose lifetime is over.
    TokenExpired = "TOKEN_EXPIRED", Unauthenticated, retry false, may_have_happened false;
    /// The role doesn't allow it.
    RoleForbids = "ROLE_FORBIDS", PermissionDenied, retry false, may_have_happened false;
    /// The token opens another session.
    SessionForbidden = "SESSION_FORBIDDEN", PermissionDenied, retry false, may_have_happened false;
    /// None of the connections named is in the session.
    ConnectionNotFound = "CONNECTION_NOT_FOUND", NotFound, retry false, may_have_happened false;
    /// Nobody is in the session.
    SessionNotFound = "SESSION_NOT_FOUND", NotFound, retry false, may_have_happened false;
    /// Too many signals per second.
    RateLimited = "RATE_LIMITED", ResourceExhausted, retry true, may_have_happened false;
    /// The session has all the connections it may.
    SessionFull = "SESSION_FULL", ResourceExhausted, retry true, may_have_happened false;
    /// The server, or the address, has all the connections it may.
    ServerFull = "SERVER_FULL", ResourceExhausted, retry true, may_have_happened false;
    /// Events came faster than the client read them.
    SlowConsumer = "SLOW_CONSUMER", ResourceExhausted, retry true, may_have_happened true;
    /// Too many sends whose outcomes the client hasn't taken.
    TooManyUnresolvedSends = "TOO_MANY_UNRESOLVED_SENDS", ResourceExhausted, retry true, may_have_happened false;
    /// The connection was resumed on another stream.
    ConnectionTakenOver = "CONNECTION_TAKEN_OVER", Aborted, retry false, may_have_happened true;
    /// Somebody disconnected the connection.
    ForceDisconnected = "FORCE_DISCONNECTED", Aborted, retry false, may_have_happened true;
    /// The server shuts down.
    GoingAway = "GOING_AWAY", Unavailable, retry true, may_have_happened false;
    /// The engine can't answer.
    EngineUnavailable = "ENGINE_UNAVAILABLE", Unavailable, retry true, may_have_happened true;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request refused: what was wrong, the limit and what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// For people. Never holds a signal's data.
    pub message: String,
    /// The field to blame, as the wire calls it.
    pub field: Option<&'static str>,
    /// After how long a retry can succeed, where waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that blames no field.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: None, retry_after: None }
    }

    /// Blames a field.
    #[must_use]
    pub fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}: {}", self.reason.code().name(), self.reason, self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_the_wires_alphabet() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }

    #[test]
    fn a_wrong_request_stays_wrong_and_has_no_effect() {
        for reason in Reason::ALL.iter().filter(|reason| reason.code() == Code::InvalidArgument) {
            assert!(!reason.retry_helps(), "{reason}");
            // The one exception: an old id may well have been accepted, once.
            assert_eq!(reason.may_have_happened(), *reason == Reason::SendIdInvalid, "{reason}");
        }
    }
}
