//! Whether this thread has too much to do: newcomers are refused before members
//! wait.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::domain::{Reason, Refusal};

/// How often it is looked how late things are.
const INTERVAL: Duration = Duration::from_millis(50);
/// How late a thread is that takes no newcomers: longer than it takes to let a
/// crowd in, and what users notice.
const TOO_LATE: Duration = Duration::from_secs(1);
/// When those refused shall come back, the least and the most.
const COME_BACK_MILLIS: (u64, u64) = (1_000, 4_000);

thread_local! {
    /// When it is looked next, and how late the last look was.
    static LOOKS: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Measures how late this thread is, for ever.
pub async fn keep_time() {
    let mut late = Duration::ZERO;
    loop {
        let due = Instant::now() + INTERVAL;
        LOOKS.set(Some((due, late)));
        sleep_until(due).await;
        late = Instant::now().saturating_duration_since(due);
    }
}

/// How late this thread is, at least; zero where nobody looks.
fn lateness(now: Instant) -> Duration {
    LOOKS.get().map_or(Duration::ZERO, |(due, late)| late.max(now.saturating_duration_since(due)))
}

/// Whether this thread takes newcomers. `spread` is random.
///
/// # Errors
/// `SERVER_FULL`.
pub(super) fn admits(now: Instant, spread: u16) -> Result<(), Refusal> {
    let late = lateness(now);
    if late <= TOO_LATE {
        return Ok(());
    }
    let (least, most) = COME_BACK_MILLIS;
    let after = least + u64::from(spread) % (most - least);
    let message =
        format!("the server is overloaded: it is {late:?} late; the limit for those that join is {TOO_LATE:?}");
    Err(Refusal::new(Reason::ServerFull, message).retry_after(Duration::from_millis(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_late_takes_nobody_until_it_is_no_longer() {
        assert!(admits(Instant::now(), 0).is_ok(), "nobody looks");
        let looking = tokio::spawn(keep_time());
        tokio::time::sleep(INTERVAL * 10).await;
        assert!(admits(Instant::now(), 0).is_ok());
        // Nothing else runs meanwhile.
        tokio::time::advance(TOO_LATE + INTERVAL + Duration::from_millis(1)).await;
        let refusal = admits(Instant::now(), 7).unwrap_err();
        assert_eq!((refusal.reason, refusal.retry_after), (Reason::ServerFull, Some(Duration::from_millis(1_007))));
        tokio::time::sleep(INTERVAL * 2).await;
        assert!(admits(Instant::now(), 0).is_ok(), "{:?}", lateness(Instant::now()));
        looking.abort();
    }
}
