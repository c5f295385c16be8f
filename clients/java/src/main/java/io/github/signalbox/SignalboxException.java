package io.github.signalbox;

/** What this client throws of its own. */
public abstract sealed class SignalboxException extends RuntimeException
        permits ConnectFailedException, RefusedException, SendException {
    private static final long serialVersionUID = 1L;

    SignalboxException(String message, Throwable cause) {
        super(message, cause);
    }
}
