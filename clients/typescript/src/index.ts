/**
 * Session signaling over gRPC: a member of a session that comes back by itself.
 *
 * ```ts
 * const session = await new Client("http://127.0.0.1:50051").join("demo");
 * await session.signal("hello", { type: "chat" });
 * for await (const event of session) console.log(event);
 * ```
 */

export { type ServerAccepted, ServerClient, type ServerSignalOptions } from "./backend.js";
export {
  Client,
  type ClientOptions,
  type JoinOptions,
  type Session,
  type SignalOptions,
  type Token,
  type TokenSource,
} from "./client.js";
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
