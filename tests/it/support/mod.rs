//! A server on a real port, and clients of it.
//!
//! Nothing here sleeps to wait for something: every wait is for an event, and
//! an event that doesn't come in time fails the test with what was missing.

mod expect;
mod join;
mod member;
mod peers;
mod process;
mod raw;
#[path = "../../shared/redis.rs"]
pub(crate) mod redis;
mod relay;
mod server;
mod stuck;

use std::time::Duration;

pub(crate) use expect::{Wrong, reason_of, retry_of};
pub(crate) use join::JoinBuilder;
pub(crate) use member::{End, Member};
pub(crate) use peers::{Lossy, Peer};
pub(crate) use process::Process;
pub(crate) use raw::{Raw, RawStream, framed, prefixed};
pub(crate) use relay::Relay;
pub(crate) use server::{TestServer, http_get};
pub(crate) use stuck::Stuck;

pub(crate) use signalbox::proto::{self, join_request::Frame, join_response::Event};

/// How long anything may take. Generous, because machines are shared; a test
/// that passes never waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// What `wanted` names, unless it takes too long.
pub(crate) async fn soon<T>(wanted: &str, coming: impl Future<Output = T>) -> T {
    within(DEADLINE, wanted, coming).await
}

/// What `wanted` names, unless it takes longer than `most`.
pub(crate) async fn within<T>(most: Duration, wanted: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(most, coming).await {
        Ok(come) => come,
        Err(_) => panic!("{wanted}: not within {most:?}"),
    }
}

/// A frame that broadcasts a signal.
pub(crate) fn broadcast(send_id: u64, kind: &str, data: &str) -> Frame {
    Frame::Send(proto::SendSignal { send_id, signal: Some(signal(kind, data)), to: None })
}

/// A frame that sends a signal to some.
pub(crate) fn addressed(send_id: u64, data: &str, to: &[&str]) -> Frame {
    Frame::Send(proto::SendSignal { send_id, signal: Some(signal("", data)), to: Some(recipients(to)) })
}

pub(crate) fn signal(kind: &str, data: &str) -> proto::Signal {
    proto::Signal { r#type: kind.into(), data: data.into() }
}

pub(crate) fn recipients(ids: &[&str]) -> proto::Recipients {
    proto::Recipients { connection_ids: ids.iter().map(ToString::to_string).collect() }
}

/// A request for a server signal to everyone.
pub(crate) fn from_server(session: &str, data: &str) -> proto::SendFromServerRequest {
    proto::SendFromServerRequest {
        session_id: session.into(),
        signal: Some(signal("", data)),
        ..proto::SendFromServerRequest::default()
    }
}

/// A request that shows a token.
pub(crate) fn shown<T>(message: T, token: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// A join of a session, with everything else unset.
pub(crate) fn plain_join(session: &str) -> proto::Join {
    proto::Join { session_id: session.into(), ..proto::Join::default() }
}

/// A duration as a message.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().try_into().unwrap(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// A duration out of a message.
pub(crate) fn from_wire(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap()
}
