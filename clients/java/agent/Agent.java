import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.signalbox.ConnectFailedException;
import io.github.signalbox.Connection;
import io.github.signalbox.Event;
import io.github.signalbox.JoinOptions;
import io.github.signalbox.SendOutcome;
import io.github.signalbox.Session;
import io.github.signalbox.Signal;
import io.github.signalbox.SignalboxClient;
import io.github.signalbox.Token;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;

/** The agent of this client: see ../../agent.md. */
public final class Agent {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private Agent() {}

    public static void main(String[] arguments) throws Exception {
        warmUp();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Session session = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject it = JsonParser.parseString(line).getAsJsonObject();
            int id = it.get("id").getAsInt();
            switch (it.get("do").getAsString()) {
                case "join" -> {
                    try {
                        session = join(it);
                        tell(id, "ok", object("connection", session.connectionId()));
                        Session joined = session;
                        Thread taking = new Thread(() -> joined.events().forEach(event -> tell(told(event))));
                        taking.setDaemon(true);
                        taking.start();
                    } catch (ConnectFailedException failed) {
                        String reason = failed.refusal().map(refusal -> refusal.reason()).orElse("");
                        tell(id, "error", object("kind", "connect", "reason", reason));
                    }
                }
                case "signal" -> {
                    Signal signal = Signal.of(text(it, "type"), text(it, "data"))
                            .withRetryAfterReconnect(!it.has("retry") || it.get("retry").getAsBoolean());
                    outcome(id, session.signal(it.has("to") ? signal.to(texts(it, "to")) : signal));
                }
                case "disconnect" -> outcome(id, session.forceDisconnect(text(it, "connection")));
                case "connections" -> {
                    JsonArray there = new JsonArray();
                    for (Connection one : session.connections()) {
                        there.add(object(
                                "connection", one.id(), "data", one.data(), "interrupted", one.interrupted()));
                    }
                    tell(id, "ok", there);
                }
                case "leave" -> session.leave().thenRun(() -> tell(id, "ok", new JsonObject()));
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    /** Loads what a join needs: on a busy machine that takes seconds, of the few that one has. */
    private static void warmUp() throws InterruptedException {
        try {
            SignalboxClient.of("http://127.0.0.1:1").join("nobody is there");
        } catch (ConnectFailedException expected) {
            // It is loaded.
        }
    }

    private static Session join(JsonObject it) throws InterruptedException {
        SignalboxClient.Builder builder = SignalboxClient.builder(texts(it, "endpoints").toArray(String[]::new))
                .backOff(Duration.ofMillis(20), Duration.ofMillis(500))
                .connectTimeout(Duration.ofSeconds(5))
                .giveUpAfter(seconds(it, "give_up_after").orElse(Duration.ofSeconds(20)));
        Queue<String> tokens = new ArrayDeque<>(texts(it, "tokens"));
        if (!tokens.isEmpty()) {
            builder.token(session -> {
                String bearer = tokens.size() > 1 ? tokens.remove() : tokens.element();
                return new Token(bearer, seconds(it, "lasts").map(lasts -> Instant.now().plus(lasts)));
            });
        }
        JoinOptions options = JoinOptions.DEFAULT
                .withConnectionData(text(it, "data"))
                .withResumeWindow(seconds(it, "window").orElse(Duration.ofSeconds(30)))
                .withSignalTypes(texts(it, "types"))
                .withSuppressConnectionEvents(is(it, "suppress_connection_events"))
                .withSuppressOwnSignals(is(it, "suppress_own_signals"));
        if (it.has("queue")) {
            JsonArray queue = it.getAsJsonArray("queue");
            options = options.withQueue(queue.get(0).getAsInt(), queue.get(1).getAsInt());
        }
        return builder.build().join(text(it, "session"), options);
    }

    private static void outcome(int id, CompletableFuture<SendOutcome> sent) {
        sent.thenAccept(outcome -> {
            if (outcome instanceof SendOutcome.Accepted accepted) {
                JsonArray absent = new JsonArray();
                accepted.notConnectedIds().forEach(absent::add);
                JsonObject ok = object("sequence", accepted.sequence());
                ok.add("not_connected", absent);
                tell(id, "ok", ok);
            } else {
                tell(id, "error", failure(outcome));
            }
        });
    }

    private static JsonObject failure(SendOutcome outcome) {
        if (outcome instanceof SendOutcome.Refused refused) {
            return object("kind", "refused", "reason", refused.refusal().reason());
        } else if (outcome instanceof SendOutcome.QueueFull) {
            return object("kind", "queue-full");
        } else if (outcome instanceof SendOutcome.Disconnected) {
            return object("kind", "disconnected");
        } else if (outcome instanceof SendOutcome.Over) {
            return object("kind", "over");
        }
        return object("kind", "unknown");
    }

    private static JsonObject told(Event event) {
        if (event instanceof Event.Joined it) {
            return object("event", "joined", "sequence", it.there().sequence());
        } else if (event instanceof Event.ConnectionCreated it) {
            return object("event", "created", "sequence", it.sequence(), "connection", it.connection().id(),
                    "data", it.connection().data());
        } else if (event instanceof Event.ConnectionDestroyed it) {
            return object("event", "destroyed", "sequence", it.sequence(), "connection", it.connectionId(),
                    "reason", it.reason().name());
        } else if (event instanceof Event.ConnectionInterrupted it) {
            return object("event", "interrupted", "sequence", it.sequence(), "connection", it.connectionId());
        } else if (event instanceof Event.ConnectionRestored it) {
            return object("event", "restored", "sequence", it.sequence(), "connection", it.connectionId());
        } else if (event instanceof Event.SignalReceived it) {
            return object("event", "signal", "sequence", it.sequence(), "type", it.type(), "data", it.data(),
                    "from", it.from().orElse(null));
        } else if (event instanceof Event.Reconnected it) {
            return object("event", "reconnected", "sequence", it.there().sequence(),
                    "connection", it.there().connection().id(), "gap", it.gap());
        } else if (event instanceof Event.Disconnected it) {
            return object("event", "disconnected", "action", it.next().name(),
                    "reason", it.refusal().map(refusal -> refusal.reason()).orElse(""));
        }
        return object("event", "reconnecting");
    }

    private static void tell(int id, String what, JsonElement of) {
        JsonObject told = object("id", id);
        told.add(what, of);
        tell(told);
    }

    private static void tell(JsonObject what) {
        OUT.println(what);
    }

    /** An object of names and values. */
    private static JsonObject object(Object... of) {
        JsonObject object = new JsonObject();
        for (int at = 0; at < of.length; at += 2) {
            String name = (String) of[at];
            if (of[at + 1] instanceof Number number) {
                object.addProperty(name, number);
            } else if (of[at + 1] instanceof Boolean bool) {
                object.addProperty(name, bool);
            } else {
                object.addProperty(name, (String) of[at + 1]);
            }
        }
        return object;
    }

    private static String text(JsonObject it, String name) {
        return it.has(name) ? it.get(name).getAsString() : "";
    }

    private static boolean is(JsonObject it, String name) {
        return it.has(name) && it.get(name).getAsBoolean();
    }

    private static List<String> texts(JsonObject it, String name) {
        List<String> texts = new ArrayList<>();
        if (it.has(name)) {
            it.getAsJsonArray(name).forEach(one -> texts.add(one.getAsString()));
        }
        return texts;
    }

    private static Optional<Duration> seconds(JsonObject it, String name) {
        return Optional.ofNullable(it.get(name)).map(one -> Duration.ofNanos((long) (one.getAsDouble() * 1e9)));
    }
}
