//! The request frames of a `Join` stream, out of its body.

use bytes::{Buf as _, Bytes};
use http_body::Body;
use http_body_util::BodyExt as _;
use prost::Message as _;

use crate::{
    domain::{Limits, MAX_FRAME_BYTES, Named, Reason, Refusal, SendId},
    proto::{self, JoinRequest, join_request::Frame},
};

use super::{
    parse::{self, Attempt},
    status::bad_message,
    wire::{PREFIX_BYTES, read_send},
};

/// What a client asks for in one frame.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Join(proto::Join),
    Send(SendId, Attempt),
    Disconnect(SendId, Named),
    Leave,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client has nothing more to send.
    HalfClosed,
    /// The stream broke.
    Broken,
    /// What came is no frame.
    Invalid(Refusal),
}

/// Cuts frames out of bytes that come in pieces; copies only what is cut
/// across pieces.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The beginning of a frame whose end is still to come.
    partial: Vec<u8>,
}

impl Cutter {
    /// The next frame. Nothing: all of `input` is taken in, and more is needed.
    pub(super) fn next(&mut self, input: &mut &[u8], limits: &Limits) -> Result<Option<Request>, Refusal> {
        if self.partial.is_empty() {
            if let Some(message) = take_message(input)? {
                return decode(message, limits).map(Some);
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        loop {
            let length = match message_length(&self.partial)? {
                None => PREFIX_BYTES,
                Some(length) => PREFIX_BYTES + length,
            };
            let missing = length - self.partial.len();
            let (more, rest) = input.split_at(missing.min(input.len()));
            self.partial.extend_from_slice(more);
            *input = rest;
            if self.partial.len() < length {
                return Ok(None);
            }
            if message_length(&self.partial)? == Some(length - PREFIX_BYTES) {
                let whole = std::mem::take(&mut self.partial);
                return decode(&whole[PREFIX_BYTES..], limits).map(Some);
            }
        }
    }

    /// How many bytes it keeps until more comes.
    pub(super) fn held(&self) -> usize {
        self.partial.capacity()
    }

    /// The requests ended: not inside a frame?
    pub(super) fn end(&self) -> Result<(), Refusal> {
        match self.partial.len() {
            0 => Ok(()),
            left => Err(invalid(format!("the requests ended inside a frame, after {left} bytes of it"))),
        }
    }
}

/// How long the message is that begins here, when its prefix is there.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some([compressed, length @ ..]) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed != 0 {
        return Err(invalid(format!("the frame is compressed (flag {compressed}); send it uncompressed")));
    }
    if length > MAX_FRAME_BYTES {
        return Err(invalid(format!("the frame has {length} bytes; the limit is {MAX_FRAME_BYTES}")));
    }
    Ok(Some(length))
}

/// Takes a whole message off the bytes, if one is there.
fn take_message<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
    let Some(length) = message_length(input)? else { return Ok(None) };
    if input.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    let (message, rest) = input[PREFIX_BYTES..].split_at(length);
    *input = rest;
    Ok(Some(message))
}

/// The one message of a unary request's body, which may have more to come
/// unless it is at its `end`.
pub(super) fn only_message(body: &[u8], end: bool) -> Result<&[u8], Refusal> {
    let length = message_length(body).map_err(|refusal| bad_message(&refusal.message))?;
    let mut rest = body;
    match take_message(&mut rest)? {
        Some(message) if rest.is_empty() => Ok(message),
        None if !end => Ok(&[]),
        None if length.is_none() && body.is_empty() => Err(bad_message("there is no request message")),
        None => Err(bad_message(&format!("unexpected EOF after {} bytes of it", body.len()))),
        Some(_) => Err(bad_message("another one follows it")),
    }
}

/// Reads frames out of a body.
pub(super) struct Frames<B> {
    body: B,
    data: Bytes,
    cutter: Cutter,
}

impl<B: Body<Data = Bytes> + Unpin> Frames<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, data: Bytes::new(), cutter: Cutter::default() }
    }

    /// The next frame. Cancelling loses nothing.
    pub(super) async fn next(&mut self, limits: &Limits) -> Result<Request, Ended> {
        loop {
            let mut input = &self.data[..];
            let cut = self.cutter.next(&mut input, limits);
            let taken = self.data.len() - input.len();
            self.data.advance(taken);
            if let Some(frame) = cut.map_err(Ended::Invalid)? {
                return Ok(frame);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.data = data;
                    }
                }
                Some(Err(_)) => return Err(Ended::Broken),
                None => return Err(self.cutter.end().map_or_else(Ended::Invalid, |()| Ended::HalfClosed)),
            }
        }
    }
}

fn decode(message: &[u8], limits: &Limits) -> Result<Request, Refusal> {
    if let Some(send) = read_send(message) {
        return Ok(Request::Send(send.send_id, parse::read_send(send, limits)));
    }
    let request = JoinRequest::decode(message)
        .map_err(|error| invalid(format!("the frame is no JoinRequest in protobuf: {error}")))?;
    match request.frame {
        Some(Frame::Join(join)) => Ok(Request::Join(join)),
        Some(Frame::Send(send)) => Ok(Request::Send(send.send_id, parse::send(send, limits))),
        Some(Frame::Disconnect(disconnect)) => {
            Ok(Request::Disconnect(disconnect.send_id, Named::read(disconnect.connection_id)))
        }
        Some(Frame::Leave(_)) => Ok(Request::Leave),
        None => {
            Err(invalid("the frame is empty or of an unknown kind; it must be join, send, disconnect or leave".into()))
        }
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Reason::FrameInvalid, message).field("frame")
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use proptest::prelude::*;
    use prost::bytes::BufMut as _;

    use super::*;
    use crate::{domain::Signal, proto::SendSignal};

    fn encoded(requests: &[JoinRequest]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in requests {
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(request.encoded_len()).unwrap());
            request.encode(&mut bytes).unwrap();
        }
        bytes
    }

    fn read(pieces: Vec<Vec<u8>>) -> (Vec<Request>, Ended) {
        let pieces = pieces
            .into_iter()
            .map(|piece| Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(piece))));
        let mut frames = Frames::new(StreamBody::new(tokio_stream::iter(pieces)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = Vec::new();
            loop {
                match frames.next(&Limits::default()).await {
                    Ok(frame) => all.push(frame),
                    Err(ended) => return (all, ended),
                }
            }
        })
    }

    fn refusal(pieces: Vec<Vec<u8>>) -> Refusal {
        match read(pieces) {
            (_, Ended::Invalid(refusal)) => refusal,
            (_, other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_with_what_was_wrong() {
        let over = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes();
        let cases = [
            (encoded(&[JoinRequest { frame: None }]), "empty or of an unknown kind"),
            // Field 15, which this version doesn't know.
            (vec![0, 0, 0, 0, 2, 0x7a, 0], "empty or of an unknown kind"),
            (vec![0, 0, 0, 0, 3, 0xff, 0xff, 0xff], "no JoinRequest in protobuf"),
            (vec![1, 0, 0, 0, 0], "compressed"),
            ([vec![0], over.to_vec()].concat(), "65537 bytes; the limit is 65536"),
            (vec![0, 0, 0, 0, 9, 1], "inside a frame, after 6 bytes"),
        ];
        for (bytes, says) in cases {
            let refusal = refusal(vec![bytes]);
            assert_eq!(refusal.reason, Reason::FrameInvalid);
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_however_the_bytes_are_cut(
            ids in prop::collection::vec(any::<u64>(), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let signal = || Signal::parse(String::new(), String::new()).unwrap();
            let sent: Vec<_> = ids.iter().map(|id| Request::Send(*id, Ok((signal(), None)))).collect();
            let send = |id: &u64| SendSignal { send_id: *id, signal: Some(proto::Signal::default()), to: None };
            let requests: Vec<_> = ids.iter().map(|id| JoinRequest { frame: Some(Frame::Send(send(id))) }).collect();
            let bytes = encoded(&requests);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in at.into_iter().chain([bytes.len()]) {
                pieces.push(bytes[from..cut].to_vec());
                from = cut;
            }
            let (read, ended) = read(pieces);
            prop_assert_eq!(read, sent);
            prop_assert!(matches!(ended, Ended::HalfClosed));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(vec![bytes]);
        }
    }

    /// Any bytes: frames, or a refusal, however they are cut, and never more kept
    /// than the largest frame.
    #[test]
    fn fuzz_frames() {
        fn cut(bytes: &[u8], length: usize) -> (Vec<Request>, Option<Refusal>) {
            let (mut cutter, mut all) = (Cutter::default(), Vec::new());
            for mut piece in bytes.chunks(length) {
                loop {
                    match cutter.next(&mut piece, &Limits::default()) {
                        Ok(Some(frame)) => all.push(frame),
                        Ok(None) => break,
                        Err(refusal) => return (all, Some(refusal)),
                    }
                }
                assert!(cutter.held() <= 2 * (PREFIX_BYTES + MAX_FRAME_BYTES));
            }
            (all, cutter.end().err())
        }
        bolero::check!().for_each(|input: &[u8]| {
            let (how, rest) = crate::fuzz::split(input);
            // Lengths as they should be, mostly: else nearly nothing is a frame.
            let bytes = match how % 2 {
                0 => rest.to_vec(),
                _ => rest
                    .chunks(1 + usize::from(how))
                    .flat_map(|message| [&[0, 0, 0, 0, message.len() as u8][..], message].concat())
                    .collect(),
            };
            let whole = cut(&bytes, bytes.len().max(1));
            assert_eq!(cut(&bytes, 1), whole);
            assert_eq!(cut(&bytes, 7), whole);
        });
    }
}
