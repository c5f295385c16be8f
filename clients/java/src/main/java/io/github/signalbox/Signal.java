package io.github.signalbox;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * A signal to send: to everyone, unless it names recipients. Immutable: each {@code with…}, and
 * {@code to}, gives another.
 *
 * @param type what receivers filter on: at most 128 of {@code A-Z a-z 0-9 - _ ~}, or empty
 * @param data what it says: at most 8,192 bytes as UTF-8, or empty
 * @param to the only connections that get it, at most 100; an empty list is refused, so that a
 *     filter that found nobody never turns into a broadcast
 * @param retryAfterReconnect whether it waits for the reconnect while disconnected; otherwise it
 *     fails with {@link SendOutcome.Disconnected}
 */
public record Signal(String type, String data, Optional<List<String>> to, boolean retryAfterReconnect) {
    /**
     * With a copy of the list.
     *
     * @param type the same
     * @param data the same
     * @param to the same
     * @param retryAfterReconnect the same
     * @throws IllegalArgumentException if a string isn't Unicode: it has half of a surrogate pair
     */
    public Signal {
        Utf8.length("type", type);
        Utf8.length("data", data);
        to.ifPresent(ids -> ids.forEach(id -> Utf8.length("to", id)));
        to = to.map(List::copyOf);
    }

    /**
     * A signal to everyone, which waits for the reconnect while disconnected.
     *
     * @param type what receivers filter on
     * @param data what it says
     * @return the signal
     */
    public static Signal of(String type, String data) {
        return new Signal(type, data, Optional.empty(), true);
    }

    /**
     * The same for some connections only.
     *
     * @param connectionIds theirs
     * @return the signal
     */
    public Signal to(List<String> connectionIds) {
        return new Signal(type, data, Optional.of(connectionIds), retryAfterReconnect);
    }

    /**
     * The same for some connections only.
     *
     * @param connectionIds theirs
     * @return the signal
     */
    public Signal to(String... connectionIds) {
        return to(Arrays.asList(connectionIds));
    }

    /**
     * The same, waiting for the reconnect while disconnected, or not.
     *
     * @param retry whether it waits
     * @return the signal
     */
    public Signal withRetryAfterReconnect(boolean retry) {
        return new Signal(type, data, to, retry);
    }

    /** Without the data, which is nobody's business in a log. */
    @Override
    public String toString() {
        return "Signal[type=%s, data=%d bytes, to=%s]".formatted(type, Utf8.length("data", data), to);
    }
}
