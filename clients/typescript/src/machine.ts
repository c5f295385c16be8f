/**
 * The protocol of a member as a pure machine: what happened and the time go in, what to do
 * comes out. No I/O, no clock; times are milliseconds.
 *
 * One connection outlives its streams. At most two streams exist at a time: the live one, and
 * one being opened, to come back or, with a fresh token, to take the live one over.
 */

import { clone, create, toBinary } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";

import {
  ConnectError,
  DisconnectedError,
  describe,
  OverError,
  type Refusal,
  RefusedError,
  type SignalboxError,
  UnknownOutcomeError,
} from "./errors.js";
import { type Accepted, ClientAction, type Connection, connectionOf, type Event, Roster } from "./events.js";
import {
  type Closing,
  type Join,
  type Joined,
  JoinOutcome,
  type JoinRequest,
  JoinRequestSchema,
  type JoinResponse,
  JoinSchema,
  type SendResult,
} from "./gen/signalbox/v1/signaling_pb.js";
import { RecipientsSchema, SignalSchema } from "./gen/signalbox/v1/types_pb.js";
import { Pace, Sends } from "./sends.js";
import { check, type End, reason, told, type Wanted } from "./wire.js";

const UNRESOLVED_WITHOUT_LIMIT = 1_024;
/** A token is renewed this long before it expires, or when a tenth of its time is left. */
const RENEW_BEFORE = 60_000;
const STOPPING = [Code.InvalidArgument, Code.NotFound, Code.FailedPrecondition, Code.Aborted];

export interface Settings {
  readonly join: Join;
  readonly endpoints: readonly string[];
  readonly connectTimeout: number;
  readonly backOff: readonly [number, number];
  readonly giveUpAfter: number;
  readonly renewable: boolean;
  readonly queue: readonly [number, number];
}

/** What is to be done. */
export type Output<T> =
  | { what: "open"; stream: number; endpoint: string; join: Join; renewToken: boolean }
  | { what: "frame"; stream: number; frame: JoinRequest }
  | { what: "close"; stream: number }
  | { what: "event"; event: Event }
  | { what: "outcome"; ticket: T; outcome: Accepted | SignalboxError }
  | { what: "failed"; error: SignalboxError }
  | { what: "over" };

interface Identity {
  connection: Connection;
  resumeToken: string;
  epoch: bigint;
  lastSequence: bigint;
  lastResult: bigint;
}

interface Live {
  stream: number;
  since: number;
  heardAt: number;
  closing: Closing | undefined;
  leaveSent: boolean;
}

interface Opening {
  stream: number;
  deadline: number;
  renewed: boolean;
  joined: Joined | undefined;
  closing: Closing | undefined;
}

/** What an end means for coming back. */
interface Verdict {
  stop?: Refusal;
  after?: number | undefined;
  renewToken?: boolean;
}

const ms = (duration: Duration | undefined) => duration && durationMs(duration);

export class Machine<T> {
  readonly outputs: Output<T>[] = [];
  over = false;
  leaving: "no" | "settled" | "now" = "no";
  #identity: Identity | undefined;
  #live: Live | undefined;
  #opening: Opening | undefined;
  #openAt: number | undefined;
  #lostAt: number | undefined;
  #attempt = 0;
  #endpoint = 0;
  #streams = 0;
  #renewToken = false;
  #renewAt: number | undefined;
  readonly #sends: Sends<T>;
  #pace = new Pace();
  #maxRecipients = 0;
  #heartbeatInterval = 0;
  #maxUnresolved = UNRESOLVED_WITHOUT_LIMIT;
  readonly #roster = new Roster();
  #reading = true;

  constructor(private readonly settings: Settings) {
    this.#sends = new Sends(settings.queue);
  }

  get connectionId(): string {
    return this.#identity?.connection.connectionId ?? "";
  }

  get liveStream(): number | undefined {
    return this.#live?.stream;
  }

  start(now: number): void {
    this.#open(now);
  }

  // What the application wants.

  /** Sends, now or as soon as it may. Throws what can't even be queued. */
  send(wanted: Wanted, ticket: T, now: number): void {
    this.#refuseWhenOver();
    const refusal = check(wanted, this.#maxRecipients);
    if (refusal) throw new RefusedError(refusal);
    if (!wanted.retryAfterReconnect && this.#lostAt !== undefined) throw new DisconnectedError();
    const signal = create(SignalSchema, { type: wanted.type, data: wanted.data });
    const to = wanted.to && create(RecipientsSchema, { connectionIds: [...wanted.to] });
    const bytes = toBinary(SignalSchema, signal).length + (to ? toBinary(RecipientsSchema, to).length : 0);
    const frame = (sendId: bigint) =>
      create(JoinRequestSchema, { frame: { case: "send", value: { sendId, signal, ...(to && { to }) } } });
    this.#push(frame, bytes, wanted.retryAfterReconnect, ticket, now);
  }

  /** Disconnects another connection; as `send`. */
  disconnect(connectionId: string, ticket: T, now: number): void {
    this.#refuseWhenOver();
    const frame = (sendId: bigint) =>
      create(JoinRequestSchema, { frame: { case: "disconnect", value: { sendId, connectionId } } });
    this.#push(frame, connectionId.length, true, ticket, now);
  }

  #refuseWhenOver(): void {
    if (this.over || this.leaving !== "no") throw new OverError();
  }

  #push(frame: (sendId: bigint) => JoinRequest, bytes: number, retry: boolean, ticket: T, now: number): void {
    const ready = this.#readyAt();
    const atOnce = this.#sending() !== undefined && !this.#sends.isWaiting && ready !== undefined && ready <= now;
    this.#sends.push({ frame, bytes, retry, ticket }, atOnce);
    this.#flush(now);
  }

  /** Leaves once every send has its outcome; `atOnce` without what was not sent yet. */
  leave(now: number, atOnce = false): void {
    if (this.over) return;
    if (atOnce || !this.#identity) {
      this.leaving = "now";
      this.#fail(this.#sends.discard(), new OverError());
      if (!this.#live) this.#end("left", ClientAction.STOP);
    } else if (this.leaving === "no") {
      this.leaving = "settled";
    }
    this.#flush(now);
  }

  // What happens.

  /** Whether what arrives is read: a reader that pauses can't tell silence from its own pause. */
  read(reading: boolean, now: number): void {
    if (reading && !this.#reading && this.#live) this.#live.heardAt = now;
    this.#reading = reading;
  }

  /** The token of the stream that was opened last expires after `left`. */
  tokenExpires(left: number, now: number): void {
    if (this.settings.renewable) this.#renewAt = now + left - Math.min(RENEW_BEFORE, left / 10);
  }

  /** When to `wake` it at the latest. */
  wakeAt(): number | undefined {
    const times = [this.#openAt, this.#silentAt(), this.#opening?.deadline];
    if (this.#sending() !== undefined && this.#sends.isWaiting) times.push(this.#readyAt());
    if (this.#live && !this.#opening && this.#openAt === undefined) times.push(this.#renewAt);
    const known = times.filter((at) => at !== undefined);
    return known.length ? Math.min(...known) : undefined;
  }

  /** Time has passed. */
  wake(now: number): void {
    if (this.over) return;
    const is = (at: number | undefined) => at !== undefined && at <= now;
    if (is(this.#silentAt())) this.#lose({ silent: true }, now);
    if (is(this.#opening?.deadline)) this.#failed({ silent: true }, now);
    if (is(this.#openAt)) {
      this.#open(now);
    } else if (this.#live && !this.#opening && is(this.#renewAt)) {
      this.#renewToken = true;
      this.#open(now);
    }
    this.#flush(now);
  }

  /** A response came on a stream. */
  received(stream: number, response: JoinResponse, now: number): void {
    const { event } = response;
    if (this.#opening?.stream === stream) return this.#openingReceived(event, now);
    if (this.#live?.stream !== stream || !this.#identity) return;
    this.#live.heardAt = now;
    switch (event.case) {
      case "closing":
        this.#live.closing = event.value;
        break;
      case "sendResult":
        this.#decided(event.value, now);
        this.#flush(now);
        break;
      case "heartbeat":
        if (event.value.sequence > this.#identity.lastSequence) this.#identity.lastSequence = event.value.sequence;
        break;
      case "signal": {
        const { sequence, fromConnectionId: from, signal, sentAt } = event.value;
        this.#happened({
          kind: "signal",
          sequence,
          from,
          type: signal?.type ?? "",
          data: signal?.data ?? "",
          sentAt: sentAt && timestampDate(sentAt),
        });
        break;
      }
      case "connectionCreated": {
        const { sequence, connection } = event.value;
        this.#happened({ kind: "connectionCreated", sequence, connection: connectionOf(connection) });
        break;
      }
      case "connectionDestroyed": {
        const { sequence, connectionId, reason } = event.value;
        this.#happened({ kind: "connectionDestroyed", sequence, connectionId, reason });
        break;
      }
      case "connectionInterrupted":
      case "connectionRestored": {
        const { sequence, connectionId } = event.value;
        this.#happened({ kind: event.case, sequence, connectionId });
      }
    }
  }

  /** A stream ended. */
  ended(stream: number, end: End, now: number): void {
    if (this.#opening?.stream === stream) this.#failed(end, now);
    else if (this.#live?.stream === stream) this.#lose(end, now);
  }

  // Sending.

  /** The server says something every heartbeat interval; half-open is found within two. */
  #silentAt(): number | undefined {
    if (!this.#live || !this.#reading || !this.#heartbeatInterval) return undefined;
    return this.#live.heardAt + (this.#heartbeatInterval * 7) / 4;
  }

  #readyAt(): number | undefined {
    const { unresolved } = this.#sends;
    return unresolved < this.#maxUnresolved ? this.#pace.readyAt(unresolved) : undefined;
  }

  /** The stream that frames can be sent on. One that is being closed takes nothing. */
  #sending(): number | undefined {
    const live = this.#live;
    return live && !live.closing && !live.leaveSent ? live.stream : undefined;
  }

  #flush(now: number): void {
    const stream = this.#sending();
    if (stream === undefined || !this.#live) return;
    for (const frame of this.#sends.again()) this.outputs.push({ what: "frame", stream, frame });
    for (;;) {
      const at = this.#readyAt();
      const frame = at !== undefined && at <= now ? this.#sends.next() : undefined;
      if (!frame) break;
      this.outputs.push({ what: "frame", stream, frame });
    }
    if (this.leaving === "now" || (this.leaving === "settled" && this.#sends.isSettled)) {
      this.#live.leaveSent = true;
      const frame = create(JoinRequestSchema, { frame: { case: "leave", value: {} } });
      this.outputs.push({ what: "frame", stream, frame });
    }
  }

  #decided(result: SendResult, now: number): void {
    const identity = this.#identity;
    if (!identity) return;
    if (result.sendId > identity.lastResult) identity.lastResult = result.sendId;
    const ticket = this.#sends.resolve(result.sendId);
    if (ticket === undefined) return;
    this.#pace.decided(now);
    const { case: kind, value } = result.outcome;
    let outcome: Accepted | SignalboxError = new UnknownOutcomeError();
    if (kind === "accepted") {
      outcome = { sequence: value.sequence, epoch: identity.epoch, notConnectedIds: value.notConnectedIds };
    } else if (kind === "error") {
      const { code, reason, message, field, retryAfter } = value;
      outcome = new RefusedError({ code, reason, message, field: field || undefined, retryAfter: ms(retryAfter) });
    }
    this.outputs.push({ what: "outcome", ticket, outcome });
  }

  #fail(tickets: T[], error: SignalboxError): void {
    for (const ticket of tickets) this.outputs.push({ what: "outcome", ticket, outcome: error });
  }

  /** Something of the session's order, told once: two streams overlap in a take-over. */
  #happened(event: Event & { sequence: bigint }): void {
    if (!this.#identity || event.sequence <= this.#identity.lastSequence) return;
    this.#identity.lastSequence = event.sequence;
    this.#tell(event);
  }

  #tell(event: Event): void {
    this.#roster.apply(event);
    this.outputs.push({ what: "event", event });
  }

  // Getting in, and getting back in.

  #open(now: number): void {
    this.#openAt = this.#renewAt = undefined;
    const stream = ++this.#streams;
    const renewToken = this.#renewToken;
    this.#renewToken = false;
    const deadline = now + this.settings.connectTimeout;
    this.#opening = { stream, deadline, renewed: renewToken, joined: undefined, closing: undefined };
    const join = clone(JoinSchema, this.settings.join);
    const identity = this.#identity;
    if (identity) {
      join.resume = {
        $typeName: "signalbox.v1.Resume",
        connectionId: identity.connection.connectionId,
        resumeToken: identity.resumeToken,
        epoch: identity.epoch,
        lastSequence: identity.lastSequence,
        lastResultSendId: identity.lastResult,
      };
    }
    const endpoint = this.settings.endpoints[this.#endpoint] ?? "";
    this.outputs.push({ what: "open", stream, endpoint, join, renewToken });
  }

  #openingReceived(event: JoinResponse["event"], now: number): void {
    const opening = this.#opening;
    if (!opening) return;
    if (event.case === "joined" && !opening.joined) {
      if (event.value.moreConnections) opening.joined = event.value;
      else this.#joined(event.value, now);
    } else if (event.case === "connectionsPage" && opening.joined) {
      opening.joined.connections.push(...event.value.connections);
      // A large snapshot may take its time as long as it comes.
      opening.deadline = now + this.settings.connectTimeout;
      if (!event.value.more) this.#joined(opening.joined, now);
    } else if (event.case === "closing") {
      opening.closing = event.value;
    }
  }

  #joined(joined: Joined, now: number): void {
    const opening = this.#opening;
    if (!opening) return;
    this.#opening = undefined;
    if (this.#live) this.outputs.push({ what: "close", stream: this.#live.stream });
    const { stream, closing } = opening;
    this.#live = { stream, since: now, heardAt: now, closing, leaveSent: false };
    const limits = joined.limits;
    this.#maxRecipients = limits?.maxRecipients ?? 0;
    this.#heartbeatInterval = ms(limits?.heartbeatInterval) ?? 0;
    this.#maxUnresolved = limits?.maxUnresolvedSends || UNRESOLVED_WITHOUT_LIMIT;

    const lost = this.#lostAt !== undefined;
    this.#lostAt = undefined;
    const connection = connectionOf(joined.connection);
    const { RESUMED, RESUMED_WITH_GAP, NEW } = JoinOutcome;
    // An outcome that this version doesn't know is judged by the id.
    const resumed =
      joined.outcome === RESUMED ||
      joined.outcome === RESUMED_WITH_GAP ||
      (joined.outcome !== NEW && this.connectionId === connection.connectionId);
    const identity = this.#identity;
    if (identity && resumed) {
      this.#fail(this.#sends.resumed(joined.lastSendId, lost), new DisconnectedError());
      if (joined.outcome === RESUMED && joined.epoch === identity.epoch) {
        const { connection, epoch, lastSequence: sequence } = identity;
        const { connections } = this.#roster;
        if (lost) this.#tell({ kind: "reconnected", gap: false, connection, connections, epoch, sequence });
      } else {
        [identity.epoch, identity.lastSequence] = [joined.epoch, joined.sequence];
        this.#tellGap(joined);
      }
    } else {
      const { resumeToken, epoch, sequence } = joined;
      this.#identity = { connection, resumeToken, epoch, lastSequence: sequence, lastResult: 0n };
      // A new connection has the server's whole burst; a resumed one goes on with what it had.
      this.#pace = new Pace(limits?.signalsPerSecond, limits?.signalBurst);
      this.#fail(this.#sends.renewed(), new UnknownOutcomeError());
      if (identity) this.#tellGap(joined);
      else this.#tell({ kind: "joined", connection, connections: joined.connections.map(connectionOf), epoch, sequence });
    }
    this.#flush(now);
  }

  #tellGap(joined: Joined): void {
    const { epoch, sequence } = joined;
    const connection = connectionOf(joined.connection);
    const connections = joined.connections.map(connectionOf);
    this.#tell({ kind: "reconnected", gap: true, connection, connections, epoch, sequence });
  }

  /** The stream that was being opened won't be. */
  #failed(end: End, now: number): void {
    const opening = this.#opening;
    if (!opening) return;
    this.#opening = undefined;
    this.outputs.push({ what: "close", stream: opening.stream });
    const verdict = this.#judge(opening.closing, end, opening.renewed);
    const tried = this.#endpoint;
    this.#nextEndpoint();
    // The token that was asked for may never have come.
    this.#renewToken ||= opening.renewed && (end.silent === true || end.error !== undefined);
    if (!this.#identity) return this.#firstFailed(verdict, end, tried, now);
    if (!verdict.stop) {
      this.#renewToken ||= verdict.renewToken ?? false;
      // It ended the stream that it was to take over, and failed.
      if (!this.#live && this.#lostAt === undefined) this.#reconnecting(opening.closing, end, now);
      this.#tryAgain(verdict.after, end, now);
    } else if (this.#live) {
      // The live stream stays as long as the server lets it.
      this.#again(undefined, now);
    } else {
      this.#stop(verdict.stop);
    }
    this.#flush(now);
  }

  #firstFailed(verdict: Verdict, end: End, tried: number, now: number): void {
    if (!verdict.stop && verdict.renewToken) {
      this.#renewToken = true;
      this.#endpoint = tried;
      this.#open(now);
    } else if (!verdict.stop && this.#endpoint) {
      this.#open(now);
    } else {
      this.over = true;
      const endpoint = this.settings.endpoints[tried];
      const why = end.silent ? `nothing came for ${this.settings.connectTimeout} ms` : told(end);
      const error = end.error ?? new ConnectError(`${endpoint}: ${why}`, end.refusal);
      this.outputs.push({ what: "failed", error }, { what: "over" });
    }
  }

  #tryAgain(after: number | undefined, end: End, now: number): void {
    const givesUpAt = this.#lostAt === undefined ? undefined : this.#lostAt + this.settings.giveUpAfter;
    if (givesUpAt !== undefined && givesUpAt <= now) {
      return this.#end(`gave up reconnecting: ${told(end)}`, ClientAction.REJOIN);
    }
    this.#again(after, now);
    // The last attempt is made when the time is up, not after it.
    if (givesUpAt !== undefined) this.#openAt = Math.min(this.#openAt ?? givesUpAt, givesUpAt);
  }

  // Losing it.

  #lose(end: End, now: number): void {
    const live = this.#live;
    if (!live) return;
    this.#live = undefined;
    this.outputs.push({ what: "close", stream: live.stream });
    const well = !end.refusal && !end.error && !end.silent;
    if (this.leaving === "now" || (live.leaveSent && well)) return this.#end("left", ClientAction.STOP);
    // A stream opened after it took it over, and that it is in is still on its way.
    const byOwn = reason(live.closing, end) === "CONNECTION_TAKEN_OVER" && this.#streams > live.stream;
    if (byOwn && this.#opening) return;
    const verdict = this.#judge(live.closing, end, false);
    if (verdict.stop && !byOwn) return this.#stop(verdict.stop);
    // A stream that breaks again and again is no success.
    if (now - live.since >= this.settings.backOff[1]) this.#attempt = 0;
    this.#renewToken ||= verdict.renewToken ?? false;
    if (live.closing?.reason === "GOING_AWAY") this.#nextEndpoint();
    this.#reconnecting(live.closing, end, now);
    // A stream that was about to take over is as good as any.
    if (!this.#opening) this.#again(verdict.after, now);
  }

  #reconnecting(closing: Closing | undefined, end: End, now: number): void {
    this.#lostAt = now;
    this.#fail(this.#sends.lost(), new DisconnectedError());
    this.#tell({ kind: "reconnecting", why: closing ? `the server closed it: ${closing.reason}` : told(end) });
  }

  #nextEndpoint(): void {
    this.#endpoint = (this.#endpoint + 1) % this.settings.endpoints.length;
  }

  /** Tries again after a pause: doubled each time, lengthened at random by up to as much again. */
  #again(after: number | undefined, now: number): void {
    const [shortest, longest] = this.settings.backOff;
    const pause = Math.min(shortest * 2 ** Math.min(this.#attempt++, 32), longest);
    this.#openAt = now + Math.max(pause + Math.random() * pause, after ?? 0);
  }

  #judge(closing: Closing | undefined, end: End, renewed: boolean): Verdict {
    const why = reason(closing, end);
    const refused = end.refusal;
    const after = ms(closing?.retryAfter) ?? refused?.retryAfter;
    const said = "the server closed the stream and says not to come back";
    const stop: Refusal = { ...(refused ?? { code: Code.Aborted, message: said }), reason: why };
    if (why === "TOKEN_EXPIRED") {
      // Another token may help, once; one that is refused again doesn't.
      return this.settings.renewable && !renewed ? { after, renewToken: true } : { stop };
    }
    // An action that this version doesn't know leaves it to the status.
    if (closing?.action === ClientAction.STOP) return { stop };
    if (closing?.action === ClientAction.RESUME || closing?.action === ClientAction.REJOIN) return { after };
    if (refused?.code === Code.PermissionDenied || refused?.code === Code.Unauthenticated) return { stop };
    // Without a reason it is a proxy's, and passes.
    if (refused && why && STOPPING.includes(refused.code)) return { stop };
    return { after };
  }

  #stop(refusal: Refusal): void {
    this.#end(describe(refusal), ClientAction.STOP, refusal);
  }

  /** It is over, for good. */
  #end(why: string, action: ClientAction, refusal?: Refusal): void {
    if (this.over) return;
    this.over = true;
    for (const one of [this.#live, this.#opening]) if (one) this.outputs.push({ what: "close", stream: one.stream });
    this.#live = this.#opening = this.#openAt = this.#renewAt = undefined;
    this.#fail(this.#sends.discard(), new OverError());
    this.#fail(this.#sends.renewed(), new UnknownOutcomeError());
    this.#tell({ kind: "disconnected", why, action, refusal });
    this.outputs.push({ what: "over" });
  }
}
