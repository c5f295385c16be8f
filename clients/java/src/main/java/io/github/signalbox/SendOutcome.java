package io.github.signalbox;

import java.util.List;

/** What became of a send. Every send has one outcome, and none but {@link Unknown} leaves a doubt. */
public sealed interface SendOutcome {
    /**
     * It was sent.
     *
     * @param sequence its place in the session's order
     * @param epoch which life of the session that is of
     * @param notConnectedIds the recipients that are not connected; the others get it
     */
    record Accepted(long sequence, long epoch, List<String> notConnectedIds) implements SendOutcome {
        /**
         * With a copy of the list.
         *
         * @param sequence the same
         * @param epoch the same
         * @param notConnectedIds the same
         */
        public Accepted {
            notConnectedIds = List.copyOf(notConnectedIds);
        }
    }

    /**
     * The server refused it, or would have: it was not sent.
     *
     * @param refusal what was wrong
     */
    record Refused(Refusal refusal) implements SendOutcome {
        @Override
        public String toString() {
            return refusal.toString();
        }
    }

    /** Disconnected, and it was not to wait: it was not sent. */
    record Disconnected() implements SendOutcome {
        @Override
        public String toString() {
            return "disconnected, and the signal was not to wait; it was not sent";
        }
    }

    /**
     * As much waits for the reconnect, or for the server's rate limit, as may: it was not sent.
     *
     * @param sends how many wait
     * @param bytes how large they are
     * @param maxSends how many may
     * @param maxBytes how large they may be
     */
    record QueueFull(int sends, int bytes, int maxSends, int maxBytes) implements SendOutcome {
        @Override
        public String toString() {
            return "%d sends of %d bytes wait already, of %d and %d that may; it was not sent"
                    .formatted(sends, bytes, maxSends, maxBytes);
        }
    }

    /** Its connection was lost for good before an outcome came: it may have been sent. */
    record Unknown() implements SendOutcome {
        @Override
        public String toString() {
            return "the connection was lost for good before an outcome came; it may have been sent";
        }
    }

    /** Out of the session, or leaving it: it was not sent. */
    record Over() implements SendOutcome {
        @Override
        public String toString() {
            return "out of the session, or leaving it; it was not sent";
        }
    }

    /**
     * For who takes nothing else.
     *
     * @return this, if it was accepted
     * @throws SendException with this, if it was not
     */
    default Accepted accepted() {
        if (this instanceof Accepted accepted) {
            return accepted;
        }
        throw new SendException(this);
    }
}
