package io.github.signalbox;

import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicInteger;

/** The threads of this package: one for time, and as many as block for what is the application's. */
final class Threads {
    /** Wakes sessions, which takes no time. */
    static final ScheduledThreadPoolExecutor TIMER = timer();

    /** Runs what may block, unless the client was given something else. */
    static final Executor BLOCKING = Executors.newCachedThreadPool(named("signalbox"));

    private Threads() {}

    private static ScheduledThreadPoolExecutor timer() {
        var timer = new ScheduledThreadPoolExecutor(1, named("signalbox-timer"));
        timer.setRemoveOnCancelPolicy(true);
        return timer;
    }

    /** They hold up nobody's exit. */
    private static ThreadFactory named(String name) {
        AtomicInteger count = new AtomicInteger();
        return work -> {
            Thread thread = new Thread(work, name + "-" + count.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }

    /** Runs one thing after the other, on one thread of another executor at a time. */
    static final class InOrder implements Executor {
        private final Executor executor;
        private final Queue<Runnable> waiting = new ArrayDeque<>();
        private boolean running;

        InOrder(Executor executor) {
            this.executor = executor;
        }

        @Override
        public void execute(Runnable work) {
            synchronized (waiting) {
                waiting.add(work);
                if (running) {
                    return;
                }
                running = true;
            }
            executor.execute(this::run);
        }

        private void run() {
            for (;;) {
                Runnable work;
                synchronized (waiting) {
                    work = waiting.poll();
                    if (work == null) {
                        running = false;
                        return;
                    }
                }
                work.run();
            }
        }
    }
}
