package io.github.signalbox;

/** A send was not accepted; {@link SendOutcome#accepted()} throws it. */
public final class SendException extends SignalboxException {
    private static final long serialVersionUID = 1L;

    private final transient SendOutcome outcome;

    SendException(SendOutcome outcome) {
        super(outcome.toString(), null);
        this.outcome = outcome;
    }

    /**
     * What became of it.
     *
     * @return any outcome but {@link SendOutcome.Accepted}
     */
    public SendOutcome outcome() {
        return outcome;
    }
}
