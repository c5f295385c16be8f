// Bundles the page and serves it: `npm start`, and open http://127.0.0.1:8080/?name=Ada in a
// few tabs. PORT sets another port.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

/** The page, on 127.0.0.1, and how to end it. */
export async function serve(port) {
  const bundled = await build({
    entryPoints: [here("chat.ts")],
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2023",
    write: false,
  });
  const files = {
    "/": ["text/html; charset=utf-8", await readFile(here("index.html"))],
    "/chat.js": ["text/javascript; charset=utf-8", bundled.outputFiles[0].contents],
  };
  const server = createServer((request, response) => {
    const file = files[new URL(request.url, "http://page").pathname];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": file[0], "cache-control": "no-store" }).end(file[1]);
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

if (process.argv[1] === here("serve.mjs")) {
  const { url } = await serve(Number(process.env.PORT ?? 8080));
  console.log(`the page is at ${url}/?name=Ada; its server is to run with --cors-origin ${url}`);
}
