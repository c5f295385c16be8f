//! The request frames of a `Join` stream, out of its body.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use prost::Message as _;

use crate::{
    domain::{MAX_FRAME_BYTES, Reason, Refusal},
    proto::{JoinRequest, join_request::Frame},
};

use super::wire::PREFIX_BYTES;

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

/// Reads frames.
pub(super) struct Frames<B> {
    body: B,
    buffer: BytesMut,
}

impl<B: Body<Data = Bytes> + Unpin> Frames<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next frame. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some(message) = self.cut().map_err(Ended::Invalid)? {
                return decode(message).map_err(Ended::Invalid);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(Ended::Broken),
                None if self.buffer.is_empty() => return Err(Ended::HalfClosed),
                None => {
                    let left = self.buffer.len();
                    return Err(Ended::Invalid(invalid(format!(
                        "the requests ended inside a frame, after {left} bytes of it"
                    ))));
                }
            }
        }
    }

    /// Cuts a whole message off the buffer, if one is there.
    fn cut(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 {
            return Err(invalid(format!("the frame is compressed (flag {compressed}); send it uncompressed")));
        }
        if length > MAX_FRAME_BYTES {
            return Err(invalid(format!("the frame has {length} bytes; the limit is {MAX_FRAME_BYTES}")));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn decode(message: Bytes) -> Result<Frame, Refusal> {
    let request = JoinRequest::decode(message)
        .map_err(|error| invalid(format!("the frame is no JoinRequest in protobuf: {error}")))?;
    request.frame.ok_or_else(|| {
        invalid("the frame is empty or of an unknown kind; it must be join, send, disconnect or leave".into())
    })
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
    use crate::proto::{self, SendSignal};

    fn encoded(requests: &[JoinRequest]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in requests {
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(request.encoded_len()).unwrap());
            request.encode(&mut bytes).unwrap();
        }
        bytes
    }

    fn read(pieces: Vec<Vec<u8>>) -> (Vec<Frame>, Ended) {
        let pieces = pieces
            .into_iter()
            .map(|piece| Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(piece))));
        let mut frames = Frames::new(StreamBody::new(tokio_stream::iter(pieces)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = Vec::new();
            loop {
                match frames.next().await {
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
            let sent: Vec<Frame> = ids
                .iter()
                .map(|id| Frame::Send(SendSignal { send_id: *id, signal: Some(proto::Signal::default()), to: None }))
                .collect();
            let requests: Vec<_> = sent.iter().map(|frame| JoinRequest { frame: Some(frame.clone()) }).collect();
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
}
