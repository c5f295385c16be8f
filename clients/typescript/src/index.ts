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
export { Client } from "./node.js";
export * from "./shared.js";
