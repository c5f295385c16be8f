//! Reads field blocks.

use super::{
    super::{
        Error, ErrorCode,
        field::{classify, judge},
        head::Gathering,
    },
    TABLE_BYTES, huffman, statics,
    table::Table,
};

/// One direction's decoder. Every block of the connection has to go through it.
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new() }
    }
}

impl Decoder {
    /// Reads a whole block. How many fields it has.
    pub(in super::super) fn decode(&mut self, mut block: &[u8], into: &mut Gathering) -> Result<u32, Error> {
        let (mut is_start, mut fields) = (true, 0);
        while let Some(first) = block.first() {
            // The commonest first: a request like the one before is all indexes.
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                if let Some(nth) = index.checked_sub(statics::FIELDS.len() + 1) {
                    let (field, name, value) = self.table.get(nth).ok_or(NO_ENTRY)?;
                    into.indexed(field, name, value);
                } else {
                    let at = index.checked_sub(1).ok_or(NO_ENTRY)?;
                    let (name, value) = statics::FIELDS[at];
                    into.indexed(statics::CLASSES[at], name, value);
                }
            } else if first & 0x40 != 0 {
                self.literal(&mut block, 6, true, into)?;
            } else if first & 0x20 == 0 {
                self.literal(&mut block, 4, false, into)?;
            } else {
                let limit = integer(&mut block, 5)?;
                if !is_start || limit > TABLE_BYTES {
                    return Err(compression("a table size that may not be"));
                }
                self.table.resize(limit as u16);
                continue;
            }
            is_start = false;
            fields += 1;
        }
        Ok(fields)
    }

    fn literal(&mut self, block: &mut &[u8], prefix: u32, indexed: bool, into: &mut Gathering) -> Result<(), Error> {
        let index = integer(block, prefix)?;
        let (mut literal, bytes) = into.literal();
        let field = if index == 0 {
            string(block, bytes)?;
            None
        } else if let Some(nth) = index.checked_sub(statics::FIELDS.len() + 1) {
            bytes.extend_from_slice(self.table.get(nth).ok_or(NO_ENTRY)?.1);
            None
        } else {
            bytes.extend_from_slice(statics::FIELDS[index - 1].0);
            Some(statics::CLASSES[index - 1])
        };
        string(block, into.value(&mut literal))?;
        let (name, value) = into.parts(&literal);
        let field = judge(field.unwrap_or_else(|| classify(name)), value);
        if indexed {
            self.table.insert(field, name, value);
        }
        into.finish(literal, field);
        Ok(())
    }

    #[cfg(test)]
    pub(in super::super) fn footprint(&self) -> usize {
        self.table.footprint()
    }
}

const NO_ENTRY: Error = compression("an index of no field");

const fn compression(why: &'static str) -> Error {
    Error::new(ErrorCode::COMPRESSION_ERROR, why)
}

/// An integer whose first byte has `prefix` bits of it. Source: RFC 7541, section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Error> {
    const ENDED: Error = compression("a block that ends within an integer");
    let (first, mut rest) = block.split_first().ok_or(ENDED)?;
    let full = (1_u32 << prefix) - 1;
    let mut value = u32::from(*first) & full;
    if value == full {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(ENDED)?;
            rest = after;
            // Nothing that may be said comes near this.
            if shift > 21 {
                return Err(compression("too large an integer"));
            }
            value += u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value as usize)
}

/// Appends a string. Source: RFC 7541, section 5.2.
fn string(block: &mut &[u8], into: &mut Vec<u8>) -> Result<(), Error> {
    const ENDED: Error = compression("a block that ends within a string");
    let is_huffman = block.first().ok_or(ENDED)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(ENDED)?;
    *block = rest;
    if is_huffman {
        huffman::decode(bytes, into).ok_or(compression("a string that is no Huffman code"))?;
    } else {
        into.extend_from_slice(bytes);
    }
    Ok(())
}
