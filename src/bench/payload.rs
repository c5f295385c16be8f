//! What the signals of a load say: when they were due, and which they are.

/// The shortest payload: two numbers of sixteen hexadecimal digits.
pub const MIN_SIZE: usize = 32;

/// Makes the payloads of one load.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    bytes: Vec<u8>,
    sequence: u64,
}

impl Payload {
    /// Payloads of that many bytes, at least [`MIN_SIZE`].
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: vec![b'x'; size.max(MIN_SIZE)], sequence: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The next payload, of a signal that was due then.
    pub(super) fn next(&mut self, due: u64) -> &[u8] {
        self.sequence += 1;
        self.numbered(due, self.sequence - 1)
    }

    /// The payload of a signal that was due then and has this number.
    pub(super) fn numbered(&mut self, due: u64, number: u64) -> &[u8] {
        write(due, &mut self.bytes[..16]);
        write(number, &mut self.bytes[16..32]);
        &self.bytes
    }
}

fn write(number: u64, digits: &mut [u8]) {
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    }
}

/// When a payload's signal was due; none: it is not ours.
pub(super) fn due(payload: &[u8]) -> Option<u64> {
    read(payload)
}

/// Which a payload's signal is; none: it is not ours.
pub(super) fn number(payload: &[u8]) -> Option<u64> {
    read(payload.get(16..)?)
}

fn read(payload: &[u8]) -> Option<u64> {
    let high = eight_digits(payload.first_chunk()?)?;
    let low = eight_digits(payload.get(8..)?.first_chunk()?)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

/// Eight hexadecimal digits in lower case, all at once: it is done for every
/// signal that comes.
fn eight_digits(digits: &[u8; 8]) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_be_bytes(*digits);
    // Letters have the bit 0x40, and 9 to add; digits have neither.
    let letters = text >> 6 & ONES;
    let nibbles = (text & (0x0f * ONES)) + 9 * letters;
    // Each back to its digit: 0x30 and it, and 0x27 more for a letter.
    let again = nibbles + 0x30 * ONES + 0x27 * letters;
    let over_nine = ((nibbles + 6 * ONES) >> 4) & ONES;
    if again != text || over_nine != letters || nibbles & (0xf0 * ONES) != 0 {
        return None;
    }
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(time: u64, size in 0..200_usize) {
            let mut payload = Payload::new(size);
            prop_assert_eq!(due(payload.next(time)), Some(time));
            prop_assert_eq!(number(payload.numbered(0, time)), Some(time));
            prop_assert_eq!(payload.next(0).len(), size.max(MIN_SIZE));
        }

        #[test]
        fn only_numbers_are_read(text: [u8; 16]) {
            let good = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let number = std::str::from_utf8(&text).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
            prop_assert_eq!(due(&text), number.filter(|_| good));
        }
    }

    #[test]
    fn what_is_no_payload_of_ours_is_told() {
        for other in
            [&b""[..], b"0123", b"000000000000000g", b"000000000000000A", b"0000000000000:00", b"000000000000000`"]
        {
            assert_eq!(due(other), None);
        }
        assert_eq!(due(b"0123456789abcdef and more"), Some(0x0123_4567_89ab_cdef));
    }
}
