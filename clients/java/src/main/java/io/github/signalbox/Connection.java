package io.github.signalbox;

import java.time.Instant;

/**
 * One client in a session.
 *
 * @param id made by the server, and never reused
 * @param createdAt when it joined, by the server's clock
 * @param data what it says about itself, at most 1,000 bytes
 * @param role what it may do
 * @param interrupted whether it has lost its stream and may come back
 */
public record Connection(String id, Instant createdAt, String data, Role role, boolean interrupted) {
    Connection withInterrupted(boolean interrupted) {
        return new Connection(id, createdAt, data, role, interrupted);
    }
}
