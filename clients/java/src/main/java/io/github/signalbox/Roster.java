package io.github.signalbox;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Who is in the session, as the events tell it, in the order of joining. */
final class Roster {
    private final Map<String, Connection> connections = new LinkedHashMap<>();

    List<Connection> connections() {
        return List.copyOf(connections.values());
    }

    void apply(Event event) {
        if (event instanceof Event.Joined it) {
            replace(it.there());
        } else if (event instanceof Event.Reconnected it) {
            replace(it.there());
        } else if (event instanceof Event.ConnectionCreated it) {
            connections.put(it.connection().id(), it.connection());
        } else if (event instanceof Event.ConnectionDestroyed it) {
            connections.remove(it.connectionId());
        } else if (event instanceof Event.ConnectionInterrupted it) {
            interrupted(it.connectionId(), true);
        } else if (event instanceof Event.ConnectionRestored it) {
            interrupted(it.connectionId(), false);
        } else if (event instanceof Event.Disconnected) {
            connections.clear();
        }
    }

    private void replace(Event.There there) {
        connections.clear();
        there.connections().forEach(one -> connections.put(one.id(), one));
    }

    private void interrupted(String id, boolean interrupted) {
        connections.computeIfPresent(id, (same, one) -> one.withInterrupted(interrupted));
    }
}
