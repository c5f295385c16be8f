//! What clients ask for, parsed: from here on everything is valid.

use std::time::Duration;

use crate::{
    domain::{
        ConnectionId, IdempotencyKey, Limits, Named, Reason, Recipients, Refusal, ResumeToken, Signal, SignalTypes,
    },
    proto,
    session::{Resume, ServerSend, View},
};

/// What a `join` frame says besides the session.
pub(super) struct Wish {
    pub(super) data: String,
    pub(super) window: Duration,
    pub(super) view: View,
    pub(super) resume: Option<Resume>,
}

pub(super) fn join(join: proto::Join, limits: &Limits) -> Result<Wish, Refusal> {
    Ok(Wish {
        // Held to its limit where it is taken: a resume ignores it.
        data: join.connection_data,
        window: join.resume_window.map(window).transpose()?.unwrap_or_default(),
        view: View {
            signal_types: SignalTypes::parse(join.signal_types, limits, "join.signal_types")?,
            suppress_connection_events: join.suppress_connection_events,
            suppress_own_signals: join.suppress_own_signals,
        },
        resume: join.resume.map(|resume| Resume {
            connection: ConnectionId::parse(&resume.connection_id),
            token: ResumeToken::presented(resume.resume_token),
            epoch: resume.epoch,
            last_sequence: resume.last_sequence,
            last_result_send_id: resume.last_result_send_id,
        }),
    })
}

fn window(window: prost_types::Duration) -> Result<Duration, Refusal> {
    let (seconds, nanos) = (window.seconds, window.nanos);
    Duration::try_from(window).map_err(|_| {
        Refusal::new(
            Reason::FrameInvalid,
            format!("the resume window is {seconds} s and {nanos} ns; it must not be negative"),
        )
        .field("join.resume_window")
    })
}

pub(super) fn signal(signal: Option<proto::Signal>) -> Result<Signal, Refusal> {
    let Some(signal) = signal else {
        return Err(Refusal::new(Reason::FrameInvalid, "the send has no signal; it must be set").field("signal"));
    };
    Signal::parse(signal.r#type, signal.data)
}

pub(super) fn recipients(to: Option<proto::Recipients>, limits: &Limits) -> Result<Option<Recipients>, Refusal> {
    to.map(|to| Recipients::parse(to.connection_ids, limits)).transpose()
}

pub(super) fn send(send: proto::SendSignal, limits: &Limits) -> Result<(Signal, Option<Recipients>), Refusal> {
    Ok((signal(send.signal)?, recipients(send.to, limits)?))
}

pub(super) fn server_send(request: proto::SendFromServerRequest, limits: &Limits) -> Result<ServerSend, Refusal> {
    Ok(ServerSend {
        signal: signal(request.signal)?,
        to: recipients(request.to, limits)?,
        key: IdempotencyKey::parse(&request.idempotency_key)?,
    })
}

pub(super) fn connection(id: String) -> Named {
    Named::read(id)
}
