package io.github.signalbox;

/** The server refused a backend's call, and nothing was done. */
public final class RefusedException extends SignalboxException {
    private static final long serialVersionUID = 1L;

    private final transient Refusal refusal;

    RefusedException(Refusal refusal, Throwable cause) {
        super(refusal.toString(), cause);
        this.refusal = refusal;
    }

    /**
     * What was wrong.
     *
     * @return the refusal
     */
    public Refusal refusal() {
        return refusal;
    }
}
