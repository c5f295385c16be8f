package io.github.signalbox;

import java.time.Instant;
import java.util.Objects;
import java.util.Optional;

/** The tokens of one session. */
final class Tokens {
    private final String sessionId;
    private final Optional<Token> fixed;
    private final TokenSource source;
    private Token latest;

    Tokens(String sessionId, Optional<Token> fixed, TokenSource source) {
        this.sessionId = sessionId;
        this.fixed = fixed;
        this.source = source;
    }

    /**
     * One to show. Blocks as its source does.
     *
     * @throws ConnectFailedException when there is none
     */
    synchronized Optional<Token> get(boolean renew) {
        if (source == null) {
            return fixed;
        }
        boolean holds = latest != null && latest.expiresAt().map(Instant.now()::isBefore).orElse(true);
        if (renew || !holds) {
            try {
                latest = Objects.requireNonNull(source.token(sessionId), "the source gave null");
            } catch (Exception error) {
                if (error instanceof InterruptedException) {
                    Thread.currentThread().interrupt();
                }
                throw new ConnectFailedException("no token: " + error, error);
            }
        }
        return Optional.of(latest);
    }
}
