/** What an application is told. */

import { timestampDate } from "@bufbuild/protobuf/wkt";

import type { Refusal } from "./errors.js";
import { ClientAction } from "./gen/signalbox/v1/signaling_pb.js";
import {
  type Connection as WireConnection,
  ConnectionState,
  DisconnectReason,
  Role,
} from "./gen/signalbox/v1/types_pb.js";

export { ClientAction, DisconnectReason, Role };

/** One client in a session. */
export interface Connection {
  /** Made by the server, never reused. */
  readonly connectionId: string;
  /** When it joined, by the server's clock. */
  readonly createdAt: Date | undefined;
  /** What it says about itself. */
  readonly data: string;
  /** What it may do. */
  readonly role: Role;
  /** Whether it has lost its stream and may come back. */
  readonly interrupted: boolean;
}

/** The outcome of a send that was accepted. */
export interface Accepted {
  /** Its place in the session's order. */
  readonly sequence: bigint;
  /** Which life of the session the place is of. */
  readonly epoch: bigint;
  /** The recipients that are not connected; the others get it. */
  readonly notConnectedIds: readonly string[];
}

/** A signal that reached this client. */
export interface SignalReceived {
  readonly kind: "signal";
  /** Its place in the session's order. */
  readonly sequence: bigint;
  /** Who sent it; undefined: a backend. */
  readonly from: string | undefined;
  readonly type: string;
  readonly data: string;
  /** When the server took it, by the server's clock. */
  readonly sentAt: Date | undefined;
}

/** Where a client is: `connections` is everyone as of `sequence`, this client too. */
interface There {
  readonly connection: Connection;
  readonly connections: readonly Connection[];
  /** Which life of the session this is: another epoch is another order. */
  readonly epoch: bigint;
  readonly sequence: bigint;
}

/**
 * What happened in the session, or to the connection to it. Events come in the session's
 * order; unless a `reconnected` reports a gap none is missing and none comes twice.
 */
export type Event =
  | ({ readonly kind: "joined" } & There)
  | { readonly kind: "connectionCreated"; readonly sequence: bigint; readonly connection: Connection }
  | {
      readonly kind: "connectionDestroyed";
      readonly sequence: bigint;
      readonly connectionId: string;
      readonly reason: DisconnectReason;
    }
  | { readonly kind: "connectionInterrupted"; readonly sequence: bigint; readonly connectionId: string }
  | { readonly kind: "connectionRestored"; readonly sequence: bigint; readonly connectionId: string }
  | SignalReceived
  /** This client lost its stream and tries to get back in. Sends wait. */
  | { readonly kind: "reconnecting"; readonly why: string }
  /** Back in. With `gap` events were missed, and `connection` may be another. */
  | ({ readonly kind: "reconnected"; readonly gap: boolean } & There)
  /** The last event. `STOP`: don't come back; `REJOIN`: join anew when it is worth it. */
  | {
      readonly kind: "disconnected";
      readonly why: string;
      readonly action: ClientAction;
      readonly refusal: Refusal | undefined;
    };

/** @internal */
export function connectionOf(wire: WireConnection | undefined): Connection {
  return {
    connectionId: wire?.connectionId ?? "",
    createdAt: wire?.createdAt && timestampDate(wire.createdAt),
    data: wire?.data ?? "",
    role: wire?.role ?? Role.UNSPECIFIED,
    interrupted: wire?.state === ConnectionState.INTERRUPTED,
  };
}

/** Who is in the session, as the events tell it, in the order of joining. @internal */
export class Roster {
  #connections = new Map<string, Connection>();

  get connections(): readonly Connection[] {
    return [...this.#connections.values()];
  }

  apply(event: Event): void {
    switch (event.kind) {
      case "joined":
      case "reconnected":
        this.#connections = new Map(event.connections.map((one) => [one.connectionId, one]));
        break;
      case "connectionCreated":
        this.#connections.set(event.connection.connectionId, event.connection);
        break;
      case "connectionDestroyed":
        this.#connections.delete(event.connectionId);
        break;
      case "connectionInterrupted":
      case "connectionRestored": {
        const one = this.#connections.get(event.connectionId);
        const interrupted = event.kind === "connectionInterrupted";
        if (one) this.#connections.set(one.connectionId, { ...one, interrupted });
        break;
      }
      case "disconnected":
        this.#connections.clear();
    }
  }
}
