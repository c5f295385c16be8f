//! HTTP/2, the server's side, as a machine that does no I/O and asks no clock.
//!
//! A [`Connection`] is given the bytes that came and says what they mean, is
//! told what to send and has the bytes for it in its [`Output`]. Bodies go
//! through it without being kept: what came is lent out of the caller's
//! buffer, what is shared is sent from where it lies. Everything that a peer
//! can make it keep is bounded.
//!
//! Source: RFC 9113, RFC 7541. Left out: push, priorities (read and forgotten),
//! the upgrade from HTTP/1.1, trailers of requests (checked and dropped).

mod closed;
mod connection;
mod error;
mod field;
mod fields;
mod frame;
mod guard;
mod head;
pub mod hpack;
mod output;
mod receive;
mod send;
mod stream;
mod window;

#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use error::{Error, ErrorCode};
pub use head::Head;
pub use output::{Output, Spare};

/// What a server says to a peer that it has no place for, before it closes: its
/// settings, which come first, and why.
#[must_use]
pub fn turned_away(why: &str) -> Vec<u8> {
    let mut output = Output::default();
    frame::write_settings(&[], &mut output);
    frame::write_go_away(0, ErrorCode::ENHANCE_YOUR_CALM, why, &mut output);
    let mut slices = [std::io::IoSlice::new(&[]); 2];
    let count = output.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.iter()).copied().collect()
}

/// A stream's number on its connection.
pub type StreamId = u32;

/// What this side tells the peer about itself.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Streams at a time; `u32::MAX` means no limit.
    pub max_concurrent_streams: u32,
    /// Bytes of a stream that may be under way: from 65,535, which the peer
    /// begins with before it is told, to 2^31 - 1.
    pub stream_window: u32,
    /// Bytes of all streams that may be under way, in the same bounds.
    pub connection_window: u32,
    /// Bytes of a request's headers, each counting 32 more: at most 65,535. A
    /// request with more is answered with the status 431.
    pub max_header_list: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: u32::MAX,
            stream_window: 1_048_576,
            connection_window: 1_048_576,
            max_header_list: 16_384,
        }
    }
}

/// What the peer did.
#[derive(Debug)]
pub enum Event<'a, S> {
    /// It opened a stream, to be [accepted](Connection::accept),
    /// [reset](Connection::reset), or answered and [finished](Connection::finish).
    Request {
        /// The stream.
        stream: StreamId,
        /// Its headers.
        head: Head,
        /// No body follows.
        end: bool,
    },
    /// A piece of a body, to be given back by [`Connection::consumed`]. Empty
    /// only at the end.
    Data {
        /// The stream.
        stream: StreamId,
        /// The piece, out of the input.
        data: &'a [u8],
        /// Nothing follows.
        end: bool,
    },
    /// The stream is gone: the peer reset it, or broke the rules and it was
    /// reset with `code`.
    Reset {
        /// The stream.
        stream: StreamId,
        /// What the user kept of it.
        state: Option<S>,
        /// Why.
        code: ErrorCode,
    },
    /// More may be sent.
    Window {
        /// On one stream, or on all.
        stream: Option<StreamId>,
    },
    /// A [ping](Connection::ping) was answered.
    Pong,
    /// It opens no more streams.
    GoAway,
}
