//! Who was refused what, and who disconnected whom: log lines of the target
//! `signalbox::audit`, at level `info`.
//!
//! A peer without a token can cause as many refusals as it likes, so that lines
//! are limited to 100 a second; how many were left out is said with the next.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{Code, Named, Refusal, SessionId};

/// Lines in one second.
const LINES: u32 = 100;

/// Who did something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// By its token.
    pub subject: Option<&'a str>,
    /// Where from.
    pub address: Option<IpAddr>,
}

/// A refusal for want of a right: `UNAUTHENTICATED` or `PERMISSION_DENIED`.
/// Others are the business of metrics.
pub fn refused(who: Who<'_>, what: &str, refusal: &Refusal) {
    if !matches!(refusal.reason.code(), Code::Unauthenticated | Code::PermissionDenied) {
        return;
    }
    let Some(left_out) = LIMIT.take() else { return };
    tracing::info!(
        target: "signalbox::audit",
        what,
        subject = who.subject,
        address = who.address.map(tracing::field::display),
        reason = %refusal.reason,
        why = refusal.message,
        left_out,
        "refused"
    );
}

/// Somebody asked for another's end, and may. `session` is known for backends.
pub fn disconnects(who: Who<'_>, session: Option<&SessionId>, connection: &Named) {
    // What can't be a connection is a stranger's text, and nobody's end.
    let Named::Id(connection) = connection else { return };
    let Some(left_out) = LIMIT.take() else { return };
    tracing::info!(
        target: "signalbox::audit",
        subject = who.subject,
        address = who.address.map(tracing::field::display),
        session = session.map(tracing::field::display),
        connection = %connection,
        left_out,
        "disconnects a connection"
    );
}

/// A client that speaks another protocol than the port: an operator's mistake,
/// most often.
pub fn mistaken(address: IpAddr, what: &str) {
    let Some(left_out) = LIMIT.take() else { return };
    tracing::warn!(target: "signalbox::audit", %address, left_out, "{what}");
}

/// A TLS handshake that failed, as for want of a client's certificate.
pub fn handshake_failed(address: IpAddr, error: &std::io::Error) {
    let Some(left_out) = LIMIT.take() else { return };
    tracing::info!(target: "signalbox::audit", %address, %error, left_out, "no TLS handshake");
}

static LIMIT: Limit = Limit(Mutex::new(Second { since: None, lines: 0, left_out: 0 }));

struct Limit(Mutex<Second>);

struct Second {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Limit {
    /// Whether there may be a line now; with how many there were not before it.
    fn take(&self) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if second.since.is_none_or(|since| now - since >= Duration::from_secs(1)) {
            second.since = Some(now);
            second.lines = 0;
        }
        if second.lines >= LINES {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_are_limited_and_those_left_out_are_counted() {
        let limit = Limit(Mutex::new(Second { since: None, lines: 0, left_out: 0 }));
        for _ in 0..LINES {
            assert_eq!(limit.take(), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.take(), None);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limit.take(), Some(7));
        assert_eq!(limit.take(), Some(0));
    }
}
