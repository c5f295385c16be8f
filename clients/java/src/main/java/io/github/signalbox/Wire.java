package io.github.signalbox;

import com.google.protobuf.Timestamp;
import io.github.signalbox.v1.ConnectionState;
import io.github.signalbox.v1.JoinResponse;
import io.github.signalbox.v1.Joined;
import io.github.signalbox.v1.Recipients;
import io.github.signalbox.v1.SendResult;
import io.grpc.Status;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/** Between the wire's words and this package's. */
final class Wire {
    private static final int MAX_DATA_BYTES = 8_192;
    private static final int MAX_TYPE_BYTES = 128;

    private Wire() {}

    static long nanos(Duration duration) {
        try {
            return duration.toNanos();
        } catch (ArithmeticException tooLong) {
            // Three hundred years are as good.
            return Long.MAX_VALUE / 4;
        }
    }

    static long nanos(com.google.protobuf.Duration wire) {
        return nanos(duration(wire));
    }

    static Duration duration(com.google.protobuf.Duration wire) {
        return Duration.ofSeconds(wire.getSeconds(), wire.getNanos());
    }

    static com.google.protobuf.Duration duration(Duration duration) {
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(duration.getSeconds())
                .setNanos(duration.getNano())
                .build();
    }

    static Instant instant(Timestamp wire) {
        return Instant.ofEpochSecond(wire.getSeconds(), wire.getNanos());
    }

    static Connection connection(io.github.signalbox.v1.Connection wire) {
        return new Connection(
                wire.getConnectionId(),
                instant(wire.getCreatedAt()),
                wire.getData(),
                role(wire.getRole()),
                wire.getState() == ConnectionState.CONNECTION_STATE_INTERRUPTED);
    }

    static Event.There there(Joined joined) {
        List<Connection> all = joined.getConnectionsList().stream().map(Wire::connection).toList();
        return new Event.There(connection(joined.getConnection()), all, joined.getEpoch(), joined.getSequence());
    }

    static Role role(io.github.signalbox.v1.Role wire) {
        return switch (wire) {
            case ROLE_SUBSCRIBER -> Role.SUBSCRIBER;
            case ROLE_PUBLISHER -> Role.PUBLISHER;
            case ROLE_MODERATOR -> Role.MODERATOR;
            default -> Role.UNKNOWN;
        };
    }

    static DisconnectReason reason(io.github.signalbox.v1.DisconnectReason wire) {
        return switch (wire) {
            case DISCONNECT_REASON_CLIENT_DISCONNECTED -> DisconnectReason.CLIENT_DISCONNECTED;
            case DISCONNECT_REASON_FORCE_DISCONNECTED -> DisconnectReason.FORCE_DISCONNECTED;
            case DISCONNECT_REASON_NETWORK_DISCONNECTED -> DisconnectReason.NETWORK_DISCONNECTED;
            case DISCONNECT_REASON_SLOW_CONSUMER -> DisconnectReason.SLOW_CONSUMER;
            case DISCONNECT_REASON_NODE_LOST -> DisconnectReason.NODE_LOST;
            case DISCONNECT_REASON_TOKEN_EXPIRED -> DisconnectReason.TOKEN_EXPIRED;
            default -> DisconnectReason.UNKNOWN;
        };
    }

    static io.github.signalbox.v1.Signal signal(Signal signal) {
        return io.github.signalbox.v1.Signal.newBuilder()
                .setType(signal.type())
                .setData(signal.data())
                .build();
    }

    static Optional<Recipients> recipients(Signal signal) {
        return signal.to().map(ids -> Recipients.newBuilder().addAllConnectionIds(ids).build());
    }

    /** Something of the session's order. */
    record InOrder(long sequence, Event event) {}

    static Optional<InOrder> inOrder(JoinResponse response) {
        return switch (response.getEventCase()) {
            case SIGNAL -> {
                var it = response.getSignal();
                Optional<String> from =
                        it.hasFromConnectionId() ? Optional.of(it.getFromConnectionId()) : Optional.empty();
                yield inOrder(it.getSequence(), new Event.SignalReceived(it.getSequence(), from,
                        it.getSignal().getType(), it.getSignal().getData(), instant(it.getSentAt())));
            }
            case CONNECTION_CREATED -> {
                var it = response.getConnectionCreated();
                yield inOrder(it.getSequence(),
                        new Event.ConnectionCreated(it.getSequence(), connection(it.getConnection())));
            }
            case CONNECTION_DESTROYED -> {
                var it = response.getConnectionDestroyed();
                yield inOrder(it.getSequence(), new Event.ConnectionDestroyed(
                        it.getSequence(), it.getConnectionId(), reason(it.getReason())));
            }
            case CONNECTION_INTERRUPTED -> {
                var it = response.getConnectionInterrupted();
                yield inOrder(it.getSequence(),
                        new Event.ConnectionInterrupted(it.getSequence(), it.getConnectionId()));
            }
            case CONNECTION_RESTORED -> {
                var it = response.getConnectionRestored();
                yield inOrder(it.getSequence(),
                        new Event.ConnectionRestored(it.getSequence(), it.getConnectionId()));
            }
            default -> Optional.empty();
        };
    }

    private static Optional<InOrder> inOrder(long sequence, Event event) {
        return Optional.of(new InOrder(sequence, event));
    }

    static SendOutcome outcome(SendResult result, long epoch) {
        return switch (result.getOutcomeCase()) {
            case ACCEPTED -> new SendOutcome.Accepted(
                    result.getAccepted().getSequence(), epoch, result.getAccepted().getNotConnectedIdsList());
            case ERROR -> {
                var it = result.getError();
                yield new SendOutcome.Refused(new Refusal(
                        Status.fromCodeValue(it.getCode()).getCode(),
                        it.getReason(),
                        it.getMessage(),
                        Optional.of(it.getField()).filter(field -> !field.isEmpty()),
                        it.hasRetryAfter() ? Optional.of(duration(it.getRetryAfter())) : Optional.empty()));
            }
            default -> new SendOutcome.Unknown();
        };
    }

    /**
     * What the server would refuse.
     *
     * @param maxRecipients 0: it hasn't said
     */
    static Optional<Refusal> check(Signal wanted, int maxRecipients) {
        int data = Utf8.length("data", wanted.data());
        int type = Utf8.length("type", wanted.type());
        int to = wanted.to().map(List::size).orElse(0);
        if (data > MAX_DATA_BYTES) {
            return bad("SIGNAL_DATA_TOO_LARGE", "signal.data", "the data is %d bytes; at most %d are allowed"
                    .formatted(data, MAX_DATA_BYTES));
        }
        if (type > MAX_TYPE_BYTES) {
            return bad("SIGNAL_TYPE_TOO_LARGE", "signal.type", "the type is %d bytes; at most %d are allowed"
                    .formatted(type, MAX_TYPE_BYTES));
        }
        if (!wanted.type().chars().allMatch(Wire::isOfTypes)) {
            return bad("SIGNAL_TYPE_INVALID", "signal.type",
                    "the type \"%s\" has a character other than A-Z a-z 0-9 - _ ~".formatted(wanted.type()));
        }
        if (wanted.to().isPresent() && to == 0) {
            return bad("RECIPIENTS_INVALID", "to.connection_ids",
                    "the list of recipients is empty; leave it out to send to everyone");
        }
        if (maxRecipients > 0 && to > maxRecipients) {
            return bad("RECIPIENTS_INVALID", "to.connection_ids", "%d recipients; at most %d are allowed"
                    .formatted(to, maxRecipients));
        }
        return Optional.empty();
    }

    private static boolean isOfTypes(int one) {
        return one >= 'A' && one <= 'Z' || one >= 'a' && one <= 'z' || one >= '0' && one <= '9'
                || one == '-' || one == '_' || one == '~';
    }

    private static Optional<Refusal> bad(String reason, String field, String message) {
        return Optional.of(
                new Refusal(Status.Code.INVALID_ARGUMENT, reason, message, Optional.of(field), Optional.empty()));
    }
}
