package io.github.signalbox;

/** Why a connection is gone for good. */
public enum DisconnectReason {
    /** None that this version knows. */
    UNKNOWN,
    /** It left. */
    CLIENT_DISCONNECTED,
    /** A moderator or a backend disconnected it. */
    FORCE_DISCONNECTED,
    /** It lost its stream, and did not come back within its window. */
    NETWORK_DISCONNECTED,
    /** It did not read what it was sent, and has no window to come back in. */
    SLOW_CONSUMER,
    /** The server that it was on is gone, and it did not come back within its window. */
    NODE_LOST,
    /** Its token expired, and it did not come back with another. */
    TOKEN_EXPIRED
}
