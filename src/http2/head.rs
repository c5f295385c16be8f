//! A request's headers, and how they are gathered.

use std::fmt;

use super::field::Field;

/// Before each field: the lengths of its name and its value.
const PREFIX_BYTES: usize = 4;

/// The most that a list may be limited to, so that lengths take two bytes.
pub(super) const MAX_LIST_BYTES: u32 = 65_535;

/// What a field counts for beyond its bytes. Source: RFC 9113, section 6.5.2.
const OVERHEAD_BYTES: usize = 32;

/// Where a pseudo field's value is. Nothing starts at 0.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u16,
    length: u16,
}

/// A request's headers, in one buffer. They are as RFC 9113 asks: `:method`,
/// `:scheme` and `:path` are there (`:authority` instead of the last two in a
/// CONNECT), and names are in lower case.
#[derive(Clone, Default)]
pub struct Head {
    bytes: Vec<u8>,
    method: Span,
    scheme: Span,
    authority: Span,
    path: Span,
    /// Where the fields that aren't pseudo begin.
    fields: u16,
}

impl Head {
    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn value(&self, span: Span) -> &[u8] {
        &self.bytes[usize::from(span.start)..][..usize::from(span.length)]
    }

    /// `:method`.
    pub fn method(&self) -> &[u8] {
        self.value(self.method)
    }

    /// `:scheme`; empty in a CONNECT.
    pub fn scheme(&self) -> &[u8] {
        self.value(self.scheme)
    }

    /// `:authority`, where there is one.
    pub fn authority(&self) -> Option<&[u8]> {
        (self.authority.start != 0).then(|| self.value(self.authority))
    }

    /// `:path`; empty in a CONNECT.
    pub fn path(&self) -> &[u8] {
        self.value(self.path)
    }

    /// The first value of the field `name`, which is in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// Names and values of all fields but the pseudo ones, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.bytes[usize::from(self.fields)..];
        std::iter::from_fn(move || {
            let (&[a, b, c, d], after) = rest.split_first_chunk()?;
            let (name, after) = after.split_at(usize::from(u16::from_be_bytes([a, b])));
            let (value, after) = after.split_at(usize::from(u16::from_be_bytes([c, d])));
            rest = after;
            Some((name, value))
        })
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.fields().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_struct("Head")
            .field("path", &String::from_utf8_lossy(self.path()))
            .field("fields", &names.collect::<Vec<_>>())
            .finish()
    }
}

/// What a field block turns out to be.
pub(super) enum Gathered {
    /// As it should be, with the content's length where one is said.
    Sound(Head, Option<u64>),
    Malformed,
    TooLarge,
}

/// Takes the fields of a block as they are decoded, and keeps what a request
/// needs. However much comes, it holds no more than the limit and one literal.
pub(super) struct Gathering {
    head: Head,
    left: usize,
    /// Otherwise only looked at: a trailer, or a request that nobody wants.
    kept: bool,
    trailers: bool,
    /// A field that isn't pseudo was there.
    regular: bool,
    malformed: bool,
    too_large: bool,
    length: Option<u64>,
}

/// A literal that is being decoded: where it starts, where its value does.
pub(super) struct Literal {
    start: usize,
    value: usize,
}

impl Gathering {
    /// A request's fields of at most `limit` bytes, most likely about `likely`.
    pub(super) fn request(limit: u32, likely: usize) -> Self {
        Self::new(limit, true, false, likely)
    }

    pub(super) fn trailers(limit: u32) -> Self {
        Self::new(limit, false, true, 0)
    }

    /// Fields that are decoded for the table's sake.
    pub(super) fn unwanted() -> Self {
        Self::new(0, false, false, 0)
    }

    fn new(limit: u32, kept: bool, trailers: bool, likely: usize) -> Self {
        let head = Head { bytes: Vec::with_capacity(likely), ..Head::default() };
        Self {
            head,
            left: limit.min(MAX_LIST_BYTES) as usize,
            kept,
            trailers,
            regular: false,
            malformed: false,
            too_large: false,
            length: None,
        }
    }

    /// Takes a field from a table.
    pub(super) fn indexed(&mut self, field: Field, name: &[u8], value: &[u8]) {
        if self.keeps(name.len(), value.len()) {
            let bytes = &mut self.head.bytes;
            let start = bytes.len();
            bytes.extend_from_slice(&prefix(name.len(), value.len()));
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
            self.note(field, start, start + PREFIX_BYTES + name.len());
        } else if self.trailers {
            self.note_trailer(field);
        }
    }

    /// Where the name of a literal is to be appended.
    pub(super) fn literal(&mut self) -> (Literal, &mut Vec<u8>) {
        let start = self.head.bytes.len();
        self.head.bytes.extend_from_slice(&[0; PREFIX_BYTES]);
        (Literal { start, value: 0 }, &mut self.head.bytes)
    }

    /// Where the value is to be appended, after the name.
    pub(super) fn value(&mut self, literal: &mut Literal) -> &mut Vec<u8> {
        literal.value = self.head.bytes.len();
        &mut self.head.bytes
    }

    /// The name and the value that were appended.
    pub(super) fn parts(&self, literal: &Literal) -> (&[u8], &[u8]) {
        let (name, value) =
            self.head.bytes[literal.start + PREFIX_BYTES..].split_at(literal.value - literal.start - PREFIX_BYTES);
        (name, value)
    }

    /// Takes the literal as a field.
    pub(super) fn finish(&mut self, literal: Literal, field: Field) {
        let (name, value) = self.parts(&literal);
        let (name, value) = (name.len(), value.len());
        if self.keeps(name, value) {
            self.head.bytes[literal.start..][..PREFIX_BYTES].copy_from_slice(&prefix(name, value));
            self.note(field, literal.start, literal.value);
        } else {
            self.head.bytes.truncate(literal.start);
            if self.trailers {
                self.note_trailer(field);
            }
        }
    }

    /// Counts a field. Whether there is room for it.
    fn keeps(&mut self, name: usize, value: usize) -> bool {
        match self.left.checked_sub(name + value + OVERHEAD_BYTES) {
            Some(left) if !self.too_large => self.left = left,
            _ => self.too_large = true,
        }
        self.kept && !self.too_large
    }

    /// Looks at the field kept last: it starts at `start`, its value at `value`.
    fn note(&mut self, field: Field, start: usize, value: usize) {
        let bytes = &self.head.bytes;
        let span = Span { start: to_u16(value), length: to_u16(bytes.len() - value) };
        let pseudo = match field {
            Field::Method => &mut self.head.method,
            Field::Scheme => &mut self.head.scheme,
            Field::Authority => &mut self.head.authority,
            Field::Path => &mut self.head.path,
            Field::Malformed => {
                self.malformed = true;
                return;
            }
            Field::Regular | Field::Te | Field::ContentLength => {
                if field == Field::ContentLength {
                    let length = parse_length(&bytes[value..]);
                    self.malformed |= length.is_none() || (self.length.is_some() && self.length != length);
                    self.length = length;
                }
                if !self.regular {
                    self.regular = true;
                    self.head.fields = to_u16(start);
                }
                return;
            }
        };
        self.malformed |= self.regular || pseudo.start != 0;
        *pseudo = span;
    }

    fn note_trailer(&mut self, field: Field) {
        self.malformed |= !matches!(field, Field::Regular | Field::Te | Field::ContentLength);
    }

    pub(super) fn done(mut self) -> Gathered {
        if self.too_large {
            return Gathered::TooLarge;
        }
        if self.malformed || (self.kept && !self.is_request()) {
            return Gathered::Malformed;
        }
        if !self.regular {
            self.head.fields = to_u16(self.head.bytes.len());
        }
        Gathered::Sound(self.head, self.length)
    }

    fn is_request(&self) -> bool {
        let head = &self.head;
        let [method, scheme, authority, path] =
            [head.method, head.scheme, head.authority, head.path].map(|span| span.start != 0);
        if head.method() == b"CONNECT" { authority && !scheme && !path } else { method && scheme && path }
    }
}

fn prefix(name: usize, value: usize) -> [u8; PREFIX_BYTES] {
    let ([a, b], [c, d]) = (to_u16(name).to_be_bytes(), to_u16(value).to_be_bytes());
    [a, b, c, d]
}

/// What is kept is shorter than [`MAX_LIST_BYTES`]: a field's prefix is less
/// than what it counts for beyond its bytes.
fn to_u16(number: usize) -> u16 {
    debug_assert!(number <= usize::from(u16::MAX));
    number as u16
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
