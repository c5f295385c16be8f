//! Who may do what. Layer 2: imports the domain only.
//!
//! This version runs open: whoever reaches the port may do everything, which
//! is why the server binds only loopback addresses unless told otherwise.

use http::HeaderMap;

use crate::domain::{Refusal, Role, SessionId};

/// What decides whether a call may be made.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Everyone may do everything: for development.
    Open,
}

/// What a join is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The connection's role.
    pub role: Role,
}

impl Gate {
    /// Whether the caller with this metadata may join a session, and as what.
    ///
    /// # Errors
    /// Open, none.
    pub fn join(&self, _metadata: &HeaderMap, _session: &SessionId) -> Result<Grant, Refusal> {
        match self {
            Self::Open => Ok(Grant { role: Role::Moderator }),
        }
    }

    /// Whether the caller with this metadata may call what is for backends.
    ///
    /// # Errors
    /// Open, none.
    pub fn serve(&self, _metadata: &HeaderMap) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
        }
    }
}
