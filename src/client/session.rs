//! The application's side of a session.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use super::{Accepted, Connection, Event, Received, SendError, Signal, driver::Shared, machine::Wanted};

/// A member of a session. Cheap to clone; when the last clone is dropped it
/// leaves, as by [`leave`](Self::leave).
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    // Counts the clones.
    _held: Arc<Held>,
}

struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.ask(|machine, now| machine.leave(now));
    }
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let held = Arc::new(Held(Arc::clone(&shared)));
        Self { shared, _held: held }
    }

    /// This client's own id. After a reconnect that could not resume it is
    /// another, see [`Event::Reconnected`].
    #[must_use]
    pub fn connection_id(&self) -> String {
        self.shared.drive(|machine, _| machine.connection_id().to_owned())
    }

    /// Who is in the session, this client too, in the order of joining: always
    /// what the events that were taken say. If nobody takes events, because
    /// [`Events`] was dropped, it follows by itself.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions};
    ///
    /// # example::serving(async |url| {
    /// let (session, _events) = Client::new([url])?.join(JoinOptions::new("demo").connection_data("Ada")).await?;
    /// let there: Vec<_> = session.connections().into_iter().map(|one| one.data).collect();
    /// assert_eq!(there, ["Ada"]);
    /// # Ok(())
    /// # });
    /// ```
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.view(|view| view.connections().to_vec())
    }

    /// Sends a signal: the call puts it in order after all sends before it, and
    /// the future tells its outcome.
    ///
    /// It is sent at once if it can be, else as soon as the connection is back
    /// and the server's rate limit allows. Dropping the future changes nothing
    /// about that: the signal is sent all the same, and only its outcome is
    /// not told.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions, SendError, Signal};
    ///
    /// # example::serving(async |url| {
    /// let (session, _events) = Client::new([url])?.join(JoinOptions::new("demo")).await?;
    /// // Both are on their way, in this order, before the first has its outcome.
    /// let first = session.signal(Signal::new("chat", "one"));
    /// let second = session.signal(Signal::new("chat", "two"));
    /// assert!(first.await?.sequence < second.await?.sequence);
    ///
    /// let Err(SendError::Refused(refusal)) = session.signal(Signal::new("no type", "")).await else { panic!("refused") };
    /// assert_eq!(refusal.reason, "SIGNAL_TYPE_INVALID");
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// The future's: see [`SendError`]. A signal over a limit is refused here,
    /// with the reason that the server would give.
    pub fn signal(&self, signal: Signal) -> Outcome {
        self.send(Wanted::Signal(signal))
    }

    /// Disconnects another connection of the session, for good; for moderators.
    /// In order with the signals, and with an outcome as they have.
    ///
    /// # Errors
    /// The future's: `Refused` with `ROLE_FORBIDS` or `CONNECTION_NOT_FOUND`,
    /// or as for [`signal`](Self::signal).
    pub fn force_disconnect(&self, connection_id: impl Into<String>) -> Outcome {
        self.send(Wanted::Disconnect(connection_id.into()))
    }

    fn send(&self, wanted: Wanted) -> Outcome {
        let (ticket, outcome) = oneshot::channel();
        if let Err((ticket, error)) = self.shared.ask(|machine, now| machine.send(wanted, ticket, now)) {
            // The other end is in hand.
            let _ = ticket.send(Err(error));
        }
        Outcome(outcome)
    }

    /// The signals of one type from here on, beside [`Events`], which has them
    /// too. Take them or drop the stream: once 1,024 wait in it, this client
    /// reads nothing more until they are taken.
    ///
    /// To have the server send only some types at all, see
    /// [`JoinOptions::signal_types`](super::JoinOptions::signal_types).
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shared/serving.rs")); }
    /// use signalbox::client::{Client, JoinOptions, Signal};
    ///
    /// # example::serving(async |url| {
    /// let (session, _events) = Client::new([url])?.join(JoinOptions::new("demo")).await?;
    /// let mut chat = session.on_type("chat");
    /// session.signal(Signal::new("typing", "")).await?;
    /// session.signal(Signal::new("chat", "hello")).await?;
    /// assert_eq!(chat.next().await.map(|signal| signal.data).as_deref(), Some("hello"));
    /// # Ok(())
    /// # });
    /// ```
    #[must_use]
    pub fn on_type(&self, kind: impl Into<String>) -> Signals {
        Signals(self.shared.filter(kind.into()))
    }

    /// Leaves once every send has its outcome, and comes back when it is out,
    /// for whatever reason. Sends from here on fail with [`SendError::Over`].
    pub async fn leave(&self) {
        self.shared.ask(|machine, now| machine.leave(now));
        self.shared.over.cancelled().await;
    }

    /// Leaves without what was not sent yet, and comes back when it is out.
    /// While disconnected nobody can be told: the others see this client go
    /// when its resume window is over.
    pub async fn leave_now(&self) {
        self.shared.ask(|machine, now| machine.leave_now(now));
        self.shared.over.cancelled().await;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("connection_id", &self.connection_id()).finish_non_exhaustive()
    }
}

/// The outcome of a send, once it is known. Nothing hangs on it: dropped, the
/// send goes its way all the same.
#[derive(Debug)]
pub struct Outcome(oneshot::Receiver<Result<Accepted, SendError>>);

impl Future for Outcome {
    type Output = Result<Accepted, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Whoever would tell it is never gone before it is told.
        Pin::new(&mut self.0).poll(context).map(|told| told.unwrap_or(Err(SendError::Unknown)))
    }
}

/// What happens in a session, in order. A [`Stream`], too.
///
/// Take the events: once 1,024 wait, this client reads nothing more until they
/// are taken, sees no outcomes either, and the server may close it as a slow
/// reader, whereupon it comes back as soon as events are taken again. An
/// application that wants none drops this.
pub struct Events {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) shared: Arc<Shared>,
}

impl Events {
    /// The next event; none after [`Event::Disconnected`].
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = std::task::ready!(self.events.poll_recv(context));
        if let Some(event) = &event {
            self.shared.view(|view| view.apply(event));
        }
        Poll::Ready(event)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // What waits is told to the view, which follows by itself from here on.
        self.shared.view(|view| {
            self.events.close();
            while let Ok(event) = self.events.try_recv() {
                view.apply(&event);
            }
        });
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// The signals of one type. A [`Stream`], too.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<Received>);

impl Signals {
    /// The next signal; none when the client is out of the session.
    pub async fn next(&mut self) -> Option<Received> {
        self.0.recv().await
    }
}

impl Stream for Signals {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received>> {
        self.0.poll_recv(context)
    }
}
