//! The machine: its state, and how bytes become frames.

use super::{
    Error, ErrorCode, Event, Output, Settings, StreamId,
    closed::Closed,
    fields::Block,
    frame::{self, FRAME_BYTES, FrameHead, HEAD_BYTES, PREFACE, flag, kind, setting},
    guard::Guard,
    head::MAX_LIST_BYTES,
    hpack::Decoder,
    stream::Streams,
    window::{self, Inbound, Outbound},
};

/// Where in the input the machine is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// In the preface, of which so many bytes came.
    Preface(u8),
    /// In a frame's header.
    Head([u8; HEAD_BYTES], u8),
    /// In the payload of a frame that is read as a whole.
    Payload(FrameHead),
    /// Before the length of a DATA frame's padding.
    PadLength(FrameHead),
    /// In a DATA frame's data, with padding after it.
    Data { stream: StreamId, left: u32, padding: u8, end: bool },
    /// In what is read over.
    Skip(u32),
    /// Nowhere any more.
    Failed,
}

impl Reading {
    pub(super) const NEXT: Self = Self::Head([0; HEAD_BYTES], 0);

    pub(super) fn skip(bytes: u32) -> Self {
        if bytes == 0 { Self::NEXT } else { Self::Skip(bytes) }
    }
}

/// How far the end of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The peer was asked to open no more streams; those under way are served.
    Asked,
    /// Streams above this one are refused.
    Last(StreamId),
}

/// What the peer told about itself.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) initial_window: u32,
    pub(super) max_frame: u32,
    /// Its first SETTINGS came.
    pub(super) is_known: bool,
    /// It opens no more streams.
    pub(super) is_going: bool,
    /// The next field block has to say that no table is used.
    pub(super) shrank_table: bool,
    /// A field block has said that no table is used.
    pub(super) uses_no_table: bool,
}

/// The server's side of a connection. `S` is what the user keeps of each stream.
///
/// In this order: what every frame of DATA needs lies together, because a
/// thousand connections in turn find little of theirs in the caches.
#[repr(C)]
pub struct Connection<S> {
    pub(super) output: Output,
    pub(super) reading: Reading,
    /// How many frames may still be begun.
    pub(super) frames_left: u32,
    pub(super) frames_allowed: u32,
    pub(super) inbound: Inbound,
    pub(super) guard: Guard,
    /// A field block of which not all has come.
    pub(super) block: Option<Box<Block>>,
    pub(super) outbound: Outbound,
    pub(super) phase: Phase,
    pub(super) peer: Peer,
    pub(super) settings: Settings,
    pub(super) streams: Streams<S>,
    /// How long the headers of the next request may be.
    pub(super) likely_head: u16,
    pub(super) pings: u8,
    pub(super) closed: Closed,
    /// A frame of which not all has come.
    pub(super) partial: Vec<u8>,
    pub(super) decoder: Decoder,
}

impl<S> Connection<S> {
    /// A connection that was just made. Its output has what it says first.
    pub fn new(settings: Settings) -> Self {
        let settings = Settings {
            stream_window: settings.stream_window.clamp(window::INITIAL_BYTES, window::MAX_BYTES),
            connection_window: settings.connection_window.clamp(window::INITIAL_BYTES, window::MAX_BYTES),
            max_header_list: settings.max_header_list.min(MAX_LIST_BYTES),
            ..settings
        };
        let mut output = Output::default();
        let told = [
            (setting::INITIAL_WINDOW_SIZE, settings.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, settings.max_header_list),
            (setting::MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams),
        ];
        let told = if settings.max_concurrent_streams == u32::MAX { &told[..2] } else { &told[..] };
        frame::write_settings(told, &mut output);
        let more = settings.connection_window - window::INITIAL_BYTES;
        if more > 0 {
            frame::write_window_update(0, more, &mut output);
        }
        Self {
            settings,
            output,
            reading: Reading::Preface(0),
            frames_left: u32::MAX,
            frames_allowed: u32::MAX,
            partial: Vec::new(),
            block: None,
            decoder: Decoder::default(),
            likely_head: 256,
            streams: Streams::new(),
            closed: Closed::default(),
            inbound: Inbound::new(settings.connection_window),
            outbound: Outbound::new(window::INITIAL_BYTES),
            peer: Peer {
                initial_window: window::INITIAL_BYTES,
                max_frame: FRAME_BYTES as u32,
                is_known: false,
                is_going: false,
                shrank_table: false,
                uses_no_table: false,
            },
            guard: Guard::new(),
            phase: Phase::Open,
            pings: 0,
        }
    }

    /// Lets so many frames be begun until it is called again: peers may send any
    /// number that cost time and make no event. How many were begun of those that
    /// were let before.
    pub fn allow(&mut self, frames: u32) -> u32 {
        let begun = self.frames_allowed - self.frames_left;
        (self.frames_allowed, self.frames_left) = (frames, frames);
        begun
    }

    /// Whether a frame was begun since then.
    pub fn has_begun_frames(&self) -> bool {
        self.frames_left != self.frames_allowed
    }

    /// The next thing in `input`, which moves on. None: all of it is consumed, or no
    /// more frames may be begun; a frame that is there in part is kept, but of DATA
    /// what is there is handed out at once.
    ///
    /// # Errors
    /// What ends the connection: the caller says so by [`go_away`](Self::go_away),
    /// writes what it can of the output and closes.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a, S>>, Error> {
        let read = self.read(input);
        if read.is_err() {
            self.reading = Reading::Failed;
            self.partial = Vec::new();
            self.block = None;
        }
        read
    }

    fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a, S>>, Error> {
        loop {
            if input.is_empty() {
                return Ok(None);
            }
            let event = match self.reading {
                Reading::Head(_, 0) if self.frames_left == 0 => return Ok(None),
                Reading::Head(bytes, have) => match self.read_whole_data(have, input) {
                    None => self.read_head(bytes, have, input)?,
                    event => event,
                },
                Reading::Payload(head) => self.read_payload(head, input)?,
                Reading::Data { stream, left, padding, end } => {
                    let data = take(input, left as usize);
                    let left = left - data.len() as u32;
                    self.reading = if left > 0 {
                        Reading::Data { stream, left, padding, end }
                    } else {
                        Reading::skip(u32::from(padding))
                    };
                    self.on_piece(stream, data, end && left == 0)
                }
                Reading::PadLength(head) => {
                    let padding = take(input, 1)[0];
                    self.on_data_padding(head, padding)?
                }
                Reading::Skip(left) => {
                    self.reading = Reading::skip(left - take(input, left as usize).len() as u32);
                    None
                }
                Reading::Preface(have) => {
                    let have = usize::from(have);
                    let came = take(input, PREFACE.len() - have);
                    if came != &PREFACE[have..][..came.len()] {
                        return Err(Error::protocol("no HTTP/2 preface"));
                    }
                    let have = have + came.len();
                    self.reading = if have == PREFACE.len() { Reading::NEXT } else { Reading::Preface(have as u8) };
                    None
                }
                Reading::Failed => return Err(Error::protocol("the connection has failed before")),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Reads a DATA frame that is there from its beginning to its end and that
    /// nothing is to be said about: nearly all that comes is such frames. None
    /// for any other, of which nothing was taken.
    fn read_whole_data<'a>(&mut self, have: u8, input: &mut &'a [u8]) -> Option<Event<'a, S>> {
        if have > 0 || self.block.is_some() {
            return None;
        }
        let (head, rest) = input.split_first_chunk::<HEAD_BYTES>()?;
        let head = FrameHead::parse(head);
        if head.kind != kind::DATA || head.has(flag::PADDED) || head.length == 0 || head.length as usize > FRAME_BYTES {
            return None;
        }
        let (data, rest) = rest.split_at_checked(head.length as usize)?;
        // Whose stream is open has sent its settings.
        let stream = self.streams.get_mut(head.stream)?;
        if stream.state.is_none() || stream.request_ended || stream.length.is_some() {
            return None;
        }
        if !self.inbound.has(head.length) || !stream.inbound.take(head.length) || !self.inbound.take(head.length) {
            return None;
        }
        let end = head.has(flag::END_STREAM);
        stream.request_ended = end;
        self.guard.useful();
        self.frames_left -= 1;
        *input = rest;
        Some(Event::Data { stream: head.stream, data, end })
    }

    fn read_head<'a>(
        &mut self,
        mut bytes: [u8; HEAD_BYTES],
        have: u8,
        input: &mut &'a [u8],
    ) -> Result<Option<Event<'a, S>>, Error> {
        let have = usize::from(have);
        let came = take(input, HEAD_BYTES - have);
        bytes[have..][..came.len()].copy_from_slice(came);
        let have = have + came.len();
        if have < HEAD_BYTES {
            self.reading = Reading::Head(bytes, have as u8);
            return Ok(None);
        }
        let head = FrameHead::parse(&bytes);
        // Headers have to be decoded byte by byte, and may stand for many more.
        let of_headers = if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) { head.length / 256 } else { 0 };
        self.frames_left = self.frames_left.saturating_sub(1 + of_headers);
        self.check(head)?;
        match head.kind {
            kind::DATA => self.on_data(head),
            kind::HEADERS..=kind::CONTINUATION if head.length > 0 => {
                self.reading = Reading::Payload(head);
                Ok(None)
            }
            kind::HEADERS..=kind::CONTINUATION => {
                self.reading = Reading::NEXT;
                self.on_frame(head, &[])
            }
            _ => {
                self.guard.useless()?;
                self.reading = Reading::skip(head.length);
                Ok(None)
            }
        }
    }

    /// What can be said before the payload comes.
    fn check(&self, head: FrameHead) -> Result<(), Error> {
        if head.length as usize > FRAME_BYTES {
            return Err(Error::frame_size("too large a frame"));
        }
        if !self.peer.is_known && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Error::protocol("a frame before SETTINGS"));
        }
        let expected = match &self.block {
            Some(block) => head.kind == kind::CONTINUATION && head.stream == block.stream,
            None => head.kind != kind::CONTINUATION,
        };
        if !expected {
            return Err(Error::protocol("a field block that isn't continued, or a continuation of none"));
        }
        Ok(())
    }

    fn read_payload<'a>(&mut self, head: FrameHead, input: &mut &'a [u8]) -> Result<Option<Event<'a, S>>, Error> {
        let came = take(input, head.length as usize - self.partial.len());
        if came.len() == head.length as usize {
            self.reading = Reading::NEXT;
            return self.on_frame(head, came);
        }
        self.partial.extend_from_slice(came);
        if self.partial.len() < head.length as usize {
            return Ok(None);
        }
        self.reading = Reading::NEXT;
        let payload = std::mem::take(&mut self.partial);
        self.on_frame(head, &payload)
    }

    /// Whether the preface and the peer's settings came, without which a peer
    /// has no business to stay.
    pub fn has_begun(&self) -> bool {
        self.peer.is_known
    }

    /// Whether it is within something that it needs the whole of, and of which part
    /// has come: a frame's header, a frame that is no DATA, or a field block, whose
    /// stream is told.
    pub fn is_midway(&self) -> Option<Option<StreamId>> {
        if let Some(block) = &self.block {
            return Some(Some(block.stream));
        }
        match self.reading {
            Reading::Head(_, 1..) | Reading::Payload(_) | Reading::PadLength(_) => Some(None),
            _ => None,
        }
    }

    /// Registers what the user keeps of a stream just announced by
    /// [`Event::Request`]. A body that comes before is refused.
    pub fn accept(&mut self, stream: StreamId, state: S) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.state = Some(state);
        }
    }

    /// What the user keeps of a stream.
    pub fn get_mut(&mut self, stream: StreamId) -> Option<&mut S> {
        self.streams.get_mut(stream)?.state.as_mut()
    }

    /// Forgets the stream that was opened last, of a connection that is over: what
    /// the user kept of it.
    pub fn forget_newest(&mut self) -> Option<Option<S>> {
        self.streams.pop().map(|stream| stream.state)
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The stream, where one is open, and what the user keeps of it.
    pub fn only_mut(&mut self) -> Option<(StreamId, &mut S)> {
        let (id, stream) = self.streams.only_mut()?;
        stream.state.as_mut().map(|state| (id, state))
    }

    /// Visits what the user keeps of all streams, the oldest first.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(StreamId, &mut S)) {
        for (id, stream) in self.streams.iter_mut() {
            if let Some(state) = &mut stream.state {
                f(id, state);
            }
        }
    }

    /// What waits for the socket.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Ends a stream that the peer breaks the rules on.
    pub(super) fn fail<'a>(&mut self, stream: StreamId, code: ErrorCode) -> Result<Option<Event<'a, S>>, Error> {
        self.guard.reset()?;
        Ok(self.remove_early(stream, code).map(|state| Event::Reset { stream, state, code }))
    }

    /// The same, where the stream may be gone.
    pub(super) fn fail_any<'a>(&mut self, stream: StreamId, code: ErrorCode) -> Result<Option<Event<'a, S>>, Error> {
        if self.streams.get(stream).is_some() {
            return self.fail(stream, code);
        }
        self.guard.reset()?;
        frame::write_reset(stream, code, &mut self.output);
        Ok(None)
    }

    /// Resets and forgets an open stream.
    pub(super) fn remove_early(&mut self, id: StreamId, code: ErrorCode) -> Option<Option<S>> {
        let stream = self.streams.remove(id)?;
        frame::write_reset(id, code, &mut self.output);
        if !stream.request_ended {
            self.closed.early(id);
        }
        Some(stream.state)
    }
}

/// Takes up to `most` bytes off the front.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    front
}
