//! Events out of the bytes of a response.

use bytes::{Buf as _, BytesMut};
use prost::Message as _;
use signalbox::proto::{JoinResponse, join_response::Event};

/// Puts a stream's bytes together, however they were cut.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: BytesMut,
}

impl Reader {
    /// The events that are whole with these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(prefix) = self.buffer.first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            if self.buffer.len() < 5 + length {
                break;
            }
            self.buffer.advance(5);
            let response = JoinResponse::decode(self.buffer.split_to(length)).expect("a JoinResponse");
            events.push(response.event.expect("a response has an event"));
        }
        events
    }
}
