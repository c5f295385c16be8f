//! What a session refuses, in words: an engine that decides elsewhere says the same.

use std::time::Duration;

use crate::domain::{Limits, Reason, Refusal, SendId};

use super::ledger::OUTCOMES_KEPT;

/// Nobody is in the session.
pub(crate) fn nobody_there() -> Refusal {
    Refusal::new(Reason::SessionNotFound, "nobody is in the session").field("session_id")
}

/// Of so many recipients none is in the session.
pub(crate) fn none_connected(given: usize) -> Refusal {
    let whoever = match given {
        1 => "the recipient named is not".to_owned(),
        given => format!("none of the {given} recipients named is"),
    };
    Refusal::new(Reason::ConnectionNotFound, format!("{whoever} in the session; nothing was sent"))
        .field("to.connection_ids")
}

/// The connection to be disconnected isn't there.
pub(crate) fn not_connected() -> Refusal {
    Refusal::new(Reason::ConnectionNotFound, "the connection named is not in the session").field("connection_id")
}

/// Who asks for something beside its stream isn't known.
pub(crate) fn unknown_connection() -> Refusal {
    Refusal::new(
        Reason::ConnectionNotFound,
        "there is no such connection, its resume window is over, or this is not its resume token",
    )
    .field("connection_id")
}

/// A connection's signals come too fast; there is room for one after `wait`.
pub(crate) fn too_fast(wait: Duration, limits: &Limits) -> Refusal {
    let (rate, burst) = (limits.signals_per_second, limits.signal_burst);
    Refusal::new(
        Reason::RateLimited,
        format!(
            "signals come too fast; the limit is {rate} per second and {burst} at once for one connection, given one \
             more"
        ),
    )
    .retry_after(wait)
}

/// The id isn't above the last one decided, and nothing is known of it.
pub(crate) fn unknown_send(id: SendId, last: SendId) -> Refusal {
    Refusal::new(
        Reason::SendIdInvalid,
        format!(
            "send_id {id} is not above {last}, the last one decided, and its outcome is not among the newest \
             {OUTCOMES_KEPT} kept"
        ),
    )
    .field("send_id")
}

/// What a client says about itself is too long.
pub(crate) fn too_much_data(given: usize, limits: &Limits) -> Refusal {
    let most = limits.max_connection_data_bytes;
    Refusal::new(Reason::ConnectionDataTooLarge, format!("the connection data has {given} bytes; the limit is {most}"))
        .field("join.connection_data")
}

/// The session has so many connections already.
pub(crate) fn full(count: usize, limits: &Limits) -> Refusal {
    let most = limits.max_connections_per_session;
    Refusal::new(
        Reason::SessionFull,
        format!("the session has {count} connections; the limit is {most}, given one more"),
    )
    .retry_after(Duration::from_secs(1))
}
