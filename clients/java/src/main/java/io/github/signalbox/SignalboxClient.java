package io.github.signalbox;

import io.github.signalbox.v1.Join;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;

/**
 * Where the servers are, and how to get in. Immutable, and for any number of threads; it holds
 * nothing open.
 */
public final class SignalboxClient {
    private final List<Endpoint> endpoints;
    private final Optional<Token> token;
    private final Optional<TokenSource> tokens;
    private final Duration connectTimeout;
    private final Duration shortestPause;
    private final Duration longestPause;
    private final Duration giveUpAfter;
    private final Executor executor;

    private SignalboxClient(Builder builder) {
        endpoints = builder.urls.stream().map(url -> Endpoint.read(url, builder.tls)).toList();
        token = builder.token;
        tokens = builder.tokens;
        connectTimeout = builder.connectTimeout;
        shortestPause = builder.shortestPause;
        longestPause = builder.longestPause;
        giveUpAfter = builder.giveUpAfter;
        executor = builder.executor;
    }

    /**
     * A client of one server, without a token.
     *
     * @param endpoint as {@code http://host:port}, {@code https://host:port} or {@code host:port}
     * @return the client
     * @throws IllegalArgumentException if that is no endpoint
     */
    public static SignalboxClient of(String endpoint) {
        return builder(endpoint).build();
    }

    /**
     * A client to be.
     *
     * @param endpoints one, or some that take turns
     * @return its builder
     */
    public static Builder builder(String... endpoints) {
        return new Builder(Arrays.asList(endpoints));
    }

    /** A client to be. Not for more than one thread. */
    public static final class Builder {
        private final List<String> urls;
        private Optional<Token> token = Optional.empty();
        private Optional<TokenSource> tokens = Optional.empty();
        private ChannelCredentials tls = TlsChannelCredentials.create();
        private Duration connectTimeout = Duration.ofSeconds(10);
        private Duration shortestPause = Duration.ofMillis(250);
        private Duration longestPause = Duration.ofSeconds(10);
        private Duration giveUpAfter = Duration.ofMinutes(5);
        private Executor executor = Threads.BLOCKING;

        private Builder(List<String> urls) {
            this.urls = new ArrayList<>(urls);
        }

        /**
         * What to show to the server, always the same.
         *
         * @param bearer a token
         * @return this
         */
        public Builder token(String bearer) {
            token = Optional.of(Token.of(bearer));
            tokens = Optional.empty();
            return this;
        }

        /**
         * Whom to ask for tokens: before the first connection, before one expires and after one
         * has.
         *
         * @param source who gives them
         * @return this
         */
        public Builder token(TokenSource source) {
            tokens = Optional.of(source);
            token = Optional.empty();
            return this;
        }

        /**
         * With what {@code https} endpoints are reached, if not with the system's own
         * certificates.
         *
         * @param credentials as {@link TlsChannelCredentials} makes them
         * @return this
         */
        public Builder tls(ChannelCredentials credentials) {
            tls = credentials;
            return this;
        }

        /**
         * How long an attempt may take, and a backend's call; 10 seconds unless set.
         *
         * @param timeout above 0
         * @return this
         */
        public Builder connectTimeout(Duration timeout) {
            connectTimeout = positive("connect timeout", timeout);
            return this;
        }

        /**
         * The pauses between attempts, each lengthened at random by up to as much again; 250 ms
         * and 10 seconds unless set.
         *
         * @param shortest the first, above 0; each is twice the one before
         * @param longest the last, not below the first
         * @return this
         */
        public Builder backOff(Duration shortest, Duration longest) {
            shortestPause = positive("shortest pause", shortest);
            longestPause = longest;
            if (longest.compareTo(shortest) < 0) {
                throw new IllegalArgumentException(
                        "the longest pause is " + longest + ", below the shortest, " + shortest);
            }
            return this;
        }

        /**
         * How long to try to get back in; 5 minutes unless set.
         *
         * @param after above 0
         * @return this
         */
        public Builder giveUpAfter(Duration after) {
            giveUpAfter = positive("time to give up after", after);
            return this;
        }

        /**
         * What token sources, and what depends on outcomes, run on; daemon threads of this
         * library's unless set.
         *
         * @param executor something with threads of its own, which may block, and that turns
         *     nothing away: what a calling thread ran itself would run under a session's lock
         * @return this
         */
        public Builder executor(Executor executor) {
            this.executor = executor;
            return this;
        }

        /**
         * The client.
         *
         * @return one as this says now
         * @throws IllegalArgumentException if there is no endpoint, or one is none
         */
        public SignalboxClient build() {
            if (urls.isEmpty()) {
                throw new IllegalArgumentException("there is no endpoint");
            }
            return new SignalboxClient(this);
        }

        private static Duration positive(String what, Duration duration) {
            if (duration.isZero() || duration.isNegative()) {
                throw new IllegalArgumentException("the " + what + " is " + duration + "; it must be above 0");
            }
            return duration;
        }
    }

    /**
     * Joins a session, with no data and everything wanted, and comes back when in.
     *
     * @param sessionId which: 1 to 255 visible ASCII characters
     * @return the membership; to be closed
     * @throws ConnectFailedException when no endpoint lets it in, each tried once
     * @throws InterruptedException when interrupted; then it is not in
     */
    public Session join(String sessionId) throws InterruptedException {
        return join(sessionId, JoinOptions.DEFAULT);
    }

    /**
     * Joins a session, and comes back when in.
     *
     * @param sessionId which: 1 to 255 visible ASCII characters
     * @param options how to be in it
     * @return the membership; to be closed
     * @throws ConnectFailedException when no endpoint lets it in, each tried once
     * @throws InterruptedException when interrupted; then it is not in
     */
    public Session join(String sessionId, JoinOptions options) throws InterruptedException {
        CompletableFuture<Session> joining = joinAsync(sessionId, options);
        try {
            return joining.get();
        } catch (InterruptedException interrupted) {
            if (!joining.cancel(false)) {
                // It got in, in the same moment.
                joining.thenAccept(Session::leaveNow);
            }
            throw interrupted;
        } catch (ExecutionException failed) {
            if (failed.getCause() instanceof ConnectFailedException why) {
                // With the stack of who asked.
                throw new ConnectFailedException(why);
            }
            throw new IllegalStateException(failed.getCause());
        }
    }

    /**
     * Joins a session without waiting for it.
     *
     * @param sessionId which: 1 to 255 visible ASCII characters
     * @param options how to be in it
     * @return the membership, to be closed; fails with {@link ConnectFailedException} when no
     *     endpoint lets it in, each tried once; cancelled, it leaves
     */
    public CompletableFuture<Session> joinAsync(String sessionId, JoinOptions options) {
        Utf8.length("session id", sessionId);
        Join.Builder join = Join.newBuilder()
                .setSessionId(sessionId)
                .setConnectionData(options.connectionData())
                .addAllSignalTypes(options.signalTypes())
                .setSuppressConnectionEvents(options.suppressConnectionEvents())
                .setSuppressOwnSignals(options.suppressOwnSignals());
        if (!options.resumeWindow().isZero()) {
            join.setResumeWindow(Wire.duration(options.resumeWindow()));
        }
        Machine.Settings settings = new Machine.Settings(
                join.build(),
                endpoints,
                Wire.nanos(connectTimeout),
                Wire.nanos(shortestPause),
                Wire.nanos(longestPause),
                Wire.nanos(giveUpAfter),
                tokens.isPresent(),
                options.maxQueuedSends(),
                options.maxQueuedBytes());
        TokenSource source = tokens.orElse(null);
        return Session.join(settings, new Tokens(sessionId, token, source), executor);
    }

    /**
     * A backend's side, which signals into sessions and looks at them without being in them: at
     * the first endpoint, with the fixed token.
     *
     * @return it; to be closed
     */
    public ServerClient server() {
        return new ServerClient(endpoints.get(0), token, connectTimeout);
    }
}
