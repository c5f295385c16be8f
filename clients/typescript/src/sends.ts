/** What is to be sent, what is on its way, and how fast. */

import { QueueFullError } from "./errors.js";
import type { JoinRequest } from "./gen/signalbox/v1/signaling_pb.js";

/** Something to send that has one outcome: `ticket` is whom to tell it. */
export interface Send<T> {
  readonly frame: (sendId: bigint) => JoinRequest;
  readonly bytes: number;
  readonly retry: boolean;
  readonly ticket: T;
}

interface Unresolved<T> extends Send<T> {
  /** Whether it must be sent again. */
  due: boolean;
}

/** The sends of one client, in their order. */
export class Sends<T> {
  #waiting: Send<T>[] = [];
  #bytes = 0;
  readonly #unresolved = new Map<bigint, Unresolved<T>>();
  #lastId = 0n;

  constructor(private readonly limits: readonly [number, number]) {}

  push(send: Send<T>, atOnce: boolean): void {
    const full = this.#waiting.length >= this.limits[0] || this.#bytes + send.bytes > this.limits[1];
    if (full && !atOnce) throw new QueueFullError(this.#waiting.length, this.#bytes, this.limits);
    this.#bytes += send.bytes;
    this.#waiting.push(send);
  }

  get unresolved(): number {
    return this.#unresolved.size;
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  get isSettled(): boolean {
    return !this.isWaiting && this.unresolved === 0;
  }

  /** What must be sent again, in order: it was allowed before. */
  *again(): Generator<JoinRequest> {
    for (const [id, send] of this.#unresolved) {
      if (!send.due) continue;
      send.due = false;
      yield send.frame(id);
    }
  }

  /** The next to be sent for the first time. */
  next(): JoinRequest | undefined {
    const send = this.#waiting.shift();
    if (!send) return undefined;
    this.#bytes -= send.bytes;
    this.#lastId += 1n;
    this.#unresolved.set(this.#lastId, { ...send, due: false });
    return send.frame(this.#lastId);
  }

  /** Whom to tell an outcome; nobody when it was told before. */
  resolve(sendId: bigint): T | undefined {
    const send = this.#unresolved.get(sendId);
    this.#unresolved.delete(sendId);
    return send?.ticket;
  }

  /** The stream is lost: those that are not to wait for the next. */
  lost(): T[] {
    const failed = this.#waiting.filter((send) => !send.retry);
    this.#waiting = this.#waiting.filter((send) => send.retry);
    this.#bytes = this.#waiting.reduce((sum, send) => sum + send.bytes, 0);
    return failed.map((send) => send.ticket);
  }

  /**
   * The connection is resumed and the server has decided up to `decided`: what is above must
   * be sent again. Those that are not to be sent later come back: they were not sent.
   */
  resumed(decided: bigint, lost: boolean): T[] {
    const failed: T[] = [];
    for (const [id, send] of [...this.#unresolved]) {
      if (id > decided && lost && !send.retry) {
        this.#unresolved.delete(id);
        failed.push(send.ticket);
      } else {
        send.due = id > decided;
      }
    }
    // An id that was never decided may still be used only upwards.
    if (decided > this.#lastId) this.#lastId = decided;
    return failed;
  }

  /** The connection is another: nobody knows what became of what was on its way. */
  renewed(): T[] {
    this.#lastId = 0n;
    const tickets = [...this.#unresolved.values()].map((send) => send.ticket);
    this.#unresolved.clear();
    return tickets;
  }

  /** What was never sent, and won't be. */
  discard(): T[] {
    this.#bytes = 0;
    return this.#waiting.splice(0).map((send) => send.ticket);
  }
}

/**
 * The server's rate limit, as the generic cell rate algorithm, counted when outcomes come:
 * the server has taken each send by then, at the latest, so that its count is never above.
 * Times are milliseconds.
 */
export class Pace {
  readonly #each: number;
  #paidAt = 0;

  constructor(perSecond = 0, private readonly burst = 0) {
    // Either is no limit to the server when it is 0.
    this.#each = perSecond && burst ? 1_000 / perSecond : 0;
  }

  /** The outcome of one send came. */
  decided(now: number): void {
    this.#paidAt = Math.max(this.#paidAt, now) + this.#each;
  }

  /** When one more may be sent; undefined: not before one of them is decided. */
  readyAt(unresolved: number): number | undefined {
    if (!this.#each) return 0;
    const spare = this.burst - unresolved - 1;
    return spare < 0 ? undefined : this.#paidAt - this.#each * spare;
  }
}
