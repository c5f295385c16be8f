package io.github.signalbox;

import io.github.signalbox.v1.JoinRequest;
import io.github.signalbox.v1.JoinResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ObjLongConsumer;

/**
 * A member of a session; {@link SignalboxClient#join(String)} gives it. For any number of threads.
 *
 * <p>Events are pulled, one by one ({@link #next()}) or in a loop ({@link #events()}), by a
 * thread of the application's: what it has taken is exactly what {@link #connections()} shows,
 * it may take its time, and the server is held back meanwhile. Take them: once 1,024 wait,
 * nothing more is read, and the server may close the stream as a slow reader's, which is resumed
 * as soon as they are taken. Who wants none calls {@link #ignoreEvents()}.
 *
 * <p>What depends on an outcome or on leaving ({@link CompletableFuture#thenAccept} and the like)
 * runs on the client's executor, one after the other. It may do anything but wait for another
 * outcome.
 */
public final class Session implements AutoCloseable {
    /** How many events wait for the application before no more are read. */
    private static final int MOST_EVENTS = 1_024;

    private final Tokens tokens;
    private final Executor executor;
    private final Executor telling;
    private final long began = System.nanoTime();

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    // Under the lock from here on.
    private final Machine machine;
    private final Roster roster = new Roster();
    private final Queue<Event> events = new ArrayDeque<>();
    private final Map<Integer, Stream> streams = new HashMap<>();
    private boolean ignores;
    private boolean isOver;
    /** The stream that isn't read until there is room. */
    private Stream paused;
    private ScheduledFuture<?> timer;
    private long timerAt = Machine.NEVER;

    private final CompletableFuture<Session> joined = new CompletableFuture<>();
    private final CompletableFuture<Void> over = new CompletableFuture<>();

    private Session(Machine.Settings settings, Tokens tokens, Executor executor) {
        this.machine = new Machine(settings, new SplittableRandom());
        this.tokens = tokens;
        this.executor = executor;
        this.telling = new Threads.InOrder(executor);
    }

    static CompletableFuture<Session> join(Machine.Settings settings, Tokens tokens, Executor executor) {
        Session session = new Session(settings, tokens, executor);
        session.joined.whenComplete((it, error) -> {
            if (session.joined.isCancelled()) {
                session.leaveNow();
            }
        });
        executor.execute(() -> {
            Stream.load(settings.endpoints().get(0));
            session.drive(Machine::start);
        });
        return session.joined;
    }

    /**
     * This client's own id. After a reconnect that could not resume it is another.
     *
     * @return the id
     */
    public String connectionId() {
        lock.lock();
        try {
            return machine.connectionId();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Who is in the session, this client too, in the order of joining: always what the events
     * that were taken say.
     *
     * @return an immutable list
     */
    public List<Connection> connections() {
        lock.lock();
        try {
            return roster.connections();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Sends a signal: the call puts it in order after all sends before it. It never waits.
     *
     * @param signal what to send
     * @return what becomes of it, once the server has said it; it never fails, and nobody need
     *     look
     */
    public CompletableFuture<SendOutcome> signal(Signal signal) {
        CompletableFuture<SendOutcome> ticket = new CompletableFuture<>();
        drive((machine, now) -> machine.signal(signal, ticket, now));
        return ticket;
    }

    /**
     * Disconnects another connection, for good; for moderators. As {@link #signal}.
     *
     * @param connectionId whom
     * @return what becomes of it
     */
    public CompletableFuture<SendOutcome> forceDisconnect(String connectionId) {
        Utf8.length("connection id", connectionId);
        CompletableFuture<SendOutcome> ticket = new CompletableFuture<>();
        drive((machine, now) -> machine.disconnect(connectionId, ticket, now));
        return ticket;
    }

    /**
     * The next event; waits for it.
     *
     * @return the event; none after {@link Event.Disconnected}, which is the last
     * @throws InterruptedException when interrupted; no event is lost
     */
    public Optional<Event> next() throws InterruptedException {
        lock.lockInterruptibly();
        try {
            while (events.isEmpty() && !isOver) {
                changed.await();
            }
            return take();
        } finally {
            lock.unlock();
        }
    }

    /**
     * The next event; waits for it as long as it may.
     *
     * @param timeout how long that is; zero: not at all
     * @return the event; none when the time is up, or after the last
     * @throws InterruptedException when interrupted; no event is lost
     */
    public Optional<Event> next(Duration timeout) throws InterruptedException {
        long left = Wire.nanos(timeout);
        lock.lockInterruptibly();
        try {
            while (events.isEmpty() && !isOver && left > 0) {
                left = changed.awaitNanos(left);
            }
            return take();
        } finally {
            lock.unlock();
        }
    }

    /**
     * The events, for a loop: it ends after {@link Event.Disconnected}, or when its thread is
     * interrupted, which stays so. What is taken once is gone: another loop goes on where this
     * one stopped.
     *
     * @return what gives them
     */
    public Iterable<Event> events() {
        return () -> new Iterator<>() {
            private Event ahead;

            @Override
            public boolean hasNext() {
                try {
                    if (ahead == null) {
                        ahead = Session.this.next().orElse(null);
                    }
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                }
                return ahead != null;
            }

            @Override
            public Event next() {
                if (!hasNext()) {
                    throw new NoSuchElementException("the session is over, or the thread was interrupted");
                }
                Event event = ahead;
                ahead = null;
                return event;
            }
        };
    }

    private Optional<Event> take() {
        Event event = events.poll();
        if (event != null) {
            roster.apply(event);
        }
        if (events.isEmpty()) {
            makeRoom();
        }
        return Optional.ofNullable(event);
    }

    /** Says that nobody takes events: {@link #connections()} follows by itself. */
    public void ignoreEvents() {
        lock.lock();
        try {
            ignores = true;
            events.forEach(roster::apply);
            events.clear();
            makeRoom();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Leaves once every send has its outcome.
     *
     * @return done when it is out; cancelling it changes nothing
     */
    public CompletableFuture<Void> leave() {
        return leave(false);
    }

    /**
     * Leaves without what was not sent yet.
     *
     * @return done when it is out; cancelling it changes nothing
     */
    public CompletableFuture<Void> leaveNow() {
        return leave(true);
    }

    private CompletableFuture<Void> leave(boolean atOnce) {
        drive((machine, now) -> {
            machine.leave(atOnce, now);
            // Who leaves is waited for, whether or not events are taken.
            makeRoom();
        });
        return over.copy();
    }

    /**
     * Leaves once every send has its outcome, and waits until it is out; interrupted, it leaves at
     * once, and the thread stays interrupted.
     */
    @Override
    public void close() {
        try {
            leave().get();
        } catch (InterruptedException interrupted) {
            leaveNow();
            Thread.currentThread().interrupt();
        } catch (ExecutionException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    // What drives the machine.

    private long now() {
        return System.nanoTime() - began;
    }

    /** Asks something of the machine, and does what it wants done. */
    private void drive(ObjLongConsumer<Machine> what) {
        lock.lock();
        try {
            what.accept(machine, now());
            for (Output output = machine.next(); output != null; output = machine.next()) {
                act(output);
            }
            schedule();
        } finally {
            lock.unlock();
        }
    }

    private void schedule() {
        long at = machine.wakeAt();
        // A timer that is early wakes for nothing, and is set anew.
        if (at >= timerAt) {
            return;
        }
        cancelTimer();
        timerAt = at;
        timer = Threads.TIMER.schedule(this::wake, at - now(), TimeUnit.NANOSECONDS);
    }

    private void cancelTimer() {
        if (timer != null) {
            timer.cancel(false);
        }
        timerAt = Machine.NEVER;
    }

    private void wake() {
        drive((machine, now) -> {
            timerAt = Machine.NEVER;
            machine.wake(now);
        });
    }

    /** Nothing of the application's runs in here: it would run under the lock. */
    private void act(Output output) {
        if (output instanceof Output.Open it) {
            Stream stream = new Stream(it.stream());
            streams.put(it.stream(), stream);
            executor.execute(() -> open(stream, it));
        } else if (output instanceof Output.Frame it) {
            // A stream that is gone says so by its end.
            Optional.ofNullable(streams.get(it.stream())).ifPresent(stream -> stream.send(it.frame()));
        } else if (output instanceof Output.Close it) {
            Optional.ofNullable(streams.remove(it.stream())).ifPresent(Stream::cancel);
        } else if (output instanceof Output.Tell it) {
            tell(it.event());
        } else if (output instanceof Output.Decide it) {
            telling.execute(() -> it.ticket().complete(it.outcome()));
        } else if (output instanceof Output.Failed it) {
            telling.execute(() -> joined.completeExceptionally(it.why()));
        } else if (output instanceof Output.Over) {
            isOver = true;
            makeRoom();
            cancelTimer();
            changed.signalAll();
            telling.execute(() -> over.complete(null));
        }
    }

    private void tell(Event event) {
        boolean first = event instanceof Event.Joined;
        if (first || ignores) {
            roster.apply(event);
        }
        if (first) {
            telling.execute(() -> joined.complete(this));
        }
        if (!ignores) {
            events.add(event);
            changed.signal();
        }
    }

    private void open(Stream stream, Output.Open it) {
        try {
            Optional<Token> token = tokens.get(it.renewToken());
            drive((machine, now) -> {
                token.flatMap(Token::expiresAt)
                        .map(at -> Wire.nanos(Duration.between(Instant.now(), at)))
                        .filter(left -> left > 0)
                        .ifPresent(left -> machine.tokenExpires(left, now));
                JoinRequest first = JoinRequest.newBuilder().setJoin(it.join()).build();
                stream.start(it.endpoint(), token, first, new Receiver());
            });
        } catch (ConnectFailedException why) {
            ended(stream, new Ending.Failed(why));
        } catch (RuntimeException error) {
            // No transport among what the program brought along, say.
            ended(stream, new Ending.Failed(new ConnectFailedException(it.endpoint() + ": " + error, error)));
        }
    }

    private final class Receiver implements Stream.Receiver {
        @Override
        public void received(Stream stream, JoinResponse response) {
            lock.lock();
            try {
                drive((machine, now) -> machine.received(stream.number(), response, now));
                boolean full = events.size() >= MOST_EVENTS && !machine.isLeaving();
                // A stream that is being opened tells no events, and would run out of its time.
                if (full && machine.isLive(stream.number())) {
                    machine.read(false, now());
                    paused = stream;
                } else {
                    stream.request();
                }
            } finally {
                lock.unlock();
            }
        }

        @Override
        public void ended(Stream stream, Ending how) {
            Session.this.ended(stream, how);
        }
    }

    private void ended(Stream stream, Ending how) {
        drive((machine, now) -> machine.ended(stream.number(), how, now));
    }

    /** What waits for it goes on. */
    private void makeRoom() {
        if (paused != null) {
            machine.read(true, now());
            paused.request();
            paused = null;
            schedule();
        }
    }
}
