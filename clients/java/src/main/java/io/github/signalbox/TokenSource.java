package io.github.signalbox;

/** What gives tokens. It may block: it is called on the client's executor. */
@FunctionalInterface
public interface TokenSource {
    /**
     * A token for a session. Called before the first connection, before a token expires and after
     * one has.
     *
     * @param sessionId which session
     * @return a token that opens it
     * @throws Exception when there is none now: it is asked again with the next attempt
     */
    Token token(String sessionId) throws Exception;
}
