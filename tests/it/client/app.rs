//! An application with a client.

use std::time::Duration;

use signalbox::client::{Action, Client, Connection, Event, Events, JoinOptions, Lost, Over, Received, Session};

use crate::support::{Relay, TestServer, soon};

/// A session's handle and its events.
pub(super) struct App {
    pub(super) session: Session,
    pub(super) events: Events,
}

/// What `Reconnected` says.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) gap: bool,
    pub(super) connection: Connection,
    pub(super) connections: Vec<Connection>,
    pub(super) epoch: u64,
}

/// What `Reconnected` says; nothing else may have come.
pub(super) fn back(event: Event) -> Back {
    match event {
        Event::Reconnected { gap, connection, connections, epoch, .. } => Back { gap, connection, connections, epoch },
        other => panic!("{other:?} instead of being back"),
    }
}

impl App {
    /// In the session `s`, with `Joined` taken.
    pub(super) async fn of(server: &TestServer) -> Self {
        let client = Client::new([server.address().to_string()]).unwrap();
        Self::join(&client, JoinOptions::new("s")).await
    }

    /// The same through a relay.
    pub(super) async fn through(relay: &Relay) -> Self {
        Self::join(&Self::impatient([relay.endpoint()]), JoinOptions::new("s")).await
    }

    /// A client that doesn't pause for long.
    pub(super) fn impatient<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> Client {
        let pauses = (Duration::from_millis(5), Duration::from_millis(50));
        Client::builder().endpoints(endpoints).back_off(pauses.0, pauses.1).build().unwrap()
    }

    pub(super) async fn join(client: &Client, options: JoinOptions) -> Self {
        let (session, events) = soon("a join", client.join(options)).await.unwrap();
        let mut app = Self { session, events };
        let event = app.next().await;
        let Event::Joined { connection, .. } = event else { panic!("{event:?} came first") };
        assert_eq!(connection.connection_id, app.id());
        app
    }

    pub(super) fn id(&self) -> String {
        self.session.connection_id()
    }

    /// The next event.
    pub(super) async fn next(&mut self) -> Event {
        soon("an event of the client's", self.events.next()).await.expect("the events go on")
    }

    /// The next event, which must be a signal.
    pub(super) async fn signal(&mut self) -> Received {
        match self.next().await {
            Event::Signal(signal) => signal,
            other => panic!("{other:?} instead of a signal"),
        }
    }

    /// The data of the next event, which must be a signal.
    pub(super) async fn heard(&mut self) -> String {
        self.signal().await.data
    }

    /// Why it is reconnecting, which must be the next event.
    pub(super) async fn lost(&mut self) -> Lost {
        match self.next().await {
            Event::Reconnecting { why } => why,
            other => panic!("{other:?} instead of a loss"),
        }
    }

    /// That it is back, which must be the next event.
    pub(super) async fn back(&mut self) -> Back {
        back(self.next().await)
    }

    /// Why it is out, which must be the next event and the last.
    pub(super) async fn out(&mut self) -> (Over, Action) {
        let event = self.next().await;
        let Event::Disconnected { reason, action } = event else { panic!("{event:?} instead of the end") };
        assert_eq!(soon("the end of events", self.events.next()).await, None);
        (reason, action)
    }
}
