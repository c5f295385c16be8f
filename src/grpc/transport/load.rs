//! How busy this thread is, and the outcomes that wait because it is.
//!
//! An outcome written alone costs a system call as dear as that of a signal. A
//! busy thread lets outcomes wait for the next thing that goes to the same
//! client, and sends both in one write. A thread with time to spare sends them
//! at once: then nobody waits.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::hub::{Bell, Bits};

use super::lane;

/// How long an outcome may wait. Less than the 40 ms for which TCP lets an
/// acknowledgement wait, which hopes for the same.
const WAIT: Duration = Duration::from_millis(20);

/// How long the thread's time is looked at.
const WINDOW: Duration = Duration::from_millis(5);

/// The share of its time that a busy thread has no more than to spare.
const SPARE: f32 = 0.3;

#[derive(Default)]
struct Load {
    /// Since when the time is looked at, and how much of it was spare.
    window: Option<(Instant, Duration)>,
    parked_at: Option<Instant>,
    is_busy: bool,
    waiting: VecDeque<Waiting>,
    /// How many came before the first of them.
    gone: u64,
    /// A task looks after them.
    is_swept: bool,
}

struct Waiting {
    until: Instant,
    /// None once they have gone.
    bell: Option<Arc<Bell>>,
    bit: Bits,
}

/// What a stream keeps whose outcomes wait.
pub(super) struct Wait {
    until: Instant,
    /// Its place among all that ever waited on this thread.
    number: u64,
}

impl Wait {
    /// Whether they have waited long enough.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

thread_local! {
    static LOAD: RefCell<Load> = RefCell::default();
}

impl Load {
    /// Judges the time since it was last judged, when that is long enough.
    fn look(&mut self, now: Instant) {
        let Some((begin, spare)) = self.window else { return };
        let whole = now.saturating_duration_since(begin);
        if whole >= WINDOW {
            self.is_busy = spare.as_secs_f32() < SPARE * whole.as_secs_f32();
            self.window = Some((now, Duration::ZERO));
        }
    }

    /// Rings for the first of those that wait, as many as are meant.
    fn ring(&mut self, which: impl Fn(&Waiting) -> bool) {
        while self.waiting.front().is_some_and(|waiting| waiting.bell.is_none() || which(waiting)) {
            self.gone += 1;
            if let Some(Waiting { bell: Some(bell), bit, .. }) = self.waiting.pop_front() {
                bell.ring(bit);
            }
        }
    }
}

/// A thread that serves transports has nothing to do: to be called by its
/// runtime before it parks. Without these calls it never counts as busy.
pub fn before_park() {
    lane::rest();
    LOAD.with_borrow_mut(|load| {
        load.parked_at = Some(Instant::now());
        if !load.is_busy {
            load.ring(|_| true);
        }
    });
}

/// It goes on: to be called by its runtime after it parked.
pub fn after_park() {
    LOAD.with_borrow_mut(|load| {
        let now = Instant::now();
        let parked = load.parked_at.take().map_or(Duration::ZERO, |at| now - at);
        load.window.get_or_insert((now, Duration::ZERO)).1 += parked;
        load.look(now);
    });
}

/// Whether this thread has little time to spare.
pub(super) fn is_busy(now: Instant) -> bool {
    LOAD.with_borrow_mut(|load| {
        // A thread without a pause never parks.
        load.look(now);
        load.is_busy
    })
}

/// Rings once outcomes have waited long enough, or the thread has time to
/// spare.
pub(super) fn wait(bell: Arc<Bell>, bit: Bits, now: Instant) -> Wait {
    let until = now + WAIT;
    let (number, is_swept) = LOAD.with_borrow_mut(|load| {
        load.waiting.push_back(Waiting { until, bell: Some(bell), bit });
        let number = load.gone + load.waiting.len() as u64;
        (number, std::mem::replace(&mut load.is_swept, true))
    });
    if !is_swept {
        tokio::spawn(sweep());
    }
    Wait { until, number }
}

/// They have gone, with something else most often: to ring for them would be a
/// turn for nothing, one for each message between two who talk by turns.
pub(super) fn forget(wait: &Wait, bell: &Arc<Bell>) {
    LOAD.with_borrow_mut(|load| {
        let place = wait.number.checked_sub(load.gone + 1).and_then(|place| usize::try_from(place).ok());
        // Its own, and not another's, even where the transport has changed threads.
        if let Some(waiting) = place.and_then(|place| load.waiting.get_mut(place))
            && waiting.bell.as_ref().is_some_and(|other| Arc::ptr_eq(other, bell))
            && waiting.until == wait.until
        {
            waiting.bell = None;
        }
    });
}

/// Rings for those that have waited long enough, until there are none.
async fn sweep() {
    loop {
        let next = LOAD.with_borrow_mut(|load| {
            let now = Instant::now();
            load.ring(|waiting| waiting.until <= now);
            load.is_swept = !load.waiting.is_empty();
            load.waiting.front().map(|waiting| waiting.until)
        });
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_millis(6);

    /// The thread works for so long, and then parks for so long.
    async fn go(works: Duration, parks: Duration) {
        tokio::time::advance(works).await;
        before_park();
        tokio::time::advance(parks).await;
        after_park();
    }

    fn waiting() -> Arc<Bell> {
        waiting_and_known().0
    }

    fn waiting_and_known() -> (Arc<Bell>, Wait) {
        let bell = Arc::<Bell>::default();
        let wait = wait(Arc::clone(&bell), Bell::bit(0), Instant::now());
        (bell, wait)
    }

    fn has_rung(bell: &Bell) -> bool {
        bell.take() != 0
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_is_busy_when_it_has_less_than_a_third_to_spare() {
        assert!(!is_busy(Instant::now()), "nobody tells when it parks");
        after_park();
        for (works, parks, busy) in [(10, 1, true), (10, 5, false), (1, 10, false), (7, 2, true)] {
            go(Duration::from_millis(works), Duration::from_millis(parks)).await;
            assert_eq!(is_busy(Instant::now()), busy, "{works} ms of work to {parks} parked");
        }
        go(LONG, LONG).await;
        tokio::time::advance(LONG).await;
        assert!(is_busy(Instant::now()), "one that never parks");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_waits_20_ms_at_most() {
        after_park();
        go(LONG, Duration::ZERO).await;
        let bell = waiting();
        before_park();
        assert!(!has_rung(&bell), "a busy thread lets it wait");
        tokio::time::sleep(WAIT - Duration::from_millis(1)).await;
        assert!(!has_rung(&bell));
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(has_rung(&bell));
        let later = waiting();
        tokio::time::sleep(WAIT + Duration::from_millis(1)).await;
        assert!(has_rung(&later), "who comes after the sweep is swept too");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_rung_for_what_has_gone() {
        after_park();
        go(LONG, Duration::ZERO).await;
        let all = [waiting_and_known(), waiting_and_known(), waiting_and_known()];
        forget(&all[1].1, &all[1].0);
        forget(&all[2].1, &all[0].0);
        tokio::time::sleep(WAIT + Duration::from_millis(1)).await;
        assert_eq!(all.each_ref().map(|(bell, _)| has_rung(bell)), [true, false, true]);
        let (later, wait) = waiting_and_known();
        forget(&all[0].1, &later);
        forget(&all[0].1, &all[0].0);
        forget(&wait, &later);
        tokio::time::sleep(WAIT + Duration::from_millis(1)).await;
        assert!(!has_rung(&later));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_with_time_to_spare_lets_nothing_wait() {
        after_park();
        go(Duration::ZERO, LONG).await;
        let bell = waiting();
        before_park();
        assert!(has_rung(&bell));
    }
}
