// A Socket.IO server that does what the comparison asks of each peer: a session
// is a room, its members' signals go to the room, to one socket, or come from a
// backend and are acknowledged. Usage: node server.mjs PORT

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  pingInterval: 60_000,
  pingTimeout: 60_000,
});

io.on("connection", (socket) => {
  const { session } = socket.handshake.auth;
  if (session !== undefined) socket.join(session);
  socket.on("b", (payload) => io.to(session).emit("m", payload));
  socket.on("a", (to, payload) => io.to(to).emit("m", payload));
  socket.on("s", (to, payload, acknowledge) => {
    io.to(to).emit("m", payload);
    acknowledge();
  });
});

http.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
