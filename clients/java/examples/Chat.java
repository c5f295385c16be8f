import io.github.signalbox.Event;
import io.github.signalbox.JoinOptions;
import io.github.signalbox.SendOutcome;
import io.github.signalbox.Session;
import io.github.signalbox.Signal;
import io.github.signalbox.SignalboxClient;
import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import java.util.stream.Collectors;

/** A chat in the terminal: java -cp 'target/*:target/lib/*' examples/Chat.java demo Ada http://127.0.0.1:50051 */
public final class Chat {
    public static void main(String[] arguments) throws InterruptedException {
        String room = arguments.length > 0 ? arguments[0] : "demo";
        String name = arguments.length > 1 ? arguments[1] : "somebody";
        String url = arguments.length > 2 ? arguments[2] : "http://127.0.0.1:50051";
        SignalboxClient client = SignalboxClient.of(url);
        try (Session session = client.join(room, JoinOptions.DEFAULT.withConnectionData(name))) {
            Thread typing = new Thread(() -> type(session));
            typing.setDaemon(true);
            typing.start();
            read(session, room);
        }
    }

    private static void type(Session session) {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            session.signal(Signal.of("chat", lines.nextLine())).thenAccept(outcome -> {
                if (!(outcome instanceof SendOutcome.Accepted)) {
                    System.out.println("! " + outcome);
                }
            });
        }
        session.leave();
    }

    private static void read(Session session, String room) {
        Map<String, String> names = new HashMap<>();
        for (Event event : session.events()) {
            // Who is gone has a name still.
            session.connections().forEach(one -> names.put(one.id(), one.data()));
            if (event instanceof Event.Joined it) {
                String there = it.there().connections().stream().map(one -> one.data()).collect(Collectors.joining(", "));
                System.out.println("in " + room + " with " + there);
            } else if (event instanceof Event.SignalReceived it && it.type().equals("chat")) {
                System.out.println(it.from().map(names::get).orElse("the server") + ": " + it.data());
            } else if (event instanceof Event.ConnectionCreated it) {
                System.out.println("* " + it.connection().data() + " joined");
            } else if (event instanceof Event.ConnectionDestroyed it) {
                System.out.println("* " + names.get(it.connectionId()) + " is gone");
            } else if (event instanceof Event.Reconnecting it) {
                System.out.println("* reconnecting… (" + it.why() + ")");
            } else if (event instanceof Event.Reconnected it) {
                System.out.println(it.gap() ? "* back, with a gap" : "* back");
            } else if (event instanceof Event.Disconnected it) {
                System.out.println("* out: " + it.why());
            }
        }
    }
}
