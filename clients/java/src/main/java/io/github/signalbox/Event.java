package io.github.signalbox;

import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * What happened in the session, or to the connection to it. Events come in the session's order;
 * unless a {@link Reconnected} reports a gap, none is missing and none comes twice.
 */
public sealed interface Event {
    /**
     * Where a client is.
     *
     * @param connection itself
     * @param connections everyone as of {@code sequence}, itself too
     * @param epoch which life of the session this is: another epoch is another order
     * @param sequence the place in the session's order
     */
    record There(Connection connection, List<Connection> connections, long epoch, long sequence) {
        /**
         * With a copy of the list.
         *
         * @param connection the same
         * @param connections the same
         * @param epoch the same
         * @param sequence the same
         */
        public There {
            connections = List.copyOf(connections);
        }
    }

    /**
     * The first event.
     *
     * @param there where it is
     */
    record Joined(There there) implements Event {}

    /**
     * Somebody joined.
     *
     * @param sequence its place in the session's order
     * @param connection who
     */
    record ConnectionCreated(long sequence, Connection connection) implements Event {}

    /**
     * Somebody is gone.
     *
     * @param sequence its place in the session's order
     * @param connectionId who
     * @param reason why
     */
    record ConnectionDestroyed(long sequence, String connectionId, DisconnectReason reason) implements Event {}

    /**
     * Somebody lost the stream and may come back.
     *
     * @param sequence its place in the session's order
     * @param connectionId who
     */
    record ConnectionInterrupted(long sequence, String connectionId) implements Event {}

    /**
     * Somebody came back.
     *
     * @param sequence its place in the session's order
     * @param connectionId who
     */
    record ConnectionRestored(long sequence, String connectionId) implements Event {}

    /**
     * A signal reached this client.
     *
     * @param sequence its place in the session's order
     * @param from who sent it; empty: a backend
     * @param type what to filter on; may be empty
     * @param data what it says; may be empty
     * @param sentAt when the server took it, by the server's clock
     */
    record SignalReceived(long sequence, Optional<String> from, String type, String data, Instant sentAt)
            implements Event {}

    /**
     * This client lost its stream and tries to get back in. Sends wait.
     *
     * @param why what happened
     */
    record Reconnecting(String why) implements Event {}

    /**
     * This client is back in.
     *
     * @param there where it is
     * @param gap whether events were missed; then the connection may be another
     */
    record Reconnected(There there, boolean gap) implements Event {}

    /**
     * The last event.
     *
     * @param why what happened
     * @param next what to do now
     * @param refusal the server's reason, if it was the server's doing
     */
    record Disconnected(String why, Next next, Optional<Refusal> refusal) implements Event {
        /** What to do after the end. */
        public enum Next {
            /** Don't come back. */
            STOP,
            /** Join anew when it is worth it. */
            REJOIN
        }
    }
}
