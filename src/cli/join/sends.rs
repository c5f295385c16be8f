//! What was typed, on its way out: numbered, in order, and again when it came
//! too fast.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::proto::{Recipients, SendError, SendResult, SendSignal, Signal, send_result::Outcome};

/// How many sends without an outcome a server without a limit gets.
const UNRESOLVED_WITHOUT_LIMIT: usize = 1_000;

/// A signal to send.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) signal: Signal,
    pub(super) to: Option<Recipients>,
}

/// The sends of one connection.
#[derive(Debug)]
pub(super) struct Sends {
    waiting: VecDeque<Wanted>,
    unresolved: BTreeMap<u64, Wanted>,
    most_unresolved: usize,
    /// Send again, later, what the rate limit refused: for input that nobody
    /// types.
    patient: bool,
    not_before: Option<Instant>,
    last_id: u64,
}

impl Sends {
    /// With a patient one and a rate limit, one send is under way at a time: a
    /// second one could be accepted where the first was refused, and overtake
    /// it.
    pub(super) fn new(patient: bool, max_unresolved: u32, rate_limited: bool) -> Self {
        let most_unresolved = match max_unresolved as usize {
            _ if patient && rate_limited => 1,
            0 => UNRESOLVED_WITHOUT_LIMIT,
            limit => limit,
        };
        Self {
            waiting: VecDeque::new(),
            unresolved: BTreeMap::new(),
            most_unresolved,
            patient,
            not_before: None,
            last_id: 0,
        }
    }

    pub(super) fn push(&mut self, wanted: Wanted) {
        self.waiting.push_back(wanted);
    }

    /// Whether more input can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether every send has its outcome.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unresolved.is_empty()
    }

    /// When the next one may go, if it has to wait.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.waiting.is_empty())
    }

    /// The next one to go now.
    pub(super) fn next(&mut self, now: Instant) -> Option<SendSignal> {
        if self.unresolved.len() >= self.most_unresolved || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        let wanted = self.waiting.pop_front()?;
        self.last_id += 1;
        let Wanted { signal, to } = wanted.clone();
        self.unresolved.insert(self.last_id, wanted);
        Some(SendSignal { send_id: self.last_id, signal: Some(signal), to })
    }

    /// An outcome came. True when it isn't the last word: the signal goes
    /// again, with a new id.
    pub(super) fn resolve(&mut self, result: &SendResult, now: Instant) -> bool {
        let Some(wanted) = self.unresolved.remove(&result.send_id) else { return false };
        match &result.outcome {
            Some(Outcome::Error(SendError { reason, retry_after, .. })) if self.patient && reason == "RATE_LIMITED" => {
                let wait = retry_after.map(crate::cli::output::duration).unwrap_or(Duration::from_millis(100));
                self.not_before = Some(now + wait);
                self.waiting.push_front(wanted);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Accepted;

    fn wanted(data: &str) -> Wanted {
        Wanted { signal: Signal { r#type: String::new(), data: data.into() }, to: None }
    }

    fn accepted(send_id: u64) -> SendResult {
        SendResult { send_id, outcome: Some(Outcome::Accepted(Accepted::default())) }
    }

    fn limited(send_id: u64) -> SendResult {
        let error = SendError {
            reason: "RATE_LIMITED".into(),
            retry_after: Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 }),
            ..SendError::default()
        };
        SendResult { send_id, outcome: Some(Outcome::Error(error)) }
    }

    fn data(send: Option<SendSignal>) -> Option<(u64, String)> {
        send.map(|send| (send.send_id, send.signal.unwrap().data))
    }

    #[test]
    fn a_patient_one_sends_again_in_order_with_a_new_id() {
        let mut sends = Sends::new(true, 10, true);
        let now = Instant::now();
        for text in ["a", "b"] {
            sends.push(wanted(text));
        }
        assert_eq!(data(sends.next(now)), Some((1, "a".into())));
        assert_eq!(sends.next(now), None, "one at a time");
        assert!(sends.resolve(&limited(1), now));
        assert_eq!(sends.next(now), None);
        let later = sends.not_before().unwrap();
        assert_eq!(later, now + Duration::from_millis(20));
        assert_eq!(data(sends.next(later)), Some((2, "a".into())));
        assert!(!sends.resolve(&accepted(2), later));
        assert_eq!(data(sends.next(later)), Some((3, "b".into())));
        assert!(!sends.is_settled());
        sends.resolve(&accepted(3), later);
        assert!(sends.is_settled());
    }

    #[test]
    fn an_impatient_one_takes_a_refusal_as_the_last_word() {
        let mut sends = Sends::new(false, 2, true);
        let now = Instant::now();
        for text in ["a", "b", "c"] {
            sends.push(wanted(text));
        }
        assert!(sends.next(now).is_some() && sends.next(now).is_some());
        assert_eq!(sends.next(now), None, "no more than the server allows");
        assert!(!sends.resolve(&limited(1), now));
        assert_eq!(data(sends.next(now)), Some((3, "c".into())));
    }

    #[test]
    fn without_a_rate_limit_there_is_nothing_to_overtake() {
        let mut sends = Sends::new(true, 0, false);
        let now = Instant::now();
        for _ in 0..2_000 {
            sends.push(wanted("x"));
        }
        assert_eq!(std::iter::from_fn(|| sends.next(now)).count(), UNRESOLVED_WITHOUT_LIMIT);
    }
}
