//! What happens, in lines for people.

use crate::{
    cli::output::{self, bare, harmless, short, time_of_day},
    proto::{Connection, SendResult, join_response::Event, send_result::Outcome},
};

use super::roster::Roster;

/// An event in a line, or nothing when it isn't worth one. The roster is as it
/// was before the event.
pub(super) fn event(event: &Event, roster: &Roster) -> Option<String> {
    let now = || time_of_day(None);
    Some(match event {
        Event::Joined(joined) => {
            let me = joined.connection.clone().unwrap_or_default();
            let others = match joined.connections.len().saturating_sub(1) {
                count if joined.more_connections => format!("{count} others or more"),
                1 => "1 other".to_owned(),
                count => format!("{count} others"),
            };
            format!("{}  * you are {}, with {others} here; /help lists the commands", now(), me.connection_id)
        }
        Event::Signal(received) => {
            let signal = received.signal.clone().unwrap_or_default();
            let from = match received.from_connection_id.as_deref() {
                None => "server".to_owned(),
                Some(id) if roster.is_me(id) => "you".to_owned(),
                Some(id) => short(id),
            };
            let kind =
                if signal.r#type.is_empty() { String::new() } else { format!("[{}] ", harmless(&signal.r#type)) };
            format!("{}  {from:<8}  {kind}{}", time_of_day(received.sent_at), harmless(&signal.data))
        }
        Event::ConnectionCreated(created) => {
            let connection = created.connection.clone().unwrap_or_default();
            format!(
                "{}  * {} joined{}",
                time_of_day(connection.created_at),
                short(&connection.connection_id),
                about(&connection)
            )
        }
        Event::ConnectionDestroyed(destroyed) => {
            let reason = bare(destroyed.reason().as_str_name(), "DISCONNECT_REASON_");
            format!("{}  * {} is gone ({reason})", now(), short(&destroyed.connection_id))
        }
        Event::ConnectionInterrupted(interrupted) => {
            format!("{}  * {} lost the connection and may come back", now(), short(&interrupted.connection_id))
        }
        Event::ConnectionRestored(restored) => format!("{}  * {} came back", now(), short(&restored.connection_id)),
        Event::Closing(closing) => {
            let action = bare(closing.action().as_str_name(), "CLIENT_ACTION_").to_lowercase();
            let wait = closing.retry_after.map(output::duration);
            let wait = wait.map(|wait| format!(" after {}", humantime::format_duration(wait))).unwrap_or_default();
            format!("{}  * the server ends this stream: {}; it says: {action}{wait}", now(), harmless(&closing.reason))
        }
        Event::SendResult(_) | Event::ConnectionsPage(_) | Event::Heartbeat(_) => return None,
    })
}

/// What there is to tell about an outcome.
pub(super) fn send_result(result: &SendResult) -> Option<String> {
    match result.outcome.as_ref()? {
        Outcome::Error(error) => Some(format!("not sent: {}: {}", harmless(&error.reason), harmless(&error.message))),
        Outcome::Accepted(accepted) if accepted.not_connected_ids.is_empty() => None,
        Outcome::Accepted(accepted) => {
            Some(format!("not connected: {}", harmless(&accepted.not_connected_ids.join(", "))))
        }
    }
}

/// Who is here, a line each.
pub(super) fn who(roster: &Roster) -> Vec<String> {
    let mark = |one: &Connection| if roster.is_me(&one.connection_id) { "you" } else { "" };
    roster
        .connections()
        .iter()
        .map(|one| format!("  {:<3}  {}", mark(one), crate::cli::sessions::describe(one)))
        .collect()
}

fn about(connection: &Connection) -> String {
    if connection.data.is_empty() { String::new() } else { format!(": {}", harmless(&connection.data)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Joined, Signal, SignalReceived};

    fn received(from: Option<&str>, kind: &str, data: &str) -> Event {
        Event::Signal(SignalReceived {
            sequence: 2,
            from_connection_id: from.map(str::to_owned),
            signal: Some(Signal { r#type: kind.into(), data: data.into() }),
            sent_at: Some(prost_types::Timestamp { seconds: 3_661, nanos: 0 }),
        })
    }

    #[test]
    fn a_signal_shows_time_sender_type_and_data() {
        let mut roster = Roster::default();
        let me = Connection { connection_id: "11112222-rest".into(), ..Connection::default() };
        roster.apply(&Event::Joined(Joined { connection: Some(me), ..Joined::default() }));
        for (signal, line) in [
            (received(None, "greeting", "hello"), "01:01:01Z  server    [greeting] hello"),
            (received(Some("11112222-rest"), "", "hi"), "01:01:01Z  you       hi"),
            (received(Some("33334444-rest"), "", "a\u{7}b"), "01:01:01Z  33334444  a\\u{7}b"),
        ] {
            assert_eq!(event(&signal, &roster).as_deref(), Some(line));
        }
    }
}
