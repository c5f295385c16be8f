//! The two messages that most of a loaded server's work is, encoded without the
//! generated types: those want every text in a `String` of its own. A test
//! holds them to what the generated code makes.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::domain::{ConnectionId, Entry, SendId, Sequence, Signal};

use super::prefix;

/// Every field's number is below 16: its key is one byte.
const KEY: usize = 1;

/// The length of a field with a length, its key included.
fn long(length: usize) -> usize {
    KEY + encoded_len_varint(length as u64) + length
}

/// The length of a number's field; as proto3 has it, 0 is left out.
fn number(value: u64) -> usize {
    if value == 0 { 0 } else { KEY + encoded_len_varint(value) }
}

fn put_number(field: u32, value: u64, into: &mut BytesMut) {
    if value != 0 {
        encode_key(field, WireType::Varint, into);
        encode_varint(value, into);
    }
}

fn put_length(field: u32, length: usize, into: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, into);
    encode_varint(length as u64, into);
}

fn put_text(field: u32, text: &str, into: &mut BytesMut) {
    if !text.is_empty() {
        put_length(field, text.len(), into);
        into.put_slice(text.as_bytes());
    }
}

fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { long(text.len()) }
}

/// `JoinResponse { signal: SignalReceived }`
pub(super) fn signal(entry: &Entry, from: Option<ConnectionId>, signal: &Signal, into: &mut BytesMut) {
    let (seconds, nanos) = timestamp(entry.at);
    let mut name = [0; ConnectionId::TEXT_BYTES];
    let from = from.map(|id| id.write(&mut name));
    let kind = signal.kind().as_str();

    let content = text(kind) + text(signal.data());
    let time = number(seconds.cast_unsigned()) + number(u64::from(nanos));
    let received = number(entry.sequence) + from.map_or(0, |from| long(from.len())) + long(content) + long(time);
    prefix(long(received), into);
    put_length(1, received, into);
    put_number(1, entry.sequence, into);
    if let Some(from) = from {
        put_length(2, from.len(), into);
        into.put_slice(from.as_bytes());
    }
    put_length(3, content, into);
    put_text(1, kind, into);
    put_text(2, signal.data(), into);
    put_length(4, time, into);
    put_number(1, seconds.cast_unsigned(), into);
    put_number(2, u64::from(nanos), into);
}

/// `JoinResponse { send_result: SendResult { accepted: Accepted } }`, nobody
/// left out.
pub(super) fn accepted(send_id: SendId, sequence: Sequence, into: &mut BytesMut) {
    let accepted = number(sequence);
    let result = number(send_id) + long(accepted);
    prefix(long(result), into);
    put_length(2, result, into);
    put_number(1, send_id, into);
    put_length(2, accepted, into);
    put_number(1, sequence, into);
}

/// Seconds and nanoseconds since 1970, as `google.protobuf.Timestamp` has them.
fn timestamp(at: SystemTime) -> (i64, u32) {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
        Err(_) => {
            let at = prost_types::Timestamp::from(at);
            (at.seconds, at.nanos.cast_unsigned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        domain::{Audience, Event},
        proto::{self, join_response, send_result},
    };

    fn generated(event: join_response::Event) -> Vec<u8> {
        let message = proto::JoinResponse { event: Some(event) };
        let mut bytes = BytesMut::new();
        prefix(message.encoded_len(), &mut bytes);
        message.encode(&mut bytes).unwrap();
        bytes.to_vec()
    }

    proptest! {
        #[test]
        fn a_signal_is_what_the_generated_code_makes(
            sequence in any::<u64>(),
            from in prop::option::of(any::<[u8; 16]>()),
            kind in "[a-z]{0,128}",
            data in ".{0,300}",
            millis in -100_000_i64..100_000_000_000,
        ) {
            let from = from.map(ConnectionId::from_random);
            let distance = Duration::from_millis(millis.unsigned_abs());
            let at = if millis < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
            let content = Signal::parse(kind.clone(), data.clone()).unwrap();
            let event = Event::Signal { from, audience: Audience::Everyone, signal: content.clone() };
            let mut bytes = BytesMut::new();
            signal(&Entry { sequence, at, event }, from, &content, &mut bytes);
            let expected = generated(join_response::Event::Signal(proto::SignalReceived {
                sequence,
                from_connection_id: from.map(|id| id.to_string()),
                signal: Some(proto::Signal { r#type: kind, data }),
                sent_at: Some(at.into()),
            }));
            prop_assert_eq!(bytes.to_vec(), expected);
        }

        #[test]
        fn an_outcome_is_what_the_generated_code_makes(send_id in any::<u64>(), sequence in any::<u64>()) {
            let mut bytes = BytesMut::new();
            accepted(send_id, sequence, &mut bytes);
            let accepted = proto::Accepted { sequence, not_connected_ids: Vec::new() };
            let outcome = Some(send_result::Outcome::Accepted(accepted));
            let expected = generated(join_response::Event::SendResult(proto::SendResult { send_id, outcome }));
            prop_assert_eq!(bytes.to_vec(), expected);
        }
    }
}
