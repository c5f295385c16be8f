package io.github.signalbox;

import io.github.signalbox.v1.JoinRequest;
import io.github.signalbox.v1.JoinResponse;
import io.github.signalbox.v1.SignalingServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * One {@code Join}, on a connection of its own, because a broken one breaks all that is on it.
 * Used under the lock of its session, but for what gRPC calls.
 */
final class Stream {
    /** Who is told; on threads of gRPC's, one call after the other. */
    interface Receiver {
        /** A response came. None comes after it before it is asked for. */
        void received(Stream stream, JoinResponse response);

        /** It is over. */
        void ended(Stream stream, Ending how);
    }

    private static final AtomicBoolean LOADED = new AtomicBoolean();

    private final int number;
    private ManagedChannel channel;
    private ClientCall<JoinRequest, JoinResponse> call;
    private boolean cancelled;

    Stream(int number) {
        this.number = number;
    }

    /**
     * Has gRPC loaded, once: on a cold virtual machine that is most of a second of work, and many
     * seconds on a busy one, which is no server's fault and must not count against an attempt.
     */
    static void load(Endpoint endpoint) {
        if (LOADED.getAndSet(true)) {
            return;
        }
        try {
            ManagedChannel channel = endpoint.channel();
            // So that it connects to nobody.
            channel.shutdownNow();
            channel.newCall(SignalingServiceGrpc.getJoinMethod(), CallOptions.DEFAULT)
                    .start(new ClientCall.Listener<>() {}, new Metadata());
        } catch (RuntimeException error) {
            // What is wrong is what the attempt says.
        }
    }

    int number() {
        return number;
    }

    /** Opens it, unless it was let go before. */
    void start(Endpoint endpoint, Optional<Token> token, JoinRequest first, Receiver receiver) {
        if (cancelled) {
            return;
        }
        ManagedChannel channel = endpoint.channel();
        this.channel = channel;
        call = channel.newCall(SignalingServiceGrpc.getJoinMethod(), CallOptions.DEFAULT);
        call.start(new ClientCall.Listener<>() {
            @Override
            public void onMessage(JoinResponse response) {
                receiver.received(Stream.this, response);
            }

            @Override
            public void onClose(Status status, Metadata trailers) {
                channel.shutdownNow();
                receiver.ended(Stream.this, Rpc.ending(status, trailers, endpoint));
            }
        }, Rpc.headers(token));
        call.sendMessage(first);
        call.request(1);
    }

    /** Frames go in the order of this. */
    void send(JoinRequest frame) {
        if (call != null && !cancelled) {
            call.sendMessage(frame);
        }
    }

    /** Asks for one response more. */
    void request() {
        if (call != null && !cancelled) {
            call.request(1);
        }
    }

    /** Lets it go. */
    void cancel() {
        if (call != null && !cancelled) {
            call.cancel("the client let it go", null);
            channel.shutdownNow();
        }
        cancelled = true;
    }
}
