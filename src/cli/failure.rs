//! Why a command failed, as its exit code and what standard error says.

use std::{io, process::ExitCode};

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::client::{CallError, ConnectError};

/// A failed command.
#[derive(Debug)]
pub(super) enum Failure {
    /// Refused, or unreachable: exit code 1.
    Refused(String),
    /// Nobody reads the output any more: as if it had ended well.
    OutputClosed,
}

impl Failure {
    /// Says why on standard error, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Refused(why) => {
                eprintln!("signalbox: {why}");
                ExitCode::FAILURE
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(explain(&status))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Connect(error) => error.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let hint = match &error {
            ConnectError::Unreachable { .. } | ConnectError::ConnectionRefused { .. } => {
                "\n`signalbox` starts a server; --server names another."
            }
            _ => "",
        };
        Self::Refused(format!("{error}{hint}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// A status as `CODE / REASON: message`.
pub(super) fn explain(status: &Status) -> String {
    let code = code_name(status.code());
    let message = status.message();
    let details = status.get_error_details();
    let waits = details.retry_info().and_then(|retry| retry.retry_delay);
    let wait = waits.map(|wait| format!(" (try again after {})", humantime::format_duration(wait))).unwrap_or_default();
    match details.error_info() {
        Some(info) => format!("{code} / {}: {message}{wait}", info.reason),
        None if message.is_empty() => format!("{code}: the connection to the server was lost"),
        None => format!("{code}: {message}{wait}"),
    }
}

/// A code's name as gRPC writes it: `NotFound` is `NOT_FOUND`.
fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_grpc_does() {
        assert_eq!(code_name(tonic::Code::NotFound), "NOT_FOUND");
        assert_eq!(code_name(tonic::Code::ResourceExhausted), "RESOURCE_EXHAUSTED");
        assert_eq!(code_name(tonic::Code::Ok), "OK");
    }
}
