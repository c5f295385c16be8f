package io.github.signalbox;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;

/** What gRPC says, and is told. */
final class Rpc {
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    /** What grpc-java says, too, when a connection breaks. */
    private static final Set<Status.Code> LOST =
            EnumSet.of(Status.Code.UNAVAILABLE, Status.Code.INTERNAL, Status.Code.CANCELLED, Status.Code.UNKNOWN);

    private Rpc() {}

    static Metadata headers(Optional<Token> token) {
        Metadata headers = new Metadata();
        token.ifPresent(one -> headers.put(AUTHORIZATION, "Bearer " + one.bearer()));
        return headers;
    }

    /** What a status says: the reason, the field and the wait are in its details. */
    static Refusal refusal(Status status, Metadata trailers) {
        String reason = "";
        Optional<String> field = Optional.empty();
        Optional<Duration> retryAfter = Optional.empty();
        try {
            for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
                if (detail.is(ErrorInfo.class)) {
                    reason = detail.unpack(ErrorInfo.class).getReason();
                } else if (detail.is(BadRequest.class)) {
                    field = detail.unpack(BadRequest.class).getFieldViolationsList().stream()
                            .map(BadRequest.FieldViolation::getField)
                            .findFirst();
                } else if (detail.is(RetryInfo.class)) {
                    retryAfter = Optional.of(Wire.duration(detail.unpack(RetryInfo.class).getRetryDelay()));
                }
            }
        } catch (InvalidProtocolBufferException error) {
            // They are no Signalbox's.
        }
        return new Refusal(status.getCode(), reason, message(status), field, retryAfter);
    }

    /** With what is behind it: the description alone may be no more than "io exception". */
    private static String message(Status status) {
        String description = status.getDescription() == null ? "" : status.getDescription();
        Throwable cause = status.getCause();
        if (cause == null) {
            return description;
        }
        String why = cause.getMessage() == null ? cause.toString() : cause.getMessage();
        return description.isEmpty() ? why : description + ": " + why;
    }

    static Refusal refusal(StatusRuntimeException error) {
        return refusal(error.getStatus(), error.getTrailers());
    }

    /** Whether no Signalbox says it, but whoever found the connection broken. */
    static boolean isLost(Refusal refusal) {
        return refusal.reason().isEmpty() && LOST.contains(refusal.code());
    }

    static Ending ending(Status status, Metadata trailers, Endpoint endpoint) {
        if (status.isOk()) {
            return new Ending.Well();
        }
        Refusal refusal = refusal(status, trailers);
        return isLost(refusal)
                ? new Ending.Failed(new ConnectFailedException(endpoint + ": " + refusal.message(), status.getCause()))
                : new Ending.Refused(refusal);
    }
}
