//! The nine bytes before every frame, and the frames of fixed size.
//! Source: RFC 9113, sections 4.1 and 6.

use super::{ErrorCode, StreamId, output::Output};

/// What starts a connection. Source: RFC 9113, section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header.
pub(super) const HEAD_BYTES: usize = 9;

/// The largest payload that either side takes without a word about it; this
/// side never says one.
pub(super) const FRAME_BYTES: usize = 16_384;

/// Types.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0x0;
    pub(in super::super) const HEADERS: u8 = 0x1;
    pub(in super::super) const PRIORITY: u8 = 0x2;
    pub(in super::super) const RST_STREAM: u8 = 0x3;
    pub(in super::super) const SETTINGS: u8 = 0x4;
    pub(in super::super) const PUSH_PROMISE: u8 = 0x5;
    pub(in super::super) const PING: u8 = 0x6;
    pub(in super::super) const GOAWAY: u8 = 0x7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 0x8;
    pub(in super::super) const CONTINUATION: u8 = 0x9;
}

/// Flags.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Settings.
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(in super::super) const ENABLE_PUSH: u16 = 0x2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: StreamId,
}

impl FrameHead {
    pub(super) fn new(length: usize, kind: u8, flags: u8, stream: StreamId) -> Self {
        Self { length: u32::try_from(length).unwrap_or(u32::MAX), kind, flags, stream }
    }

    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self { length: u32::from_be_bytes([0, a, b, c]), kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn write(self, output: &mut Output) {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s, t, u, v] = self.stream.to_be_bytes();
        output.copy(&[a, b, c, self.kind, self.flags, s, t, u, v]);
    }
}

/// The big-endian number that `bytes` begin with; none where they are too few.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

pub(super) fn write_settings(settings: &[(u16, u32)], output: &mut Output) {
    FrameHead::new(settings.len() * 6, kind::SETTINGS, 0, 0).write(output);
    for (name, value) in settings {
        output.copy(&name.to_be_bytes());
        output.copy(&value.to_be_bytes());
    }
}

pub(super) fn write_settings_ack(output: &mut Output) {
    FrameHead::new(0, kind::SETTINGS, flag::ACK, 0).write(output);
}

pub(super) fn write_ping(payload: [u8; 8], flags: u8, output: &mut Output) {
    FrameHead::new(8, kind::PING, flags, 0).write(output);
    output.copy(&payload);
}

pub(super) fn write_window_update(stream: StreamId, bytes: u32, output: &mut Output) {
    FrameHead::new(4, kind::WINDOW_UPDATE, 0, stream).write(output);
    output.copy(&bytes.to_be_bytes());
}

pub(super) fn write_reset(stream: StreamId, code: ErrorCode, output: &mut Output) {
    FrameHead::new(4, kind::RST_STREAM, 0, stream).write(output);
    output.copy(&code.0.to_be_bytes());
}

pub(super) fn write_go_away(last: StreamId, code: ErrorCode, why: &str, output: &mut Output) {
    FrameHead::new(8 + why.len(), kind::GOAWAY, 0, 0).write(output);
    output.copy(&last.to_be_bytes());
    output.copy(&code.0.to_be_bytes());
    output.copy(why.as_bytes());
}
