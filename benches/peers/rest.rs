//! Messages out of a stream of bytes that is cut anywhere.

use std::io;

/// What came and is no whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Rest(Vec<u8>);

impl Rest {
    /// Gives `take` what is unread as long as it takes something off: it returns
    /// how many bytes the first message had, or 0 when that isn't whole yet.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.0.is_empty() {
            let taken = take_all(bytes, &mut take)?;
            self.0.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        self.0.extend_from_slice(bytes);
        let taken = take_all(&self.0, &mut take)?;
        if taken == self.0.len() {
            // Ten thousand idle members shall not keep what a burst needed.
            self.0 = Vec::new();
        } else {
            self.0.drain(..taken);
        }
        Ok(())
    }
}

fn take_all(bytes: &[u8], take: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match take(&bytes[taken..])? {
            0 => break,
            more => taken += more,
        }
    }
    Ok(taken)
}

/// A line without its CRLF, and its length with it.
pub(crate) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]), end + 1))
}

/// A decimal number.
pub(crate) fn number(digits: &[u8]) -> io::Result<usize> {
    if digits.is_empty() {
        return Err(strange("a number", digits));
    }
    digits.iter().try_fold(0usize, |sum, digit| match digit {
        b'0'..=b'9' => Ok(sum * 10 + usize::from(digit - b'0')),
        _ => Err(strange("a number", digits)),
    })
}

/// Puts a decimal number.
pub(crate) fn put_number(number: usize, out: &mut Vec<u8>) {
    if number >= 10 {
        put_number(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// What came is not what the peer's protocol has there.
pub(crate) fn strange(expected: &str, came: &[u8]) -> io::Error {
    let came = String::from_utf8_lossy(&came[..came.len().min(200)]);
    io::Error::new(io::ErrorKind::InvalidData, format!("not {expected}: {came:?}"))
}
