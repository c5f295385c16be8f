//! Who is in the session, as its events tell.

use crate::proto::{Connection, ConnectionState, join_response::Event};

/// The connections, in the order of joining.
#[derive(Debug, Default)]
pub(super) struct Roster {
    me: String,
    connections: Vec<Connection>,
}

impl Roster {
    /// Takes in what an event says.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Joined(joined) => {
                self.me = joined.connection.as_ref().map(|me| me.connection_id.clone()).unwrap_or_default();
                self.connections.clone_from(&joined.connections);
            }
            Event::ConnectionsPage(page) => self.connections.extend_from_slice(&page.connections),
            Event::ConnectionCreated(created) => self.connections.extend(created.connection.clone()),
            Event::ConnectionDestroyed(destroyed) => {
                self.connections.retain(|connection| connection.connection_id != destroyed.connection_id);
            }
            Event::ConnectionInterrupted(interrupted) => {
                self.set_state(&interrupted.connection_id, ConnectionState::Interrupted);
            }
            Event::ConnectionRestored(restored) => self.set_state(&restored.connection_id, ConnectionState::Connected),
            Event::Signal(_) | Event::SendResult(_) | Event::Heartbeat(_) | Event::Closing(_) => {}
        }
    }

    fn set_state(&mut self, id: &str, state: ConnectionState) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.connection_id == id) {
            connection.set_state(state);
        }
    }

    pub(super) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    pub(super) fn is_me(&self, id: &str) -> bool {
        self.me == id
    }

    /// The whole id that begins so. What begins none may still be one that
    /// isn't known here, and goes as it is.
    ///
    /// # Errors
    /// How many it could be, when that is more than one.
    pub(super) fn resolve(&self, beginning: &str) -> Result<String, usize> {
        let mut found = self.connections.iter().filter(|connection| connection.connection_id.starts_with(beginning));
        match (found.next(), found.count()) {
            (None, _) => Ok(beginning.to_owned()),
            (Some(only), 0) => Ok(only.connection_id.clone()),
            (Some(_), others) => Err(others + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ConnectionCreated, ConnectionDestroyed, ConnectionInterrupted, Joined};

    fn connection(id: &str) -> Connection {
        Connection { connection_id: id.into(), ..Connection::default() }
    }

    fn roster() -> Roster {
        let mut roster = Roster::default();
        let connections = vec![connection("abc1"), connection("abd2")];
        roster.apply(&Event::Joined(Joined { connection: Some(connection("abd2")), connections, ..Joined::default() }));
        roster
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_when_it_is_one() {
        let roster = roster();
        assert_eq!(roster.resolve("abc"), Ok("abc1".into()));
        assert_eq!(roster.resolve("ab"), Err(2));
        assert_eq!(roster.resolve("zz"), Ok("zz".into()));
        assert!(roster.is_me("abd2") && !roster.is_me("abc1"));
    }

    #[test]
    fn it_follows_the_events() {
        let mut roster = roster();
        let event = ConnectionCreated { sequence: 3, connection: Some(connection("e")) };
        roster.apply(&Event::ConnectionCreated(event));
        roster.apply(&Event::ConnectionInterrupted(ConnectionInterrupted { sequence: 4, connection_id: "e".into() }));
        roster.apply(&Event::ConnectionDestroyed(ConnectionDestroyed {
            sequence: 5,
            connection_id: "abc1".into(),
            reason: 0,
        }));
        let now: Vec<_> = roster.connections().iter().map(|one| (one.connection_id.as_str(), one.state())).collect();
        assert_eq!(now, [("abd2", ConnectionState::Unspecified), ("e", ConnectionState::Interrupted)]);
    }
}
