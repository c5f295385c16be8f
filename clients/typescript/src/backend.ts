/** A backend's side: signals into a session without being in it. */

import { Code, ConnectError as RpcError } from "@connectrpc/connect";

import { ConnectError, describe, RefusedError } from "./errors.js";
import { Wire } from "./node.js";
import { refusalOf, urlOf } from "./transport.js";

const ATTEMPTS = 5;

/** What became of a server signal. */
export interface ServerAccepted {
  /** Its place in the session's order. */
  readonly sequence: bigint;
  /** How many connections get it. */
  readonly recipientCount: number;
  /** The recipients that are not connected. */
  readonly notConnectedIds: readonly string[];
}

export interface ServerSignalOptions {
  readonly type?: string;
  readonly to?: readonly string[];
  /** Made up unless given. */
  readonly idempotencyKey?: string;
}

/** Sends signals from a backend; `close` it in the end. */
export class ServerClient {
  readonly #wire: Wire;

  constructor(endpoint: string, private readonly options: { readonly token?: string; readonly timeout?: number } = {}) {
    this.#wire = new Wire(urlOf(endpoint));
  }

  /**
   * Sends a signal into a session, once: where no answer comes it is asked again with the same
   * idempotency key. Throws `RefusedError`, or `ConnectError` when no server answers.
   */
  async signal(sessionId: string, data: string, options: ServerSignalOptions = {}): Promise<ServerAccepted> {
    const { type = "", to, idempotencyKey = crypto.randomUUID() } = options;
    const { token, timeout = 10_000 } = this.options;
    const request = { sessionId, signal: { type, data }, idempotencyKey, ...(to && { to: { connectionIds: [...to] } }) };
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#wire.calls.sendFromServer(request, { headers, timeoutMs: timeout });
      } catch (error) {
        const refusal = refusalOf(RpcError.from(error));
        if (![Code.Unavailable, Code.DeadlineExceeded].includes(refusal.code)) throw new RefusedError(refusal);
        if (attempt === ATTEMPTS) throw new ConnectError(describe(refusal), refusal);
        const pause = (refusal.retryAfter ?? 0) + Math.random() * 100 * 2 ** attempt;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** Lets the connection go. */
  close(): void {
    this.#wire.close();
  }
}
