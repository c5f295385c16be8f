//! What happened, as JSON: one object per line, with the names of the protos.
//!
//! Unset is `null` or left out as the proto says; numbers are numbers (the
//! largest, an epoch, is below 2^53); times are RFC 3339, durations seconds.

use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use crate::proto::{self, join_response::Event, send_result::Outcome, watch_sessions_response::Event as Watched};

use super::output;

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

fn seconds(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| output::duration(duration).as_secs_f64().into())
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

fn connections(all: &[proto::Connection]) -> Value {
    all.iter().map(connection).collect()
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

/// An event of a `Join` stream. The resume token is a secret and left out.
pub(super) fn event(event: &Event) -> Value {
    match event {
        Event::Joined(joined) => json!({
            "event": "joined",
            "outcome": joined.outcome().as_str_name(),
            "connection": joined.connection.as_ref().map(connection),
            "connections": connections(&joined.connections),
            "more_connections": joined.more_connections,
            "epoch": joined.epoch,
            "sequence": joined.sequence,
        }),
        Event::ConnectionsPage(page) => json!({
            "event": "connections_page",
            "connections": connections(&page.connections),
            "more": page.more,
        }),
        Event::Signal(received) => {
            let signal = received.signal.clone().unwrap_or_default();
            json!({
                "event": "signal",
                "sequence": received.sequence,
                "from_connection_id": received.from_connection_id,
                "type": signal.r#type,
                "data": signal.data,
                "sent_at": time(received.sent_at),
            })
        }
        Event::SendResult(result) => send_result(result),
        Event::ConnectionCreated(created) => json!({
            "event": "connection_created",
            "sequence": created.sequence,
            "connection": created.connection.as_ref().map(connection),
        }),
        Event::ConnectionDestroyed(destroyed) => json!({
            "event": "connection_destroyed",
            "sequence": destroyed.sequence,
            "connection_id": destroyed.connection_id,
            "reason": destroyed.reason().as_str_name(),
        }),
        Event::ConnectionInterrupted(interrupted) => json!({
            "event": "connection_interrupted",
            "sequence": interrupted.sequence,
            "connection_id": interrupted.connection_id,
        }),
        Event::ConnectionRestored(restored) => json!({
            "event": "connection_restored",
            "sequence": restored.sequence,
            "connection_id": restored.connection_id,
        }),
        Event::Heartbeat(heartbeat) => json!({ "event": "heartbeat", "sequence": heartbeat.sequence }),
        Event::Closing(closing) => json!({
            "event": "closing",
            "reason": closing.reason,
            "action": closing.action().as_str_name(),
            "retry_after": seconds(closing.retry_after),
        }),
    }
}

fn send_result(result: &proto::SendResult) -> Value {
    match &result.outcome {
        Some(Outcome::Accepted(accepted)) => json!({
            "event": "send_result",
            "send_id": result.send_id,
            "accepted": { "sequence": accepted.sequence, "not_connected_ids": accepted.not_connected_ids },
        }),
        Some(Outcome::Error(error)) => json!({
            "event": "send_result",
            "send_id": result.send_id,
            "error": {
                "code": error.code,
                "reason": error.reason,
                "message": error.message,
                "field": error.field,
                "retry_after": seconds(error.retry_after),
            },
        }),
        None => json!({ "event": "send_result", "send_id": result.send_id }),
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
