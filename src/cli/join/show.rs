//! What happens, in lines for people.

use crate::{
    cli::{
        output::{bare, harmless, short, time_of_day},
        sessions,
    },
    client::{Accepted, Connection, Event, Over, Received, SendError},
};

/// An event in a line, or nothing when it isn't worth one; `me` is this
/// client's id.
pub(super) fn event(event: &Event, me: &str) -> Option<String> {
    let now = || time_of_day(None);
    Some(match event {
        Event::Joined { connection, connections, .. } => {
            let others = others(connections);
            format!("{}  * you are {}, with {others} here; /help lists the commands", now(), connection.connection_id)
        }
        Event::Signal(Received { from, kind, data, sent_at, .. }) => {
            let from = match from.as_deref() {
                None => "server".to_owned(),
                Some(id) if id == me => "you".to_owned(),
                Some(id) => short(id),
            };
            let kind = if kind.is_empty() { String::new() } else { format!("[{}] ", harmless(kind)) };
            format!("{}  {from:<8}  {kind}{}", time_of_day(*sent_at), harmless(data))
        }
        Event::ConnectionCreated { connection, .. } => {
            let when = time_of_day(connection.created_at);
            format!("{when}  * {} joined{}", short(&connection.connection_id), about(connection))
        }
        Event::ConnectionDestroyed { connection_id, reason, .. } => {
            let reason = bare(reason.as_str_name(), "DISCONNECT_REASON_");
            format!("{}  * {} is gone ({reason})", now(), short(connection_id))
        }
        Event::ConnectionInterrupted { connection_id, .. } => {
            format!("{}  * {} lost the connection and may come back", now(), short(connection_id))
        }
        Event::ConnectionRestored { connection_id, .. } => format!("{}  * {} came back", now(), short(connection_id)),
        Event::Reconnecting { why } => format!("{}  * reconnecting\u{2026} ({})", now(), harmless(&why.to_string())),
        Event::Reconnected { gap: false, .. } => format!("{}  * reconnected", now()),
        Event::Reconnected { gap: true, connection, connections, .. } => format!(
            "{}  * reconnected; events were missed: you are {}, with {} here",
            now(),
            connection.connection_id,
            others(connections)
        ),
        // It was asked for.
        Event::Disconnected { reason: Over::Left, .. } => return None,
        Event::Disconnected { reason, .. } => format!("{}  * disconnected: {}", now(), harmless(&reason.to_string())),
    })
}

fn others(connections: &[Connection]) -> String {
    match connections.len().saturating_sub(1) {
        1 => "1 other".to_owned(),
        count => format!("{count} others"),
    }
}

/// What there is to tell about an outcome.
pub(super) fn outcome(outcome: &Result<Accepted, SendError>) -> Option<String> {
    match outcome {
        Err(SendError::Refused(refusal)) => {
            Some(format!("not sent: {}: {}", harmless(&refusal.reason), harmless(&refusal.message)))
        }
        Err(SendError::Unknown) => Some(format!("perhaps not sent: {}", SendError::Unknown)),
        Err(error) => Some(format!("not sent: {error}")),
        Ok(accepted) if accepted.not_connected_ids.is_empty() => None,
        Ok(accepted) => Some(format!("not connected: {}", harmless(&accepted.not_connected_ids.join(", ")))),
    }
}

/// Who is here, a line each.
pub(super) fn who(connections: &[Connection], me: &str) -> Vec<String> {
    let mark = |one: &Connection| if one.connection_id == me { "you" } else { "" };
    connections.iter().map(|one| format!("  {:<3}  {}", mark(one), sessions::describe(one))).collect()
}

fn about(connection: &Connection) -> String {
    if connection.data.is_empty() { String::new() } else { format!(": {}", harmless(&connection.data)) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn received(from: Option<&str>, kind: &str, data: &str) -> Event {
        Event::Signal(Received {
            sequence: 2,
            from: from.map(str::to_owned),
            kind: kind.to_owned(),
            data: data.to_owned(),
            sent_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3_661)),
        })
    }

    #[test]
    fn a_signal_shows_time_sender_type_and_data() {
        for (signal, line) in [
            (received(None, "greeting", "hello"), "01:01:01Z  server    [greeting] hello"),
            (received(Some("11112222-rest"), "", "hi"), "01:01:01Z  you       hi"),
            (received(Some("33334444-rest"), "", "a\u{7}b"), "01:01:01Z  33334444  a\\u{7}b"),
        ] {
            assert_eq!(event(&signal, "11112222-rest").as_deref(), Some(line));
        }
    }
}
