//! What clients ask for, parsed: from here on everything is valid.

use std::time::Duration;

use crate::{
    domain::{ConnectionId, IdempotencyKey, Limits, Reason, Recipients, Refusal, ResumeToken, Signal, SignalTypes},
    proto,
    session::{Resume, ServerSend, View},
};

use super::wire::Send;

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

fn signal(signal: Option<proto::Signal>) -> Result<Signal, Refusal> {
    let signal = signal.ok_or_else(no_signal)?;
    Signal::parse(signal.r#type, signal.data)
}

fn no_signal() -> Refusal {
    Refusal::new(Reason::FrameInvalid, "the send has no signal; it must be set").field("signal")
}

fn recipients(to: Option<proto::Recipients>, limits: &Limits) -> Result<Option<Recipients>, Refusal> {
    to.map(|to| Recipients::parse(to.connection_ids, limits)).transpose()
}

/// What a client sends, and to whom.
pub(super) type Attempt = Result<(Signal, Option<Recipients>), Refusal>;

pub(super) fn send(send: proto::SendSignal, limits: &Limits) -> Attempt {
    Ok((signal(send.signal)?, recipients(send.to, limits)?))
}

/// The same of one that was read by hand.
pub(super) fn read_send(send: Send<'_>, limits: &Limits) -> Attempt {
    let (kind, data) = send.signal.ok_or_else(no_signal)?;
    let signal = Signal::parse(kind.to_owned(), data.to_owned())?;
    Ok((signal, send.to.map(|named| Recipients::new(named, limits)).transpose()?))
}

pub(super) fn server_send(request: proto::SendFromServerRequest, limits: &Limits) -> Result<ServerSend, Refusal> {
    Ok(ServerSend {
        signal: signal(request.signal)?,
        to: recipients(request.to, limits)?,
        key: IdempotencyKey::parse(&request.idempotency_key)?,
    })
}
