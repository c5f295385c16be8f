package io.github.signalbox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.signalbox.v1.Accepted;
import io.github.signalbox.v1.ClientAction;
import io.github.signalbox.v1.Closing;
import io.github.signalbox.v1.ConnectionsPage;
import io.github.signalbox.v1.Heartbeat;
import io.github.signalbox.v1.Join;
import io.github.signalbox.v1.JoinOutcome;
import io.github.signalbox.v1.JoinRequest;
import io.github.signalbox.v1.JoinResponse;
import io.github.signalbox.v1.Joined;
import io.github.signalbox.v1.Limits;
import io.github.signalbox.v1.Resume;
import io.github.signalbox.v1.SendResult;
import io.github.signalbox.v1.SignalReceived;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** The machine alone, at times that the tests say. */
class MachineTest {
    private static final long SECOND = 1_000_000_000L;
    private static final List<Endpoint> ENDPOINTS = List.of(endpoint("a:1"), endpoint("b:2"));

    private final List<CompletableFuture<SendOutcome>> tickets = new ArrayList<>();
    private Machine machine = machine(ENDPOINTS, false);

    private static Endpoint endpoint(String text) {
        return Endpoint.read(text, InsecureChannelCredentials.create());
    }

    private static Machine machine(List<Endpoint> endpoints, boolean renewable) {
        Join join = Join.newBuilder().setSessionId("s").build();
        return new Machine(
                new Machine.Settings(join, endpoints, 10 * SECOND, SECOND / 4, 10 * SECOND, 300 * SECOND, renewable, 2, 100),
                new SplittableRandom(7));
    }

    private static io.github.signalbox.v1.Connection connection(String id) {
        return io.github.signalbox.v1.Connection.newBuilder().setConnectionId(id).build();
    }

    private static Joined.Builder joined(JoinOutcome outcome, String id, long sequence) {
        return Joined.newBuilder()
                .setOutcome(outcome)
                .setConnection(connection(id))
                .addConnections(connection(id))
                .setEpoch(1)
                .setSequence(sequence)
                .setResumeToken("secret")
                .setLimits(Limits.newBuilder().setHeartbeatInterval(Wire.duration(Duration.ofSeconds(20))));
    }

    private static JoinResponse response(Joined.Builder joined) {
        return JoinResponse.newBuilder().setJoined(joined).build();
    }

    private static JoinResponse closing(String reason, ClientAction action) {
        return JoinResponse.newBuilder().setClosing(Closing.newBuilder().setReason(reason).setAction(action)).build();
    }

    private static JoinResponse signal(long sequence) {
        return JoinResponse.newBuilder().setSignal(SignalReceived.newBuilder().setSequence(sequence)).build();
    }

    private static JoinResponse accepted(long id, long sequence) {
        Accepted accepted = Accepted.newBuilder().setSequence(sequence).build();
        return JoinResponse.newBuilder()
                .setSendResult(SendResult.newBuilder().setSendId(id).setAccepted(accepted))
                .build();
    }

    private static Ending refused(Status.Code code, String reason) {
        return new Ending.Refused(new Refusal(code, reason, "", Optional.empty(), Optional.empty()));
    }

    private static Ending lost() {
        return new Ending.Failed(new ConnectFailedException("reset", (Refusal) null));
    }

    /** What it wants done, of one kind; all else is let go. */
    private <T extends Output> List<T> outputs(Class<T> kind) {
        List<T> found = new ArrayList<>();
        for (Output output = machine.next(); output != null; output = machine.next()) {
            if (kind.isInstance(output)) {
                found.add(kind.cast(output));
            }
        }
        return found;
    }

    private Output.Open opened() {
        return outputs(Output.Open.class).get(0);
    }

    private List<Event> events() {
        return outputs(Output.Tell.class).stream().map(Output.Tell::event).toList();
    }

    private List<JoinRequest> frames() {
        return outputs(Output.Frame.class).stream().map(Output.Frame::frame).toList();
    }

    private List<Long> sendIds() {
        return frames().stream().map(frame -> frame.getSend().getSendId()).toList();
    }

    private void send(String data, boolean retry, long now) {
        CompletableFuture<SendOutcome> ticket = new CompletableFuture<>();
        tickets.add(ticket);
        machine.signal(Signal.of("", data).withRetryAfterReconnect(retry), ticket, now);
    }

    private void join() {
        machine.start(0);
        machine.received(opened().stream(), response(joined(JoinOutcome.JOIN_OUTCOME_NEW, "me", 5)), 0);
    }

    /** Breaks the live stream, waits, and is opening another. */
    private Output.Open reopen(int live, long now) {
        machine.ended(live, lost(), now);
        machine.wake(machine.wakeAt());
        return opened();
    }

    @Test
    void itJoinsAndTells() {
        join();
        Event.Joined first = assertInstanceOf(Event.Joined.class, events().get(0));
        assertEquals("me", first.there().connection().id());
        assertEquals("me", machine.connectionId());
        assertTrue(machine.isLive(1));
    }

    @Test
    void whoLeavesBeforeTheStartOpensNothing() {
        machine.leave(true, 0);
        machine.start(0);
        assertEquals(List.of(), outputs(Output.Open.class));
        assertEquals(Machine.NEVER, machine.wakeAt());
    }

    @Test
    void aLargeSnapshotComesInPages() {
        machine.start(0);
        int stream = opened().stream();
        machine.received(stream, response(joined(JoinOutcome.JOIN_OUTCOME_NEW, "me", 5).setMoreConnections(true)), 0);
        assertEquals(List.of(), events());
        for (boolean more : new boolean[] {true, false}) {
            ConnectionsPage page =
                    ConnectionsPage.newBuilder().addConnections(connection("more " + more)).setMore(more).build();
            machine.received(stream, JoinResponse.newBuilder().setConnectionsPage(page).build(), 9 * SECOND);
        }
        Event.Joined first = assertInstanceOf(Event.Joined.class, events().get(0));
        assertEquals(3, first.there().connections().size());
    }

    @Test
    void theFirstJoinTriesEachEndpointOnce() {
        machine.start(0);
        assertEquals("http://a:1", opened().endpoint().url());
        machine.ended(1, lost(), 0);
        assertEquals("http://b:2", opened().endpoint().url());
        machine.ended(2, refused(Status.Code.UNAVAILABLE, "GOING_AWAY"), 0);
        Output.Failed failed = outputs(Output.Failed.class).get(0);
        assertEquals("GOING_AWAY", failed.why().refusal().orElseThrow().reason());
        assertEquals(Machine.NEVER, machine.wakeAt());
    }

    @Test
    void whatIsResumedIsToldOnceAndSentAgain() {
        join();
        events();
        send("one", true, 0);
        send("two", true, 0);
        assertEquals(List.of(1L, 2L), sendIds());
        machine.received(1, signal(6), 0);
        machine.received(1, accepted(1, 7), 0);
        assertEquals(tickets.get(0), outputs(Output.Decide.class).get(0).ticket());
        Output.Open again = reopen(1, SECOND);
        Resume resume = again.join().getResume();
        assertEquals(List.of("me", "secret", 1L, 6L, 1L), List.of(resume.getConnectionId(), resume.getResumeToken(),
                resume.getEpoch(), resume.getLastSequence(), resume.getLastResultSendId()));
        machine.received(again.stream(),
                response(joined(JoinOutcome.JOIN_OUTCOME_RESUMED, "me", 6).clearConnections().setLastSendId(1)), 2 * SECOND);
        List<Output> all = outputs(Output.class);
        Output.Tell told = assertInstanceOf(Output.Tell.class, all.get(0));
        Event.Reconnected back = assertInstanceOf(Event.Reconnected.class, told.event());
        assertFalse(back.gap());
        assertEquals(1, back.there().connections().size());
        assertEquals(2, assertInstanceOf(Output.Frame.class, all.get(1)).frame().getSend().getSendId());
        machine.received(again.stream(), signal(6), 2 * SECOND);
        machine.received(again.stream(), signal(7), 2 * SECOND);
        assertEquals(List.of(7L), events().stream().map(event -> ((Event.SignalReceived) event).sequence()).toList());
    }

    @Test
    void anotherEpochIsAGap() {
        join();
        Output.Open again = reopen(1, SECOND);
        machine.received(again.stream(), response(joined(JoinOutcome.JOIN_OUTCOME_RESUMED, "me", 3).setEpoch(2)), SECOND);
        assertTrue(assertInstanceOf(Event.Reconnected.class, events().get(0)).gap());
        machine.received(again.stream(), signal(4), SECOND);
        assertEquals(1, events().size());
    }

    @Test
    void anotherConnectionLeavesADoubtAndBeginsAnew() {
        join();
        send("one", true, 0);
        Output.Open again = reopen(1, SECOND);
        send("two", true, SECOND);
        machine.received(again.stream(), response(joined(JoinOutcome.JOIN_OUTCOME_NEW, "other", 1)), SECOND);
        List<Output> all = outputs(Output.class);
        assertEquals(new Output.Decide(tickets.get(0), new SendOutcome.Unknown()), all.get(0));
        assertTrue(assertInstanceOf(Event.Reconnected.class, ((Output.Tell) all.get(1)).event()).gap());
        assertEquals(1, ((Output.Frame) all.get(2)).frame().getSend().getSendId());
        assertEquals("other", machine.connectionId());
    }

    @Test
    void whatIsNotToWaitFails() {
        join();
        send("on its way", false, 0);
        machine.ended(1, lost(), SECOND);
        events();
        send("now or never", false, SECOND);
        assertEquals(List.of(new Output.Decide(tickets.get(1), new SendOutcome.Disconnected())),
                outputs(Output.Decide.class));
        machine.wake(machine.wakeAt());
        machine.received(opened().stream(), response(joined(JoinOutcome.JOIN_OUTCOME_RESUMED, "me", 5)), SECOND);
        assertEquals(List.of(new Output.Decide(tickets.get(0), new SendOutcome.Disconnected())),
                outputs(Output.Decide.class));
    }

    @Test
    void theQueueIsBounded() {
        join();
        machine.ended(1, lost(), SECOND);
        events();
        send("x".repeat(99), true, SECOND);
        assertInstanceOf(SendOutcome.QueueFull.class, outputs(Output.Decide.class).get(0).outcome());
        send("one", true, SECOND);
        send("two", true, SECOND);
        assertEquals(List.of(), outputs(Output.Decide.class));
        send("three", true, SECOND);
        SendOutcome.QueueFull full =
                assertInstanceOf(SendOutcome.QueueFull.class, outputs(Output.Decide.class).get(0).outcome());
        assertEquals(2, full.sends());
    }

    @Test
    void itKeepsTheServersRate() {
        machine.start(0);
        Limits.Builder limits = Limits.newBuilder().setSignalsPerSecond(10).setSignalBurst(2);
        machine.received(opened().stream(),
                response(joined(JoinOutcome.JOIN_OUTCOME_NEW, "me", 5).setLimits(limits)), 0);
        for (int number = 0; number < 4; number++) {
            send("", true, 0);
        }
        assertEquals(List.of(1L, 2L), sendIds());
        assertEquals(Machine.NEVER, machine.wakeAt());
        machine.received(1, accepted(1, 6), 0);
        assertEquals(SECOND / 10, machine.wakeAt());
        machine.wake(SECOND / 10);
        assertEquals(List.of(3L), sendIds());
    }

    @Test
    void silenceIsALossUnlessNobodyReads() {
        join();
        machine.received(1, JoinResponse.newBuilder().setHeartbeat(Heartbeat.newBuilder().setSequence(9)).build(), SECOND);
        events();
        assertEquals(36 * SECOND, machine.wakeAt());
        machine.read(false, 30 * SECOND);
        machine.wake(40 * SECOND);
        assertEquals(List.of(), events());
        machine.read(true, 40 * SECOND);
        machine.wake(75 * SECOND);
        assertInstanceOf(Event.Reconnecting.class, events().get(0));
        machine.wake(machine.wakeAt());
        assertEquals(9, opened().join().getResume().getLastSequence());
    }

    @Test
    void pausesGrowAndTheTimeIsUpOnce() {
        join();
        machine.ended(1, lost(), 0);
        long now = 0;
        for (int stream = 2; ; stream++) {
            outputs(Output.Tell.class);
            long pause = machine.wakeAt() - now;
            assertTrue(pause <= 20 * SECOND, "a pause of " + pause);
            now = machine.wakeAt();
            if (now == 300 * SECOND) {
                machine.wake(now);
                machine.ended(stream, lost(), now);
                break;
            }
            assertTrue(pause >= Math.min(SECOND / 4 << Math.min(stream - 2, 20), 10 * SECOND), "a pause of " + pause);
            machine.wake(now);
            machine.ended(stream, lost(), now);
        }
        Event.Disconnected end = assertInstanceOf(Event.Disconnected.class, events().get(0));
        assertEquals(Event.Disconnected.Next.REJOIN, end.next());
    }

    @Test
    void whatToldToStopStops() {
        join();
        machine.received(1, closing("FORCE_DISCONNECTED", ClientAction.CLIENT_ACTION_STOP), 0);
        send("too late for this stream", true, 0);
        assertEquals(List.of(), frames());
        machine.ended(1, new Ending.Well(), 0);
        List<Output> all = outputs(Output.class);
        assertTrue(all.contains(new Output.Decide(tickets.get(0), new SendOutcome.Over())));
        Event.Disconnected end = all.stream()
                .filter(Output.Tell.class::isInstance)
                .map(output -> (Event.Disconnected) ((Output.Tell) output).event())
                .findFirst()
                .orElseThrow();
        assertEquals("FORCE_DISCONNECTED", end.refusal().orElseThrow().reason());
        send("later", true, 0);
        assertInstanceOf(SendOutcome.Over.class, outputs(Output.Decide.class).get(0).outcome());
    }

    @Test
    void aServerThatGoesAwayIsLeftForTheNext() {
        join();
        machine.received(1, closing("GOING_AWAY", ClientAction.CLIENT_ACTION_RESUME), 0);
        assertEquals("http://b:2", reopen(1, 0).endpoint().url());
    }

    @Test
    void aFreshTokenTakesTheStreamOver() {
        machine = machine(ENDPOINTS, true);
        join();
        machine.tokenExpires(100 * SECOND, 0);
        events();
        machine.received(1, signal(6), 20 * SECOND);
        machine.received(1, signal(7), 50 * SECOND);
        machine.received(1, signal(8), 80 * SECOND);
        events();
        assertEquals(90 * SECOND, machine.wakeAt());
        machine.wake(90 * SECOND);
        Output.Open fresh = opened();
        assertTrue(fresh.renewToken());
        machine.received(1, signal(9), 90 * SECOND);
        assertEquals(1, events().size());
        machine.received(fresh.stream(), response(joined(JoinOutcome.JOIN_OUTCOME_RESUMED, "me", 8)), 91 * SECOND);
        machine.received(fresh.stream(), signal(9), 91 * SECOND);
        machine.received(fresh.stream(), signal(10), 91 * SECOND);
        assertEquals(List.of(10L), events().stream().map(event -> ((Event.SignalReceived) event).sequence()).toList());
        machine.ended(1, new Ending.Well(), 92 * SECOND);
        assertNull(machine.next());
    }

    @Test
    void itLeavesOnceEverythingIsDecided() {
        join();
        send("last", true, 0);
        frames();
        machine.leave(false, 0);
        assertEquals(List.of(), frames());
        machine.received(1, accepted(1, 6), 0);
        assertTrue(frames().get(0).hasLeave());
        machine.ended(1, new Ending.Well(), 0);
        List<Output> all = outputs(Output.class);
        assertInstanceOf(Output.Over.class, all.get(all.size() - 1));
    }
}
