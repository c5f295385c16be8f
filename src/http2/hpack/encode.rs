//! Writes field blocks.

use super::statics;

/// Appends a field to a block: its static index, or a literal that no table
/// remembers.
///
/// `name` is in lower case. The block may be sent on any connection, any
/// number of times.
pub fn encode(name: &str, value: &[u8], block: &mut Vec<u8>) {
    let named = statics::FIELDS.iter().position(|(other, _)| *other == name.as_bytes());
    let Some(first) = named else {
        block.push(0);
        string(name.as_bytes(), block);
        return string(value, block);
    };
    let fields = statics::FIELDS[first..].iter().take_while(|(other, _)| *other == name.as_bytes());
    if let Some(nth) = fields.into_iter().position(|(_, other)| *other == value && !value.is_empty()) {
        return integer(first + nth + 1, 7, 0x80, block);
    }
    integer(first + 1, 4, 0, block);
    string(value, block);
}

fn string(bytes: &[u8], block: &mut Vec<u8>) {
    integer(bytes.len(), 7, 0, block);
    block.extend_from_slice(bytes);
}

/// Source: RFC 7541, section 5.1.
fn integer(value: usize, prefix: u32, flags: u8, block: &mut Vec<u8>) {
    let full = (1 << prefix) - 1;
    if value < full {
        return block.push(flags | value as u8);
    }
    block.push(flags | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}
