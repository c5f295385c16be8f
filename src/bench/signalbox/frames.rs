//! HTTP/2 frames and gRPC messages, found in bytes that come cut anywhere. What
//! is whole is handed on where it lies; only what is cut is copied.

use std::io;

/// The most that a frame may hold, in both directions: nobody asked for more.
pub(super) const MAX_FRAME: usize = 16_384;
/// The most that a message may hold: as gRPC clients take by default.
const MAX_MESSAGE: usize = 4 << 20;
const HEAD: usize = 9;
const PREFIX: usize = 5;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS: the stream's last.
pub(super) const END_STREAM: u8 = 1;
/// Of SETTINGS and PING: an answer.
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 32;

/// What every frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff;
        Self { length, kind: bytes[3], flags: bytes[4], stream }
    }

    /// Whether the payload may be handed on as it comes.
    fn flows(self) -> bool {
        self.kind == DATA && !self.has(PADDED)
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.length).expect("frames are short").to_be_bytes();
        out.extend_from_slice(&[length[1], length[2], length[3], self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }
}

/// Writes a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    Head { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// What takes the frames.
pub(super) trait Sink {
    /// A part of the data of a stream; the last of all when `end`.
    fn data(&mut self, stream: u32, part: &[u8], end: bool) -> io::Result<()>;

    /// A whole frame: any but unpadded DATA.
    fn frame(&mut self, head: Head, payload: &[u8]) -> io::Result<()>;
}

/// The frames of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// A frame that has only begun.
    held: Vec<u8>,
    /// The DATA frame that is being handed on, and what of it is to come.
    flowing: Option<(Head, usize)>,
}

impl Frames {
    /// Takes what came, all of it.
    pub(super) fn take(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        loop {
            if let Some((head, left)) = self.flowing {
                let (part, rest) = bytes.split_at(left.min(bytes.len()));
                let left = left - part.len();
                bytes = rest;
                self.flowing = (left > 0).then_some((head, left));
                sink.data(head.stream, part, left == 0 && head.has(END_STREAM))?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            if self.held.is_empty() && bytes.len() >= HEAD {
                let head = checked(Head::read(bytes))?;
                let whole = HEAD + head.length;
                if head.flows() {
                    self.flowing = Some((head, head.length));
                    bytes = &bytes[HEAD..];
                    continue;
                }
                if bytes.len() >= whole {
                    sink.frame(head, &bytes[HEAD..whole])?;
                    bytes = &bytes[whole..];
                    continue;
                }
            }
            bytes = self.hold(bytes, sink)?;
        }
    }

    /// Completes a frame that came in pieces, as far as it goes; what is left.
    fn hold<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> io::Result<&'a [u8]> {
        let bytes = fill(&mut self.held, HEAD, bytes);
        if self.held.len() < HEAD {
            return Ok(bytes);
        }
        let head = checked(Head::read(&self.held))?;
        if head.flows() {
            self.flowing = Some((head, head.length));
            self.held.clear();
            return Ok(bytes);
        }
        let bytes = fill(&mut self.held, HEAD + head.length, bytes);
        if self.held.len() == HEAD + head.length {
            sink.frame(head, &self.held[HEAD..])?;
            self.held.clear();
        }
        Ok(bytes)
    }
}

fn checked(head: Head) -> io::Result<Head> {
    match head.length <= MAX_FRAME {
        true => Ok(head),
        false => Err(no_http2()),
    }
}

/// What came is not HTTP/2.
pub(super) fn no_http2() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak HTTP/2 as a gRPC server does")
}

/// Adds from `bytes` until `held` is that long; what is left.
fn fill<'a>(held: &mut Vec<u8>, length: usize, bytes: &'a [u8]) -> &'a [u8] {
    let missing = length.saturating_sub(held.len()).min(bytes.len());
    let (part, rest) = bytes.split_at(missing);
    held.extend_from_slice(part);
    rest
}

/// The gRPC messages of a stream.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A message that has only begun.
    held: Vec<u8>,
}

impl Messages {
    /// Takes a part of the stream's data and hands on each whole message.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.held.is_empty() {
            bytes = fill(&mut self.held, PREFIX, bytes);
            if self.held.len() < PREFIX {
                return Ok(());
            }
            let whole = PREFIX + length(&self.held)?;
            bytes = fill(&mut self.held, whole, bytes);
            if self.held.len() < whole {
                return Ok(());
            }
            each(&self.held[PREFIX..])?;
            self.held.clear();
        }
        while bytes.len() >= PREFIX {
            let whole = PREFIX + length(bytes)?;
            if bytes.len() < whole {
                break;
            }
            each(&bytes[PREFIX..whole])?;
            bytes = &bytes[whole..];
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

/// The length that a message's prefix tells.
fn length(prefix: &[u8]) -> io::Result<usize> {
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is compressed, or over 4 MiB, or none"));
    }
    Ok(length)
}
