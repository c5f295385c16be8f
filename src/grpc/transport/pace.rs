//! How much one TCP connection may send in a second. Beyond, it is read later:
//! nothing is lost or refused, TCP has the peer wait.

use std::time::Duration;

use tokio::time::Instant;

/// How many messages a `Join` counts for: it is an event for all of a session,
/// and a snapshot of it.
pub(super) const JOIN_MESSAGES: usize = 100;

/// How much may come at once after a pause: what comes in so much time by the rate.
const BURST: Duration = Duration::from_millis(100);
/// And at the beginning: a peer that connects again and again begins again.
const FIRST: Duration = Duration::from_millis(10);

/// What a connection may send in a second; a tenth of it at once after a pause, and
/// a hundredth at the beginning; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes per second.
    pub bytes: u64,
    /// Messages per second: HTTP/2 frames, and gRPC messages within them.
    pub messages: u64,
}

/// What a connection has sent. Theoretical arrival times, as in the generic cell
/// rate algorithm (ITU-T I.371), paid afterwards: what was read was read.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: Instant,
    messages: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        let begin = now + BURST - FIRST;
        Self { bytes: begin, messages: begin }
    }

    /// So much was read. Until when nothing more is, if not for now.
    pub(super) fn spend(&mut self, now: Instant, bytes: usize, messages: usize, rates: Rates) -> Option<Instant> {
        let bytes = spend(&mut self.bytes, now, bytes, rates.bytes);
        let messages = spend(&mut self.messages, now, messages, rates.messages);
        bytes.max(messages)
    }
}

fn spend(arrival: &mut Instant, now: Instant, amount: usize, rate: u64) -> Option<Instant> {
    if rate == 0 || amount == 0 {
        return None;
    }
    let nanos = (amount as u64).saturating_mul(1_000_000_000) / rate;
    *arrival = (*arrival).max(now) + Duration::from_nanos(nanos);
    (*arrival > now + BURST).then(|| *arrival - BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { bytes: 1_000, messages: 100 };

    #[tokio::test(start_paused = true)]
    async fn little_at_the_beginning_more_after_a_pause_and_then_the_rate() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, 10, 1, RATES), None);
        assert_eq!(pace.spend(begin, 90, 0, RATES), Some(begin + 9 * FIRST));
        let rested = begin + 10 * BURST;
        assert_eq!(pace.spend(rested, 100, 10, RATES), None);
        assert_eq!(pace.spend(rested, 50, 0, RATES), Some(rested + BURST / 2));
        let (mut now, mut read) = (rested + BURST / 2, 0);
        while now < rested + 100 * BURST {
            match pace.spend(now, 20, 0, RATES) {
                None => now += Duration::from_millis(1),
                Some(until) => now = until,
            }
            read += 20;
        }
        assert!((9_800..=10_200).contains(&read), "{read}");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_count_however_small() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, 1, 11, RATES), Some(begin + 10 * FIRST));
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, usize::MAX, usize::MAX, Rates::default()), None);
    }
}
