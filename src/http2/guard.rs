//! What a peer may do before it is told to enhance its calm.

use super::{Error, output::Output};

/// Frames that ask for an answer, while the answers before aren't sent.
const MAX_UNSENT: u16 = 4_096;

/// Frames of no use: DATA of nothing, PRIORITY, frames of unknown types; and
/// SETTINGS, since each may change the windows of all streams.
const MAX_USELESS: u16 = 1_024;

/// Streams reset before they were answered, by the peer or because of it.
const MAX_RESETS: u16 = 1_024;

/// Counts what costs the peer nothing. All but the first grow back with what
/// is of use, so that connections may live for ever.
#[derive(Debug)]
pub(super) struct Guard {
    unsent: u16,
    useless: u16,
    resets: u16,
    /// How much has to be written until the answers so far are sent.
    sent_at: u64,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self { unsent: 0, useless: 0, resets: 0, sent_at: 0 }
    }

    /// Before an answer is put in the output.
    pub(super) fn answer(&mut self, output: &Output) -> Result<(), Error> {
        if output.total_written() >= self.sent_at {
            self.unsent = 0;
            self.sent_at = output.total_written() + output.len() as u64 + 1;
        }
        self.unsent += 1;
        if self.unsent > MAX_UNSENT { Err(Error::calm("asks and doesn't read the answers")) } else { Ok(()) }
    }

    pub(super) fn useless(&mut self) -> Result<(), Error> {
        self.useless += 1;
        if self.useless > MAX_USELESS { Err(Error::calm("too many frames of no use")) } else { Ok(()) }
    }

    pub(super) fn useful(&mut self) {
        self.useless = self.useless.saturating_sub(1);
    }

    pub(super) fn reset(&mut self) -> Result<(), Error> {
        self.resets += 1;
        if self.resets > MAX_RESETS { Err(Error::calm("too many streams reset")) } else { Ok(()) }
    }

    /// A stream came to a good end, or was answered at least.
    pub(super) fn answered(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }
}
