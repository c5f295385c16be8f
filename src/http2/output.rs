//! What waits for the socket.
//!
//! Copied bytes gather in one buffer; shared ones lie between them, so that
//! what goes to many peers is in memory once.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf as _, Bytes};

/// Shared bytes up to this many are copied all the same: that is cheaper than
/// a slice of their own.
const COPY_BYTES: usize = 256;

/// Written bytes at the front of the buffer that are kept rather than moved over.
const SLACK_BYTES: usize = 4_096;

#[derive(Debug)]
struct Shared {
    /// How many copied bytes go before it, after the shared one before.
    after: usize,
    bytes: Bytes,
}

#[derive(Debug, Default)]
struct Buffers {
    copied: Vec<u8>,
    shared: VecDeque<Shared>,
}

/// Buffers that nothing waits in, to be used by one output after the other.
#[derive(Debug, Default)]
pub struct Spare(Box<Buffers>);

/// Bytes in order, copied or shared.
#[derive(Debug, Default)]
pub struct Output {
    /// None while nothing waits, but for those that are lent. In a box, because
    /// they come and go with every turn of a connection.
    buffers: Option<Box<Buffers>>,
    /// Copied bytes that are written.
    written: usize,
    /// Copied bytes after the last shared ones.
    tail: usize,
    len: usize,
    /// All that was ever written.
    total: u64,
    /// The buffers were lent by the caller, who asks for them back.
    lent: bool,
}

impl Output {
    /// Appends bytes.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.buffers.get_or_insert_default().copied.extend_from_slice(bytes);
        self.tail += bytes.len();
        self.len += bytes.len();
    }

    /// Appends bytes without copying them, unless they are few.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_BYTES {
            return self.copy(&bytes);
        }
        self.len += bytes.len();
        self.buffers.get_or_insert_default().shared.push_back(Shared { after: self.tail, bytes });
        self.tail = 0;
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes that were ever written.
    pub(super) fn total_written(&self) -> u64 {
        self.total
    }

    /// All of it, where it lies in one piece.
    pub fn only_slice(&self) -> Option<&[u8]> {
        match &self.buffers {
            None => Some(&[]),
            Some(buffers) => buffers.shared.is_empty().then(|| &buffers.copied[self.written..]),
        }
    }

    /// Fills `into` with what to write next; how many slices that are.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let Some(buffers) = &self.buffers else { return 0 };
        let mut rest = &buffers.copied[self.written..];
        let mut slots = into.iter_mut();
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slot) = slots.next() else { return false };
            *slot = IoSlice::new(bytes);
            filled += 1;
            true
        };
        for shared in &buffers.shared {
            let (before, after) = rest.split_at(shared.after);
            rest = after;
            if !put(before) || !put(&shared.bytes) {
                return filled;
            }
        }
        put(rest);
        filled
    }

    /// Forgets the first `written` bytes: the socket has them.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.len, "more was written than there is");
        self.len -= written;
        self.total += written as u64;
        if self.len == 0 {
            self.clear();
            return;
        }
        let Some(buffers) = &mut self.buffers else { return };
        let mut left = written;
        while let Some(shared) = buffers.shared.front_mut() {
            let copied = left.min(shared.after);
            shared.after -= copied;
            self.written += copied;
            left -= copied;
            let taken = left.min(shared.bytes.len());
            shared.bytes.advance(taken);
            left -= taken;
            if !shared.bytes.is_empty() {
                break;
            }
            buffers.shared.pop_front();
        }
        if buffers.shared.is_empty() {
            self.written += left;
            self.tail -= left;
        }
        if self.written > SLACK_BYTES && self.written > buffers.copied.len() / 2 {
            buffers.copied.drain(..self.written);
            self.written = 0;
        }
    }

    fn clear(&mut self) {
        self.written = 0;
        self.tail = 0;
        match &mut self.buffers {
            Some(buffers) if self.lent => {
                buffers.copied.clear();
                // Not even an empty one is cleared for nothing.
                if !buffers.shared.is_empty() {
                    buffers.shared.clear();
                }
            }
            buffers => *buffers = None,
        }
    }

    /// Lends buffers, which are then kept when nothing waits, until
    /// [`take_spare`](Self::take_spare). Dropped where there are some already.
    pub fn give_spare(&mut self, spare: Spare) {
        if self.buffers.is_none() {
            self.buffers = Some(spare.0);
            self.lent = true;
        }
    }

    /// The lent buffers back, once nothing waits.
    pub fn take_spare(&mut self) -> Option<Spare> {
        if !self.lent || self.len > 0 {
            return None;
        }
        self.lent = false;
        self.buffers.take().map(Spare)
    }
}
