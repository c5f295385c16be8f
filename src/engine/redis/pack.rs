//! Several texts as one, each with its length before it: what scripts write into the log,
//! into outcomes and into channels.

/// As one.
pub(super) fn pack<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The texts again; nothing when these aren't any.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_what_is_cut_does_not() {
        let parts: [&[u8]; 3] = [b"one", b"", b"\0\xff"];
        let packed = pack(parts);
        assert_eq!(unpack(&packed).unwrap(), parts);
        assert!((1..packed.len()).all(|length| unpack(&packed[..length]).is_none_or(|cut| cut.len() < 3)));
        assert_eq!(unpack(b"\0\0\0\x05four"), None);
    }
}
