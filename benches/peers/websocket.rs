//! WebSocket, for the peers that speak over it: the upgrade, and messages in
//! frames.

use std::io;

use super::rest::{Rest, strange};

const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The receiving half of a client's connection.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    upgraded: bool,
    rest: Rest,
    /// The fragments so far of a message in several frames.
    fragments: Vec<u8>,
}

/// What a connection brought.
#[derive(Debug)]
pub(crate) enum Came<'a> {
    /// The server took the upgrade; from now on messages may be sent.
    Upgraded,
    Message(&'a [u8]),
}

/// Asks for the upgrade.
pub(crate) fn put_upgrade(path: &str, headers: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2lnbmFsYm94IGJlbmNoIQ==\r\n{headers}\r\n"
        )
        .as_bytes(),
    );
}

/// Puts a message in one frame. A client's frames are masked; a key of zeros
/// leaves the load nothing to do, and the server all that it does for any key.
pub(crate) fn put_message(kind: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    out.push(FINAL | kind);
    match length {
        0..126 => out.push(MASKED | length as u8),
        126..0x1_0000 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

impl WebSocket {
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut came: impl FnMut(Came<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { upgraded, rest, fragments } = self;
        rest.feed(bytes, |unread| {
            if !*upgraded {
                let Some(end) = unread.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(0) };
                if !unread.starts_with(b"HTTP/1.1 101 ") {
                    return Err(strange("an upgrade", unread));
                }
                *upgraded = true;
                came(Came::Upgraded, out)?;
                return Ok(end + 4);
            }
            let Some((head, body, length)) = frame(unread) else { return Ok(0) };
            match head & 0x0f {
                TEXT | BINARY if head & FINAL != 0 => came(Came::Message(body), out)?,
                TEXT | BINARY | CONTINUATION => {
                    fragments.extend_from_slice(body);
                    if head & FINAL != 0 {
                        came(Came::Message(fragments), out)?;
                        fragments.clear();
                    }
                }
                PING => put_message(PONG, &[body], out),
                PONG => {}
                CLOSE => {
                    let reason = body.get(2..).unwrap_or_default();
                    return Err(io::Error::other(format!("closed: {}", String::from_utf8_lossy(reason))));
                }
                _ => return Err(strange("a frame of WebSocket", unread)),
            }
            Ok(length)
        })
    }
}

/// The first frame of a server's, which masks nothing: its first byte, its
/// payload, and its whole length.
fn frame(unread: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&head, rest) = unread.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, begin) = match short & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let body = unread.get(begin..begin + length)?;
    Some((head, body, begin + length))
}
