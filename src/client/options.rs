//! How to join, and what to send.

use std::time::Duration;

use prost::Message as _;

use crate::{
    domain::{Limits, Recipients, Signal as Checked},
    proto,
};

use super::Refusal;

/// How long a connection may live on without a stream, unless told otherwise:
/// long enough for a phone to change networks.
const RESUME_WINDOW: Duration = Duration::from_secs(60);

/// How much may wait to be sent, unless told otherwise.
const QUEUE: (usize, usize) = (1_024, 1_048_576);

/// Which session to join, and how.
///
/// ```
/// use std::time::Duration;
///
/// use signalbox::client::JoinOptions;
///
/// let options = JoinOptions::new("demo")
///     .connection_data("Ada")
///     .signal_types(["chat"])
///     .resume_window(Duration::from_secs(120));
/// ```
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub(super) join: proto::Join,
    pub(super) queue: (usize, usize),
}

impl JoinOptions {
    /// A join of the session of this name: 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn new(session_id: impl Into<String>) -> Self {
        let join = proto::Join { session_id: session_id.into(), ..proto::Join::default() };
        Self { join, queue: QUEUE }.resume_window(RESUME_WINDOW)
    }

    /// What to tell the others about this client, at most 1,000 bytes.
    #[must_use]
    pub fn connection_data(mut self, data: impl Into<String>) -> Self {
        self.join.connection_data = data.into();
        self
    }

    /// How long the connection shall live on without a stream: 60 s unless
    /// told otherwise; the server grants at most its own maximum. With zero,
    /// every loss of the stream is a gap.
    #[must_use]
    pub fn resume_window(mut self, window: Duration) -> Self {
        self.join.resume_window = (!window.is_zero()).then(|| window.try_into().unwrap_or_default());
        self
    }

    /// The only types of signals that the server shall send here, at most 32;
    /// none: all types. The empty type stands for signals without one.
    #[must_use]
    pub fn signal_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.join.signal_types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Don't be told who comes and goes: the view of who is in the session
    /// then holds only this client.
    #[must_use]
    pub fn suppress_connection_events(mut self, suppress: bool) -> Self {
        self.join.suppress_connection_events = suppress;
        self
    }

    /// Don't receive this client's own signals.
    #[must_use]
    pub fn suppress_own_signals(mut self, suppress: bool) -> Self {
        self.join.suppress_own_signals = suppress;
        self
    }

    /// How much may wait to be sent, while disconnected or while the server's
    /// rate limit asks for patience: sends, and bytes of type, data and
    /// recipients. 1,024 and 1 MiB unless told otherwise. What is over it
    /// fails with [`SendError::QueueFull`](super::SendError::QueueFull).
    #[must_use]
    pub fn queue(mut self, sends: usize, bytes: usize) -> Self {
        self.queue = (sends, bytes);
        self
    }
}

/// A signal to send: to everyone, unless [`to`](Self::to) names some.
#[derive(Clone, PartialEq)]
pub struct Signal {
    pub(super) signal: proto::Signal,
    pub(super) to: Option<proto::Recipients>,
    pub(super) retry: bool,
}

impl Signal {
    /// A signal of a type (at most 128 bytes of `A-Z a-z 0-9 - _ ~`) with data
    /// (at most 8,192 bytes of UTF-8). Both may be empty. Neither is checked
    /// here: a bad one is refused when it is sent, with the server's reason.
    #[must_use]
    pub fn new(kind: impl Into<String>, data: impl Into<String>) -> Self {
        Self { signal: proto::Signal { r#type: kind.into(), data: data.into() }, to: None, retry: true }
    }

    /// Only these connections get it, at most 100. An empty list is refused, so
    /// that a filter that found nobody never turns into a broadcast.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions, Signal};
    ///
    /// # example::serving(async |url| {
    /// let client = Client::new([url])?;
    /// let (ada, _) = client.join(JoinOptions::new("demo")).await?;
    /// let (bob, _) = client.join(JoinOptions::new("demo")).await?;
    /// let gone = "00000000-0000-4000-8000-000000000000";
    /// let accepted = ada.signal(Signal::new("chat", "psst").to([bob.connection_id(), gone.into()])).await?;
    /// assert_eq!(accepted.not_connected_ids, [gone]);
    /// # Ok(())
    /// # });
    /// ```
    #[must_use]
    pub fn to<T: Into<String>>(mut self, connection_ids: impl IntoIterator<Item = T>) -> Self {
        let connection_ids = connection_ids.into_iter().map(Into::into).collect();
        self.to = Some(proto::Recipients { connection_ids });
        self
    }

    /// Whether a signal that can't be sent now, because the client is
    /// disconnected, waits for the reconnect (OpenTok's `retryAfterReconnect`).
    /// Yes, unless told otherwise. With `false` it fails at once with
    /// [`SendError::Disconnected`](super::SendError::Disconnected) and is never
    /// sent later.
    #[must_use]
    pub fn retry_after_reconnect(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Checks it as the server will.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        Checked::parse(self.signal.r#type.clone(), self.signal.data.clone())?;
        if let Some(to) = &self.to {
            Recipients::parse(to.connection_ids.clone(), limits)?;
        }
        Ok(())
    }

    /// What it weighs in the queue.
    pub(super) fn bytes(&self) -> usize {
        self.signal.encoded_len() + self.to.as_ref().map_or(0, prost::Message::encoded_len)
    }
}

/// Never shows the data: signals may carry secrets, and `Debug` ends in logs.
impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signal")
            .field("kind", &self.signal.r#type)
            .field("data", &format_args!("{} bytes", self.signal.data.len()))
            .field("to", &self.to.as_ref().map(|to| &to.connection_ids))
            .field("retry_after_reconnect", &self.retry)
            .finish()
    }
}

/// The outcome of a send that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// Its place in the session's order.
    pub sequence: u64,
    /// Which life of the session the place is of.
    pub epoch: u64,
    /// The recipients that are not connected; the others get it.
    pub not_connected_ids: Vec<String>,
}
