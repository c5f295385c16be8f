/** Streams to a server, whatever carries them, and what their ends say. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError as RpcError } from "@connectrpc/connect";

import { ConnectError, type Refusal } from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { JoinRequest, JoinResponse } from "./gen/signalbox/v1/signaling_pb.js";
import type { End } from "./wire.js";

/** One stream of a member. @internal */
export interface Stream {
  /** Sends a frame; they go in their order. The first is a join. */
  send(frame: JoinRequest): void;
  /** What comes next, or how it ended. */
  next(): Promise<JoinResponse | End>;
  close(): void;
}

/** Opens a stream to the server at a URL, with these headers. @internal */
export type Open = (url: string, headers: Record<string, string>) => Stream;

/** `host:port` is plain text. */
export function urlOf(endpoint: string): string {
  const url = endpoint.includes("://") ? endpoint : `http://${endpoint}`;
  if (!/^https?:\/\/[^/]+\/?$/.test(url) || !URL.canParse(url)) {
    throw new ConnectError(`${JSON.stringify(endpoint)} is no endpoint: it reads http://host:port, https://host:port or host:port`);
  }
  return url.replace(/\/$/, "");
}

/** What a status says: the reason, the field and the wait are in its details. */
export function refusalOf(error: RpcError): Refusal {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [bad] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  return {
    code: error.code,
    reason: info?.reason ?? "",
    message: error.rawMessage,
    field: bad?.fieldViolations[0]?.field,
    retryAfter: retry?.retryDelay && durationMs(retry.retryDelay),
  };
}

/** A status of no Signalbox that tells of no answer is a lost connection. */
export function ending(error: unknown, url: string): End {
  const rpc = RpcError.from(error);
  const refusal = refusalOf(rpc);
  const isLost = rpc.code === Code.Unavailable || rpc.code === Code.Internal || rpc.code === Code.Canceled;
  if (isLost && !refusal.reason) return { error: new ConnectError(`${url}: ${rpc.rawMessage}`) };
  return { refusal };
}
