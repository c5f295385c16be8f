package io.github.signalbox;

/** What a connection may do. */
public enum Role {
    /** None that this version knows. */
    UNKNOWN,
    /** It receives. */
    SUBSCRIBER,
    /** It sends signals, too. */
    PUBLISHER,
    /** It disconnects others, too. */
    MODERATOR
}
