package io.github.signalbox;

/**
 * The server's rate limit, as the generic cell rate algorithm, counted when outcomes come: the
 * server has taken each send by then, so that its count is never above.
 */
final class Pace {
    private final long each;
    private final int burst;
    private long paidAt;

    /** Either is no limit to the server when it is 0. */
    Pace(int perSecond, int burst) {
        this.each = perSecond == 0 || burst == 0 ? 0 : 1_000_000_000L / Integer.toUnsignedLong(perSecond);
        this.burst = burst < 0 ? Integer.MAX_VALUE : burst;
    }

    /** The outcome of one send came. */
    void decided(long now) {
        paidAt = Math.max(paidAt, now) + each;
    }

    /** When one more may be sent; never: not before one of them is decided. */
    long readyAt(int unresolved) {
        if (each == 0) {
            return 0;
        }
        int spare = burst - unresolved - 1;
        return spare < 0 ? Machine.NEVER : paidAt - each * spare;
    }
}
