package io.github.signalbox;

import java.time.Duration;
import java.util.List;

/**
 * How to be in a session. Immutable: each {@code with…} gives another.
 *
 * @param connectionData what everybody sees of it, at most 1,000 bytes
 * @param resumeWindow for how long the server waits for it after a loss, at most 2 minutes; zero:
 *     not at all, so that a loss is a gap
 * @param signalTypes those that are wanted, at most 32; none: all
 * @param suppressConnectionEvents whether to be spared who comes and goes
 * @param suppressOwnSignals whether to be spared its own signals
 * @param maxQueuedSends how many sends may wait while disconnected
 * @param maxQueuedBytes how many bytes of them may
 */
public record JoinOptions(
        String connectionData,
        Duration resumeWindow,
        List<String> signalTypes,
        boolean suppressConnectionEvents,
        boolean suppressOwnSignals,
        int maxQueuedSends,
        int maxQueuedBytes) {
    /** No data, a window of a minute, everything wanted, 1,024 sends and 1 MiB. */
    public static final JoinOptions DEFAULT =
            new JoinOptions("", Duration.ofMinutes(1), List.of(), false, false, 1_024, 1 << 20);

    /**
     * With a copy of the list.
     *
     * @param connectionData the same
     * @param resumeWindow the same
     * @param signalTypes the same
     * @param suppressConnectionEvents the same
     * @param suppressOwnSignals the same
     * @param maxQueuedSends the same
     * @param maxQueuedBytes the same
     * @throws IllegalArgumentException if a number or the window is below 0, or a string isn't
     *     Unicode
     */
    public JoinOptions {
        Utf8.length("connection data", connectionData);
        signalTypes.forEach(type -> Utf8.length("type", type));
        signalTypes = List.copyOf(signalTypes);
        if (resumeWindow.isNegative()) {
            throw new IllegalArgumentException("the resume window is " + resumeWindow + "; it can't be below 0");
        }
        if (maxQueuedSends < 0 || maxQueuedBytes < 0) {
            throw new IllegalArgumentException("the queue is of %d sends and %d bytes; neither can be below 0"
                    .formatted(maxQueuedSends, maxQueuedBytes));
        }
    }

    /**
     * The same with other data.
     *
     * @param data what everybody sees of it
     * @return the options
     */
    public JoinOptions withConnectionData(String data) {
        return new JoinOptions(data, resumeWindow, signalTypes, suppressConnectionEvents, suppressOwnSignals,
                maxQueuedSends, maxQueuedBytes);
    }

    /**
     * The same with another window.
     *
     * @param window for how long the server waits for it after a loss
     * @return the options
     */
    public JoinOptions withResumeWindow(Duration window) {
        return new JoinOptions(connectionData, window, signalTypes, suppressConnectionEvents, suppressOwnSignals,
                maxQueuedSends, maxQueuedBytes);
    }

    /**
     * The same for some types only.
     *
     * @param types those that are wanted
     * @return the options
     */
    public JoinOptions withSignalTypes(List<String> types) {
        return new JoinOptions(connectionData, resumeWindow, types, suppressConnectionEvents, suppressOwnSignals,
                maxQueuedSends, maxQueuedBytes);
    }

    /**
     * The same with or without connection events.
     *
     * @param suppress whether to be spared who comes and goes
     * @return the options
     */
    public JoinOptions withSuppressConnectionEvents(boolean suppress) {
        return new JoinOptions(connectionData, resumeWindow, signalTypes, suppress, suppressOwnSignals,
                maxQueuedSends, maxQueuedBytes);
    }

    /**
     * The same with or without its own signals.
     *
     * @param suppress whether to be spared them
     * @return the options
     */
    public JoinOptions withSuppressOwnSignals(boolean suppress) {
        return new JoinOptions(connectionData, resumeWindow, signalTypes, suppressConnectionEvents, suppress,
                maxQueuedSends, maxQueuedBytes);
    }

    /**
     * The same with another queue.
     *
     * @param sends how many sends may wait while disconnected
     * @param bytes how many bytes of them may
     * @return the options
     */
    public JoinOptions withQueue(int sends, int bytes) {
        return new JoinOptions(connectionData, resumeWindow, signalTypes, suppressConnectionEvents,
                suppressOwnSignals, sends, bytes);
    }
}
