package io.github.signalbox;

import io.github.signalbox.v1.JoinRequest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.function.LongFunction;

/** The sends of one client, in their order: what is to be sent, and what is on its way. */
final class Sends {
    /** Something to send that has one outcome: whom to tell it is the ticket. */
    static final class Send {
        private final LongFunction<JoinRequest> frame;
        private final int bytes;
        private final boolean retry;
        private final CompletableFuture<SendOutcome> ticket;
        /** Whether it must be sent again. */
        private boolean due;

        Send(LongFunction<JoinRequest> frame, int bytes, boolean retry, CompletableFuture<SendOutcome> ticket) {
            this.frame = frame;
            this.bytes = bytes;
            this.retry = retry;
            this.ticket = ticket;
        }

        CompletableFuture<SendOutcome> ticket() {
            return ticket;
        }
    }

    private final int maxSends;
    private final int maxBytes;
    private Deque<Send> waiting = new ArrayDeque<>();
    private int bytes;
    private final TreeMap<Long, Send> unresolved = new TreeMap<>();
    private long lastId;

    Sends(int maxSends, int maxBytes) {
        this.maxSends = maxSends;
        this.maxBytes = maxBytes;
    }

    /** Queues it; what there is if that is too much already. */
    Optional<SendOutcome> push(Send send, boolean atOnce) {
        boolean full = waiting.size() >= maxSends || (long) bytes + send.bytes > maxBytes;
        if (full && !atOnce) {
            return Optional.of(new SendOutcome.QueueFull(waiting.size(), bytes, maxSends, maxBytes));
        }
        bytes += send.bytes;
        waiting.add(send);
        return Optional.empty();
    }

    boolean isWaiting() {
        return !waiting.isEmpty();
    }

    int unresolved() {
        return unresolved.size();
    }

    boolean isSettled() {
        return waiting.isEmpty() && unresolved.isEmpty();
    }

    /** What must be sent again, in order: it was allowed before. */
    List<JoinRequest> again() {
        List<JoinRequest> frames = new ArrayList<>();
        unresolved.forEach((id, send) -> {
            if (send.due) {
                send.due = false;
                frames.add(send.frame.apply(id));
            }
        });
        return frames;
    }

    /** The next to be sent for the first time. */
    JoinRequest next() {
        Send send = waiting.remove();
        bytes -= send.bytes;
        lastId += 1;
        unresolved.put(lastId, send);
        return send.frame.apply(lastId);
    }

    /** Whom to tell an outcome; nobody when it was told before. */
    Optional<CompletableFuture<SendOutcome>> resolve(long id) {
        return Optional.ofNullable(unresolved.remove(id)).map(send -> send.ticket);
    }

    /** The stream is lost: those that are not to wait for the next. */
    List<CompletableFuture<SendOutcome>> lost() {
        List<CompletableFuture<SendOutcome>> failed = new ArrayList<>();
        Deque<Send> kept = new ArrayDeque<>();
        bytes = 0;
        for (Send send : waiting) {
            if (send.retry) {
                kept.add(send);
                bytes += send.bytes;
            } else {
                failed.add(send.ticket);
            }
        }
        waiting = kept;
        return failed;
    }

    /**
     * The connection is resumed, and the server has decided up to {@code decided}: what is above
     * must be sent again. Those that are not to be sent later come back: they were not sent.
     */
    List<CompletableFuture<SendOutcome>> resumed(long decided, boolean lost) {
        List<CompletableFuture<SendOutcome>> failed = new ArrayList<>();
        for (Iterator<Map.Entry<Long, Send>> all = unresolved.entrySet().iterator(); all.hasNext(); ) {
            Map.Entry<Long, Send> one = all.next();
            Send send = one.getValue();
            if (one.getKey() > decided && lost && !send.retry) {
                all.remove();
                failed.add(send.ticket);
            } else {
                send.due = one.getKey() > decided;
            }
        }
        // An id that was never decided may still be used only upwards.
        lastId = Math.max(lastId, decided);
        return failed;
    }

    /** The connection is another; nobody knows what became of what was on its way. */
    List<CompletableFuture<SendOutcome>> renewed() {
        lastId = 0;
        List<CompletableFuture<SendOutcome>> tickets = unresolved.values().stream().map(send -> send.ticket).toList();
        unresolved.clear();
        return tickets;
    }

    /** What was never sent, and won't be. */
    List<CompletableFuture<SendOutcome>> discard() {
        bytes = 0;
        List<CompletableFuture<SendOutcome>> tickets = waiting.stream().map(send -> send.ticket).toList();
        waiting.clear();
        return tickets;
    }
}
