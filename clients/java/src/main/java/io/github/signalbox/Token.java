package io.github.signalbox;

import java.time.Instant;
import java.util.Optional;

/**
 * A token, and when it expires where that is known: the client asks for another before.
 *
 * @param bearer what is shown to the server
 * @param expiresAt when it ends
 */
public record Token(String bearer, Optional<Instant> expiresAt) {
    /**
     * One that expires nobody knows when.
     *
     * @param bearer what is shown to the server
     * @return the token
     */
    public static Token of(String bearer) {
        return new Token(bearer, Optional.empty());
    }

    /** Without the secret. */
    @Override
    public String toString() {
        return "Token[expiresAt=" + expiresAt + "]";
    }
}
