//! What happened, as JSON: one object per line, with the names of the protos.
//!
//! Unset is `null` or left out as the proto says; numbers are numbers (the
//! largest, an epoch, is below 2^53); times are RFC 3339, durations seconds.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::{
    client::{Accepted, Connection, Event, Over, SendError, SessionInfo, WatchEvent},
    proto::ConnectionState,
};

use super::output;

fn time(at: Option<SystemTime>) -> Value {
    at.map_or(Value::Null, |at| output::time(at).into())
}

/// A connection's state, as the API has it.
pub(super) fn state(connection: &Connection) -> &'static str {
    let state = match connection.interrupted {
        true => ConnectionState::Interrupted,
        false => ConnectionState::Connected,
    };
    state.as_str_name()
}

pub(super) fn connection(connection: &Connection) -> Value {
    json!({
        "connection_id": connection.connection_id,
        "created_at": time(connection.created_at),
        "data": connection.data,
        "role": connection.role.as_str_name(),
        "state": state(connection),
    })
}

fn connections(all: &[Connection]) -> Value {
    all.iter().map(connection).collect()
}

pub(super) fn session(session: &SessionInfo) -> Value {
    json!({
        "session_id": session.session_id,
        "connection_count": session.connection_count,
        "epoch": session.epoch,
        "sequence": session.sequence,
        "created_at": time(session.created_at),
    })
}

/// An event of a member.
pub(super) fn member_event(event: &Event) -> Value {
    match event {
        Event::Joined { connection: me, connections: all, epoch, sequence } => json!({
            "event": "joined",
            "connection": connection(me),
            "connections": connections(all),
            "epoch": epoch,
            "sequence": sequence,
        }),
        Event::Signal(signal) => json!({
            "event": "signal",
            "sequence": signal.sequence,
            "from_connection_id": signal.from,
            "type": signal.kind,
            "data": signal.data,
            "sent_at": time(signal.sent_at),
        }),
        Event::ConnectionCreated { sequence, connection: one } => {
            json!({ "event": "connection_created", "sequence": sequence, "connection": connection(one) })
        }
        Event::ConnectionDestroyed { sequence, connection_id, reason } => json!({
            "event": "connection_destroyed",
            "sequence": sequence,
            "connection_id": connection_id,
            "reason": reason.as_str_name(),
        }),
        Event::ConnectionInterrupted { sequence, connection_id } => {
            json!({ "event": "connection_interrupted", "sequence": sequence, "connection_id": connection_id })
        }
        Event::ConnectionRestored { sequence, connection_id } => {
            json!({ "event": "connection_restored", "sequence": sequence, "connection_id": connection_id })
        }
        Event::Reconnecting { why } => json!({ "event": "reconnecting", "why": why.to_string() }),
        Event::Reconnected { gap, connection: me, connections: all, epoch, sequence } => json!({
            "event": "reconnected",
            "gap": gap,
            "connection": connection(me),
            "connections": connections(all),
            "epoch": epoch,
            "sequence": sequence,
        }),
        Event::Disconnected { reason, action } => {
            let told = match reason {
                Over::Closed(refusal) => refusal.reason.clone(),
                Over::Left => "CLIENT_DISCONNECTED".to_owned(),
                Over::GaveUp(_) => "GAVE_UP".to_owned(),
            };
            json!({
                "event": "disconnected",
                "reason": told,
                "message": reason.to_string(),
                "action": action.as_str_name(),
            })
        }
    }
}

/// The outcome of a member's send. One that the server didn't decide has no
/// code and no reason.
pub(super) fn outcome(send_id: u64, outcome: &Result<Accepted, SendError>) -> Value {
    match outcome {
        Ok(accepted) => json!({
            "event": "send_result",
            "send_id": send_id,
            "accepted": { "sequence": accepted.sequence, "not_connected_ids": accepted.not_connected_ids },
        }),
        Err(SendError::Refused(refusal)) => json!({
            "event": "send_result",
            "send_id": send_id,
            "error": {
                "code": refusal.code as i32,
                "reason": refusal.reason,
                "message": refusal.message,
                "field": refusal.field.as_deref().unwrap_or_default(),
                "retry_after": refusal.retry_after.map(|after| after.as_secs_f64()),
            },
        }),
        Err(error) => json!({
            "event": "send_result",
            "send_id": send_id,
            "error": { "code": null, "reason": null, "message": error.to_string() },
        }),
    }
}

/// An event of a watch.
pub(super) fn watched(event: &WatchEvent) -> Value {
    match event {
        WatchEvent::SessionStarted { session_id, epoch, created_at } => json!({
            "event": "session_started",
            "session_id": session_id,
            "epoch": epoch,
            "created_at": time(*created_at),
        }),
        WatchEvent::SessionEnded { session_id, epoch } => {
            json!({ "event": "session_ended", "session_id": session_id, "epoch": epoch })
        }
        WatchEvent::ConnectionCreated { session_id, sequence, connection: one } => json!({
            "event": "connection_created",
            "session_id": session_id,
            "sequence": sequence,
            "connection": connection(one),
        }),
        WatchEvent::ConnectionDestroyed { session_id, sequence, connection_id, reason } => json!({
            "event": "connection_destroyed",
            "session_id": session_id,
            "sequence": sequence,
            "connection_id": connection_id,
            "reason": reason.as_str_name(),
        }),
        WatchEvent::SnapshotComplete => json!({ "event": "snapshot_complete" }),
    }
}
