//! HEADERS and CONTINUATION: requests and trailers.

use super::{
    Connection, Error, ErrorCode, Event, Head, StreamId,
    connection::Phase,
    frame::{self, FrameHead, flag, number},
    head::{Gathered, Gathering},
    hpack,
    stream::Stream,
    window::{self, Inbound, Outbound},
};

/// How many CONTINUATION frames a block may take. Few: full ones are large.
const MAX_CONTINUATIONS: u8 = 32;

/// How much longer a block may be than the list that is allowed. No list that
/// a peer means to be within bounds comes near it.
const MAX_BLOCK_RATIO: usize = 4;

/// How many fields count for a frame among those that may be read in a turn. Nearly
/// all requests have fewer.
const FIELDS_PER_FRAME: u32 = 16;

/// The most memory taken at once for a request's headers on the strength of
/// those before.
const MAX_LIKELY_BYTES: usize = 1_024;

/// A field block of which not all has come.
pub(super) struct Block {
    pub(super) stream: StreamId,
    whole: Whole,
    bytes: Vec<u8>,
    continuations: u8,
}

/// What a HEADERS frame says beside its fields.
#[derive(Clone, Copy)]
struct Whole {
    /// The request ends with it.
    end: bool,
    /// It depends on itself, which RFC 7540, section 5.3.1 forbids.
    is_circular: bool,
}

impl<S> Connection<S> {
    pub(super) fn on_headers<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>, Error> {
        if head.stream.is_multiple_of(2) {
            return Err(Error::protocol("HEADERS on a stream that is none of the client's"));
        }
        let (mut block, mut padding) = (payload, 0);
        if head.has(flag::PADDED) {
            let (length, rest) = block.split_first().ok_or(Error::frame_size("HEADERS of a wrong size"))?;
            (block, padding) = (rest, usize::from(*length));
        }
        let mut is_circular = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_at_checked(5).ok_or(Error::frame_size("HEADERS of a wrong size"))?;
            is_circular = number(priority).is_some_and(|on| on & window::MAX_BYTES == head.stream);
            block = rest;
        }
        let Some(length) = block.len().checked_sub(padding) else {
            return Err(Error::protocol("more padding than frame"));
        };
        let block = &block[..length];
        let whole = Whole { end: head.has(flag::END_STREAM), is_circular };
        if head.has(flag::END_HEADERS) {
            return self.on_block(head.stream, whole, block);
        }
        let block = Block { stream: head.stream, whole, bytes: block.to_vec(), continuations: 0 };
        self.block = Some(Box::new(block));
        Ok(None)
    }

    pub(super) fn on_continuation<'a>(
        &mut self,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<Option<Event<'a, S>>, Error> {
        let Some(mut block) = self.block.take() else { return Ok(None) };
        block.continuations += 1;
        let most = (self.settings.max_header_list as usize * MAX_BLOCK_RATIO).max(2 * frame::FRAME_BYTES);
        if block.continuations > MAX_CONTINUATIONS || block.bytes.len() + payload.len() > most {
            return Err(Error::calm("a field block without end"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.on_block(block.stream, block.whole, &block.bytes);
        }
        self.block = Some(block);
        Ok(None)
    }

    fn on_block<'a>(&mut self, id: StreamId, whole: Whole, block: &[u8]) -> Result<Option<Event<'a, S>>, Error> {
        if self.streams.get(id).is_some() {
            return self.on_trailers(id, whole, block);
        }
        if id > self.closed.last() {
            self.closed.open(id);
            return self.on_request(id, whole, block);
        }
        if self.closed.is_idle(id) {
            return Err(Error::protocol("a stream with a lower id than the one before"));
        }
        if !self.closed.is_early(id) {
            return Err(Error::new(ErrorCode::STREAM_CLOSED, "HEADERS on a closed stream"));
        }
        self.guard.useless()?;
        if whole.end {
            self.closed.end(id);
        }
        self.decode(block, Gathering::unwanted())?;
        Ok(None)
    }

    fn decode(&mut self, block: &[u8], mut into: Gathering) -> Result<Gathered, Error> {
        // A byte may stand for a field, and a frame for thousands.
        let fields = self.decoder.decode(block, &mut into)?;
        self.frames_left = self.frames_left.saturating_sub(fields / FIELDS_PER_FRAME);
        Ok(into.done())
    }

    fn on_trailers<'a>(&mut self, id: StreamId, whole: Whole, block: &[u8]) -> Result<Option<Event<'a, S>>, Error> {
        let trailers = self.decode(block, Gathering::trailers(self.settings.max_header_list))?;
        let Some(stream) = self.streams.get_mut(id) else { return Ok(None) };
        if stream.request_ended {
            return self.fail(id, ErrorCode::STREAM_CLOSED);
        }
        let is_sound = matches!(trailers, Gathered::Sound(..)) && stream.length.is_none_or(|left| left == 0);
        if !is_sound || !whole.end || whole.is_circular {
            return self.fail(id, ErrorCode::PROTOCOL_ERROR);
        }
        if stream.state.is_none() {
            return self.fail(id, ErrorCode::REFUSED_STREAM);
        }
        Ok(self.on_piece(id, &[], true))
    }

    fn on_request<'a>(&mut self, id: StreamId, whole: Whole, block: &[u8]) -> Result<Option<Event<'a, S>>, Error> {
        self.guard.useful();
        let is_full = self.streams.len() >= self.settings.max_concurrent_streams as usize;
        if is_full || matches!(self.phase, Phase::Last(_)) {
            self.decode(block, Gathering::unwanted())?;
            self.guard.answer(&self.output)?;
            self.turn_away(id, whole, ErrorCode::REFUSED_STREAM);
            return Ok(None);
        }
        let gathering = Gathering::request(self.settings.max_header_list, usize::from(self.likely_head));
        match self.decode(block, gathering)? {
            Gathered::Sound(head, length) if !whole.is_circular && (!whole.end || length.unwrap_or(0) == 0) => {
                Ok(Some(self.open(id, whole, head, length)))
            }
            Gathered::TooLarge => {
                self.guard.reset()?;
                let mut fields = Vec::new();
                hpack::encode(":status", b"431", &mut fields);
                self.write_block(id, &fields, true);
                if !whole.end {
                    self.turn_away(id, whole, ErrorCode::NO_ERROR);
                }
                Ok(None)
            }
            Gathered::Sound(..) | Gathered::Malformed => {
                self.guard.reset()?;
                self.turn_away(id, whole, ErrorCode::PROTOCOL_ERROR);
                Ok(None)
            }
        }
    }

    fn open<'a>(&mut self, id: StreamId, whole: Whole, head: Head, length: Option<u64>) -> Event<'a, S> {
        self.likely_head = head.len().next_multiple_of(64).min(MAX_LIKELY_BYTES) as u16;
        let stream = Stream {
            state: None,
            length,
            inbound: Inbound::new(self.settings.stream_window),
            outbound: Outbound::new(self.peer.initial_window),
            request_ended: whole.end,
            answered: false,
            answer_ended: false,
        };
        self.streams.push(id, stream);
        Event::Request { stream: id, head, end: whole.end }
    }

    /// Resets a stream that was never opened here.
    fn turn_away(&mut self, id: StreamId, whole: Whole, code: ErrorCode) {
        frame::write_reset(id, code, &mut self.output);
        if !whole.end {
            self.closed.early(id);
        }
    }
}
