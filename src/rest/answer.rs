//! Answers: nothing, or what was wrong.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER},
};
use http_body_util::Full;
use serde::Serialize;

use crate::domain::{MAX_FRAME_BYTES, Reason, Refusal};

/// The answer to what was done.
pub(super) fn done() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A call that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) refusal: Refusal,
    pub(super) status: StatusCode,
    /// What the call's path does take.
    allow: Option<Method>,
    /// Whether the connection is of no use any more, as when there is more to
    /// come of a body that nobody wants.
    pub(super) closes: bool,
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        let status = status(refusal.reason);
        Self { refusal, status, allow: None, closes: false }
    }
}

impl Wrong {
    /// What is no call of this API, as HTTP says it.
    fn http(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, ..Refusal::new(Reason::FrameInvalid, why).into() }
    }

    /// The same, after which the connection ends.
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    pub(super) fn no_call() -> Self {
        let why = "the path leads nowhere; there are /v2/project/KEY/session/ID/signal, \
                   /v2/project/KEY/session/ID/connection/ID/signal and /v2/project/KEY/session/ID/connection/ID";
        Self::http(StatusCode::NOT_FOUND, why)
    }

    pub(super) fn method(allowed: Method) -> Self {
        let wrong = Self::http(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} is for this path"));
        Self { allow: Some(allowed), ..wrong }
    }

    pub(super) fn no_json() -> Self {
        Self::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json")
    }

    pub(super) fn too_slow(limit: Duration) -> Self {
        Self::http(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {limit:?}")).closing()
    }

    /// Of a body that was read to its end.
    pub(super) fn heard_out(given: u64) -> Self {
        let why = format!("the body has {given} bytes or more; the limit is {MAX_FRAME_BYTES}");
        Self::http(StatusCode::PAYLOAD_TOO_LARGE, why)
    }

    /// Of a body of which there is more to come.
    pub(super) fn body_too_large(given: u64) -> Self {
        Self::heard_out(given).closing()
    }

    /// Of a body that can't be read, or ends too early.
    pub(super) fn broken() -> Self {
        Self::http(StatusCode::BAD_REQUEST, "the body can't be read to its end").closing()
    }
}

/// What HTTP calls a reason. Source: OpenTok's REST API reference, and its server
/// libraries, for 400, 403, 404 and 413; RFC 9110 and RFC 6585 for the others.
fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::SignalTypeInvalid
        | Reason::SessionIdInvalid
        | Reason::RecipientsInvalid
        | Reason::SendIdInvalid
        | Reason::FrameInvalid
        | Reason::JoinRequired
        | Reason::AlreadyJoined
        | Reason::IdempotencyKeyInvalid
        | Reason::PageTokenInvalid => StatusCode::BAD_REQUEST,
        Reason::SignalDataTooLarge | Reason::SignalTypeTooLarge | Reason::ConnectionDataTooLarge => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        // OpenTok has no 401.
        Reason::TokenMissing
        | Reason::TokenInvalid
        | Reason::TokenExpired
        | Reason::RoleForbids
        | Reason::SessionForbidden => StatusCode::FORBIDDEN,
        Reason::ConnectionNotFound | Reason::SessionNotFound => StatusCode::NOT_FOUND,
        Reason::JoinTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::RateLimited
        | Reason::SessionFull
        | Reason::ServerFull
        | Reason::SlowConsumer
        | Reason::TooManyUnresolvedSends => StatusCode::TOO_MANY_REQUESTS,
        Reason::ConnectionTakenOver | Reason::ForceDisconnected => StatusCode::CONFLICT,
        Reason::GoingAway | Reason::EngineUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An error as JSON: what OpenTok's have, and our reason.
#[derive(Serialize)]
struct Told<'a> {
    code: u16,
    message: &'a str,
    description: &'a str,
    reason: &'a str,
}

impl From<Wrong> for Response<Full<Bytes>> {
    fn from(wrong: Wrong) -> Self {
        let Wrong { refusal, status, allow, closes: _ } = wrong;
        let message = refusal.message.as_str();
        let told = Told { code: status.as_u16(), message, description: message, reason: refusal.reason.name() };
        // Fails only for what has no place in JSON: strings and a number have one.
        let json = serde_json::to_vec(&told).unwrap_or_default();
        let mut response = Self::new(Full::new(json.into()));
        *response.status_mut() = status;
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(CONTENT_TYPE, "application/json");
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            set(RETRY_AFTER, &whole_seconds(refusal.retry_after.unwrap_or_default()).to_string());
        }
        if let Some(allow) = allow {
            set(ALLOW, allow.as_str());
        }
        response
    }
}

/// Seconds to wait: never sooner than told, and never none.
fn whole_seconds(after: Duration) -> u64 {
    let begun = u64::from(after.subsec_nanos() > 0);
    (after.as_secs() + begun).max(1)
}
