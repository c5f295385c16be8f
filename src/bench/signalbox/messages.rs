//! The messages, by hand: what a load sends all the time, and the few fields
//! that it must know of what it gets.

use super::frames::{DATA, Head, MAX_FRAME};

/// What an event means to a load.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A signal, with this data.
    Signal(&'a [u8]),
    /// A send was taken.
    Accepted,
    /// A send was refused.
    Refused(String),
    /// The member is in, as this connection.
    Joined(&'a [u8]),
    /// The stream is about to end, for this reason.
    Closing(&'a [u8]),
    /// Anything else.
    Other,
}

/// Reads an event, as far as it must: what comes after what is looked for isn't
/// read. None: it is no protobuf.
pub(super) fn event(message: &[u8]) -> Option<Event<'_>> {
    let mut rest = message;
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, Value::Bytes(signal)) => return Some(Event::Signal(bytes(bytes(signal, 3)?, 2)?)),
            (2, Value::Bytes(result)) => return outcome(result),
            (5, Value::Bytes(joined)) => return Some(Event::Joined(bytes(bytes(joined, 2)?, 1)?)),
            (7, Value::Bytes(closing)) => return Some(Event::Closing(bytes(closing, 1)?)),
            _ => {}
        }
    }
    Some(Event::Other)
}

fn outcome(mut result: &[u8]) -> Option<Event<'static>> {
    while !result.is_empty() {
        match field(&mut result)? {
            (2, _) => return Some(Event::Accepted),
            (3, Value::Bytes(error)) => {
                let text = |number| bytes(error, number).map(String::from_utf8_lossy);
                return Some(Event::Refused(format!("{}: {}", text(2)?, text(3)?)));
            }
            _ => {}
        }
    }
    Some(Event::Other)
}

enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// The next field's number and value.
#[inline]
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(bytes)?;
    let value = match tag & 7 {
        0 => {
            varint(bytes)?;
            Value::Number
        }
        1 => Value::Bytes(split(bytes, 8)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Value::Bytes(split(bytes, length)?)
        }
        5 => Value::Bytes(split(bytes, 4)?),
        _ => return None,
    };
    Some((tag >> 3, value))
}

/// A field of bytes, the first of that number; empty when it is unset, none when
/// it is no protobuf.
#[inline]
fn bytes(mut message: &[u8], number: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        if let (is, Value::Bytes(value)) = field(&mut message)?
            && is == number
        {
            return Some(value);
        }
    }
    Some(&[])
}

#[inline]
fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

/// Most are of one byte: a signal is read for each delivery.
#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    match **bytes {
        [byte @ 0..0x80, ref rest @ ..] => {
            *bytes = rest;
            Some(u64::from(byte))
        }
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (place, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *bytes = &bytes[place + 1..];
            return Some(number);
        }
    }
    None
}

/// A signal to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send<'a> {
    /// Its id, from 1.
    pub(super) id: u64,
    /// Its data.
    pub(super) data: &'a [u8],
    /// The one connection that it is for; none: all.
    pub(super) to: Option<&'a [u8]>,
}

impl Send<'_> {
    /// Writes a `JoinRequest` with it, as [`write()`] does.
    pub(super) fn write(self, stream: u32, out: &mut Vec<u8>) -> i64 {
        let signal = sized(self.data.len());
        let to = self.to.map(|id| sized(id.len()));
        let send = 1 + width(self.id) + sized(signal) + to.map_or(0, sized);
        let request = sized(send);
        write(stream, 0, request, out, |out| {
            begin(2, send, out);
            out.push(1 << 3);
            put(self.id, out);
            begin(2, signal, out);
            text(2, self.data, out);
            if let (Some(id), Some(to)) = (self.to, to) {
                begin(3, to, out);
                text(1, id, out);
            }
        })
    }
}

/// Writes a `SendFromServerRequest` to everyone, which ends the stream, as
/// [`write()`] does.
pub(super) fn write_from_server(stream: u32, session: &str, data: &[u8], out: &mut Vec<u8>) -> i64 {
    let signal = sized(data.len());
    write(stream, super::frames::END_STREAM, sized(session.len()) + sized(signal), out, |out| {
        text(1, session.as_bytes(), out);
        begin(2, signal, out);
        text(2, data, out);
    })
}

/// Writes a message of `length` bytes in DATA frames, the last with `flags`; how
/// much of the windows that takes.
pub(super) fn write(
    stream: u32,
    flags: u8,
    length: usize,
    out: &mut Vec<u8>,
    message: impl FnOnce(&mut Vec<u8>),
) -> i64 {
    let prefix = |out: &mut Vec<u8>| {
        out.push(0);
        out.extend_from_slice(&u32::try_from(length).expect("messages are short").to_be_bytes());
    };
    let all = 5 + length;
    if all <= MAX_FRAME {
        Head { length: all, kind: DATA, flags, stream }.write(out);
        prefix(out);
        message(out);
        return all as i64;
    }
    let mut whole = Vec::with_capacity(all);
    prefix(&mut whole);
    message(&mut whole);
    let mut parts = whole.chunks(MAX_FRAME).peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { flags } else { 0 };
        super::frames::frame(DATA, flags, stream, part, out);
    }
    all as i64
}

/// How long a field of that many bytes is, with a number below 16.
fn sized(length: usize) -> usize {
    1 + width(length as u64) + length
}

fn width(mut number: u64) -> usize {
    let mut width = 1;
    while number > 0x7f {
        number >>= 7;
        width += 1;
    }
    width
}

fn begin(field: u8, length: usize, out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    put(length as u64, out);
}

fn text(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    begin(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
