//! What a refusal must say.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{from_wire, proto};

/// A refusal, as a client sees it in a status or in a `SendError`.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) code: Code,
    pub(crate) reason: &'static str,
    /// The field to blame; empty for none.
    pub(crate) field: &'static str,
    /// What the message must have in it: the limit and what was given.
    pub(crate) says: &'static [&'static str],
}

impl Wrong {
    pub(crate) const fn new(
        code: Code,
        reason: &'static str,
        field: &'static str,
        says: &'static [&'static str],
    ) -> Self {
        Self { code, reason, field, says }
    }

    /// Most refusals are these.
    pub(crate) const fn argument(reason: &'static str, field: &'static str, says: &'static [&'static str]) -> Self {
        Self::new(Code::InvalidArgument, reason, field, says)
    }

    fn check_message(&self, message: &str) {
        for word in self.says {
            assert!(message.contains(word), "{}: {message:?} doesn't say {word:?}", self.reason);
        }
    }

    /// A status that ended a call or a stream.
    pub(crate) fn check_status(&self, status: &Status) {
        assert_eq!((status.code(), reason_of(status).as_str()), (self.code, self.reason), "{status:?}");
        self.check_message(status.message());
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().domain, "signalbox");
        let blamed = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let blamed: Vec<_> = blamed.iter().map(|violation| violation.field.as_str()).collect();
        let expected: &[&str] = if self.field.is_empty() { &[] } else { &[self.field] };
        assert_eq!(blamed, expected, "{status:?}");
        // Some clients allow 8 KiB of headers in all.
        assert!(status.details().len() < 4_096);
    }

    /// An error inside a stream.
    pub(crate) fn check_error(&self, error: &proto::SendError) {
        assert_eq!((error.code, error.reason.as_str()), (self.code as i32, self.reason), "{error:?}");
        assert_eq!(error.field, self.field, "{error:?}");
        self.check_message(&error.message);
    }
}

/// The stable reason of a status; empty when it has none.
pub(crate) fn reason_of(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// When a status says to try again.
pub(crate) fn retry_of(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

impl super::End {
    /// A stream that the server ended by this refusal, told in `closing` too.
    pub(crate) fn check(&self, wrong: &Wrong, action: proto::ClientAction) {
        let status = self.status.as_ref().unwrap_or_else(|| panic!("ended with OK, not {}", wrong.reason));
        wrong.check_status(status);
        let closing = self.closing.as_ref().unwrap_or_else(|| panic!("no closing before {}", wrong.reason));
        assert_eq!((closing.reason.as_str(), closing.action()), (wrong.reason, action));
        assert_eq!(closing.retry_after.as_ref().map(from_wire), retry_of(status), "closing and status disagree");
    }
}
