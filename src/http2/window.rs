//! How much of DATA either side may send. Source: RFC 9113, section 5.2.

/// What both sides begin with.
pub(super) const INITIAL_BYTES: u32 = 65_535;

/// The most that a window may be.
pub(super) const MAX_BYTES: u32 = 0x7fff_ffff;

/// What the peer may send.
#[derive(Debug)]
pub(super) struct Inbound {
    left: u32,
    /// Dealt with, and not yet told.
    gathered: u32,
}

impl Inbound {
    pub(super) fn new(whole: u32) -> Self {
        Self { left: whole, gathered: 0 }
    }

    /// Whether so much may come.
    pub(super) fn has(&self, bytes: u32) -> bool {
        bytes <= self.left
    }

    /// Takes what comes. Whether it may.
    #[must_use]
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Gives back what was dealt with. What is to be told to the peer: enough
    /// at once that it is worth a frame, and always before the peer has less
    /// left than that, or it could stop for ever.
    #[must_use]
    pub(super) fn refund(&mut self, bytes: usize, whole: u32) -> Option<u32> {
        let taken = whole - self.left - self.gathered;
        debug_assert!(bytes <= taken as usize, "more was consumed than came");
        self.gathered += u32::try_from(bytes).unwrap_or(u32::MAX).min(taken);
        if self.gathered == 0 || (self.gathered < whole / 2 && self.gathered < self.left) {
            return None;
        }
        self.left += self.gathered;
        Some(std::mem::take(&mut self.gathered))
    }
}

/// What this side may send; less than nothing after the peer's settings shrank it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outbound(i32);

impl Outbound {
    pub(super) fn new(bytes: u32) -> Self {
        Self(bytes.min(MAX_BYTES) as i32)
    }

    pub(super) fn left(self) -> usize {
        self.0.max(0) as usize
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.0 -= bytes as i32;
    }

    /// Whether the window stays within bounds.
    #[must_use]
    pub(super) fn grow(&mut self, by: i64) -> bool {
        let grown = i32::try_from(i64::from(self.0) + by).ok();
        self.0 = grown.unwrap_or(self.0);
        grown.is_some()
    }
}
