/** gRPC streams to a server, over HTTP/2 connections of their own, and what their ends say. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError as RpcError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { ConnectError, type Refusal } from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { type JoinRequest, type JoinResponse, SignalingService } from "./gen/signalbox/v1/signaling_pb.js";
import type { End } from "./wire.js";

/** HTTP/2 pings find a dead server even where no heartbeats are asked for. */
const KEEPALIVE = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 };

/** `host:port` is plain text. */
export function urlOf(endpoint: string): string {
  const url = endpoint.includes("://") ? endpoint : `http://${endpoint}`;
  if (!/^https?:\/\/[^/]+\/?$/.test(url) || !URL.canParse(url)) {
    throw new ConnectError(`${JSON.stringify(endpoint)} is no endpoint: it reads http://host:port, https://host:port or host:port`);
  }
  return url.replace(/\/$/, "");
}

/** A connection to one server, and the calls on it. */
export class Wire {
  readonly #sessions: Http2SessionManager;
  readonly calls;

  constructor(readonly url: string) {
    this.#sessions = new Http2SessionManager(url, KEEPALIVE);
    this.calls = createClient(SignalingService, createGrpcTransport({ baseUrl: url, sessionManager: this.#sessions }));
  }

  close(): void {
    this.#sessions.abort();
  }
}

/** One `Join` stream. Frames go in the order of `send`. */
export class Stream {
  readonly #wire: Wire;
  readonly #abort = new AbortController();
  readonly #frames: JoinRequest[] = [];
  #wake = () => {};
  readonly #responses: AsyncIterator<JoinResponse>;

  constructor(url: string, headers: Record<string, string>) {
    this.#wire = new Wire(url);
    const { signal } = this.#abort;
    signal.addEventListener("abort", () => this.#wake());
    this.#responses = this.#wire.calls.join(this.#requests(), { headers, signal })[Symbol.asyncIterator]();
  }

  async *#requests(): AsyncGenerator<JoinRequest> {
    while (!this.#abort.signal.aborted) {
      const frame = this.#frames.shift();
      if (frame) {
        yield frame;
        // Nothing follows; and the call ends well only when both ways have.
        if (frame.frame.case === "leave") return;
      } else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  send(frame: JoinRequest): void {
    this.#frames.push(frame);
    this.#wake();
  }

  /** What comes next, or how it ended. */
  async next(): Promise<JoinResponse | End> {
    try {
      const { done, value } = await this.#responses.next();
      return done ? {} : value;
    } catch (error) {
      return ending(error, this.#wire.url);
    }
  }

  close(): void {
    this.#abort.abort();
    this.#wire.close();
  }
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
