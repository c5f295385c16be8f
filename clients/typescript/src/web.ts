/**
 * The client for browsers: the same member, over gRPC-Web. `signalbox-client` is this in a
 * bundle for browsers; `signalbox-client/web` is it everywhere.
 *
 * The server serves it where `--cors-origin` names the page's origin.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { type ClientOptions, MemberClient } from "./client.js";
import {
  type JoinRequest,
  type JoinResponse,
  JoinResponseSchema,
  type Joined,
  type SendFrame,
  SendFrameSchema,
  type SendResult,
  SignalingService,
  type SubscribeResponse,
} from "./gen/signalbox/v1/signaling_pb.js";
import { ending, type Stream } from "./transport.js";
import type { End } from "./wire.js";

export * from "./shared.js";

/** How long one call may take, and the pauses before it is made again, in milliseconds. */
const CALL_TIMEOUT = 10_000;
const PAUSES = [100, 250, 500, 1_000, 2_000];

/** Where the servers are, and how to get in. */
export class Client extends MemberClient {
  /** `endpoints` take turns, each as `http://host:port` or `https://host:port`. */
  constructor(endpoints: string | readonly string[], options: ClientOptions = {}) {
    super(endpoints, options, (url, headers) => new WebStream(url, headers));
  }
}

/** A call that goes on when its page is closed: to leave. */
const lasting: typeof fetch = (input, init) => fetch(input, { ...init, keepalive: true });

function callsTo(baseUrl: string, fetch?: typeof globalThis.fetch) {
  return createClient(SignalingService, createGrpcWebTransport({ baseUrl, ...(fetch && { fetch }) }));
}

/** How many frames, and bytes of them, one call takes: the server's limits are 64, and 64 KiB. */
const TOGETHER = [64, 48 * 1_024] as const;

/**
 * A stream that a page can have: what it receives comes by `Subscribe`, what it sends goes
 * by `Send`, one call at a time, because ids must come in their order; what comes meanwhile
 * goes together with the next.
 */
class WebStream implements Stream {
  readonly #calls;
  readonly #abort = new AbortController();
  readonly #frames: JoinRequest[] = [];
  /** What came of them. */
  readonly #came: (JoinResponse | End)[] = [];
  #responses: AsyncIterator<SubscribeResponse> | undefined;
  #reading: Promise<JoinResponse | End> | undefined;
  #wake = () => {};
  #isSending = false;
  #joined: Joined | undefined;
  #sessionId = "";

  constructor(private readonly url: string, private readonly headers: Record<string, string>) {
    this.#calls = callsTo(url);
  }

  send({ frame }: JoinRequest): void {
    if (frame.case === "join") {
      const options = { headers: this.headers, signal: this.#abort.signal };
      this.#sessionId = frame.value.sessionId;
      this.#responses = this.#calls.subscribe({ join: frame.value }, options)[Symbol.asyncIterator]();
    } else {
      this.#frames.push({ frame } as JoinRequest);
      if (!this.#isSending) void this.#sendAll();
    }
  }

  async next(): Promise<JoinResponse | End> {
    for (;;) {
      const came = this.#came.shift();
      if (came) return came;
      this.#reading ??= this.#read();
      const woken = new Promise<undefined>((resolve) => (this.#wake = () => resolve(undefined)));
      const read = await Promise.race([this.#reading, woken]);
      if (!read) continue;
      this.#reading = undefined;
      if ("event" in read && read.event.case === "joined") this.#joined = read.event.value;
      return read;
    }
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(): Promise<JoinResponse | End> {
    try {
      const next = await this.#responses?.next();
      return !next || next.done ? {} : create(JoinResponseSchema, { event: next.value.event });
    } catch (error) {
      return ending(error, this.url);
    }
  }

  #tell(what: JoinResponse | End): void {
    this.#came.push(what);
    this.#wake();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    while (this.#frames.length && !this.#abort.signal.aborted) {
      const came = await this.#ask(this.#next());
      came.forEach((one) => this.#tell(one));
      // On a stream that ends nothing more is sent: a resume does that.
      if (came.some((one) => !("event" in one)) || !came.length) return;
    }
    this.#isSending = false;
  }

  /** What goes together; a leave goes alone. */
  #next(): SendFrame[] | "leave" {
    const frames: SendFrame[] = [];
    let bytes = 0;
    for (let next = this.#frames[0]; next; next = this.#frames[0]) {
      const { frame } = next;
      if (frame.case !== "send" && frame.case !== "disconnect") break;
      const one = create(SendFrameSchema, { frame });
      bytes += toBinary(SendFrameSchema, one).length;
      if (frames.length && (frames.length >= TOGETHER[0] || bytes > TOGETHER[1])) return frames;
      frames.push(one);
      this.#frames.shift();
    }
    return frames.length ? frames : "leave";
  }

  /** Asks until there is an answer; there is none where the stream's own end is what tells. */
  async #ask(what: SendFrame[] | "leave"): Promise<(JoinResponse | End)[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        const results = await this.#call(what);
        return results.map((value) => create(JoinResponseSchema, { event: { case: "sendResult", value } }));
      } catch (error) {
        const end = ending(error, this.url);
        const { refusal } = end;
        // With the connection its stream ends, and says why.
        if (refusal?.reason === "CONNECTION_NOT_FOUND") return [];
        // It isn't known whether they were decided, or they weren't: the same ids have one outcome.
        const isUndecided = end.error || refusal?.reason === "ENGINE_UNAVAILABLE" || refusal?.reason === "GOING_AWAY";
        const pause = PAUSES[attempt];
        if (!isUndecided || pause === undefined || this.#abort.signal.aborted) return [end];
        await this.#wait(Math.max(pause, refusal?.retryAfter ?? 0));
        if (this.#abort.signal.aborted) return [end];
      }
    }
  }

  async #call(what: SendFrame[] | "leave"): Promise<SendResult[]> {
    const who = this.#addressed();
    if (what === "leave") {
      // The page may be gone before the answer comes.
      await callsTo(this.url, lasting).leave(who, { headers: this.headers, timeoutMs: CALL_TIMEOUT });
      return [];
    }
    const options = { headers: this.headers, signal: this.#abort.signal, timeoutMs: CALL_TIMEOUT };
    return (await this.#calls.send({ ...who, frames: what }, options)).results;
  }

  /** Who asks. Only who has joined sends anything. */
  #addressed() {
    const connectionId = this.#joined?.connection?.connectionId ?? "";
    return { sessionId: this.#sessionId, connectionId, resumeToken: this.#joined?.resumeToken ?? "" };
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#abort.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}
