package io.github.signalbox;

import io.github.signalbox.v1.ClientAction;
import io.github.signalbox.v1.Closing;
import io.github.signalbox.v1.DisconnectConnection;
import io.github.signalbox.v1.Join;
import io.github.signalbox.v1.JoinOutcome;
import io.github.signalbox.v1.JoinRequest;
import io.github.signalbox.v1.JoinResponse;
import io.github.signalbox.v1.Joined;
import io.github.signalbox.v1.Leave;
import io.github.signalbox.v1.Recipients;
import io.github.signalbox.v1.Resume;
import io.github.signalbox.v1.SendResult;
import io.github.signalbox.v1.SendSignal;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.random.RandomGenerator;

/**
 * The protocol of a member, pure: what happened and the time go in, what to do comes out. No
 * I/O, no clock, no threads; times are nanoseconds since its beginning.
 *
 * <p>One connection outlives its streams. At most two exist at a time: the live one, and one
 * being opened, to come back or, with a fresh token, to take the live one over.
 */
final class Machine {
    /** When something does not happen by itself. */
    static final long NEVER = Long.MAX_VALUE;

    private static final int UNRESOLVED_WITHOUT_LIMIT = 1_024;
    /** A token is renewed this long before it expires, or when a tenth of its time is left. */
    private static final long RENEW_BEFORE = Duration.ofMinutes(1).toNanos();

    /** How to be a member; times in nanoseconds. */
    record Settings(
            Join join,
            List<Endpoint> endpoints,
            long connectTimeout,
            long shortestPause,
            long longestPause,
            long giveUpAfter,
            boolean renewable,
            int maxSends,
            int maxBytes) {}

    private enum Leaving {
        NO,
        WHEN_SETTLED,
        NOW
    }

    private static final class Identity {
        final Connection connection;
        final String resumeToken;
        long epoch;
        long lastSequence;
        long lastResult;

        Identity(Event.There there, String resumeToken) {
            this.connection = there.connection();
            this.resumeToken = resumeToken;
            this.epoch = there.epoch();
            this.lastSequence = there.sequence();
        }
    }

    private static final class Live {
        final int stream;
        final long since;
        long heardAt;
        Closing closing;
        boolean leaveSent;

        Live(int stream, long now, Closing closing) {
            this.stream = stream;
            this.since = now;
            this.heardAt = now;
            this.closing = closing;
        }
    }

    private static final class Opening {
        final int stream;
        final boolean renewed;
        long deadline;
        Joined.Builder joined;
        Closing closing;

        Opening(int stream, long deadline, boolean renewed) {
            this.stream = stream;
            this.deadline = deadline;
            this.renewed = renewed;
        }
    }

    private final Settings settings;
    private final RandomGenerator random;
    private final Queue<Output> outputs = new ArrayDeque<>();
    private final Sends sends;
    private final Roster roster = new Roster();
    private Identity identity;
    private Live live;
    private Opening opening;
    private long openAt = NEVER;
    private long lostAt = NEVER;
    private long renewAt = NEVER;
    private int attempt;
    private int endpoint;
    private int streams;
    private boolean renewToken;
    private Pace pace = new Pace(0, 0);
    private int maxRecipients;
    private long heartbeatInterval;
    private int maxUnresolved = UNRESOLVED_WITHOUT_LIMIT;
    private Leaving leaving = Leaving.NO;
    private boolean over;
    private boolean reading = true;

    Machine(Settings settings, RandomGenerator random) {
        this.settings = settings;
        this.random = random;
        this.sends = new Sends(settings.maxSends, settings.maxBytes);
    }

    /** What to do next; null: nothing. */
    Output next() {
        return outputs.poll();
    }

    String connectionId() {
        return identity == null ? "" : identity.connection.id();
    }

    boolean isLive(int stream) {
        return live != null && live.stream == stream;
    }

    boolean isLeaving() {
        return leaving != Leaving.NO;
    }

    // What the application wants.

    void start(long now) {
        // Whoever asked may have changed its mind.
        if (!over) {
            open(now);
        }
    }

    /** Sends, now or as soon as it may. */
    void signal(Signal wanted, CompletableFuture<SendOutcome> ticket, long now) {
        Optional<Refusal> refusal = Wire.check(wanted, maxRecipients);
        if (over || isLeaving()) {
            decide(ticket, new SendOutcome.Over());
        } else if (refusal.isPresent()) {
            decide(ticket, new SendOutcome.Refused(refusal.get()));
        } else if (!wanted.retryAfterReconnect() && lostAt != NEVER) {
            decide(ticket, new SendOutcome.Disconnected());
        } else {
            io.github.signalbox.v1.Signal signal = Wire.signal(wanted);
            Optional<Recipients> to = Wire.recipients(wanted);
            int bytes = signal.getSerializedSize() + to.map(Recipients::getSerializedSize).orElse(0);
            push(new Sends.Send(id -> {
                SendSignal.Builder send = SendSignal.newBuilder().setSendId(id).setSignal(signal);
                to.ifPresent(send::setTo);
                return JoinRequest.newBuilder().setSend(send).build();
            }, bytes, wanted.retryAfterReconnect(), ticket), now);
        }
    }

    /** Disconnects another connection; as {@code signal}. */
    void disconnect(String connectionId, CompletableFuture<SendOutcome> ticket, long now) {
        if (over || isLeaving()) {
            decide(ticket, new SendOutcome.Over());
            return;
        }
        push(new Sends.Send(id -> JoinRequest.newBuilder()
                .setDisconnect(DisconnectConnection.newBuilder().setSendId(id).setConnectionId(connectionId))
                .build(), connectionId.length(), true, ticket), now);
    }

    private void push(Sends.Send send, long now) {
        boolean atOnce = canSend() && !sends.isWaiting() && readyAt() <= now;
        sends.push(send, atOnce).ifPresentOrElse(full -> decide(send.ticket(), full), () -> flush(now));
    }

    /** Leaves once every send has its outcome; {@code atOnce} without what was not sent yet. */
    void leave(boolean atOnce, long now) {
        if (over) {
            return;
        }
        if (atOnce || identity == null) {
            leaving = Leaving.NOW;
            decide(sends.discard(), new SendOutcome.Over());
            if (live == null) {
                end("left", Event.Disconnected.Next.STOP, Optional.empty());
            }
        } else if (leaving == Leaving.NO) {
            leaving = Leaving.WHEN_SETTLED;
        }
        flush(now);
    }

    // What happens.

    /**
     * Whether what arrives is read from here on: a reader that pauses can't tell silence from its
     * own pause.
     */
    void read(boolean reading, long now) {
        if (reading && !this.reading && live != null) {
            live.heardAt = now;
        }
        this.reading = reading;
    }

    /** The token of the stream that was opened last expires so much later. */
    void tokenExpires(long left, long now) {
        if (settings.renewable) {
            renewAt = now + left - Math.min(RENEW_BEFORE, left / 10);
        }
    }

    /** When to wake it at the latest; never, if it needn't be. */
    long wakeAt() {
        long first = Math.min(openAt, silentAt());
        if (opening != null) {
            first = Math.min(first, opening.deadline);
        }
        if (canSend() && sends.isWaiting()) {
            first = Math.min(first, readyAt());
        }
        if (live != null && opening == null && openAt == NEVER) {
            first = Math.min(first, renewAt);
        }
        return over ? NEVER : first;
    }

    /** Time has passed. */
    void wake(long now) {
        if (over) {
            return;
        }
        if (silentAt() <= now) {
            lose(new Ending.Silent(), now);
        }
        if (opening != null && opening.deadline <= now) {
            failed(new Ending.Silent(), now);
        }
        if (openAt <= now) {
            open(now);
        } else if (live != null && opening == null && renewAt <= now) {
            renewToken = true;
            open(now);
        }
        flush(now);
    }

    /** A response came on a stream. */
    void received(int stream, JoinResponse response, long now) {
        if (opening != null && opening.stream == stream) {
            openingReceived(response, now);
            return;
        }
        if (!isLive(stream)) {
            return;
        }
        live.heardAt = now;
        switch (response.getEventCase()) {
            case CLOSING -> live.closing = response.getClosing();
            case SEND_RESULT -> {
                decided(response.getSendResult(), now);
                flush(now);
            }
            case HEARTBEAT -> identity.lastSequence =
                    Math.max(identity.lastSequence, response.getHeartbeat().getSequence());
            // Told once: two streams overlap while one takes the other over.
            default -> Wire.inOrder(response).filter(it -> it.sequence() > identity.lastSequence).ifPresent(it -> {
                identity.lastSequence = it.sequence();
                tell(it.event());
            });
        }
    }

    /** A stream ended. */
    void ended(int stream, Ending how, long now) {
        if (opening != null && opening.stream == stream) {
            failed(how, now);
        } else if (isLive(stream)) {
            lose(how, now);
        }
    }

    // Sending.

    /** The server says something every heartbeat interval; half-open is found within two. */
    private long silentAt() {
        boolean counts = live != null && reading && heartbeatInterval > 0;
        return counts ? live.heardAt + heartbeatInterval / 4 * 7 : NEVER;
    }

    private long readyAt() {
        return sends.unresolved() >= maxUnresolved ? NEVER : pace.readyAt(sends.unresolved());
    }

    /** Whether there is a stream that takes frames. One that is being closed takes nothing. */
    private boolean canSend() {
        return live != null && live.closing == null && !live.leaveSent;
    }

    private void flush(long now) {
        if (!canSend()) {
            return;
        }
        sends.again().forEach(frame -> outputs.add(new Output.Frame(live.stream, frame)));
        while (sends.isWaiting() && readyAt() <= now) {
            outputs.add(new Output.Frame(live.stream, sends.next()));
        }
        if (leaving == Leaving.NOW || leaving == Leaving.WHEN_SETTLED && sends.isSettled()) {
            live.leaveSent = true;
            JoinRequest leave = JoinRequest.newBuilder().setLeave(Leave.getDefaultInstance()).build();
            outputs.add(new Output.Frame(live.stream, leave));
        }
    }

    private void decided(SendResult result, long now) {
        identity.lastResult = Math.max(identity.lastResult, result.getSendId());
        sends.resolve(result.getSendId()).ifPresent(ticket -> {
            pace.decided(now);
            decide(ticket, Wire.outcome(result, identity.epoch));
        });
    }

    private void decide(CompletableFuture<SendOutcome> ticket, SendOutcome outcome) {
        outputs.add(new Output.Decide(ticket, outcome));
    }

    private void decide(List<CompletableFuture<SendOutcome>> tickets, SendOutcome outcome) {
        tickets.forEach(ticket -> decide(ticket, outcome));
    }

    private void tell(Event event) {
        roster.apply(event);
        outputs.add(new Output.Tell(event));
    }

    // Getting in, and getting back in.

    private void open(long now) {
        openAt = NEVER;
        renewAt = NEVER;
        streams += 1;
        opening = new Opening(streams, now + settings.connectTimeout, renewToken);
        renewToken = false;
        Join.Builder join = settings.join.toBuilder();
        if (identity != null) {
            join.setResume(Resume.newBuilder()
                    .setConnectionId(identity.connection.id())
                    .setResumeToken(identity.resumeToken)
                    .setEpoch(identity.epoch)
                    .setLastSequence(identity.lastSequence)
                    .setLastResultSendId(identity.lastResult));
        }
        outputs.add(new Output.Open(streams, settings.endpoints.get(endpoint), join.build(), opening.renewed));
    }

    private void openingReceived(JoinResponse response, long now) {
        switch (response.getEventCase()) {
            case JOINED -> {
                if (opening.joined == null) {
                    opening.joined = response.getJoined().toBuilder();
                    if (!response.getJoined().getMoreConnections()) {
                        joined(response.getJoined(), now);
                    }
                }
            }
            case CONNECTIONS_PAGE -> {
                if (opening.joined != null) {
                    opening.joined.addAllConnections(response.getConnectionsPage().getConnectionsList());
                    // A large snapshot may take its time as long as it comes.
                    opening.deadline = now + settings.connectTimeout;
                    if (!response.getConnectionsPage().getMore()) {
                        joined(opening.joined.build(), now);
                    }
                }
            }
            case CLOSING -> opening.closing = response.getClosing();
            default -> { }
        }
    }

    private void joined(Joined joined, long now) {
        if (live != null) {
            outputs.add(new Output.Close(live.stream));
        }
        live = new Live(opening.stream, now, opening.closing);
        opening = null;
        var limits = joined.getLimits();
        maxRecipients = limits.getMaxRecipients();
        heartbeatInterval = Wire.nanos(limits.getHeartbeatInterval());
        maxUnresolved = limits.getMaxUnresolvedSends() == 0 ? UNRESOLVED_WITHOUT_LIMIT : limits.getMaxUnresolvedSends();

        boolean lost = lostAt != NEVER;
        lostAt = NEVER;
        Event.There there = Wire.there(joined);
        boolean resumed = switch (joined.getOutcome()) {
            case JOIN_OUTCOME_NEW -> false;
            case JOIN_OUTCOME_RESUMED, JOIN_OUTCOME_RESUMED_WITH_GAP -> true;
            // An outcome that this version doesn't know is judged by the id.
            default -> connectionId().equals(there.connection().id());
        };
        if (identity != null && resumed) {
            decide(sends.resumed(joined.getLastSendId(), lost), new SendOutcome.Disconnected());
            if (joined.getOutcome() != JoinOutcome.JOIN_OUTCOME_RESUMED || there.epoch() != identity.epoch) {
                identity.epoch = there.epoch();
                identity.lastSequence = there.sequence();
                tell(new Event.Reconnected(there, true));
            } else if (lost) {
                tell(new Event.Reconnected(new Event.There(
                        identity.connection, roster.connections(), identity.epoch, identity.lastSequence), false));
            }
        } else {
            boolean first = identity == null;
            identity = new Identity(there, joined.getResumeToken());
            // A new connection has the server's whole burst; a resumed one goes on with what it had.
            pace = new Pace(limits.getSignalsPerSecond(), limits.getSignalBurst());
            decide(sends.renewed(), new SendOutcome.Unknown());
            tell(first ? new Event.Joined(there) : new Event.Reconnected(there, true));
        }
        flush(now);
    }

    /** The stream that was being opened won't be. */
    private void failed(Ending how, long now) {
        Opening was = opening;
        opening = null;
        outputs.add(new Output.Close(was.stream));
        Ending.Verdict verdict = Ending.judge(was.closing, how, settings.renewable, was.renewed);
        int tried = endpoint;
        nextEndpoint();
        // The token that was asked for may never have come.
        renewToken |= was.renewed && (how instanceof Ending.Silent || how instanceof Ending.Failed);
        if (identity == null) {
            firstFailed(verdict, how, tried, now);
            return;
        }
        if (verdict.stop().isEmpty()) {
            renewToken |= verdict.renewToken();
            // It ended the stream that it was to take over, and failed.
            if (live == null && lostAt == NEVER) {
                reconnecting(was.closing, how, now);
            }
            tryAgain(verdict.after(), how, now);
        } else if (live != null) {
            // The live stream stays as long as the server lets it.
            again(0, now);
        } else {
            stop(verdict.stop().get());
        }
        flush(now);
    }

    private void firstFailed(Ending.Verdict verdict, Ending how, int tried, long now) {
        if (verdict.stop().isEmpty() && verdict.renewToken()) {
            renewToken = true;
            endpoint = tried;
            open(now);
        } else if (verdict.stop().isEmpty() && endpoint != 0) {
            open(now);
        } else {
            over = true;
            ConnectFailedException why = how instanceof Ending.Failed it
                    ? it.why()
                    : new ConnectFailedException(settings.endpoints.get(tried) + ": " + how,
                            how instanceof Ending.Refused it ? it.refusal() : null);
            outputs.add(new Output.Failed(why));
            decide(sends.discard(), new SendOutcome.Over());
            outputs.add(new Output.Over());
        }
    }

    private void tryAgain(long after, Ending how, long now) {
        if (lostAt == NEVER) {
            again(after, now);
            return;
        }
        long givesUpAt = lostAt + settings.giveUpAfter;
        if (givesUpAt <= now) {
            end("gave up reconnecting: " + how, Event.Disconnected.Next.REJOIN, Optional.empty());
            return;
        }
        again(after, now);
        // The last attempt is made when the time is up, not after it.
        openAt = Math.min(openAt, givesUpAt);
    }

    // Losing it.

    private void lose(Ending how, long now) {
        Live was = live;
        live = null;
        outputs.add(new Output.Close(was.stream));
        if (leaving == Leaving.NOW || was.leaveSent && how instanceof Ending.Well) {
            end("left", Event.Disconnected.Next.STOP, Optional.empty());
            return;
        }
        // A stream opened after it took it over, and that it is in is still on its way.
        boolean byOwn = Ending.reason(was.closing, how).equals("CONNECTION_TAKEN_OVER") && streams > was.stream;
        if (byOwn && opening != null) {
            return;
        }
        Ending.Verdict verdict = Ending.judge(was.closing, how, settings.renewable, false);
        if (verdict.stop().isPresent() && !byOwn) {
            stop(verdict.stop().get());
            return;
        }
        // A stream that breaks again and again is no success.
        if (now - was.since >= settings.longestPause) {
            attempt = 0;
        }
        renewToken |= verdict.renewToken();
        if (was.closing != null && was.closing.getReason().equals("GOING_AWAY")) {
            nextEndpoint();
        }
        reconnecting(was.closing, how, now);
        // A stream that was about to take over is as good as any.
        if (opening == null) {
            again(verdict.after(), now);
        }
    }

    private void reconnecting(Closing closing, Ending how, long now) {
        lostAt = now;
        decide(sends.lost(), new SendOutcome.Disconnected());
        tell(new Event.Reconnecting(closing == null ? how.toString() : "the server closed it: " + closing.getReason()));
    }

    private void nextEndpoint() {
        endpoint = (endpoint + 1) % settings.endpoints.size();
    }

    /** Again after a pause: doubled each time, and lengthened at random by up to as much again. */
    private void again(long after, long now) {
        double doubled = settings.shortestPause * Math.pow(2, attempt);
        long pause = (long) Math.min(doubled, settings.longestPause);
        attempt += 1;
        openAt = now + Math.max(pause + random.nextLong(pause + 1), after);
    }

    private void stop(Refusal refusal) {
        end(refusal.toString(), Event.Disconnected.Next.STOP, Optional.of(refusal));
    }

    /** It is over, for good. */
    private void end(String why, Event.Disconnected.Next next, Optional<Refusal> refusal) {
        if (over) {
            return;
        }
        over = true;
        if (live != null) {
            outputs.add(new Output.Close(live.stream));
        }
        if (opening != null) {
            outputs.add(new Output.Close(opening.stream));
        }
        live = null;
        opening = null;
        openAt = NEVER;
        renewAt = NEVER;
        decide(sends.discard(), new SendOutcome.Over());
        decide(sends.renewed(), new SendOutcome.Unknown());
        tell(new Event.Disconnected(why, next, refusal));
        outputs.add(new Output.Over());
    }
}
