//! Why a connection or a stream ends early.

use std::fmt;

/// An HTTP/2 error code. Source: RFC 9113, section 7; unknown ones are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Not an error.
    pub const NO_ERROR: Self = Self(0x0);
    /// Against the protocol, and no other code says it better.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something broke here.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the window let.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// Settings went unacknowledged for too long.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame on a stream whose side is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was not looked at; it may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// The state of field compression is lost.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// A CONNECT's connection broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not secure enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// To be asked over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);
}

const NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What GOAWAY says.
    pub code: ErrorCode,
    /// What the peer did.
    pub why: &'static str,
}

impl Error {
    pub(super) const fn new(code: ErrorCode, why: &'static str) -> Self {
        Self { code, why }
    }

    pub(super) const fn protocol(why: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, why)
    }

    pub(super) const fn frame_size(why: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, why)
    }

    /// The peer takes too long for something that is needed as a whole.
    pub const fn too_slow() -> Self {
        Self::calm("headers, or a frame, that take too long to come")
    }

    pub(super) const fn calm(why: &'static str) -> Self {
        Self::new(ErrorCode::ENHANCE_YOUR_CALM, why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

impl std::error::Error for Error {}
