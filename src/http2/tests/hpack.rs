//! The vectors of RFC 7541, appendix C, and round trips.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::{
    Error,
    head::{Gathered, Gathering},
    hpack::{Decoder, encode, encode_huffman},
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Gathered, Error> {
    let mut gathering = Gathering::request(16_384, 0);
    decoder.decode(block, &mut gathering)?;
    Ok(gathering.done())
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Decodes a request's fields, the pseudo ones first.
fn request(decoder: &mut Decoder, block: &[u8]) -> Fields {
    let Gathered::Sound(head, _) = decode(decoder, block).unwrap() else { panic!("not a request") };
    let mut fields = vec![
        (b":method".to_vec(), head.method().to_vec()),
        (b":scheme".to_vec(), head.scheme().to_vec()),
        (b":path".to_vec(), head.path().to_vec()),
    ];
    fields.extend(head.authority().map(|value| (b":authority".to_vec(), value.to_vec())));
    fields.extend(head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())));
    fields
}

fn fields(of: &[(&str, &str)]) -> Fields {
    of.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn assert_requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::default();
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    assert_eq!(request(&mut decoder, &hex(blocks[0])), fields(&get));
    let cached = [&get[..], &[("cache-control", "no-cache")]].concat();
    assert_eq!(request(&mut decoder, &hex(blocks[1])), fields(&cached));
    let custom = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    assert_eq!(request(&mut decoder, &hex(blocks[2])), fields(&custom));
    // The table is as the RFC says.
    let indexes = [(62, "custom-key", "custom-value"), (63, "cache-control", "no-cache")];
    for (index, name, value) in indexes {
        let seen = request(&mut decoder, &[0x82, 0x86, 0x84, 0x80 | index]);
        assert_eq!(seen[3], (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    }
    assert!(decode(&mut decoder, &[0x80 | 65]).is_err(), "three entries, no more");
}

#[test]
fn requests_without_huffman_c_3() {
    assert_requests([
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ]);
}

#[test]
fn requests_with_huffman_c_4() {
    assert_requests([
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ]);
}

/// A client's encoder: remembers fields in the dynamic table where told.
#[derive(Default)]
struct Encoder {
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    limit: usize,
}

fn integer(value: usize, prefix: u32, flags: u8, block: &mut Vec<u8>) {
    let full = (1_usize << prefix) - 1;
    if value < full {
        return block.push(flags | value as u8);
    }
    block.push(flags | full as u8);
    let mut rest = value - full;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

fn string(bytes: &[u8], huffman: bool, block: &mut Vec<u8>) {
    if huffman {
        let mut code = Vec::new();
        encode_huffman(bytes, &mut code);
        integer(code.len(), 7, 0x80, block);
        block.extend(code);
    } else {
        integer(bytes.len(), 7, 0, block);
        block.extend_from_slice(bytes);
    }
}

impl Encoder {
    fn resize(&mut self, limit: usize, block: &mut Vec<u8>) {
        integer(limit, 5, 0x20, block);
        self.limit = limit;
        self.evict(0);
    }

    fn evict(&mut self, more: usize) {
        let size =
            |table: &VecDeque<(Vec<u8>, Vec<u8>)>| table.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>();
        while !self.table.is_empty() && size(&self.table) + more > self.limit {
            self.table.pop_back();
        }
    }

    fn field(&mut self, (name, value): &(Vec<u8>, Vec<u8>), how: u8, block: &mut Vec<u8>) {
        let huffman = how & 1 != 0;
        if let Some(nth) = self.table.iter().position(|(n, v)| (n, v) == (name, value)) {
            return integer(62 + nth, 7, 0x80, block);
        }
        let (prefix, flags) = [(6, 0x40), (6, 0x40), (4, 0), (4, 0x10)][usize::from(how >> 1) % 4];
        match self.table.iter().position(|(n, _)| n == name) {
            Some(nth) => integer(62 + nth, prefix, flags, block),
            None => {
                block.push(flags);
                string(name, huffman, block);
            }
        }
        string(value, huffman, block);
        if flags == 0x40 {
            let size = name.len() + value.len() + 32;
            self.evict(size);
            if size <= self.limit {
                self.table.push_front((name.clone(), value.clone()));
            }
        }
    }
}

fn any_field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = "[a-d][a-z0-9_-]{0,9}".prop_map(String::into_bytes);
    let value = prop_oneof![
        4 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(0x80_u8.., 0..40),
        1 => prop::collection::vec(32_u8..127, 1_000..3_000),
        4 => "[xy]".prop_map(String::into_bytes),
    ];
    (name, value).prop_filter("has a meaning", |(name, _)| name != b"connection" && name != b"content-length")
}

proptest! {
    #[test]
    fn what_a_client_encodes_is_decoded(
        blocks in prop::collection::vec(
            (prop::option::of(0_usize..4_097), prop::collection::vec((any_field(), any::<u8>()), 0..8)), 1..12,
        ),
    ) {
        let (mut encoder, mut decoder) = (Encoder { limit: 4_096, ..Encoder::default() }, Decoder::default());
        for (resize, list) in blocks {
            let mut block = Vec::new();
            if let Some(limit) = resize {
                encoder.resize(limit, &mut block);
            }
            block.extend_from_slice(&[0x83, 0x86, 0x84]);
            for (field, how) in &list {
                encoder.field(field, *how, &mut block);
            }
            let size: usize = list.iter().map(|((n, v), _)| n.len() + v.len() + 32).sum::<usize>() + 43 + 43 + 38;
            match decode(&mut decoder, &block).unwrap() {
                Gathered::Sound(head, _) => {
                    let seen: Fields = head.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
                    prop_assert_eq!(seen, list.into_iter().map(|(field, _)| field).collect::<Fields>());
                }
                Gathered::TooLarge => prop_assert!(size > 16_384),
                Gathered::Malformed => prop_assert!(false, "malformed"),
            }
        }
    }

    #[test]
    fn huffman_goes_round(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut code = Vec::new();
        encode_huffman(&bytes, &mut code);
        let mut block = vec![0x82, 0x86, 0x84, 0x00, 1, b'a'];
        integer(code.len(), 7, 0x80, &mut block);
        block.extend(code);
        let is_sound = bytes.iter().all(|byte| *byte == 9 || (*byte >= 32 && *byte != 127));
        match decode(&mut Decoder::default(), &block).unwrap() {
            Gathered::Sound(head, _) => prop_assert_eq!(head.get("a"), Some(&bytes[..])),
            Gathered::Malformed => prop_assert!(!is_sound),
            Gathered::TooLarge => prop_assert!(false),
        }
    }

    #[test]
    fn what_is_encoded_here_is_decoded(value in "[ -~]{0,300}", name in "(x[a-z-]{0,200}|accept|user-agent)") {
        let mut block = vec![0x82, 0x86, 0x84];
        encode(&name, value.as_bytes(), &mut block);
        let Gathered::Sound(head, _) = decode(&mut Decoder::default(), &block).unwrap() else { panic!("not a request") };
        prop_assert_eq!(head.get(&name), Some(value.as_bytes()));
    }

    #[test]
    fn any_block_is_decoded_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            if decode(&mut decoder, &block).is_err() {
                break;
            }
        }
    }
}

#[test]
fn static_indexes_are_used() {
    let encoded = |name, value: &str| {
        let mut block = Vec::new();
        encode(name, value.as_bytes(), &mut block);
        block
    };
    assert_eq!(encoded(":status", "200"), [0x88]);
    assert_eq!(encoded(":status", "500"), [0x8e]);
    assert_eq!(encoded(":status", "431"), [0x08, 3, b'4', b'3', b'1']);
    assert_eq!(encoded("content-type", "a"), [0x0f, 16, 1, b'a']);
    assert_eq!(encoded("age", ""), [0x0f, 6, 0]);
    assert_eq!(encoded("a-b", "c"), [0, 3, b'a', b'-', b'b', 1, b'c']);
}

#[test]
fn what_is_no_block_is_refused() {
    let refused = |block: &[u8]| decode(&mut Decoder::default(), block).is_err();
    assert!(refused(&[0x80]), "index 0");
    assert!(refused(&[0xbe]), "an index of no entry");
    assert!(refused(&[0x7e, 0]), "a name's index of no entry");
    assert!(refused(&hex("3fe21f")), "a table of 4,097 bytes");
    assert!(!refused(&hex("3fe11f")), "a table of 4,096 bytes");
    assert!(refused(&[0x82, 0x20]), "a size after a field");
    assert!(!refused(&[0x20, 0x20, 0x82]), "two sizes");
    assert!(refused(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]), "a large integer");
    assert!(refused(&[0x00, 5, b'a']), "a string that ends early");
    assert!(refused(&[0x00]), "no name");
    assert!(refused(&[0x00, 1, b'a']), "no value");
    assert!(refused(&[0x00, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]), "EOS");
    assert!(refused(&[0x00, 1, b'a', 0x82, 0x1f, 0xff]), "a byte of padding");
    assert!(refused(&[0x00, 1, b'a', 0x81, 0x18]), "padding of zeros");
    assert!(!refused(&[0x00, 1, b'a', 0x81, 0x1f]));
}

/// A list over the limit is decoded to its end, or later blocks would break.
#[test]
fn too_long_a_list_leaves_the_table_in_step() {
    let mut encoder = Encoder { limit: 4_096, ..Encoder::default() };
    let mut block = vec![0x82, 0x86, 0x84];
    for n in 0..20 {
        encoder.field(&(b"long".to_vec(), vec![b'a' + n; 1_000]), 2, &mut block);
    }
    encoder.field(&(b"last".to_vec(), b"one".to_vec()), 0, &mut block);
    let mut decoder = Decoder::default();
    assert!(matches!(decode(&mut decoder, &block).unwrap(), Gathered::TooLarge));
    let seen = request(&mut decoder, &[0x82, 0x86, 0x84, 0xbe]);
    assert_eq!(seen[3], (b"last".to_vec(), b"one".to_vec()));
}

/// Any blocks, one after the other: each has its fields, or ends the connection.
#[test]
fn fuzz_hpack() {
    bolero::check!().for_each(|input: &[u8]| {
        let (how, rest) = crate::fuzz::split(input);
        let mut decoder = Decoder::default();
        for block in rest.chunks(1 + usize::from(how)) {
            // With what every request has, or without.
            let block = if how % 2 == 0 { [&[0x83, 0x86, 0x84], block].concat() } else { block.to_vec() };
            match decode(&mut decoder, &block) {
                Ok(Gathered::Sound(head, _)) => {
                    let size: usize = head.fields().map(|(name, value)| name.len() + value.len() + 32).sum();
                    assert!(size <= 16_384, "{size}");
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
}
