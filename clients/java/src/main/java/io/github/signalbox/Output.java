package io.github.signalbox;

import io.github.signalbox.v1.Join;
import io.github.signalbox.v1.JoinRequest;
import java.util.concurrent.CompletableFuture;

/** What the machine wants done. */
sealed interface Output {
    /** Open a stream with this as its first frame, and with a new token or the last. */
    record Open(int stream, Endpoint endpoint, Join join, boolean renewToken) implements Output {}

    /** Send a frame. */
    record Frame(int stream, JoinRequest frame) implements Output {}

    /** Let a stream go. */
    record Close(int stream) implements Output {}

    /** Tell the application. */
    record Tell(Event event) implements Output {}

    /** Tell what became of a send. */
    record Decide(CompletableFuture<SendOutcome> ticket, SendOutcome outcome) implements Output {}

    /** The first join failed. */
    record Failed(ConnectFailedException why) implements Output {}

    /** It is over, for good. */
    record Over() implements Output {}
}
