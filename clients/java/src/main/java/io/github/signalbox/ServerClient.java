package io.github.signalbox;

import io.github.signalbox.v1.DisconnectConnectionRequest;
import io.github.signalbox.v1.GetSessionRequest;
import io.github.signalbox.v1.ListConnectionsRequest;
import io.github.signalbox.v1.ListConnectionsResponse;
import io.github.signalbox.v1.ListSessionsRequest;
import io.github.signalbox.v1.ListSessionsResponse;
import io.github.signalbox.v1.SendFromServerRequest;
import io.github.signalbox.v1.SendFromServerResponse;
import io.github.signalbox.v1.SessionServiceGrpc;
import io.github.signalbox.v1.SignalingServiceGrpc;
import io.github.signalbox.v1.WatchSessionsRequest;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;

/**
 * A backend's side: it signals into sessions, looks at them and moderates them, without being in
 * them. {@link SignalboxClient#server()} gives it. For any number of threads; its calls block.
 *
 * <p>Every call is asked up to five times while no server answers, with pauses that grow. Each
 * throws {@link RefusedException} when the server says no, and {@link ConnectFailedException}
 * when none answers; after {@link #close()}, {@link IllegalStateException}.
 */
public final class ServerClient implements AutoCloseable {
    private static final int ATTEMPTS = 5;
    /** How many sessions, or connections, are asked for at a time. */
    private static final int PAGE = 1_000;

    private final Endpoint endpoint;
    private final ManagedChannel channel;
    private final SignalingServiceGrpc.SignalingServiceBlockingStub signaling;
    private final SessionServiceGrpc.SessionServiceBlockingStub sessions;
    private final Duration timeout;

    ServerClient(Endpoint endpoint, Optional<Token> token, Duration timeout) {
        this.endpoint = endpoint;
        this.channel = endpoint.channel();
        var headers = MetadataUtils.newAttachHeadersInterceptor(Rpc.headers(token));
        this.signaling = SignalingServiceGrpc.newBlockingStub(channel).withInterceptors(headers);
        this.sessions = SessionServiceGrpc.newBlockingStub(channel).withInterceptors(headers);
        this.timeout = timeout;
    }

    /**
     * What became of a server signal.
     *
     * @param sequence its place in the session's order
     * @param recipientCount how many connections get it
     * @param notConnectedIds the recipients that are not connected
     */
    public record Sent(long sequence, int recipientCount, List<String> notConnectedIds) {
        /**
         * With a copy of the list.
         *
         * @param sequence the same
         * @param recipientCount the same
         * @param notConnectedIds the same
         */
        public Sent {
            notConnectedIds = List.copyOf(notConnectedIds);
        }
    }

    /**
     * A session, as it was when asked.
     *
     * @param id its name
     * @param connectionCount how many are in it
     * @param epoch which life of the session this is
     * @param sequence the newest place in its order
     * @param createdAt when its first connection joined, by the server's clock
     */
    public record SessionInfo(String id, int connectionCount, long epoch, long sequence, Instant createdAt) {
        private static SessionInfo of(io.github.signalbox.v1.Session wire) {
            return new SessionInfo(wire.getSessionId(), wire.getConnectionCount(), wire.getEpoch(),
                    wire.getSequence(), Wire.instant(wire.getCreatedAt()));
        }
    }

    /**
     * Sends a signal into a session, once however often it is asked.
     *
     * @param sessionId which
     * @param signal what to send
     * @return what became of it
     * @throws InterruptedException when interrupted: it may have been sent
     */
    public Sent signal(String sessionId, Signal signal) throws InterruptedException {
        return signal(sessionId, signal, UUID.randomUUID().toString());
    }

    /**
     * Sends a signal into a session, once: within the session, and for 10 minutes at least, a
     * call with the same key is answered as the first was, and sends nothing.
     *
     * @param sessionId which
     * @param signal what to send
     * @param idempotencyKey what makes it one and the same: 1 to 128 bytes
     * @return what became of it
     * @throws InterruptedException when interrupted: it may have been sent
     */
    public Sent signal(String sessionId, Signal signal, String idempotencyKey) throws InterruptedException {
        SendFromServerRequest.Builder request = SendFromServerRequest.newBuilder()
                .setSessionId(sessionId)
                .setSignal(Wire.signal(signal))
                .setIdempotencyKey(idempotencyKey);
        Wire.recipients(signal).ifPresent(request::setTo);
        SendFromServerResponse told = ask(attempt -> timed(signaling).sendFromServer(request.build()));
        return new Sent(told.getSequence(), told.getRecipientCount(), told.getNotConnectedIdsList());
    }

    /**
     * Looks at a session.
     *
     * @param sessionId which
     * @return the session; none when nobody is in it
     * @throws InterruptedException when interrupted
     */
    public Optional<SessionInfo> session(String sessionId) throws InterruptedException {
        GetSessionRequest request = GetSessionRequest.newBuilder().setSessionId(sessionId).build();
        try {
            return Optional.of(SessionInfo.of(ask(attempt -> timed(sessions).getSession(request)).getSession()));
        } catch (RefusedException refused) {
            if (refused.refusal().reason().equals("SESSION_NOT_FOUND")) {
                return Optional.empty();
            }
            throw refused;
        }
    }

    /**
     * All sessions, each once. Those that start or end meanwhile may be missing.
     *
     * @return them, by name
     * @throws InterruptedException when interrupted
     */
    public List<SessionInfo> sessions() throws InterruptedException {
        List<SessionInfo> all = new ArrayList<>();
        String page = "";
        do {
            ListSessionsRequest request =
                    ListSessionsRequest.newBuilder().setPageSize(PAGE).setPageToken(page).build();
            ListSessionsResponse told = ask(attempt -> timed(sessions).listSessions(request));
            told.getSessionsList().forEach(one -> all.add(SessionInfo.of(one)));
            page = told.getNextPageToken();
        } while (!page.isEmpty());
        return List.copyOf(all);
    }

    /**
     * Everyone in a session, each once. Those who come or go meanwhile may be missing.
     *
     * @param sessionId which
     * @return its connections
     * @throws InterruptedException when interrupted
     */
    public List<Connection> connections(String sessionId) throws InterruptedException {
        List<Connection> all = new ArrayList<>();
        String page = "";
        do {
            ListConnectionsRequest request = ListConnectionsRequest.newBuilder()
                    .setSessionId(sessionId)
                    .setPageSize(PAGE)
                    .setPageToken(page)
                    .build();
            ListConnectionsResponse told = ask(attempt -> timed(sessions).listConnections(request));
            told.getConnectionsList().forEach(one -> all.add(Wire.connection(one)));
            page = told.getNextPageToken();
        } while (!page.isEmpty());
        return List.copyOf(all);
    }

    /**
     * Disconnects a connection, for good.
     *
     * @param sessionId of which session
     * @param connectionId which
     * @throws InterruptedException when interrupted: it may have been disconnected
     */
    public void disconnect(String sessionId, String connectionId) throws InterruptedException {
        DisconnectConnectionRequest request = DisconnectConnectionRequest.newBuilder()
                .setSessionId(sessionId)
                .setConnectionId(connectionId)
                .build();
        boolean[] again = {false};
        try {
            ask(attempt -> {
                again[0] = attempt > 1;
                return timed(sessions).disconnectConnection(request);
            });
        } catch (RefusedException refused) {
            // An attempt before this one, whose answer was lost, may have done it.
            if (!again[0] || refused.refusal().code() != Status.Code.NOT_FOUND) {
                throw refused;
            }
        }
    }

    /**
     * Watches one session, which need not exist yet: first what is there, then
     * {@link SessionWatch.Change.SnapshotComplete}, then what changes, with no gap between.
     *
     * @param sessionId which
     * @return the watch; to be closed
     */
    public SessionWatch watch(String sessionId) {
        if (sessionId.isEmpty()) {
            // An empty name must not turn into a watch of all.
            throw new IllegalArgumentException("the session id is empty; watchAll watches all");
        }
        return open(sessionId);
    }

    /**
     * Watches all sessions, as {@link #watch} does one.
     *
     * @return the watch; to be closed
     */
    public SessionWatch watchAll() {
        return open("");
    }

    private SessionWatch open(String sessionId) {
        WatchSessionsRequest request = WatchSessionsRequest.newBuilder().setSessionId(sessionId).build();
        return new SessionWatch(stub -> stub.watchSessions(request), sessions, endpoint);
    }

    /** Lets the connection go; calls and watches end. */
    @Override
    public void close() {
        channel.shutdownNow();
    }

    private <S extends AbstractStub<S>> S timed(S stub) {
        return stub.withDeadlineAfter(Wire.nanos(timeout), TimeUnit.NANOSECONDS);
    }

    private <T> T ask(IntFunction<T> call) throws InterruptedException {
        if (channel.isShutdown()) {
            throw new IllegalStateException("this client is closed");
        }
        for (int attempt = 1; ; attempt++) {
            try {
                return call.apply(attempt);
            } catch (StatusRuntimeException error) {
                if (Thread.currentThread().isInterrupted()) {
                    Thread.interrupted();
                    throw new InterruptedException("while waiting for an answer");
                }
                Refusal refusal = Rpc.refusal(error);
                boolean passes = refusal.code() == Status.Code.UNAVAILABLE
                        || refusal.code() == Status.Code.DEADLINE_EXCEEDED;
                if (!passes) {
                    throw new RefusedException(refusal, error);
                }
                if (attempt == ATTEMPTS || channel.isShutdown()) {
                    throw new ConnectFailedException(endpoint + ": " + refusal, refusal);
                }
                long pause = ThreadLocalRandom.current().nextLong(100L << attempt);
                Thread.sleep(refusal.retryAfter().map(Duration::toMillis).orElse(0L) + pause);
            }
        }
    }
}
