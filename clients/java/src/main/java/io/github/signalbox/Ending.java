package io.github.signalbox;

import io.github.signalbox.v1.ClientAction;
import io.github.signalbox.v1.Closing;
import io.grpc.Status;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;

/** How a stream ended. */
sealed interface Ending {
    /** With OK. */
    record Well() implements Ending {
        @Override
        public String toString() {
            return "the stream ended";
        }
    }

    /** With a status. */
    record Refused(Refusal refusal) implements Ending {
        @Override
        public String toString() {
            return refusal.toString();
        }
    }

    /** Nothing came any more. */
    record Silent() implements Ending {
        @Override
        public String toString() {
            return "nothing came for longer than heartbeats allow";
        }
    }

    /** It could not be opened, or its connection is lost. */
    record Failed(ConnectFailedException why) implements Ending {
        @Override
        public String toString() {
            return why.getMessage();
        }
    }

    /** Those that say that coming back with the same won't help, if a Signalbox says them. */
    Set<Status.Code> STOPPING = EnumSet.of(
            Status.Code.INVALID_ARGUMENT,
            Status.Code.NOT_FOUND,
            Status.Code.FAILED_PRECONDITION,
            Status.Code.ABORTED);

    /**
     * What an end means for coming back: not at all, if there is a refusal in {@code stop}.
     *
     * @param after no sooner than this, in nanoseconds
     */
    record Verdict(Optional<Refusal> stop, long after, boolean renewToken) {}

    /** The server's reason, or an empty one. */
    static String reason(Closing closing, Ending how) {
        if (closing != null) {
            return closing.getReason();
        }
        return how instanceof Refused it ? it.refusal().reason() : "";
    }

    /** @param renewed whether it ended a stream with a new token */
    static Verdict judge(Closing closing, Ending how, boolean renewable, boolean renewed) {
        String reason = reason(closing, how);
        Refusal given = how instanceof Refused it
                ? it.refusal()
                : new Refusal(Status.Code.ABORTED, reason, "the server closed the stream and says not to come back",
                        Optional.empty(), Optional.empty());
        Refusal refusal = new Refusal(given.code(), reason, given.message(), given.field(), given.retryAfter());
        long after = closing != null && closing.hasRetryAfter()
                ? Wire.nanos(closing.getRetryAfter())
                : refusal.retryAfter().map(Wire::nanos).orElse(0L);
        Verdict stop = new Verdict(Optional.of(refusal), 0, false);
        Verdict again = new Verdict(Optional.empty(), after, false);
        if (reason.equals("TOKEN_EXPIRED")) {
            // Another token may help, once; one that is refused again doesn't.
            return renewable && !renewed ? new Verdict(Optional.empty(), after, true) : stop;
        }
        // An action that this version doesn't know leaves it to the status.
        ClientAction action = closing == null ? ClientAction.CLIENT_ACTION_UNSPECIFIED : closing.getAction();
        switch (action) {
            case CLIENT_ACTION_STOP:
                return stop;
            case CLIENT_ACTION_RESUME, CLIENT_ACTION_REJOIN:
                return again;
            default:
                break;
        }
        if (how instanceof Refused) {
            // Without a reason it is a proxy's, and passes.
            boolean stops = refusal.code() == Status.Code.PERMISSION_DENIED
                    || refusal.code() == Status.Code.UNAUTHENTICATED
                    || !reason.isEmpty() && STOPPING.contains(refusal.code());
            return stops ? stop : again;
        }
        return again;
    }
}
