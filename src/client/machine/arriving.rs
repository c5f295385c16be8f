//! What arrives on the live stream.

use std::time::{Duration, SystemTime};

use crate::proto::{self, JoinResponse, join_response::Event as Wire, send_result::Outcome};

use super::{Accepted, Event, Machine, Output, Refusal, SendError, StreamId};
use crate::client::Received;

impl<T> Machine<T> {
    /// A response came on a stream.
    pub(in crate::client) fn received(&mut self, stream: StreamId, response: JoinResponse, now: Duration) {
        if self.opening.as_ref().is_some_and(|opening| opening.stream == stream) {
            if let Some(event) = response.event {
                self.opening_received(event, now);
            }
            return;
        }
        let Some(live) = self.live.as_mut().filter(|live| live.stream == stream) else { return };
        live.heard_at = now;
        match response.event {
            Some(Wire::Closing(closing)) => live.closing = Some(closing),
            Some(Wire::SendResult(result)) => {
                self.decided(result, now);
                self.flush(now);
            }
            Some(Wire::Heartbeat(heartbeat)) => {
                if let Some(identity) = &mut self.identity {
                    identity.last_sequence = identity.last_sequence.max(heartbeat.sequence);
                }
            }
            Some(Wire::Signal(signal)) => {
                let proto::Signal { r#type: kind, data } = signal.signal.unwrap_or_default();
                let sent_at = signal.sent_at.and_then(|at| SystemTime::try_from(at).ok());
                let (sequence, from) = (signal.sequence, signal.from_connection_id);
                self.happened(sequence, Event::Signal(Received { sequence, from, kind, data, sent_at }));
            }
            Some(Wire::ConnectionCreated(created)) => {
                let connection = created.connection.unwrap_or_default().into();
                let sequence = created.sequence;
                self.happened(sequence, Event::ConnectionCreated { sequence, connection });
            }
            Some(Wire::ConnectionDestroyed(destroyed)) => {
                let reason = destroyed.reason();
                let (sequence, connection_id) = (destroyed.sequence, destroyed.connection_id);
                self.happened(sequence, Event::ConnectionDestroyed { sequence, connection_id, reason });
            }
            Some(Wire::ConnectionInterrupted(proto::ConnectionInterrupted { sequence, connection_id })) => {
                self.happened(sequence, Event::ConnectionInterrupted { sequence, connection_id });
            }
            Some(Wire::ConnectionRestored(proto::ConnectionRestored { sequence, connection_id })) => {
                self.happened(sequence, Event::ConnectionRestored { sequence, connection_id });
            }
            // A stream has one `joined`; and what this version doesn't know is
            // passed over.
            Some(Wire::Joined(_) | Wire::ConnectionsPage(_)) | None => {}
        }
    }

    /// Something of the session's order, told once: two streams overlap while
    /// one takes the other over.
    fn happened(&mut self, sequence: u64, event: Event) {
        let Some(identity) = &mut self.identity else { return };
        if sequence > identity.last_sequence {
            identity.last_sequence = sequence;
            self.tell(event);
        }
    }

    fn decided(&mut self, result: proto::SendResult, now: Duration) {
        let Some(identity) = &mut self.identity else { return };
        identity.last_result = identity.last_result.max(result.send_id);
        let epoch = identity.epoch;
        let Some(ticket) = self.sends.resolve(result.send_id) else { return };
        self.pace.decided(now);
        let outcome = match result.outcome {
            Some(Outcome::Accepted(proto::Accepted { sequence, not_connected_ids })) => {
                Ok(Accepted { sequence, epoch, not_connected_ids })
            }
            Some(Outcome::Error(error)) => Err(SendError::Refused(Refusal {
                code: error.code.into(),
                retry_after: error.retry_after.and_then(|after| Duration::try_from(after).ok()),
                field: (!error.field.is_empty()).then_some(error.field),
                reason: error.reason,
                message: error.message,
            })),
            // An outcome that this version doesn't know.
            None => Err(SendError::Unknown),
        };
        self.outputs.push_back(Output::Outcome(ticket, outcome));
    }
}
