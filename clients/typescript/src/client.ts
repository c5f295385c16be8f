/** A member of a session that comes back by itself. */

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import { ConnectError, type SignalboxError } from "./errors.js";
import { type Accepted, type Connection, type Event, Roster, type SignalReceived } from "./events.js";
import { type Join, JoinRequestSchema, JoinSchema } from "./gen/signalbox/v1/signaling_pb.js";
import { Machine, type Output, type Settings } from "./machine.js";
import { type Open, type Stream, urlOf } from "./transport.js";
import type { End, Wanted } from "./wire.js";

/** How many events wait for the application before no more are read. */
const MOST_EVENTS = 1_024;

/** A token and, where it is known, when it expires: the client asks for another before that. */
export interface Token {
  readonly bearer: string;
  readonly expiresAt?: Date;
}

/** One token, or what gives one for a session's id. */
export type TokenSource = string | Token | ((sessionId: string) => string | Token | Promise<string | Token>);

export interface ClientOptions {
  /**
   * A token; a function is called before the first connection, before a token expires and
   * after one has.
   */
  readonly token?: TokenSource;
  /** How many milliseconds an attempt may take until the server lets it in; 10,000 if unset. */
  readonly connectTimeout?: number;
  /** The shortest and longest pause between attempts, before jitter; 250 and 10,000 ms if unset. */
  readonly backOff?: readonly [number, number];
  /** How many milliseconds to try to get back in; 300,000 if unset. */
  readonly giveUpAfter?: number;
}

export interface JoinOptions {
  /** What everybody sees of it, at most 1,000 bytes. */
  readonly connectionData?: string;
  /** For how many milliseconds the server waits for it after a loss; 60,000 if unset, at most 120,000. */
  readonly resumeWindow?: number;
  /** Only signals of these types are wanted; none: all. */
  readonly signalTypes?: readonly string[];
  readonly suppressConnectionEvents?: boolean;
  readonly suppressOwnSignals?: boolean;
  /** How many sends, and bytes of them, may wait while disconnected; 1,024 and 1 MiB if unset. */
  readonly queue?: readonly [number, number];
}

export interface SignalOptions {
  /** At most 128 of `A-Z a-z 0-9 - _ ~`. */
  readonly type?: string;
  /** Only these connections get it, at most 100. An empty list is refused. */
  readonly to?: readonly string[];
  /** Whether it waits for the reconnect when disconnected; true if unset. */
  readonly retryAfterReconnect?: boolean;
}

/** What a `Client` is, whatever carries its streams. */
export class MemberClient {
  readonly #endpoints: readonly string[];

  /** @internal */
  constructor(
    endpoints: string | readonly string[],
    private readonly options: ClientOptions,
    private readonly open: Open,
  ) {
    this.#endpoints = [endpoints].flat().map(urlOf);
    if (!this.#endpoints.length) throw new ConnectError("there is no endpoint");
  }

  /** Joins a session, and comes back when in. Throws `ConnectError` when no endpoint lets it in. */
  async join(sessionId: string, options: JoinOptions = {}): Promise<Session> {
    const resumeWindow = options.resumeWindow ?? 60_000;
    const { token, connectTimeout = 10_000, backOff = [250, 10_000], giveUpAfter = 300_000 } = this.options;
    const join = create(JoinSchema, {
      sessionId,
      connectionData: options.connectionData ?? "",
      signalTypes: [...(options.signalTypes ?? [])],
      suppressConnectionEvents: options.suppressConnectionEvents ?? false,
      suppressOwnSignals: options.suppressOwnSignals ?? false,
      ...(resumeWindow && { resumeWindow: durationFromMs(resumeWindow) }),
    });
    const settings: Settings = {
      join,
      endpoints: this.#endpoints,
      connectTimeout,
      backOff,
      giveUpAfter,
      renewable: typeof token === "function",
      queue: options.queue ?? [1_024, 1 << 20],
    };
    const session = new Session(settings, new Tokens(token, sessionId), this.open);
    await session.joined;
    return session;
  }
}

/** The tokens of one session. */
class Tokens {
  #latest: Token | undefined;

  constructor(private readonly source: TokenSource | undefined, private readonly sessionId: string) {}

  async get(renew: boolean): Promise<Token | undefined> {
    const { source } = this;
    if (typeof source !== "function") return source === undefined ? undefined : token(source);
    const latest = this.#latest;
    if (latest && !renew && (!latest.expiresAt || latest.expiresAt.getTime() > Date.now())) return latest;
    try {
      this.#latest = token(await source(this.sessionId));
    } catch (error) {
      throw new ConnectError(`no token: ${error}`);
    }
    return this.#latest;
  }
}

function token(given: string | Token): Token {
  return typeof given === "string" ? { bearer: given } : given;
}

interface Ticket {
  resolve(accepted: Accepted): void;
  reject(error: SignalboxError): void;
}

/**
 * A member of a session; `Client.join` gives it.
 *
 * Iterated (`for await (const event of session)`), it gives what happens, in order, until
 * `disconnected`, which is the last. Take the events: once 1,024 wait, nothing more is read,
 * and the server may close the stream as a slow reader's, which is resumed as soon as they
 * are taken. Who wants none calls `ignoreEvents`.
 */
export class Session implements AsyncIterable<Event>, AsyncDisposable {
  /** @internal */
  readonly joined: Promise<void>;
  readonly #machine: Machine<Ticket>;
  readonly #roster = new Roster();
  readonly #events: Event[] = [];
  readonly #streams = new Map<number, Stream | undefined>();
  readonly #filters = new Set<(signal: SignalReceived | undefined) => void>();
  #isIn!: { resolve(): void; reject(error: SignalboxError): void };
  #ignores = false;
  #isOver = false;
  #over!: () => void;
  readonly #ended = new Promise<void>((resolve) => (this.#over = resolve));
  #changed = () => {};
  #room: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(settings: Settings, private readonly tokens: Tokens, private readonly open: Open) {
    this.#machine = new Machine(settings);
    this.joined = new Promise((resolve, reject) => (this.#isIn = { resolve, reject }));
    this.#machine.start(now());
    this.#act();
  }

  /** This client's own id. After a reconnect that could not resume it is another. */
  get connectionId(): string {
    return this.#machine.connectionId;
  }

  /** Who is in the session, this client too: always what the events that were taken say. */
  get connections(): readonly Connection[] {
    return this.#roster.connections;
  }

  /**
   * Sends a signal: the call puts it in order after all sends before it, and the promise tells
   * its outcome. Nobody need wait for it. It is rejected with a `RefusedError`,
   * `DisconnectedError`, `QueueFullError`, `UnknownOutcomeError` or `OverError`.
   */
  signal(data: string, options: SignalOptions = {}): Promise<Accepted> {
    const { type = "", to, retryAfterReconnect = true } = options;
    const wanted: Wanted = { data, type, to, retryAfterReconnect };
    return this.#ask((ticket) => this.#machine.send(wanted, ticket, now()));
  }

  /** Disconnects another connection, for good; for moderators. As `signal`. */
  forceDisconnect(connectionId: string): Promise<Accepted> {
    return this.#ask((ticket) => this.#machine.disconnect(connectionId, ticket, now()));
  }

  #ask(what: (ticket: Ticket) => void): Promise<Accepted> {
    const outcome = new Promise<Accepted>((resolve, reject) => what({ resolve, reject }));
    // An outcome that nobody waits for is nobody's mistake.
    outcome.catch(() => {});
    this.#act();
    return outcome;
  }

  /** The signals of one type from here on, beside the events, which have them too. */
  async *onType(type: string): AsyncGenerator<SignalReceived, void> {
    const waiting: SignalReceived[] = [];
    let wake = () => {};
    const filter = (signal: SignalReceived | undefined) => {
      if (signal?.type === type) waiting.push(signal);
      wake();
    };
    this.#filters.add(filter);
    try {
      for (;;) {
        const signal = waiting.shift();
        if (signal) yield signal;
        else if (this.#isOver) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.#filters.delete(filter);
    }
  }

  /** Nobody takes events: `connections` follows by itself. */
  ignoreEvents(): void {
    this.#ignores = true;
    for (const event of this.#events.splice(0)) this.#roster.apply(event);
    this.#makeRoom();
  }

  /** Leaves once every send has its outcome; `atOnce` without what was not sent yet. */
  async leave(options: { readonly atOnce?: boolean } = {}): Promise<void> {
    this.#machine.leave(now(), options.atOnce);
    // Who leaves is waited for, whether or not events are taken.
    this.#makeRoom();
    this.#act();
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    for (;;) {
      const event = this.#events.shift();
      if (event) {
        this.#roster.apply(event);
        if (!this.#events.length) this.#makeRoom();
        yield event;
      } else if (this.#isOver) {
        return;
      } else {
        await new Promise<void>((resolve) => (this.#changed = resolve));
      }
    }
  }

  #makeRoom(): void {
    this.#room?.();
    this.#room = undefined;
  }

  /** Does what the machine wants done. */
  #act(): void {
    for (let output = this.#machine.outputs.shift(); output; output = this.#machine.outputs.shift()) this.#do(output);
    clearTimeout(this.#timer);
    const at = this.#machine.wakeAt();
    if (at !== undefined && !this.#isOver) {
      this.#timer = setTimeout(() => {
        // Timers may be a moment early.
        this.#machine.wake(Math.max(now(), at));
        this.#act();
      }, Math.max(0, at - now()));
    }
  }

  #do(output: Output<Ticket>): void {
    switch (output.what) {
      case "open":
        this.#streams.set(output.stream, undefined);
        void this.#run(output.stream, output.endpoint, output.join, output.renewToken);
        break;
      case "frame":
        // A stream that is gone says so by its end.
        this.#streams.get(output.stream)?.send(output.frame);
        break;
      case "close":
        this.#close(output.stream);
        break;
      case "event":
        this.#tell(output.event);
        break;
      case "outcome":
        if (output.outcome instanceof Error) output.ticket.reject(output.outcome);
        else output.ticket.resolve(output.outcome);
        break;
      case "failed":
        this.#isIn.reject(output.error);
        break;
      case "over":
        this.#isOver = true;
        for (const filter of this.#filters) filter(undefined);
        this.#makeRoom();
        this.#changed();
        this.#over();
    }
  }

  #tell(event: Event): void {
    if (event.kind === "signal") for (const filter of this.#filters) filter(event);
    if (event.kind === "joined") this.#roster.apply(event);
    if (this.#ignores) this.#roster.apply(event);
    else this.#events.push(event);
    this.#isIn.resolve();
    this.#changed();
  }

  async #run(number: number, endpoint: string, join: Join, renew: boolean): Promise<void> {
    let given: Token | undefined;
    try {
      given = await this.tokens.get(renew);
    } catch (error) {
      return this.#ends(number, { error: error as SignalboxError });
    }
    const left = given?.expiresAt ? given.expiresAt.getTime() - Date.now() : 0;
    if (left > 0) this.#machine.tokenExpires(left, now());
    if (!this.#streams.has(number)) return;
    const stream = this.open(endpoint, given ? { authorization: `Bearer ${given.bearer}` } : {});
    this.#streams.set(number, stream);
    stream.send(create(JoinRequestSchema, { frame: { case: "join", value: join } }));
    for (;;) {
      const came = await stream.next();
      if (!("event" in came)) return this.#ends(number, came);
      this.#machine.received(number, came, now());
      this.#act();
      // A stream that is being opened tells no events, and would run out of its time.
      const isFull = this.#events.length >= MOST_EVENTS && this.#machine.leaving === "no";
      if (isFull && this.#machine.liveStream === number) {
        this.#machine.read(false, now());
        this.#act();
        await new Promise<void>((resolve) => (this.#room = resolve));
        this.#machine.read(true, now());
      }
    }
  }

  #ends(number: number, end: End): void {
    this.#machine.ended(number, end, now());
    this.#close(number);
    this.#act();
  }

  #close(number: number): void {
    this.#streams.get(number)?.close();
    this.#streams.delete(number);
  }
}

function now(): number {
  return performance.now();
}
