//! How much one TCP connection may send in a second. Beyond, it is read later:
//! nothing is lost or refused, TCP has the peer wait.

use std::time::Duration;

use tokio::time::Instant;

/// How many messages a `Join` counts for: it is an event for all of a session,
/// and a snapshot of it.
pub(super) const JOIN_MESSAGES: usize = 100;

const SECOND: Duration = Duration::from_secs(1);

/// What a connection may send, sustained, and in a second after a pause; 0 is no
/// limit.
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
        Self { bytes: now, messages: now }
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
    (*arrival > now + SECOND).then(|| *arrival - SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { bytes: 1_000, messages: 100 };

    #[tokio::test(start_paused = true)]
    async fn a_second_of_it_at_once_and_then_the_rate() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, 1_000, 100, RATES), None);
        assert_eq!(pace.spend(begin, 500, 0, RATES), Some(begin + SECOND / 2));
        assert_eq!(pace.spend(begin + SECOND / 2, 0, 0, RATES), None);
        let mut now = begin + SECOND / 2;
        let mut read = 0;
        while now < begin + 10 * SECOND {
            match pace.spend(now, 100, 1, RATES) {
                None => now += Duration::from_millis(1),
                Some(until) => now = until,
            }
            read += 100;
        }
        assert!((9_500..=10_600).contains(&read), "{read}");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_count_however_small() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, 1, 150, RATES), Some(begin + SECOND / 2));
        let mut pace = Pace::new(begin);
        assert_eq!(pace.spend(begin, usize::MAX, usize::MAX, Rates::default()), None);
    }
}
