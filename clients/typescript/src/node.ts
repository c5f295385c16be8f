/** The client for Node: gRPC, over HTTP/2 connections of its own. */

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { type ClientOptions, MemberClient } from "./client.js";
import { type JoinRequest, type JoinResponse, SignalingService } from "./gen/signalbox/v1/signaling_pb.js";
import { ending, type Stream } from "./transport.js";
import type { End } from "./wire.js";

/** HTTP/2 pings find a dead server even where no heartbeats are asked for. */
const KEEPALIVE = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 };

/** Where the servers are, and how to get in. */
export class Client extends MemberClient {
  /** `endpoints` take turns, each as `http://host:port` or `https://host:port`. */
  constructor(endpoints: string | readonly string[], options: ClientOptions = {}) {
    super(endpoints, options, (url, headers) => new GrpcStream(url, headers));
  }
}

/** A connection to one server, and the calls on it. @internal */
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

/** One `Join` stream. */
class GrpcStream implements Stream {
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
