package io.github.signalbox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.InsecureChannelCredentials;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What an application gives. */
class ValuesTest {
    @ParameterizedTest
    @CsvSource({
        "host:1, host, 1",
        "http://host, host, 80",
        "https://host/, host, 443",
        "http://[::1]:50051, [::1], 50051",
        "HTTPS://127.0.0.1:9, 127.0.0.1, 9",
    })
    void endpoints(String text, String host, int port) {
        Endpoint endpoint = Endpoint.read(text, InsecureChannelCredentials.create());
        assertEquals(host, endpoint.host());
        assertEquals(port, endpoint.port());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "http://", "ftp://host:1", "http://host/path", "http://host:99999", "a b", "http://u@h", "h?q"})
    void noEndpoints(String text) {
        var error = assertThrows(IllegalArgumentException.class, () -> SignalboxClient.of(text));
        assertTrue(error.getMessage().contains("is no endpoint"), error.getMessage());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a", "ä", "€", "\uD83D\uDE00", "aä€\uD83D\uDE00"})
    void lengths(String text) {
        assertEquals(text.getBytes(StandardCharsets.UTF_8).length, Utf8.length("data", text));
    }

    @ParameterizedTest
    @ValueSource(chars = {'\uD83D', '\uDE00'})
    void halfOfACharacterIsNone(char half) {
        assertThrows(IllegalArgumentException.class, () -> Signal.of("", "a" + half));
        assertThrows(IllegalArgumentException.class, () -> Signal.of("", half + "a"));
        assertThrows(IllegalArgumentException.class, () -> JoinOptions.DEFAULT.withConnectionData("" + half));
    }

    @Test
    void limits() {
        assertEquals(Optional.empty(), Wire.check(Signal.of("aZ9-_~", "ä".repeat(4_096)), 0));
        assertEquals("SIGNAL_DATA_TOO_LARGE", reason(Signal.of("", "ä".repeat(4_096) + "x")));
        assertEquals("SIGNAL_TYPE_TOO_LARGE", reason(Signal.of("x".repeat(129), "")));
        assertEquals("SIGNAL_TYPE_INVALID", reason(Signal.of("a b", "")));
        assertEquals("RECIPIENTS_INVALID", reason(Signal.of("", "").to(List.of())));
        assertEquals("RECIPIENTS_INVALID", reason(Signal.of("", "").to("a", "b", "c")));
    }

    private static String reason(Signal signal) {
        return Wire.check(signal, 2).orElseThrow().reason();
    }

    @Test
    void nonsenseIsTurnedDown() {
        assertThrows(IllegalArgumentException.class, () -> JoinOptions.DEFAULT.withQueue(-1, 0));
        assertThrows(IllegalArgumentException.class, () -> JoinOptions.DEFAULT.withResumeWindow(Duration.ofSeconds(-1)));
        var builder = SignalboxClient.builder("host:1");
        assertThrows(IllegalArgumentException.class, () -> builder.connectTimeout(Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> builder.backOff(Duration.ofSeconds(2), Duration.ofSeconds(1)));
        assertThrows(IllegalArgumentException.class, () -> SignalboxClient.builder().build());
    }

    @Test
    void secretsAndDataAreNotShown() {
        assertFalse(Token.of("secret").toString().contains("secret"));
        assertFalse(Signal.of("chat", "hello").toString().contains("hello"));
    }

    @Test
    void anOutcomeThatWasNotAcceptedIsThrownWhole() {
        var full = new SendOutcome.QueueFull(2, 3, 2, 100);
        var error = assertThrows(SendException.class, full::accepted);
        assertInstanceOf(SendOutcome.QueueFull.class, error.outcome());
        assertTrue(error.getMessage().contains("2 sends of 3 bytes"), error.getMessage());
    }
}
