//! What a backend sees of sessions: lists of them, and a watch.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use futures_util::{Stream, StreamExt, future::BoxFuture};
use tonic::Streaming;

use crate::proto::{self, watch_sessions_response::Event as Wire};

use super::{
    super::{CallError, ConnectError, Connection, DisconnectReason, connect::failed},
    Answer, Caller,
};

/// Items per call, unless told otherwise; the most that a server gives.
const PAGE_SIZE: u32 = 1_000;

/// A session, as a backend sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name.
    pub session_id: String,
    /// How many connections are in it, interrupted ones included.
    pub connection_count: u32,
    /// Which life of the session this is: another epoch is another order.
    pub epoch: u64,
    /// The newest place in its order.
    pub sequence: u64,
    /// When its first connection joined, by the server's clock.
    pub created_at: Option<SystemTime>,
}

impl From<proto::Session> for SessionInfo {
    fn from(wire: proto::Session) -> Self {
        Self {
            created_at: time(wire.created_at),
            session_id: wire.session_id,
            connection_count: wire.connection_count,
            epoch: wire.epoch,
            sequence: wire.sequence,
        }
    }
}

fn time(at: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    at.and_then(|at| SystemTime::try_from(at).ok())
}

/// A page, and what asks for the next; empty at the end.
type Page<T> = (Vec<T>, String);
type Fetch<T> = dyn Fn(Arc<Caller>, u32, String) -> BoxFuture<'static, Result<Page<T>, CallError>> + Send + Sync;

/// A list that comes in pages, each true at the time of its call. What is there
/// during the whole listing is listed exactly once.
#[must_use = "nothing is asked before a page is"]
pub struct Listing<T> {
    caller: Arc<Caller>,
    fetch: Box<Fetch<T>>,
    page_size: u32,
    /// What asks for the next page; none at the end.
    next: Option<String>,
}

impl<T> Listing<T> {
    pub(super) fn new(
        caller: Arc<Caller>,
        fetch: impl Fn(Arc<Caller>, u32, String) -> BoxFuture<'static, Result<Page<T>, CallError>> + Send + Sync + 'static,
    ) -> Self {
        Self { caller, fetch: Box::new(fetch), page_size: PAGE_SIZE, next: Some(String::new()) }
    }

    /// How many items a page has at most: 1 to 1,000, and 1,000 unless told
    /// otherwise.
    pub fn page_size(mut self, most: u32) -> Self {
        self.page_size = most.clamp(1, PAGE_SIZE);
        self
    }

    /// The next page; none after the last.
    ///
    /// # Errors
    /// `Refused` or `Connect`. The same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<T>>, CallError> {
        let Some(token) = self.next.clone() else { return Ok(None) };
        let (items, next) = (self.fetch)(Arc::clone(&self.caller), self.page_size, token).await?;
        self.next = (!next.is_empty()).then_some(next);
        Ok(Some(items))
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// As for [`next_page`](Self::next_page).
    pub async fn all(mut self) -> Result<Vec<T>, CallError> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

impl<T> std::fmt::Debug for Listing<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listing").field("page_size", &self.page_size).finish_non_exhaustive()
    }
}

/// What a watch sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A session exists: it just started, or was there when the watch began.
    SessionStarted {
        /// The session.
        session_id: String,
        /// Which life of the session this is.
        epoch: u64,
        /// When its first connection joined, by the server's clock.
        created_at: Option<SystemTime>,
    },
    /// A session's last connection is gone.
    SessionEnded {
        /// The session.
        session_id: String,
        /// Which life of the session it was.
        epoch: u64,
    },
    /// A connection is in a session: it just joined, or was there when the
    /// watch began.
    ConnectionCreated {
        /// The session.
        session_id: String,
        /// The place of its joining in the session's order.
        sequence: u64,
        /// The connection.
        connection: Connection,
    },
    /// A connection is gone from a session.
    ConnectionDestroyed {
        /// The session.
        session_id: String,
        /// The place of its departure in the session's order.
        sequence: u64,
        /// Who.
        connection_id: String,
        /// Why; `Unspecified` for a reason that this version doesn't know.
        reason: DisconnectReason,
    },
    /// Everything that was there has been told; what follows are changes.
    SnapshotComplete,
}

impl From<Wire> for WatchEvent {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::SessionStarted(started) => Self::SessionStarted {
                created_at: time(started.created_at),
                session_id: started.session_id,
                epoch: started.epoch,
            },
            Wire::SessionEnded(ended) => Self::SessionEnded { session_id: ended.session_id, epoch: ended.epoch },
            Wire::ConnectionCreated(created) => Self::ConnectionCreated {
                session_id: created.session_id,
                sequence: created.sequence,
                connection: created.connection.unwrap_or_default().into(),
            },
            Wire::ConnectionDestroyed(destroyed) => Self::ConnectionDestroyed {
                reason: destroyed.reason(),
                session_id: destroyed.session_id,
                sequence: destroyed.sequence,
                connection_id: destroyed.connection_id,
            },
            Wire::SnapshotComplete(_) => Self::SnapshotComplete,
        }
    }
}

/// Sessions and connections as they come and go. A [`Stream`], too; dropped, it
/// ends.
///
/// Take the events: the server ends a watch that is read too slowly with
/// `SLOW_CONSUMER`.
pub struct Watch {
    events: Option<Streaming<proto::WatchSessionsResponse>>,
    endpoint: String,
}

impl Watch {
    pub(super) fn new(opened: Answer<Streaming<proto::WatchSessionsResponse>>) -> Self {
        Self { events: Some(opened.answer), endpoint: opened.endpoint }
    }

    /// The next event; none after an error.
    ///
    /// # Errors
    /// Why the watch is over. It never ends otherwise, and never goes on by
    /// itself: what happened meanwhile would be missing. Watch again for a
    /// fresh view of what is there.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, CallError>> {
        StreamExt::next(self).await
    }

    fn ended(&self, status: Option<&tonic::Status>) -> CallError {
        let lost = || ConnectError::Lost { endpoint: self.endpoint.clone(), why: "the watch ended".to_owned() };
        match status.map_or_else(lost, |status| failed(&self.endpoint, status)) {
            ConnectError::Rejected(refusal) => CallError::Refused(refusal),
            error => CallError::Connect(error),
        }
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(events) = &mut self.events else { return Poll::Ready(None) };
            let error = match ready!(events.poll_next_unpin(context)) {
                Some(Ok(proto::WatchSessionsResponse { event: Some(event) })) => {
                    return Poll::Ready(Some(Ok(event.into())));
                }
                // What this version doesn't know is passed over.
                Some(Ok(_)) => continue,
                Some(Err(status)) => self.ended(Some(&status)),
                None => self.ended(None),
            };
            self.events = None;
            return Poll::Ready(Some(Err(error)));
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
