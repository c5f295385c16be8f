//! The two messages that most of a loaded server's work is, encoded without the
//! generated types: those want every text in a `String` of its own. A test
//! holds them to what the generated code makes.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use prost::encoding::encoded_len_varint;

use crate::domain::{ConnectionId, Entry, Named, SendId, Sequence, Signal};

use super::PREFIX_BYTES;

/// Every field's number is below 16: its key is one byte.
const KEY: usize = 1;
/// The wire types that are used here.
const VARINT: u8 = 0;
const LONG: u8 = 2;

/// The length of a field with a length, its key included.
fn long(length: usize) -> usize {
    KEY + encoded_len_varint(length as u64) + length
}

/// The length of a number's field; as proto3 has it, 0 is left out.
fn number(value: u64) -> usize {
    if value == 0 { 0 } else { KEY + encoded_len_varint(value) }
}

fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { long(text.len()) }
}

/// A short run of fields, put together on the stack and appended at once: an
/// append to a buffer that may have to grow costs many times a byte.
struct Short<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Short<N> {
    fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// gRPC's prefix of a message with so many bytes.
    fn prefix(&mut self, length: usize) {
        self.byte(0);
        self.slice(&u32::try_from(length).expect("no message of ours comes near 4 GiB").to_be_bytes());
    }

    fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.byte(field << 3 | VARINT);
            self.varint(value);
        }
    }

    fn begin(&mut self, field: u8, length: usize) {
        self.byte(field << 3 | LONG);
        self.varint(length as u64);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// `JoinResponse { signal: SignalReceived }`
pub(super) fn signal(entry: &Entry, from: Option<ConnectionId>, signal: &Signal, into: &mut BytesMut) {
    let (seconds, nanos) = timestamp(entry.at);
    let (kind, data) = (signal.kind().as_str(), signal.data());
    let content = text(kind) + text(data);
    let time = number(seconds.cast_unsigned()) + number(u64::from(nanos));
    let from_bytes = from.map_or(0, |_| long(ConnectionId::TEXT_BYTES));
    let received = number(entry.sequence) + from_bytes + long(content) + long(time);

    let mut head = Short::<96>::new();
    head.prefix(long(received));
    head.begin(1, received);
    head.number(1, entry.sequence);
    if let Some(from) = from {
        head.begin(2, ConnectionId::TEXT_BYTES);
        head.slice(from.write(&mut [0; ConnectionId::TEXT_BYTES]).as_bytes());
    }
    head.begin(3, content);
    if !kind.is_empty() {
        head.begin(1, kind.len());
    }
    let mut middle = Short::<8>::new();
    if !data.is_empty() {
        middle.begin(2, data.len());
    }
    let mut tail = Short::<32>::new();
    tail.begin(4, time);
    tail.number(1, seconds.cast_unsigned());
    tail.number(2, u64::from(nanos));

    into.reserve(PREFIX_BYTES + long(received));
    for part in [head.as_slice(), kind.as_bytes(), middle.as_slice(), data.as_bytes(), tail.as_slice()] {
        into.extend_from_slice(part);
    }
}

/// `JoinResponse { send_result: SendResult { accepted: Accepted } }`, nobody
/// left out.
pub(super) fn accepted(send_id: SendId, sequence: Sequence, into: &mut BytesMut) {
    let accepted = number(sequence);
    let result = number(send_id) + long(accepted);
    let mut whole = Short::<40>::new();
    whole.prefix(long(result));
    whole.begin(2, result);
    whole.number(1, send_id);
    whole.begin(2, accepted);
    whole.number(1, sequence);
    into.extend_from_slice(whole.as_slice());
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

/// `JoinRequest { send: SendSignal }`, as encoders write it: fields in their
/// order, each once, none unknown. Nothing for all else, which the generated
/// code then reads, or refuses.
pub(in crate::grpc) fn read_send(message: &[u8]) -> Option<Send<'_>> {
    let mut rest = message;
    let mut send = Fields(field(&mut rest, 2)?);
    if !rest.is_empty() {
        return None;
    }
    let mut read = Send { send_id: send.number(1)?, signal: None, to: None };
    if let Some(signal) = send.long(2)? {
        let mut signal = Fields(signal);
        let (kind, data) = (signal.text(1)?, signal.text(2)?);
        signal.end()?;
        read.signal = Some((kind, data));
    }
    if let Some(to) = send.long(3)? {
        let mut to = Fields(to);
        let mut named = Vec::new();
        while let Some(id) = to.long(1)? {
            named.push(match ConnectionId::parse_bytes(id) {
                Some(id) => Named::Id(id),
                None => Named::Other(std::str::from_utf8(id).ok()?.to_owned()),
            });
        }
        to.end()?;
        read.to = Some(named);
    }
    send.end()?;
    Some(read)
}

/// A `SendSignal`, its texts where they lie.
pub(in crate::grpc) struct Send<'a> {
    pub(in crate::grpc) send_id: SendId,
    /// Type and data.
    pub(in crate::grpc) signal: Option<(&'a str, &'a str)>,
    /// Whom it names, as often as it does.
    pub(in crate::grpc) to: Option<Vec<Named>>,
}

/// The fields of a message that are still to be read. Each is asked for in
/// turn; nothing at all where what comes can't be read so simply.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn is_next(&self, key: u8) -> bool {
        self.0.first() == Some(&key)
    }

    fn number(&mut self, number: u8) -> Option<u64> {
        if !self.is_next(number << 3 | VARINT) {
            return Some(0);
        }
        self.0 = &self.0[1..];
        varint(&mut self.0)
    }

    fn long(&mut self, number: u8) -> Option<Option<&'a [u8]>> {
        if self.is_next(number << 3 | LONG) { field(&mut self.0, number).map(Some) } else { Some(None) }
    }

    fn text(&mut self, number: u8) -> Option<&'a str> {
        let bytes = self.long(number)?.unwrap_or_default();
        std::str::from_utf8(bytes).ok()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Takes a field with a length.
fn field<'a>(bytes: &mut &'a [u8], number: u8) -> Option<&'a [u8]> {
    let (key, rest) = bytes.split_first()?;
    *bytes = rest;
    if *key != number << 3 | LONG {
        return None;
    }
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

/// Takes a number of at most nine bytes: all but the largest.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..9 {
        let byte = *bytes.get(at)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::{super::prefix, *};
    use crate::{
        domain::{Audience, Event},
        proto::{self, JoinRequest, join_request::Frame, join_response, send_result},
    };

    fn generated(event: join_response::Event) -> Vec<u8> {
        let message = proto::JoinResponse { event: Some(event) };
        let mut bytes = BytesMut::new();
        prefix(message.encoded_len(), &mut bytes);
        message.encode(&mut bytes).unwrap();
        bytes.to_vec()
    }

    /// Sends, odd ones too.
    fn sends() -> impl Strategy<Value = proto::SendSignal> {
        let signal = ("[a-z]{0,20}", ".{0,200}").prop_map(|(r#type, data)| proto::Signal { r#type, data });
        let to = prop::collection::vec("[a-z0-9-]{0,40}", 0..5)
            .prop_map(|connection_ids| proto::Recipients { connection_ids });
        let id = prop_oneof![any::<u64>(), 0..1_000_u64];
        (id, prop::option::of(signal), prop::option::of(to)).prop_map(|(send_id, signal, to)| proto::SendSignal {
            send_id,
            signal,
            to,
        })
    }

    fn ours(message: &[u8]) -> Option<proto::SendSignal> {
        let Send { send_id, signal, to } = read_send(message)?;
        let signal = signal.map(|(kind, data)| proto::Signal { r#type: kind.to_owned(), data: data.to_owned() });
        let to = to.map(|ids| proto::Recipients { connection_ids: ids.iter().map(Named::to_string).collect() });
        Some(proto::SendSignal { send_id, signal, to })
    }

    fn generated_read(message: &[u8]) -> Option<proto::SendSignal> {
        match JoinRequest::decode(message).ok()?.frame? {
            Frame::Send(send) => Some(send),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn a_send_is_read_as_the_generated_code_reads_it(send in sends()) {
            let message = JoinRequest { frame: Some(Frame::Send(send.clone())) }.encode_to_vec();
            if send.send_id < 1 << 63 {
                prop_assert_eq!(ours(&message), Some(send));
            } else {
                prop_assert_eq!(ours(&message), None);
            }
        }

        #[test]
        fn what_is_read_of_a_damaged_send_is_what_the_generated_code_reads(
            send in sends(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut message = JoinRequest { frame: Some(Frame::Send(send)) }.encode_to_vec();
            for (at, byte) in damage {
                let at = at.index(message.len());
                message[at] = byte;
            }
            if let Some(read) = ours(&message) {
                prop_assert_eq!(Some(read), generated_read(&message));
            }
        }

        #[test]
        fn what_is_read_of_any_bytes_is_what_the_generated_code_reads(message in prop::collection::vec(0_u8..40, 0..30)) {
            if let Some(read) = ours(&message) {
                prop_assert_eq!(Some(read), generated_read(&message));
            }
        }

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

    /// What is read by hand is what the generated code reads, of any bytes and of
    /// damaged sends.
    #[test]
    fn fuzz_send() {
        bolero::check!().for_each(|input: &[u8]| {
            let (how, rest) = crate::fuzz::split(input);
            let message = match how % 2 {
                0 => rest.to_vec(),
                _ => {
                    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
                    let Some((send, damage)) = crate::fuzz::seeded(&(sends(), damage), rest) else { return };
                    let mut message = JoinRequest { frame: Some(Frame::Send(send)) }.encode_to_vec();
                    for (at, byte) in damage {
                        let at = at.index(message.len());
                        message[at] = byte;
                    }
                    message
                }
            };
            if let Some(read) = ours(&message) {
                assert_eq!(Some(read), generated_read(&message));
            }
        });
    }
}
