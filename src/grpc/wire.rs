//! What happened, as the bytes that streams carry: whole gRPC messages, length
//! prefix included.

mod hot;

pub(super) use hot::{Send, read_send};

use std::{mem, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::{
    domain::{
        ClientAction, ConnectionInfo, DisconnectReason, Entry, Event, Limits, MAX_DATA_BYTES, MAX_TYPE_BYTES, Named,
        Refusal, Role, Sequence,
    },
    hub::{Encoding, Preamble},
    proto::{self, join_response, send_result},
    session::{Admission, ConnectionView, Farewell, Outcome, SendResult},
};

/// How the hub's node encodes.
pub const ENCODING: Encoding = Encoding { entry, append_entry, append_outcome };

/// The bytes of connections in one message of a snapshot, at most. A client's
/// gRPC takes messages of 4 MiB at most.
const SNAPSHOT_PAGE_BYTES: usize = 256 * 1_024;

/// Compressed flag and length. Source: gRPC over HTTP/2.
pub(super) const PREFIX_BYTES: usize = 5;

/// Appends what comes before a message of this many bytes.
pub(super) fn prefix(length: usize, into: &mut BytesMut) {
    into.reserve(PREFIX_BYTES + length);
    into.put_u8(0);
    into.put_u32(u32::try_from(length).expect("no message of ours comes near 4 GiB"));
}

fn append(event: join_response::Event, into: &mut BytesMut) {
    let message = proto::JoinResponse { event: Some(event) };
    prefix(message.encoded_len(), into);
    message.encode(into).expect("the buffer has the room that the message asked for");
}

fn frame(event: join_response::Event) -> Bytes {
    let mut bytes = BytesMut::new();
    append(event, &mut bytes);
    bytes.freeze()
}

fn entry(entry: &Entry) -> Bytes {
    encoded(|into| append_entry(entry, into))
}

fn append_entry(entry: &Entry, into: &mut BytesMut) {
    let sequence = entry.sequence;
    let event = match &entry.event {
        Event::Signal { from, signal, .. } => return hot::signal(entry, *from, signal, into),
        Event::Created(info) => join_response::Event::ConnectionCreated(proto::ConnectionCreated {
            sequence,
            connection: Some(to_connection(info, false)),
        }),
        Event::Destroyed(id, reason) => join_response::Event::ConnectionDestroyed(proto::ConnectionDestroyed {
            sequence,
            connection_id: id.to_string(),
            reason: to_disconnect_reason(*reason).into(),
        }),
        Event::Interrupted(id) => join_response::Event::ConnectionInterrupted(proto::ConnectionInterrupted {
            sequence,
            connection_id: id.to_string(),
        }),
        Event::Restored(id) => join_response::Event::ConnectionRestored(proto::ConnectionRestored {
            sequence,
            connection_id: id.to_string(),
        }),
    };
    append(event, into);
}

fn append_outcome(result: &SendResult, into: &mut BytesMut) {
    match &result.outcome {
        Ok(accepted) if accepted.not_connected.is_empty() => hot::accepted(result.send_id, accepted.sequence, into),
        _ => append(join_response::Event::SendResult(to_send_result(result)), into),
    }
}

pub(super) fn to_send_result(result: &SendResult) -> proto::SendResult {
    let outcome = match &result.outcome {
        Ok(accepted) => send_result::Outcome::Accepted(proto::Accepted {
            sequence: accepted.sequence,
            not_connected_ids: to_names(&accepted.not_connected),
        }),
        Err(refusal) => send_result::Outcome::Error(to_send_error(refusal)),
    };
    proto::SendResult { send_id: result.send_id, outcome: Some(outcome) }
}

pub(super) fn heartbeat(sequence: Sequence) -> Bytes {
    frame(join_response::Event::Heartbeat(proto::Heartbeat { sequence }))
}

pub(super) fn closing(farewell: &Farewell) -> Bytes {
    let action = match farewell.action() {
        ClientAction::Resume => proto::ClientAction::Resume,
        ClientAction::Rejoin => proto::ClientAction::Rejoin,
        ClientAction::Stop => proto::ClientAction::Stop,
    };
    frame(join_response::Event::Closing(proto::Closing {
        reason: farewell.ending.reason().map_or_else(String::new, |reason| reason.name().to_owned()),
        action: action.into(),
        retry_after: farewell.retry_after.map(waiting).map(to_duration),
    }))
}

/// Everything that a client gets before any event, encoded as it is taken.
pub(super) fn preamble(admission: Admission, limits: &Limits) -> Preamble {
    let Admission { snapshot, restated, missed, .. } = &admission;
    let (snapshot, restated, missed) = (snapshot.clone(), restated.clone(), missed.clone());
    let mut pages = Pages { rest: snapshot.into_iter().peekable() };
    let connections = pages.next_page();
    let joined = join_response::Event::Joined(proto::Joined {
        outcome: match admission.outcome {
            Outcome::New => proto::JoinOutcome::New,
            Outcome::Resumed => proto::JoinOutcome::Resumed,
            Outcome::ResumedWithGap => proto::JoinOutcome::ResumedWithGap,
        }
        .into(),
        connection: Some(to_connection(&admission.info, false)),
        connections,
        epoch: admission.epoch,
        sequence: admission.sequence,
        resume_token: admission.token.reveal().to_owned(),
        resume_window: Some(to_duration(admission.window)),
        last_send_id: admission.last_send_id,
        limits: Some(to_limits(limits)),
        more_connections: pages.more(),
    });
    let results = restated.into_iter().map(|result| encoded(|into| append_outcome(&result, into)));
    let events = missed.into_iter().map(|missed| entry(&missed));
    Box::new(std::iter::once(frame(joined)).chain(pages).chain(results).chain(events))
}

/// How many bytes of memory a preamble takes, or keeps from being freed, until
/// it is read.
pub(super) fn preamble_held(admission: &Admission) -> usize {
    let named = |result: &SendResult| match &result.outcome {
        Ok(accepted) => accepted.not_connected.iter().map(Named::size).sum(),
        Err(refusal) => refusal.message.len(),
    };
    mem::size_of_val(&*admission.snapshot)
        + mem::size_of_val(&*admission.restated)
        + admission.restated.iter().map(named).sum::<usize>()
        + admission.missed.held()
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(&mut bytes);
    bytes.freeze()
}

/// The rest of a snapshot, page by page.
struct Pages {
    rest: std::iter::Peekable<std::vec::IntoIter<ConnectionView>>,
}

impl Pages {
    fn more(&mut self) -> bool {
        self.rest.peek().is_some()
    }

    fn next_page(&mut self) -> Vec<proto::Connection> {
        let mut page = Vec::new();
        let mut bytes = 0;
        while let Some(view) = self.rest.peek() {
            let connection = to_connection_view(view);
            // Tag and length come on top: never more than ten bytes.
            bytes += connection.encoded_len() + 10;
            if bytes > SNAPSHOT_PAGE_BYTES && !page.is_empty() {
                break;
            }
            page.push(connection);
            self.rest.next();
        }
        page
    }
}

impl Iterator for Pages {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.more().then(|| {
            let connections = self.next_page();
            frame(join_response::Event::ConnectionsPage(proto::ConnectionsPage { connections, more: self.more() }))
        })
    }
}

fn to_connection(info: &ConnectionInfo, interrupted: bool) -> proto::Connection {
    let role = match info.role {
        Role::Subscriber => proto::Role::Subscriber,
        Role::Publisher => proto::Role::Publisher,
        Role::Moderator => proto::Role::Moderator,
    };
    let state = if interrupted { proto::ConnectionState::Interrupted } else { proto::ConnectionState::Connected };
    proto::Connection {
        connection_id: info.id.to_string(),
        created_at: Some(info.created_at.into()),
        data: info.data.clone(),
        role: role.into(),
        state: state.into(),
    }
}

pub(super) fn to_connection_view(view: &ConnectionView) -> proto::Connection {
    to_connection(&view.info, view.interrupted)
}

pub(super) fn to_disconnect_reason(reason: DisconnectReason) -> proto::DisconnectReason {
    match reason {
        DisconnectReason::ClientDisconnected => proto::DisconnectReason::ClientDisconnected,
        DisconnectReason::ForceDisconnected => proto::DisconnectReason::ForceDisconnected,
        DisconnectReason::NetworkDisconnected => proto::DisconnectReason::NetworkDisconnected,
        DisconnectReason::SlowConsumer => proto::DisconnectReason::SlowConsumer,
        DisconnectReason::NodeLost => proto::DisconnectReason::NodeLost,
        DisconnectReason::TokenExpired => proto::DisconnectReason::TokenExpired,
    }
}

pub(super) fn to_names(named: &[Named]) -> Vec<String> {
    named.iter().map(ToString::to_string).collect()
}

fn to_send_error(refusal: &Refusal) -> proto::SendError {
    proto::SendError {
        code: refusal.reason.code() as i32,
        reason: refusal.reason.name().to_owned(),
        message: refusal.message.clone(),
        field: refusal.field.unwrap_or_default().to_owned(),
        retry_after: refusal.retry_after.map(waiting).map(to_duration),
    }
}

fn to_limits(limits: &Limits) -> proto::Limits {
    let count = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    proto::Limits {
        max_data_bytes: count(MAX_DATA_BYTES),
        max_type_bytes: count(MAX_TYPE_BYTES),
        max_recipients: count(limits.max_recipients),
        max_unresolved_sends: count(limits.max_unresolved_sends),
        signals_per_second: limits.signals_per_second,
        signal_burst: limits.signal_burst,
        heartbeat_interval: Some(to_duration(limits.heartbeat_interval)),
    }
}

fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// A time to wait in whole milliseconds, up: no client's timer is finer, and
/// some would take less for nothing.
pub(super) fn waiting(time: Duration) -> Duration {
    let millis = time.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        domain::{ConnectionId, RESUME_TOKEN_BYTES, ResumeToken},
        session::{Handle, Missed},
    };

    #[test]
    fn a_time_to_wait_is_never_less_than_was_meant_and_never_nothing() {
        for (nanos, millis) in [(0, 0), (1, 1), (513, 1), (1_000_000, 1), (1_000_001, 2), (20_000_000, 20)] {
            assert_eq!(waiting(Duration::from_nanos(nanos)), Duration::from_millis(millis));
        }
        assert!(waiting(Duration::MAX) > Duration::from_secs(1 << 50));
        let refusal = Refusal::new(crate::domain::Reason::RateLimited, "why").retry_after(Duration::from_nanos(513));
        assert_eq!(to_send_error(&refusal).retry_after.unwrap().nanos, 1_000_000);
    }

    fn read(frame: &Bytes) -> join_response::Event {
        assert_eq!(frame[0], 0);
        let length = u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize;
        assert_eq!(frame.len(), PREFIX_BYTES + length);
        proto::JoinResponse::decode(&frame[PREFIX_BYTES..]).unwrap().event.unwrap()
    }

    fn admission(connections: usize) -> Admission {
        let info = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            Arc::new(ConnectionInfo {
                id: ConnectionId::from_random(bytes),
                created_at: SystemTime::UNIX_EPOCH,
                data: "d".repeat(1_000),
                role: Role::Publisher,
            })
        };
        Admission {
            handle: Handle { connection: info(0).id, generation: 1 },
            outcome: Outcome::New,
            info: info(0),
            snapshot: (0..connections).map(|n| ConnectionView { info: info(n), interrupted: n % 2 == 1 }).collect(),
            epoch: 1,
            sequence: 5,
            token: ResumeToken::from_random([0; RESUME_TOKEN_BYTES]),
            window: Duration::from_secs(3),
            last_send_id: 0,
            restated: Vec::new(),
            missed: Missed::default(),
        }
    }

    #[test]
    fn a_large_snapshot_comes_in_pages_of_256_kib() {
        let frames: Vec<Bytes> = preamble(admission(1_000), &Limits::default()).collect();
        assert_eq!(frames.len(), 5);
        assert!(frames.iter().all(|frame| frame.len() < SNAPSHOT_PAGE_BYTES + 1_024));
        let join_response::Event::Joined(joined) = read(&frames[0]) else { panic!("Joined comes first") };
        assert!(joined.more_connections);
        let mut all = joined.connections;
        for (at, frame) in frames.iter().enumerate().skip(1) {
            let join_response::Event::ConnectionsPage(page) = read(frame) else { panic!("then pages") };
            assert_eq!(page.more, at < frames.len() - 1);
            all.extend(page.connections);
        }
        let expected: Vec<_> = admission(1_000).snapshot.iter().map(to_connection_view).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_small_snapshot_is_in_joined() {
        let frames: Vec<Bytes> = preamble(admission(3), &Limits::default()).collect();
        assert_eq!(frames.len(), 1);
        let join_response::Event::Joined(joined) = read(&frames[0]) else { panic!("Joined comes first") };
        assert!(!joined.more_connections);
        assert_eq!(joined.connections.len(), 3);
        assert_eq!(joined.connections[1].state(), proto::ConnectionState::Interrupted);
    }

    /// Two messages because each call's answers have one of their own; on the wire they are one.
    #[test]
    fn what_a_subscribe_is_told_is_what_a_join_is_told() {
        use prost_types::FileDescriptorSet;

        let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let fields = |name: &str| {
            let messages = set.file.iter().flat_map(|file| &file.message_type);
            let message = messages.clone().find(|message| message.name() == name).expect(name);
            let fields = message.field.iter().map(|field| (field.number(), field.name(), field.type_name()));
            (fields.collect::<Vec<_>>(), message.oneof_decl.len())
        };
        assert_eq!(fields("JoinResponse").0.len(), 10);
        assert_eq!(fields("SubscribeResponse"), fields("JoinResponse"));
        let [request] = &fields("SubscribeRequest").0[..] else { panic!("more than a join") };
        assert!(fields("JoinRequest").0.contains(request));
    }
}
