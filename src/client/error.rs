//! What can go wrong, each with what to do about it.

use std::{fmt, time::Duration};

use tonic::Code;

use crate::domain;

/// A request refused, by the server or before it was sent: what was wrong, the
/// limit and what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC status code.
    pub code: Code,
    /// The stable reason, as `SIGNAL_DATA_TOO_LARGE`; empty when whoever
    /// answered was no Signalbox, as a proxy between.
    pub reason: String,
    /// For people. Never holds a signal's data.
    pub message: String,
    /// The field to blame, as the wire calls it.
    pub field: Option<String>,
    /// After how long a retry can succeed, where waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), field: None, retry_after: None }
    }
}

impl From<domain::Refusal> for Refusal {
    fn from(refusal: domain::Refusal) -> Self {
        Self {
            code: Code::from(refusal.reason.code() as i32),
            reason: refusal.reason.name().to_owned(),
            message: refusal.message,
            field: refusal.field.map(str::to_owned),
            retry_after: refusal.retry_after,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(code_name(self.code))?;
        if !self.reason.is_empty() {
            write!(f, " / {}", self.reason)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match self.retry_after {
            Some(after) => write!(f, " (try again after {after:?})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// A code's name as gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Why there is no connection to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint can't be one, or there is none: correct it.
    InvalidEndpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no way to it: an unknown name, no route. Check the address and
    /// the network.
    Unreachable {
        /// Where.
        endpoint: String,
        /// What the system says.
        why: String,
    },
    /// The machine is there and nothing listens on the port: start a server,
    /// or correct the port.
    ConnectionRefused {
        /// Where.
        endpoint: String,
    },
    /// No TLS between here and there: a certificate that isn't trusted, on this
    /// side or the other, or a server that speaks plain text.
    Tls {
        /// Where; empty when it is what the client was built with.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// Something answers, but not gRPC over HTTP/2, or without this
    /// service, or it hangs up at once: it is the wrong port, or a proxy that
    /// doesn't pass HTTP/2 on or has no server behind it.
    NotGrpc {
        /// Where.
        endpoint: String,
        /// What came instead.
        why: String,
    },
    /// It accepted, or was reached, and said nothing in time: try again later
    /// or elsewhere.
    TimedOut {
        /// Where.
        endpoint: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection broke before an answer came: try again.
    Lost {
        /// To where.
        endpoint: String,
        /// What broke it.
        why: String,
    },
    /// The server refuses: the reason says what to do.
    Rejected(Refusal),
    /// The callback for tokens gave none.
    Token(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidEndpoint { endpoint, why } => write!(f, "{endpoint:?} is no endpoint: {why}"),
            Self::Unreachable { endpoint, why } => {
                write!(f, "can't connect to {endpoint}: {why}; check the address and the network")
            }
            Self::ConnectionRefused { endpoint } => {
                write!(f, "can't connect to {endpoint}: connection refused; is a server running there?")
            }
            Self::Tls { endpoint, why } if endpoint.is_empty() => write!(f, "no TLS: {why}"),
            Self::Tls { endpoint, why } => write!(f, "no TLS with {endpoint}: {why}"),
            Self::NotGrpc { endpoint, why } => write!(
                f,
                "{endpoint} answers, but not as a Signalbox server does ({why}): is it the right port, and does \
                 everything between pass HTTP/2 on?"
            ),
            Self::TimedOut { endpoint, after } => {
                write!(f, "{endpoint} said nothing for {after:?}; try again later, or another endpoint")
            }
            Self::Lost { endpoint, why } => {
                write!(f, "the connection to {endpoint} was lost before an answer came: {why}; try again")
            }
            Self::Rejected(refusal) => write!(f, "{refusal}"),
            Self::Token(why) => write!(f, "no token: {why}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why a backend's call did not do what it was to do, or isn't known to have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Refused, by the server or before it was sent: nothing happened, and the
    /// reason says what to do.
    Refused(Refusal),
    /// No server answered, and nothing happened: what the last one tried met.
    Connect(ConnectError),
    /// The call was on its way to a server, and no answer of its came: it may
    /// have been carried out, or not. Made again it does no harm: a
    /// disconnection as it is, a signal with the idempotency key that it had.
    Unknown {
        /// What the last attempt met.
        last: ConnectError,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Connect(error) => write!(f, "{error}"),
            Self::Unknown { last } => write!(
                f,
                "it may have happened or not, no answer came ({last}): repeat it, a signal with the same idempotency \
                 key"
            ),
        }
    }
}

impl std::error::Error for CallError {}

impl From<domain::Refusal> for CallError {
    fn from(refusal: domain::Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Why a send was not accepted, or isn't known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Refused, by the server or before it was sent; nothing was sent.
    Refused(Refusal),
    /// Too much waits to be sent already; nothing was sent. Wait for outcomes
    /// before sending more.
    QueueFull {
        /// What waits: how many sends.
        sends: usize,
        /// What waits: bytes of type, data and recipients.
        bytes: usize,
        /// The limits on both, see [`JoinOptions::queue`](super::JoinOptions::queue).
        limits: (usize, usize),
    },
    /// There is no connection now, and the send was not to be queued for the
    /// next; nothing was sent.
    Disconnected,
    /// The connection was lost for good before the outcome came: it may have
    /// been sent, or not. Only the application can tell whether to send again.
    Unknown,
    /// The session is over for this client; nothing was sent.
    Over,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::QueueFull { sends, bytes, limits: (most, most_bytes) } => write!(
                f,
                "{sends} sends with {bytes} bytes wait already; the limits are {most} and {most_bytes}: wait for \
                 outcomes before sending more"
            ),
            Self::Disconnected => f.write_str("not connected, and not to be sent later: nothing was sent"),
            Self::Unknown => {
                f.write_str("the connection was lost before the outcome came: it may have been sent or not")
            }
            Self::Over => f.write_str("the session is over for this client: nothing was sent"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<domain::Refusal> for SendError {
    fn from(refusal: domain::Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}
