//! Refusals and endings as gRPC statuses, with their details.

use std::collections::HashMap;

use http::{HeaderMap, Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    domain::{MAX_FRAME_BYTES, Reason, Refusal},
    hub::Goodbye,
    telemetry::{Call, CallStatus},
};

use super::wire::waiting;

/// The `domain` of every `ErrorInfo`.
const DOMAIN: &str = "signalbox";

/// A refusal as the status of a call or the end of a stream. Its messages hold
/// no text of a client's beyond a character, so the details stay far below the
/// 4 KiB that some clients' header limits allow.
pub(super) fn status(refusal: &Refusal) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason.name(), DOMAIN, HashMap::new());
    if let Some(field) = refusal.field {
        details.add_bad_request_violation(field, refusal.message.as_str());
    }
    if let Some(after) = refusal.retry_after {
        details.set_retry_info(Some(waiting(after)));
    }
    Status::with_error_details(Code::from(refusal.reason.code() as i32), refusal.message.as_str(), details)
}

/// How a stream ended, as its trailers.
pub(super) fn trailers(goodbye: &Goodbye) -> HeaderMap {
    let status = match (&goodbye.refusal, goodbye.farewell.ending.reason()) {
        (Some(refusal), _) => status(refusal),
        (None, Some(reason)) => {
            let mut refusal = Refusal::new(reason, explain(reason));
            refusal.retry_after = goodbye.farewell.retry_after;
            status(&refusal)
        }
        (None, None) => Status::ok(""),
    };
    let mut trailers = HeaderMap::with_capacity(3);
    // Fails only for a status whose message or metadata is no header: ours are.
    let _ = status.add_header(&mut trailers);
    trailers
}

/// A call ends with what a service says in these headers.
pub(super) fn ends(call: &mut Call, headers: &HeaderMap) {
    let said = headers.get("grpc-status").map(http::HeaderValue::as_bytes);
    call.end(said.map_or(CallStatus::UNKNOWN, CallStatus::from_number), || {
        let status = Status::from_header_map(headers)?;
        status.get_details_error_info().map(|info| info.reason)
    });
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::SlowConsumer => "events came faster than they were read and overflowed the connection's outbox",
        Reason::ConnectionTakenOver => "the connection was resumed on another stream",
        Reason::ForceDisconnected => "the connection was disconnected by a moderator or a backend",
        Reason::GoingAway => "the server is going away; come back, here or elsewhere",
        _ => "the stream ended",
    }
}

/// Gives tonic's own refusal of a request message (no protobuf, or over the
/// size limit) the reason that the contract has for it. Ours all have details,
/// so that a bare one is tonic's.
pub(super) fn explain_bad_message<B: Default>(response: Response<B>) -> Response<B> {
    let headers = response.headers();
    let is = |code: Code| headers.get("grpc-status").is_some_and(|value| value == &(code as i32).to_string()[..]);
    let tonics_own = is(Code::OutOfRange) || is(Code::Internal) || is(Code::InvalidArgument);
    if !tonics_own || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    let said = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    status(&bad_message(&plain(said))).into_http()
}

/// The refusal of what is no message of a unary call.
pub(super) fn bad_message(why: &str) -> Refusal {
    Refusal::new(
        Reason::FrameInvalid,
        format!("the request is no message of this call, or over {MAX_FRAME_BYTES} bytes: {why}"),
    )
}

/// A percent-encoded `grpc-message`, for quoting: ours encodes it again.
fn plain(encoded: &str) -> String {
    encoded.replace("%20", " ").replace("%22", "\"").replace("%3A", ":").replace("%27", "'")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_reason_has_its_code_and_details() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason, "why").field("signal.data").retry_after(Duration::from_millis(1_500));
            let status = status(&refusal);
            assert_eq!(status.code() as i32, reason.code() as i32);
            assert_eq!(status.message(), "why");
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.domain.as_str(), info.reason.as_str()), ("signalbox", reason.name()));
            assert_eq!(details.bad_request().unwrap().field_violations[0].field, "signal.data");
            assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1_500)));
        }
    }

    #[test]
    fn without_a_field_or_a_wait_there_is_neither() {
        let status = status(&Refusal::new(Reason::SessionNotFound, "why"));
        let details = status.get_error_details();
        assert!(details.bad_request().is_none() && details.retry_info().is_none());
    }
}
