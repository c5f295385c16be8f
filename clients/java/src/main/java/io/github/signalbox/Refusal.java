package io.github.signalbox;

import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;

/**
 * What was wrong with a request, the limit and what was given.
 *
 * @param code the gRPC status code
 * @param reason stable, as {@code SIGNAL_DATA_TOO_LARGE}; empty when whoever answered was no
 *     Signalbox
 * @param message for people; it never holds a signal's data
 * @param field the one to blame, as the wire calls it, if one is
 * @param retryAfter after how long a retry can succeed, where waiting helps
 */
public record Refusal(
        Status.Code code, String reason, String message, Optional<String> field, Optional<Duration> retryAfter) {
    @Override
    public String toString() {
        return code
                + (reason.isEmpty() ? "" : " / " + reason)
                + (message.isEmpty() ? "" : ": " + message)
                + retryAfter.map(after -> " (try again after " + after.toMillis() + " ms)").orElse("");
    }
}
