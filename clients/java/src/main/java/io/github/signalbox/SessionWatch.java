package io.github.signalbox;

import io.github.signalbox.v1.SessionServiceGrpc.SessionServiceBlockingStub;
import io.github.signalbox.v1.WatchSessionsResponse;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.time.Instant;
import java.util.Iterator;
import java.util.Optional;
import java.util.function.Function;

/**
 * Sessions and connections as they come and go; {@link ServerClient#watch} gives it. One thread
 * takes the changes; any may close it. Take them: the server ends a watch that is read too slowly
 * with {@code SLOW_CONSUMER}.
 */
public final class SessionWatch implements AutoCloseable {
    /** What a watch sees. */
    public sealed interface Change {
        /**
         * A session exists: it just started, or was there when the watch began.
         *
         * @param sessionId which
         * @param epoch which life of the session this is
         * @param createdAt when its first connection joined, by the server's clock
         */
        record SessionStarted(String sessionId, long epoch, Instant createdAt) implements Change {}

        /**
         * A session's last connection is gone.
         *
         * @param sessionId which
         * @param epoch which life of the session it was
         */
        record SessionEnded(String sessionId, long epoch) implements Change {}

        /**
         * A connection is in a session: it just joined, or was there when the watch began.
         *
         * @param sessionId which session
         * @param sequence the place of its joining in the session's order
         * @param connection who
         */
        record ConnectionCreated(String sessionId, long sequence, Connection connection) implements Change {}

        /**
         * A connection is gone from a session.
         *
         * @param sessionId which session
         * @param sequence the place of its departure in the session's order
         * @param connectionId who
         * @param reason why
         */
        record ConnectionDestroyed(String sessionId, long sequence, String connectionId, DisconnectReason reason)
                implements Change {}

        /** Everything that was there has been told; what follows are changes. */
        record SnapshotComplete() implements Change {}
    }

    private final Context.CancellableContext context = Context.current().withCancellation();
    private final Endpoint endpoint;
    private final Iterator<WatchSessionsResponse> responses;
    private volatile boolean closed;

    SessionWatch(
            Function<SessionServiceBlockingStub, Iterator<WatchSessionsResponse>> call,
            SessionServiceBlockingStub stub,
            Endpoint endpoint) {
        this.endpoint = endpoint;
        Context before = context.attach();
        try {
            responses = call.apply(stub);
        } finally {
            context.detach(before);
        }
    }

    /**
     * The next change; waits for it.
     *
     * @return the change; none after {@link #close()}
     * @throws InterruptedException when interrupted; the watch is over then
     * @throws RefusedException when the server refused or ended it
     * @throws ConnectFailedException when the connection is lost. It doesn't come back by itself,
     *     because what happened meanwhile would be missing: watch again, for a fresh view
     */
    public Optional<Change> next() throws InterruptedException {
        try {
            while (responses.hasNext()) {
                Optional<Change> change = change(responses.next());
                // What this version doesn't know is passed over.
                if (change.isPresent()) {
                    return change;
                }
            }
        } catch (StatusRuntimeException error) {
            if (closed) {
                return Optional.empty();
            }
            if (Thread.interrupted()) {
                throw new InterruptedException("while waiting for a change");
            }
            Refusal refusal = Rpc.refusal(error);
            if (Rpc.isLost(refusal)) {
                throw new ConnectFailedException(endpoint + ": " + refusal.message(), error);
            }
            throw new RefusedException(refusal, error);
        }
        if (closed) {
            return Optional.empty();
        }
        throw new ConnectFailedException(endpoint + ": the watch ended", (Refusal) null);
    }

    private static Optional<Change> change(WatchSessionsResponse response) {
        return switch (response.getEventCase()) {
            case SESSION_STARTED -> {
                var it = response.getSessionStarted();
                yield Optional.of(new Change.SessionStarted(
                        it.getSessionId(), it.getEpoch(), Wire.instant(it.getCreatedAt())));
            }
            case SESSION_ENDED -> Optional.of(new Change.SessionEnded(
                    response.getSessionEnded().getSessionId(), response.getSessionEnded().getEpoch()));
            case CONNECTION_CREATED -> {
                var it = response.getConnectionCreated();
                yield Optional.of(new Change.ConnectionCreated(
                        it.getSessionId(), it.getSequence(), Wire.connection(it.getConnection())));
            }
            case CONNECTION_DESTROYED -> {
                var it = response.getConnectionDestroyed();
                yield Optional.of(new Change.ConnectionDestroyed(
                        it.getSessionId(), it.getSequence(), it.getConnectionId(), Wire.reason(it.getReason())));
            }
            case SNAPSHOT_COMPLETE -> Optional.of(new Change.SnapshotComplete());
            default -> Optional.empty();
        };
    }

    /** Ends it. */
    @Override
    public void close() {
        closed = true;
        context.cancel(null);
    }
}
