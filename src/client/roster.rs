//! Who is in the session, as the events tell it.

use super::{Connection, Event};

/// The fold of the events, in the order of joining.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    connections: Vec<Connection>,
}

impl Roster {
    pub(super) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Joined { connections, .. } | Event::Reconnected { connections, .. } => {
                self.connections.clone_from(connections);
            }
            Event::ConnectionCreated { connection, .. } => self.connections.push(connection.clone()),
            Event::ConnectionDestroyed { connection_id, .. } => {
                self.connections.retain(|one| one.connection_id != *connection_id);
            }
            Event::ConnectionInterrupted { connection_id, .. } => self.interrupted(connection_id, true),
            Event::ConnectionRestored { connection_id, .. } => self.interrupted(connection_id, false),
            Event::Disconnected { .. } => self.connections.clear(),
            Event::Signal(_) | Event::Reconnecting { .. } => {}
        }
    }

    fn interrupted(&mut self, connection_id: &str, interrupted: bool) {
        if let Some(one) = self.connections.iter_mut().find(|one| one.connection_id == connection_id) {
            one.interrupted = interrupted;
        }
    }
}
