//! Randomness, as an argument. Layer 0.
//!
//! Connection ids and resume tokens must be unguessable, so a server takes the
//! system's; a simulation takes its seed's, so that it can be run again.

/// Where random bytes come from.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When there is no randomness to be had now.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness>;
}

/// Why there are no random bytes, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRandomness(pub String);

/// The operating system's, fit for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(bytes).map_err(|error| NoRandomness(error.to_string()))
    }
}
