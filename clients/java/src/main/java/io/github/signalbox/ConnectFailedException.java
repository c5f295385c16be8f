package io.github.signalbox;

import java.util.Optional;

/** There is no way in: no server answers, or it lets nobody in; then there is a refusal. */
public final class ConnectFailedException extends SignalboxException {
    private static final long serialVersionUID = 1L;

    /** Not sent along where an exception is. */
    private final transient Refusal refusal;

    ConnectFailedException(String why, Refusal refusal) {
        super(why, null);
        this.refusal = refusal;
    }

    ConnectFailedException(String why, Throwable cause) {
        super(why, cause);
        this.refusal = null;
    }

    ConnectFailedException(ConnectFailedException cause) {
        super(cause.getMessage(), cause);
        this.refusal = cause.refusal;
    }

    /**
     * Why the server says no.
     *
     * @return its refusal; empty when none answered
     */
    public Optional<Refusal> refusal() {
        return Optional.ofNullable(refusal);
    }
}
