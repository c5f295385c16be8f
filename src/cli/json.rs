//! What happened, as JSON: one object per line, with the names of the protos.
//!
//! Unset is `null` or left out as the proto says; numbers are numbers (the
//! largest, an epoch, is below 2^53); times are RFC 3339, durations seconds.

use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::{
    client::{self, Event, Over, SendError},
    proto::{self, watch_sessions_response::Event as Watched},
};

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

pub(super) fn connection(connection: &proto::Connection) -> Value {
    json!({
        "connection_id": connection.connection_id,
        "created_at": time(connection.created_at),
        "data": connection.data,
        "role": connection.role().as_str_name(),
        "state": connection.state().as_str_name(),
    })
}

pub(super) fn session(session: &proto::Session) -> Value {
    json!({
        "session_id": session.session_id,
        "connection_count": session.connection_count,
        "epoch": session.epoch,
        "sequence": session.sequence,
        "created_at": time(session.created_at),
    })
}

/// A member's connection, as the API has it.
pub(super) fn to_wire(connection: &client::Connection) -> proto::Connection {
    let state = match connection.interrupted {
        true => proto::ConnectionState::Interrupted,
        false => proto::ConnectionState::Connected,
    };
    proto::Connection {
        connection_id: connection.connection_id.clone(),
        created_at: connection.created_at.map(Into::into),
        data: connection.data.clone(),
        role: connection.role.into(),
        state: state.into(),
    }
}

pub(super) fn member(one: &client::Connection) -> Value {
    connection(&to_wire(one))
}

fn members(all: &[client::Connection]) -> Value {
    all.iter().map(member).collect()
}

/// An event of a member.
pub(super) fn member_event(event: &Event) -> Value {
    match event {
        Event::Joined { connection, connections, epoch, sequence } => json!({
            "event": "joined",
            "connection": member(connection),
            "connections": members(connections),
            "epoch": epoch,
            "sequence": sequence,
        }),
        Event::Signal(signal) => json!({
            "event": "signal",
            "sequence": signal.sequence,
            "from_connection_id": signal.from,
            "type": signal.kind,
            "data": signal.data,
            "sent_at": time(signal.sent_at.map(Into::into)),
        }),
        Event::ConnectionCreated { sequence, connection } => {
            json!({ "event": "connection_created", "sequence": sequence, "connection": member(connection) })
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
        Event::Reconnected { gap, connection, connections, epoch, sequence } => json!({
            "event": "reconnected",
            "gap": gap,
            "connection": member(connection),
            "connections": members(connections),
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
pub(super) fn outcome(send_id: u64, outcome: &Result<client::Accepted, SendError>) -> Value {
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
pub(super) fn watched(event: &Watched) -> Value {
    match event {
        Watched::SessionStarted(started) => json!({
            "event": "session_started",
            "session_id": started.session_id,
            "epoch": started.epoch,
            "created_at": time(started.created_at),
        }),
        Watched::SessionEnded(ended) => {
            json!({ "event": "session_ended", "session_id": ended.session_id, "epoch": ended.epoch })
        }
        Watched::ConnectionCreated(created) => json!({
            "event": "connection_created",
            "session_id": created.session_id,
            "sequence": created.sequence,
            "connection": created.connection.as_ref().map(connection),
        }),
        Watched::ConnectionDestroyed(destroyed) => json!({
            "event": "connection_destroyed",
            "session_id": destroyed.session_id,
            "sequence": destroyed.sequence,
            "connection_id": destroyed.connection_id,
            "reason": destroyed.reason().as_str_name(),
        }),
        Watched::SnapshotComplete(_) => json!({ "event": "snapshot_complete" }),
    }
}
