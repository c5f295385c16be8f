/** What the client for Node and the one for browsers have alike. */

export type { ClientOptions, JoinOptions, MemberClient, Session, SignalOptions, Token, TokenSource } from "./client.js";
export {
  ConnectError,
  DisconnectedError,
  OverError,
  QueueFullError,
  type Refusal,
  RefusedError,
  SignalboxError,
  UnknownOutcomeError,
} from "./errors.js";
export {
  type Accepted,
  ClientAction,
  type Connection,
  DisconnectReason,
  type Event,
  Role,
  type SignalReceived,
} from "./events.js";
