/**
 * A member of a session that comes back by itself, and a backend's side, over gRPC.
 *
 * <pre>{@code
 * var client = SignalboxClient.of("http://127.0.0.1:50051");
 * try (Session session = client.join("demo", JoinOptions.DEFAULT.withConnectionData("Ada"))) {
 *     session.signal(Signal.of("chat", "hello"));
 *     for (Event event : session.events()) {
 *         System.out.println(event);
 *     }
 * }
 * }</pre>
 *
 * <p>Every class here may be used by any number of threads at once: values are immutable, and
 * clients and sessions guard themselves. No argument and no result is ever null, except where a
 * component of a record says so by {@link java.util.Optional}.
 */
package io.github.signalbox;
