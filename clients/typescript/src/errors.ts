/** What can go wrong, each with what to do about it. */

import { Code } from "@connectrpc/connect";

/** A request refused: what was wrong, the limit and what was given. */
export interface Refusal {
  /** The gRPC status code. */
  readonly code: Code;
  /** The stable reason, as `SIGNAL_DATA_TOO_LARGE`; empty when whoever answered was no Signalbox. */
  readonly reason: string;
  /** For people. Never holds a signal's data. */
  readonly message: string;
  /** The field to blame, as the wire calls it. */
  readonly field?: string | undefined;
  /** After how many milliseconds a retry can succeed, where waiting helps. */
  readonly retryAfter?: number | undefined;
}

/** A refusal, for people. */
export function describe(refusal: Refusal): string {
  const code = Code[refusal.code].replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase();
  const told = [code, refusal.reason].filter(Boolean).join(" / ");
  const wait = refusal.retryAfter === undefined ? "" : ` (try again after ${refusal.retryAfter} ms)`;
  return (refusal.message ? `${told}: ${refusal.message}` : told) + wait;
}

/** What all of these are. */
export class SignalboxError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** There is no way in: no server, or it refuses; `refusal` says why, if a server did. */
export class ConnectError extends SignalboxError {
  constructor(message: string, readonly refusal?: Refusal) {
    super(message);
  }
}

/** The server refused a send, or would have: nothing was sent. */
export class RefusedError extends SignalboxError {
  constructor(readonly refusal: Refusal) {
    super(describe(refusal));
  }
}

/** The client is disconnected and the signal was not to wait: it was not sent. */
export class DisconnectedError extends SignalboxError {
  constructor() {
    super("disconnected, and the signal was not to wait; it was not sent");
  }
}

/** As much waits for the reconnect as may: it was not sent. */
export class QueueFullError extends SignalboxError {
  constructor(sends: number, bytes: number, limits: readonly [number, number]) {
    super(`${sends} sends of ${bytes} bytes wait already, of ${limits[0]} and ${limits[1]} that may; it was not sent`);
  }
}

/** The connection on which it was sent could not be resumed: it may have been sent. */
export class UnknownOutcomeError extends SignalboxError {
  constructor() {
    super("the connection was lost for good before an outcome came; it may have been sent");
  }
}

/** The client is out of the session, or leaving: it was not sent. */
export class OverError extends SignalboxError {
  constructor() {
    super("out of the session, or leaving it; it was not sent");
  }
}
