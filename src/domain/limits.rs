//! The numbers that bound everything a client can ask for.

use std::time::Duration;

/// The most bytes of a signal's data. Not settable: every client may rely on
/// it. Source: OpenTok's signaling API.
pub const MAX_DATA_BYTES: usize = 8_192;

/// The most bytes of a signal's type. Not settable. Source: OpenTok's
/// signaling API.
pub const MAX_TYPE_BYTES: usize = 128;

/// The most bytes of one request message; over it the stream ends.
pub const MAX_FRAME_BYTES: usize = 64 * 1_024;

/// The most bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;

/// The limits that can be set. For every count, 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a session id.
    pub max_session_id_bytes: usize,
    /// Bytes of `Join.connection_data`.
    pub max_connection_data_bytes: usize,
    /// Ids in `Recipients`.
    pub max_recipients: usize,
    /// Types in `Join.signal_types`.
    pub max_signal_types: usize,
    /// Sends of one connection whose outcome it hasn't taken yet.
    pub max_unresolved_sends: usize,
    /// Sustained signals per second of one connection.
    pub signals_per_second: u32,
    /// Signals at once after a pause.
    pub signal_burst: u32,
    /// Connections in one session.
    pub max_connections_per_session: usize,
    /// Events in a session's log.
    pub log_events: usize,
    /// Bytes in a session's log.
    pub log_bytes: usize,
    /// Events in a connection's outbox.
    pub outbox_events: usize,
    /// Bytes in a connection's outbox.
    pub outbox_bytes: usize,
    /// Bytes that all sessions together spend on signals: logs, outboxes, and
    /// what was decided, for those that ask again.
    pub memory_for_signals: usize,
    /// The longest resume window granted; zero grants none.
    pub max_resume_window: Duration,
    /// The silence after which a heartbeat is sent.
    pub heartbeat_interval: Duration,
    /// How long a client may take nothing of what waits for it.
    pub reader_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_session_id_bytes: 255,
            max_connection_data_bytes: 1_000,
            max_recipients: 100,
            max_signal_types: 32,
            max_unresolved_sends: 1_024,
            signals_per_second: 50,
            signal_burst: 100,
            max_connections_per_session: 10_000,
            log_events: 1_000,
            log_bytes: 1_048_576,
            outbox_events: 1_024,
            outbox_bytes: 1_048_576,
            memory_for_signals: 1_073_741_824,
            max_resume_window: Duration::from_secs(120),
            heartbeat_interval: Duration::from_secs(25),
            reader_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Whether `count` is over `limit`, where 0 is no limit.
    #[must_use]
    pub fn exceeds(&self, count: usize, limit: usize) -> bool {
        limit != 0 && count > limit
    }
}
