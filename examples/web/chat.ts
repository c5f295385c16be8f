/**
 * A chat in a page: who is in the session, what they say, and what becomes of it when the
 * server goes.
 *
 * `?session=demo&name=Ada&server=http://127.0.0.1:50051`, all of which may be left out, and
 * `&token=...` where the server wants one.
 */

import { Client, type Event, RefusedError, type Session, SignalboxError } from "signalbox-client";

const asked = new URLSearchParams(location.search);
const sessionId = asked.get("session") ?? "demo";
const name = asked.get("name") ?? `Guest ${Math.floor(Math.random() * 1_000)}`;
const server = asked.get("server") ?? `${location.protocol}//${location.hostname}:50051`;
const token = asked.get("token");

const element = (id: string) => document.getElementById(id) as HTMLElement;
const [people, talk] = [element("people"), element("talk")];
const text = element("text") as HTMLInputElement;
/** Names of those who were here, for what they said. */
const names = new Map<string, string>();
/** What this page said and hasn't seen in the session's order yet. */
const waiting: HTMLLIElement[] = [];

function say(what: string, who?: string, kind = ""): HTMLLIElement {
  const line = document.createElement("li");
  line.className = kind;
  if (who !== undefined) {
    const bold = document.createElement("b");
    bold.textContent = who;
    line.append(bold);
  }
  line.append(what);
  talk.append(line);
  line.scrollIntoView();
  return line;
}

function show(state: string, told: string): void {
  element("state").dataset.state = state;
  element("state").textContent = told;
}

function showPeople(session: Session): void {
  people.replaceChildren(
    ...session.connections.map(({ connectionId, data, interrupted }) => {
      names.set(connectionId, data);
      const line = document.createElement("li");
      line.textContent = data || "somebody";
      line.classList.toggle("away", interrupted);
      line.classList.toggle("me", connectionId === session.connectionId);
      return line;
    }),
  );
}

function happened(event: Event, session: Session): void {
  switch (event.kind) {
    case "joined":
      show("in", "connected");
      break;
    case "reconnecting":
      show("reconnecting", "reconnecting…");
      break;
    case "reconnected":
      show("in", "connected");
      say(event.gap ? "back; something may be missing here" : "back", undefined, "note");
      // What was sent before a gap may never come.
      if (event.gap) waiting.splice(0).forEach((line) => (line.dataset.sent ? takesItsPlace(line) : waiting.push(line)));
      break;
    case "connectionCreated":
      say(`${event.connection.data || "somebody"} came`, undefined, "note");
      break;
    case "connectionDestroyed":
      say(`${names.get(event.connectionId) || "somebody"} left`, undefined, "note");
      break;
    case "signal":
      if (event.from === session.connectionId && waiting[0]) takesItsPlace(waiting.shift()!);
      else say(event.data, event.from ? names.get(event.from) : "server");
      break;
    case "disconnected":
      show("out", "disconnected");
      say(event.why, undefined, "note");
  }
  showPeople(session);
}

function takesItsPlace(line: HTMLLIElement): void {
  line.className = "";
  talk.append(line);
  line.scrollIntoView();
}

/** Whatever is said waits until it comes back, in its place among what the others say. */
async function send(session: Session, data: string): Promise<void> {
  const line = say(data, name, "waiting");
  waiting.push(line);
  try {
    await session.signal(data, { type: "chat" });
    line.dataset.sent = "yes";
  } catch (error) {
    waiting.splice(waiting.indexOf(line), 1);
    const why = error instanceof RefusedError ? error.refusal.message : (error as SignalboxError).message;
    line.className = "note";
    line.append(` (not sent: ${why})`);
  }
}

async function main(): Promise<void> {
  element("title").textContent = `Session ${sessionId}`;
  const client = new Client(server, { ...(token !== null && { token }), backOff: [250, 2_000] });
  const session = await client.join(sessionId, { connectionData: name });
  document.querySelector("form")?.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    if (text.value) void send(session, text.value);
    text.value = "";
  });
  // The others need not wait for a page that was closed.
  addEventListener("pagehide", () => void session.leave({ atOnce: true }));
  for await (const event of session) happened(event, session);
}

main().catch((error: Error) => {
  show("out", "disconnected");
  say(error.message, undefined, "note");
});
