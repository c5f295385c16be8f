//! The floor's protocol: frames of a length (4 bytes, little-endian, of what
//! follows it), a kind (1 byte) and a body. Numbers are little-endian.
//!
//! | kind | body |
//! |---|---|
//! | [`JOIN`] | session |
//! | [`BROADCAST`] | member (4), payload |
//! | [`ADDRESS`] | member (4), address (8), payload |
//! | [`SERVER_SIGNAL`] | length of the session's name (1), session, payload |
//! | [`READY`] | member (4), address (8) |
//! | [`SIGNAL`] | member (4), from (36), sequence (8), time (8), payload |
//! | [`ANSWER`] | nothing |
//!
//! A member is named by its place among those that joined on its connection.

/// From a client: one more member on this connection.
pub(crate) const JOIN: u8 = 1;
/// From a client: to everyone in the member's session.
pub(crate) const BROADCAST: u8 = 2;
/// From a client: to one member.
pub(crate) const ADDRESS: u8 = 3;
/// From a client: to everyone in a session, answered.
pub(crate) const SERVER_SIGNAL: u8 = 4;
/// From the server: a member is in.
pub(crate) const READY: u8 = 5;
/// From the server: a signal. As many bytes beside the payload as Signalbox
/// spends on the same facts, so that the two compare byte for byte.
pub(crate) const SIGNAL: u8 = 6;
/// From the server: a server signal was taken.
pub(crate) const ANSWER: u8 = 7;

/// What stands before the payload in the body of a [`SIGNAL`].
pub(crate) const SIGNAL_FACTS: usize = 4 + 36 + 8 + 8;

/// Takes the first whole frame off: its kind, its body, and its whole size.
pub(crate) fn first(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let frame = bytes[4..].get(..length)?;
    let (&kind, body) = frame.split_first()?;
    Some((kind, body, 4 + length))
}

/// Puts what stands before a body of `length` bytes.
pub(crate) fn begin(kind: u8, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32 + 1).to_le_bytes());
    out.push(kind);
}
