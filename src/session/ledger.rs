//! The outcomes of one connection's newest sends: what makes a repeat repeat.

use std::{collections::VecDeque, mem};

use crate::domain::{Named, Reason, Refusal, SendId, Sequence};

use super::{
    effect::{Accepted, SendResult},
    refusals::unknown_send,
};

/// How many outcomes are kept. Source: the contract, promise 3.
pub const OUTCOMES_KEPT: usize = 1_024;

/// What became of a send, in little memory: a busy connection keeps all of
/// [`OUTCOMES_KEPT`], nearly all of them accepted with nobody left out.
#[derive(Clone, Debug)]
enum Kept {
    At(Sequence),
    Other(Box<Result<Accepted, Refusal>>),
    /// Refused, in a time without memory for more.
    Refused(Reason),
}

impl Kept {
    fn of(outcome: &Result<Accepted, Refusal>, is_frugal: bool) -> Self {
        match outcome {
            Ok(Accepted { sequence, not_connected }) if is_frugal || not_connected.is_empty() => Self::At(*sequence),
            Err(refusal) if is_frugal => Self::Refused(refusal.reason),
            other => Self::Other(Box::new(other.clone())),
        }
    }

    /// How many bytes of memory it takes beside its own.
    fn held(&self) -> usize {
        let Self::Other(outcome) = self else { return 0 };
        let more = match &**outcome {
            Ok(accepted) => accepted.not_connected.iter().map(Named::size).sum(),
            Err(refusal) => refusal.message.capacity(),
        };
        mem::size_of::<Result<Accepted, Refusal>>() + more
    }

    fn outcome(&self) -> Result<Accepted, Refusal> {
        match self {
            Self::At(sequence) => Ok(Accepted { sequence: *sequence, not_connected: Vec::new() }),
            Self::Other(outcome) => outcome.as_ref().clone(),
            Self::Refused(reason) => Err(Refusal::new(
                *reason,
                "refused before; the server was short of memory for signals, and remembers no more of it",
            )),
        }
    }
}

/// The decided sends of one connection, by strictly increasing id.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    decided: VecDeque<(SendId, Kept)>,
    last: SendId,
    held: usize,
}

impl Ledger {
    /// The newest id decided; 0 when none.
    pub(super) fn last(&self) -> SendId {
        self.last
    }

    /// What has been decided about an id already; nothing when it is new, or
    /// 0, which is never remembered.
    pub(super) fn decided(&self, id: SendId) -> Option<Result<Accepted, Refusal>> {
        if id == 0 || id > self.last {
            return None;
        }
        let known = self.decided.binary_search_by_key(&id, |(id, _)| *id);
        Some(known.map_or_else(|_| Err(unknown_send(id, self.last)), |at| self.decided[at].1.outcome()))
    }

    /// How many bytes of memory it takes for what isn't short.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Remembers a decision about a new id; what isn't short about it only when it
    /// need not be frugal.
    pub(super) fn decide(&mut self, send_id: SendId, outcome: &Result<Accepted, Refusal>, is_frugal: bool) {
        if send_id == 0 {
            return;
        }
        debug_assert!(send_id > self.last);
        self.last = send_id;
        if self.decided.len() == OUTCOMES_KEPT {
            self.held -= self.decided.pop_front().map_or(0, |(_, kept)| kept.held());
        }
        let kept = Kept::of(outcome, is_frugal);
        self.held += kept.held();
        self.decided.push_back((send_id, kept));
    }

    /// The outcomes kept of ids above `known`, oldest first.
    pub(super) fn after(&self, known: SendId) -> Vec<SendResult> {
        let from = self.decided.partition_point(|(id, _)| *id <= known);
        let result = |(id, kept): &(SendId, Kept)| SendResult { send_id: *id, outcome: kept.outcome() };
        self.decided.range(from..).map(result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(send_id: SendId) -> SendResult {
        SendResult { send_id, outcome: Ok(Accepted { sequence: send_id * 10, not_connected: Vec::new() }) }
    }

    #[test]
    fn the_newest_1024_are_kept_and_older_ones_refused() {
        let mut ledger = Ledger::default();
        for id in 1..=1_025 {
            ledger.decide(id, &accepted(id).outcome, false);
        }
        assert_eq!(ledger.decided(2), Some(accepted(2).outcome));
        let refusal = ledger.decided(1).unwrap().unwrap_err();
        assert_eq!((refusal.reason, refusal.field), (Reason::SendIdInvalid, Some("send_id")));
        assert!(refusal.message.contains("send_id 1 is not above 1025"));
        assert_eq!(ledger.decided(1_026), None);
    }

    #[test]
    fn what_is_held_for_outcomes_is_counted_and_let_go() {
        let refused = || Err(Refusal::new(Reason::RateLimited, "too many: 50 a second is the limit").field("send"));
        let partly = || Ok(Accepted { sequence: 7, not_connected: vec![Named::read("gone".into())] });
        let mut ledger = Ledger::default();
        ledger.decide(1, &refused(), false);
        let one = ledger.held();
        ledger.decide(2, &partly(), false);
        assert!(one > "too many".len() && ledger.held() > one, "{one}");
        assert_eq!((ledger.decided(1), ledger.decided(2)), (Some(refused()), Some(partly())));
        for id in 3..=1_026 {
            ledger.decide(id, &accepted(id).outcome, false);
        }
        assert_eq!(ledger.held(), 0);
    }

    #[test]
    fn the_frugal_remember_what_was_decided_and_little_more() {
        let mut ledger = Ledger::default();
        ledger.decide(1, &Err(Refusal::new(Reason::RateLimited, "50 a second").field("send")), true);
        ledger.decide(2, &Ok(Accepted { sequence: 7, not_connected: vec![Named::read("gone".into())] }), true);
        assert_eq!(ledger.held(), 0);
        let refusal = ledger.decided(1).unwrap().unwrap_err();
        assert_eq!((refusal.reason, refusal.field), (Reason::RateLimited, None));
        assert!(refusal.message.contains("short of memory"), "{}", refusal.message);
        assert_eq!(ledger.decided(2), Some(Ok(Accepted { sequence: 7, not_connected: Vec::new() })));
    }

    #[test]
    fn a_skipped_id_is_refused_and_zero_is_never_remembered() {
        let mut ledger = Ledger::default();
        ledger.decide(5, &accepted(5).outcome, false);
        ledger.decide(0, &accepted(7).outcome, false);
        assert!(ledger.decided(3).unwrap().is_err());
        assert_eq!(ledger.decided(0), None);
        assert_eq!(ledger.last(), 5);
    }

    #[test]
    fn after_tells_what_the_client_lacks() {
        let mut ledger = Ledger::default();
        for id in [2, 4, 8] {
            ledger.decide(id, &accepted(id).outcome, false);
        }
        let after = |known| ledger.after(known).iter().map(|result| result.send_id).collect::<Vec<_>>();
        assert_eq!(after(0), [2, 4, 8]);
        assert_eq!(after(3), [4, 8]);
        assert_eq!(after(8), [0; 0]);
    }
}
