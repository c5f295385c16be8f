//! Why a command failed, as its exit code and what standard error says.

use std::{io, process::ExitCode};

use crate::client::{CallError, ConnectError};

/// A failed command.
#[derive(Debug)]
pub(super) enum Failure {
    /// Refused, or unreachable: exit code 1.
    Refused(String),
    /// Flags that don't go together: exit code 2.
    Usage(String),
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
            Self::Usage(wrong) => {
                eprintln!("error: {wrong}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
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
            ConnectError::Tls { why, .. } if why.contains("name its authority") => {
                "\n--ca FILE names an authority, whose certificate is in the file."
            }
            ConnectError::Tls { why, .. } if why.contains("wants a certificate") => {
                "\n--client-cert FILE and --client-key FILE are for that."
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
