// The agent of this client: see `../agent.md`. With the argument `web`, of that for browsers.

import { createInterface } from "node:readline";

const {
  Client,
  ClientAction,
  ConnectError,
  DisconnectedError,
  DisconnectReason,
  OverError,
  QueueFullError,
  RefusedError,
} = await import(process.argv[2] === "web" ? "signalbox-client/web" : "signalbox-client");

const KINDS = [
  [RefusedError, "refused"],
  [DisconnectedError, "disconnected"],
  [QueueFullError, "queue-full"],
  [OverError, "over"],
  [ConnectError, "connect"],
];
const NAMES = {
  connectionCreated: "created",
  connectionDestroyed: "destroyed",
  connectionInterrupted: "interrupted",
  connectionRestored: "restored",
};

function tell(what) {
  // Sequences are small here.
  console.log(JSON.stringify(what, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
}

function failed(id, error) {
  const kind = KINDS.find(([of]) => error instanceof of)?.[1] ?? "unknown";
  tell({ id, error: { kind, reason: error.refusal?.reason ?? "" } });
}

function told(event) {
  const { kind, sequence } = event;
  const name = { event: NAMES[kind] ?? kind, ...(sequence !== undefined && { sequence }) };
  switch (kind) {
    case "signal":
      return { ...name, type: event.type, data: event.data, from: event.from ?? null };
    case "connectionCreated":
      return { ...name, connection: event.connection.connectionId, data: event.connection.data };
    case "connectionDestroyed":
      return { ...name, connection: event.connectionId, reason: DisconnectReason[event.reason] };
    case "connectionInterrupted":
    case "connectionRestored":
      return { ...name, connection: event.connectionId };
    case "reconnected":
      return { ...name, connection: event.connection.connectionId, gap: event.gap };
    case "disconnected":
      return { ...name, action: ClientAction[event.action], reason: event.refusal?.reason ?? "" };
    default:
      return name;
  }
}

async function tellEvents(session) {
  for await (const event of session) tell(told(event));
}

async function join(asked) {
  const tokens = [...(asked.tokens ?? [])];
  const token = () => {
    const bearer = tokens.length > 1 ? tokens.shift() : tokens[0];
    return asked.lasts ? { bearer, expiresAt: new Date(Date.now() + asked.lasts * 1_000) } : bearer;
  };
  const client = new Client(asked.endpoints, {
    ...(tokens.length && { token }),
    backOff: [20, 500],
    connectTimeout: 5_000,
    giveUpAfter: (asked.give_up_after ?? 20) * 1_000,
  });
  return client.join(asked.session, {
    connectionData: asked.data ?? "",
    resumeWindow: (asked.window ?? 30) * 1_000,
    signalTypes: asked.types ?? [],
    suppressConnectionEvents: asked.suppress_connection_events ?? false,
    suppressOwnSignals: asked.suppress_own_signals ?? false,
    ...(asked.queue && { queue: asked.queue }),
  });
}

function outcome(id, sent) {
  sent.then(
    ({ sequence, notConnectedIds }) => tell({ id, ok: { sequence, not_connected: notConnectedIds } }),
    (error) => failed(id, error),
  );
}

let session;
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  const { id } = asked;
  switch (asked.do) {
    case "join":
      try {
        session = await join(asked);
        tell({ id, ok: { connection: session.connectionId } });
        tellEvents(session);
      } catch (error) {
        failed(id, error);
      }
      break;
    case "signal": {
      const { type, to, retry = true } = asked;
      outcome(id, session.signal(asked.data ?? "", { type, to, retryAfterReconnect: retry }));
      break;
    }
    case "disconnect":
      outcome(id, session.forceDisconnect(asked.connection));
      break;
    case "connections": {
      const of = ({ connectionId, data, interrupted }) => ({ connection: connectionId, data, interrupted });
      tell({ id, ok: session.connections.map(of) });
      break;
    }
    case "leave":
      session.leave().then(() => tell({ id, ok: {} }));
  }
}
process.exit();
