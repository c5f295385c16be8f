/** What is checked before it is sent, and what ends mean. */

import { Code } from "@connectrpc/connect";

import { describe, type Refusal, type SignalboxError } from "./errors.js";
import type { Closing } from "./gen/signalbox/v1/signaling_pb.js";

const [MAX_DATA_BYTES, MAX_TYPE_BYTES] = [8_192, 128];

/** What is to be sent; see `Session.signal`. */
export interface Wanted {
  readonly data: string;
  readonly type: string;
  readonly to: readonly string[] | undefined;
  readonly retryAfterReconnect: boolean;
}

/** How a stream ended: with a status, silent, before it began (`error`), or, with none, with OK. */
export interface End {
  readonly refusal?: Refusal;
  readonly silent?: boolean;
  readonly error?: SignalboxError;
}

/** Refuses a signal as the server would. */
export function check(wanted: Wanted, maxRecipients: number): Refusal | undefined {
  const bad = (reason: string, message: string, field: string): Refusal => ({
    code: Code.InvalidArgument,
    reason,
    message,
    field,
  });
  const bytesOf = (text: string) => new TextEncoder().encode(text).length;
  const bytes = bytesOf(wanted.data);
  if (bytes > MAX_DATA_BYTES) {
    const told = `the data is ${bytes} bytes; at most ${MAX_DATA_BYTES} are allowed`;
    return bad("SIGNAL_DATA_TOO_LARGE", told, "signal.data");
  }
  if (bytesOf(wanted.type) > MAX_TYPE_BYTES) {
    const told = `the type is ${bytesOf(wanted.type)} bytes; at most ${MAX_TYPE_BYTES} are allowed`;
    return bad("SIGNAL_TYPE_TOO_LARGE", told, "signal.type");
  }
  if (!/^[A-Za-z0-9\-_~]*$/.test(wanted.type)) {
    const told = `the type ${JSON.stringify(wanted.type)} has a character other than A-Z a-z 0-9 - _ ~`;
    return bad("SIGNAL_TYPE_INVALID", told, "signal.type");
  }
  if (wanted.to?.length === 0) {
    const told = "the list of recipients is empty; leave it out to send to everyone";
    return bad("RECIPIENTS_INVALID", told, "to.connection_ids");
  }
  if (wanted.to && maxRecipients && wanted.to.length > maxRecipients) {
    const told = `${wanted.to.length} recipients; at most ${maxRecipients} are allowed`;
    return bad("RECIPIENTS_INVALID", told, "to.connection_ids");
  }
  return undefined;
}

/** The stable reason of an end; empty when it has none. */
export function reason(closing: Closing | undefined, end: End): string {
  return closing?.reason ?? end.refusal?.reason ?? "";
}

/** An end, for people. */
export function told(end: End): string {
  if (end.silent) return "nothing came for longer than heartbeats allow";
  return end.error?.message ?? (end.refusal ? describe(end.refusal) : "the stream ended");
}
