//! The Huffman code of HPACK strings. Source: RFC 7541, section 5.2 and
//! appendix B.
//!
//! The code is canonical: codes of a length are consecutive, in the order of
//! their symbols. Its lengths are all that has to be written down.

/// The length of each symbol's code in bits; the last one is EOS.
#[rustfmt::skip]
pub(super) const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS: u16 = 256;
const LONGEST: usize = 30;

/// What a look-up in one step reads. Text's symbols are all shorter.
const STEP: u32 = 9;

pub(super) struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// Per length: the first code, how many there are, where their symbols begin.
    lengths: [(u32, u32, u16); LONGEST + 1],
    /// By the next [`STEP`] bits: the symbol and its length; zero where it is longer.
    short: [(u8, u8); 1 << STEP],
}

const fn build() -> Code {
    let mut code = Code { symbols: [0; 257], lengths: [(0, 0, 0); LONGEST + 1], short: [(0, 0); 1 << STEP] };
    let (mut next, mut position, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.lengths[length].0 = next;
        code.lengths[length].2 = position as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[position] = symbol as u16;
                if length <= STEP as usize {
                    let spare = STEP as usize - length;
                    let mut filler = 0;
                    while filler < 1 << spare {
                        code.short[((next as usize) << spare) | filler] = (symbol as u8, length as u8);
                        filler += 1;
                    }
                }
                code.lengths[length].1 += 1;
                position += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

static CODE: Code = build();

/// Appends what `bytes` stand for. None: they are no Huffman code.
pub(super) fn decode(bytes: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let mut input = bytes.iter();
    // The bits that are read, at the top.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return Some(());
        }
        let (symbol, length) = CODE.short[(bits >> (64 - STEP)) as usize];
        let length = u32::from(length);
        if length != 0 && length <= count {
            into.push(symbol);
            bits <<= length;
            count -= length;
            continue;
        }
        let Some((symbol, length)) = long(bits, count) else {
            // What is left may only be the start of EOS, and less than a byte.
            return (count < 8 && bits >> (64 - count) == (1 << count) - 1).then_some(());
        };
        into.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// The symbol that the bits begin with and its length. None: EOS, or too few bits.
fn long(bits: u64, count: u32) -> Option<(u8, u32)> {
    for length in (STEP + 1)..=(LONGEST as u32).min(count) {
        let (first, many, position) = CODE.lengths[length as usize];
        let nth = ((bits >> (64 - length)) as u32).wrapping_sub(first);
        if nth < many {
            let symbol = CODE.symbols[usize::from(position) + nth as usize];
            return (symbol != EOS).then_some((symbol as u8, length));
        }
    }
    None
}

#[cfg(test)]
pub(in super::super) fn encode(bytes: &[u8], into: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in bytes {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let (first, _, position) = CODE.lengths[length];
        let nth = CODE.symbols[usize::from(position)..].iter().position(|s| *s == u16::from(*byte)).unwrap();
        bits = (bits << length) | u64::from(first + nth as u32);
        count += length as u32;
        while count >= 8 {
            into.push((bits >> (count - 8)) as u8);
            count -= 8;
        }
    }
    if count > 0 {
        into.push(((bits << (8 - count)) as u8) | ((1 << (8 - count)) - 1) as u8);
    }
}
