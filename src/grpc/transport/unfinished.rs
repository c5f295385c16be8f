//! What came of a message whose end is still to come: it takes of the memory for
//! signals, too.

use std::sync::Arc;

use crate::domain::{Budget, Charge, MEMORY_STEP, Refusal, Spent};

/// So few bytes are part of what a stream takes at rest.
const FEW_BYTES: usize = 1_024;

/// One stream's. Without an allocation until there is more than a little.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Option<Charge>);

impl Unfinished {
    /// Whether anything is counted.
    pub(super) fn is_counted(&self) -> bool {
        self.0.is_some()
    }

    /// So many bytes are kept until more comes.
    ///
    /// # Errors
    /// `SERVER_FULL` when it is more than a little and too much waits.
    pub(super) fn keep(&mut self, bytes: usize, budget: &Arc<Budget>) -> Result<(), Refusal> {
        if bytes <= FEW_BYTES {
            self.0 = None;
            return Ok(());
        }
        self.0 = None;
        self.0 = Some(Charge::of(budget, Spent::Waiting, bytes));
        // Whoever may have sent them: they are the first to go.
        let is_short = budget.share() != usize::MAX;
        if is_short && bytes > MEMORY_STEP { Err(budget.refuses_bytes(bytes, MEMORY_STEP)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    #[test]
    fn what_came_in_part_is_counted_until_the_rest_comes() {
        let budget = Arc::new(Budget::new(64 * 1_024));
        let spent = || budget.spent(Spent::Waiting);
        let mut streams: Vec<_> = (0..3).map(|_| Unfinished::default()).collect();
        assert!(streams[0].keep(FEW_BYTES, &budget).is_ok() && spent() == 0);
        assert!(streams[0].keep(20_000, &budget).is_ok() && spent() == 20_000);
        (0..4).for_each(|_| budget.enter());
        let refusal = streams[1].keep(20_000, &budget).unwrap_err();
        assert_eq!(refusal.reason, Reason::ServerFull);
        assert!(refusal.message.contains("20000 bytes"), "{refusal}");
        assert!(streams[2].keep(2_000, &budget).is_ok());
        assert!(streams[0].keep(0, &budget).is_ok() && spent() == 22_000);
        drop(streams);
        assert_eq!(spent(), 0);
    }
}
