// A chat in the terminal: `node examples/chat.mjs demo Ada http://127.0.0.1:50051`.

import { createInterface } from "node:readline";

import { Client } from "../dist/index.js";

const [room = "demo", name = "somebody", url = "http://127.0.0.1:50051"] = process.argv.slice(2);
const session = await new Client(url).join(room, { connectionData: name });

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => session.signal(line, { type: "chat" }).catch((error) => console.log(`! ${error.message}`)));
lines.on("close", () => session.leave());

const names = new Map();
for await (const event of session) {
  // Who is gone has a name still.
  for (const one of session.connections) names.set(one.connectionId, one.data);
  switch (event.kind) {
    case "joined":
      console.log(`in ${room} with ${event.connections.map((one) => one.data).join(", ")}`);
      break;
    case "signal":
      if (event.type === "chat") console.log(`${names.get(event.from) ?? "the server"}: ${event.data}`);
      break;
    case "connectionCreated":
      console.log(`* ${event.connection.data} joined`);
      break;
    case "connectionDestroyed":
      console.log(`* ${names.get(event.connectionId)} is gone`);
      break;
    case "reconnecting":
      console.log(`* reconnecting… (${event.why})`);
      break;
    case "reconnected":
      console.log(event.gap ? "* back, with a gap" : "* back");
      break;
    case "disconnected":
      console.log(`* out: ${event.why}`);
  }
}
lines.close();
