//! Header blocks: those of the two calls, written once; and of the answers, only
//! how they ended.
//!
//! The peer is told to keep no dynamic table, so that each block stands alone
//! and most of them need not be read.

/// The header block of a call, which leaves nothing in any table.
pub(super) fn request(path: &str, authority: &str, token: Option<&str>) -> Vec<u8> {
    // By the static table: POST, http.
    let mut block = vec![0x83, 0x86];
    let mut field = |name: Name<'_>, value: &str| {
        match name {
            Name::Place(place) => integer(place, 4, &mut block),
            Name::Text(name) => {
                block.push(0);
                string(name, &mut block);
            }
        }
        string(value, &mut block);
    };
    field(Name::Place(4), path);
    field(Name::Place(1), authority);
    field(Name::Place(31), "application/grpc");
    field(Name::Text("te"), "trailers");
    if let Some(token) = token {
        field(Name::Text("authorization"), &format!("Bearer {token}"));
    }
    block
}

/// A header's name when it is written: by its place in the static table, or not.
enum Name<'a> {
    Place(usize),
    Text(&'a str),
}

fn string(text: &str, block: &mut Vec<u8>) {
    integer(text.len(), 7, block);
    block.extend_from_slice(text.as_bytes());
}

/// An integer whose first byte has room for that many bits.
fn integer(mut number: usize, bits: u32, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if number < most {
        block.push(number as u8);
        return;
    }
    block.push(most as u8);
    number -= most;
    while number > 0x7f {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// Whether a block begins with `:status: 200`, as those of gRPC do: one that
/// does need not be read. A change of the table's size may come before.
pub(super) fn is_ok(block: &[u8]) -> bool {
    matches!(block, [0x88, ..] | [0x20, 0x88, ..])
}

/// What a block says of how a call went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    http: Option<String>,
    grpc: Option<String>,
    message: Option<String>,
}

impl Status {
    /// Reads a block; none: it can't be read.
    pub(super) fn read(mut block: &[u8]) -> Option<Self> {
        let mut status = Self::default();
        while let [first, ..] = *block {
            if first & 0x80 != 0 {
                match number(&mut block, 7)? {
                    place @ 8..=14 => status.http = Some(STATUSES[place - 8].to_owned()),
                    1..=61 => {}
                    _ => return None,
                }
                continue;
            }
            if first & 0xe0 == 0x20 {
                number(&mut block, 5)?;
                continue;
            }
            let name = match number(&mut block, if first & 0x40 != 0 { 6 } else { 4 })? {
                0 => read_string(&mut block)?,
                8..=14 => ":status".to_owned(),
                _ => String::new(),
            };
            let value = read_string(&mut block);
            match name.as_str() {
                ":status" => status.http = value,
                "grpc-status" => status.grpc = value,
                "grpc-message" => status.message = value.map(|value| unescaped(&value)),
                _ => {}
            }
        }
        Some(status)
    }

    /// How the call ended.
    pub(super) fn outcome(self) -> Result<(), String> {
        let code = match (self.grpc.as_deref(), self.http.as_deref()) {
            (Some("0"), _) => return Ok(()),
            (Some(code), _) => code.parse().ok().and_then(|code: usize| CODES.get(code).copied()).unwrap_or(code),
            (None, Some(http)) if http != "200" => return Err(format!("HTTP status {http}: no gRPC server")),
            (None, _) => return Err("the call ended without a gRPC status".to_owned()),
        };
        Err(match self.message {
            Some(message) if !message.is_empty() => format!("{code}: {message}"),
            _ => code.to_owned(),
        })
    }
}

const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];

/// The gRPC status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Reads an integer whose first byte has that many bits of it.
fn number(block: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let (first, mut rest) = block.split_first()?;
    let mut number = usize::from(*first) & most;
    if number == most {
        for place in 0..4 {
            let (byte, after) = rest.split_first()?;
            rest = after;
            number += usize::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                break;
            }
        }
    }
    *block = rest;
    Some(number)
}

/// Reads a string; one that isn't printable ASCII reads as far as it is.
fn read_string(block: &mut &[u8]) -> Option<String> {
    let huffman = block.first()? & 0x80 != 0;
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some(if huffman { unpacked(text) } else { String::from_utf8_lossy(text).into_owned() })
}

/// Huffman's code undone, as far as it is printable ASCII.
fn unpacked(text: &[u8]) -> String {
    let (mut out, mut code, mut length) = (String::new(), 0, 0);
    let bits = text.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1)));
    for bit in bits {
        (code, length) = (code << 1 | bit, length + 1);
        if let Some(found) = HUFFMAN.iter().position(|&entry| entry == (code, length)) {
            out.push(char::from(b' ' + found as u8));
            (code, length) = (0, 0);
        } else if length > 19 {
            // Longer than every code of a printable character.
            break;
        }
    }
    out
}

/// Per cent signs undone.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The codes of the printable ASCII characters, from the space on, and their
/// lengths in bits (RFC 7541, appendix B).
#[rustfmt::skip]
const HUFFMAN: [(u32, u32); 95] = [
    (0x14, 6), (0x3f8, 10), (0x3f9, 10), (0xffa, 12), (0x1ff9, 13), (0x15, 6), (0xf8, 8), (0x7fa, 11), (0x3fa, 10),
    (0x3fb, 10), (0xf9, 8), (0x7fb, 11), (0xfa, 8), (0x16, 6), (0x17, 6), (0x18, 6), (0x0, 5), (0x1, 5), (0x2, 5),
    (0x19, 6), (0x1a, 6), (0x1b, 6), (0x1c, 6), (0x1d, 6), (0x1e, 6), (0x1f, 6), (0x5c, 7), (0xfb, 8), (0x7ffc, 15),
    (0x20, 6), (0xffb, 12), (0x3fc, 10), (0x1ffa, 13), (0x21, 6), (0x5d, 7), (0x5e, 7), (0x5f, 7), (0x60, 7),
    (0x61, 7), (0x62, 7), (0x63, 7), (0x64, 7), (0x65, 7), (0x66, 7), (0x67, 7), (0x68, 7), (0x69, 7), (0x6a, 7),
    (0x6b, 7), (0x6c, 7), (0x6d, 7), (0x6e, 7), (0x6f, 7), (0x70, 7), (0x71, 7), (0x72, 7), (0xfc, 8), (0x73, 7),
    (0xfd, 8), (0x1ffb, 13), (0x7fff0, 19), (0x1ffc, 13), (0x3ffc, 14), (0x22, 6), (0x7ffd, 15), (0x3, 5), (0x23, 6),
    (0x4, 5), (0x24, 6), (0x5, 5), (0x25, 6), (0x26, 6), (0x27, 6), (0x6, 5), (0x74, 7), (0x75, 7), (0x28, 6),
    (0x29, 6), (0x2a, 6), (0x7, 5), (0x2b, 6), (0x76, 7), (0x2c, 6), (0x8, 5), (0x9, 5), (0x2d, 6), (0x77, 7),
    (0x78, 7), (0x79, 7), (0x7a, 7), (0x7b, 7), (0x7ffe, 15), (0x7fc, 11), (0x3ffd, 14), (0x1ffd, 13),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_written() {
        // Huffman's code, as RFC 7541 C.4.1 has it.
        assert_eq!(
            unpacked(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            "www.example.com"
        );
        let mut block = vec![0x20, 0x88, 0x40];
        string("grpc-status", &mut block);
        string("8", &mut block);
        block.push(0x10);
        string("grpc-message", &mut block);
        string("100%25 full", &mut block);
        assert!(is_ok(&block));
        let status = Status::read(&block).unwrap();
        assert_eq!(status.outcome().unwrap_err(), "RESOURCE_EXHAUSTED: 100% full");
        assert_eq!(Status::read(&[0x8d]).unwrap().outcome().unwrap_err(), "HTTP status 404: no gRPC server");
        // A place in a table that isn't there, and a string that is cut.
        assert_eq!(Status::read(&[0xbe]), None);
        assert_eq!(Status::read(&[0x00, 0x05, b'a']), None);
    }

    #[test]
    fn long_strings_have_long_lengths() {
        for length in [0, 126, 127, 128, 300, 20_000] {
            let text = "x".repeat(length);
            let mut block = Vec::new();
            string(&text, &mut block);
            let mut rest = block.as_slice();
            assert_eq!(read_string(&mut rest).unwrap(), text);
            assert!(rest.is_empty());
        }
    }
}
