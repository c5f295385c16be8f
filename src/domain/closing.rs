//! Why streams and connections end, and what a client does next.

use super::{Code, Reason};

/// Why a connection is gone for good, as the others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// It left.
    ClientDisconnected,
    /// A moderator or a backend disconnected it.
    ForceDisconnected,
    /// Its stream broke and it didn't resume in time.
    NetworkDisconnected,
    /// It read too slowly and had no window.
    SlowConsumer,
    /// Its node died and it didn't resume elsewhere in time.
    NodeLost,
    /// Its token's lifetime was over.
    TokenExpired,
}

/// What a client should do after its stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAction {
    /// Join with `resume`.
    Resume,
    /// Join anew.
    Rejoin,
    /// Don't come back by itself.
    Stop,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The client left.
    Left,
    /// The stream broke: nobody is there to be told.
    Broken,
    /// A frame was wrong, or the join was refused.
    Refused(Reason),
    /// The outbox overflowed.
    SlowConsumer,
    /// The connection was resumed on another stream.
    TakenOver,
    /// Somebody disconnected the connection.
    ForceDisconnected,
    /// This node shuts down.
    GoingAway,
}

impl Ending {
    /// The reason the client is told; none when the stream ends well.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Left | Self::Broken => None,
            Self::Refused(reason) => Some(reason),
            Self::SlowConsumer => Some(Reason::SlowConsumer),
            Self::TakenOver => Some(Reason::ConnectionTakenOver),
            Self::ForceDisconnected => Some(Reason::ForceDisconnected),
            Self::GoingAway => Some(Reason::GoingAway),
        }
    }

    /// What the client should do next; `resumable` says whether its connection
    /// outlives the stream.
    #[must_use]
    pub fn action(self, resumable: bool) -> ClientAction {
        match self {
            Self::Left | Self::Broken | Self::TakenOver | Self::ForceDisconnected => ClientAction::Stop,
            // What the client did wrong it would do again; a full server or a
            // lost engine may be better later.
            // With another token.
            Self::Refused(Reason::TokenExpired) => ClientAction::Rejoin,
            Self::Refused(Reason::EngineUnavailable) if resumable => ClientAction::Resume,
            Self::Refused(reason) => match reason.code() {
                Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => ClientAction::Rejoin,
                _ => ClientAction::Stop,
            },
            // The contract promises RESUME to a slow reader; without a window
            // the resume finds nothing and joins anew, which is right too.
            Self::SlowConsumer => ClientAction::Resume,
            Self::GoingAway if resumable => ClientAction::Resume,
            Self::GoingAway => ClientAction::Rejoin,
        }
    }

    /// The name, for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "LEFT",
            Self::Broken => "BROKEN",
            other => other.reason().map_or("OK", Reason::name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_does_next() {
        assert_eq!(Ending::SlowConsumer.action(true), ClientAction::Resume);
        assert_eq!(Ending::GoingAway.action(true), ClientAction::Resume);
        assert_eq!(Ending::GoingAway.action(false), ClientAction::Rejoin);
        assert_eq!(Ending::TakenOver.action(true), ClientAction::Stop);
        assert_eq!(Ending::Refused(Reason::EngineUnavailable).action(true), ClientAction::Resume);
        assert_eq!(Ending::Refused(Reason::EngineUnavailable).action(false), ClientAction::Rejoin);
        assert_eq!(Ending::Refused(Reason::ServerFull).action(false), ClientAction::Rejoin);
        assert_eq!(Ending::Refused(Reason::TokenExpired).action(true), ClientAction::Rejoin);
        assert_eq!(Ending::Refused(Reason::TokenInvalid).action(true), ClientAction::Stop);
        assert_eq!(Ending::Refused(Reason::FrameInvalid).action(true), ClientAction::Stop);
    }
}
