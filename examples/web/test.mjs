// The page in a real browser: three tabs chat, see who is there, and come back after the
// server was killed. `SIGNALBOX` is the server's binary, `CHROMIUM` the browser's;
// `SCREENSHOTS` a folder for pictures.

import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { serve } from "./serve.mjs";

const SIGNALBOX = process.env.SIGNALBOX ?? fileURLToPath(new URL("../../target/release/signalbox", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE = 20_000;

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** A server on this port, once it listens. */
async function start(port, origin) {
  const flags = ["--listen", `127.0.0.1:${port}`, "--admin-listen", "none", "--log-level", "error"];
  const child = spawn(SIGNALBOX, ["serve", ...flags, "--cors-origin", origin], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) if (line.includes("gRPC")) return child;
  throw new Error("the server did not start");
}

async function kill(child) {
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** A tab, as a person sees it. */
class Tab {
  constructor(page) {
    this.page = page;
  }

  async shows(state) {
    await this.page.locator(`#state[data-state="${state}"]`).waitFor();
    return this.page.locator("#state").textContent();
  }

  /** Waits until these people are listed, in this order. */
  async lists(...people) {
    const listed = () => [...document.querySelectorAll("#people li")].map((line) => line.textContent).join();
    await this.page.waitForFunction(`(${listed})() === ${JSON.stringify(people.join())}`);
  }

  async says(what) {
    await this.page.locator("#text").fill(what);
    await this.page.locator("#text").press("Enter");
  }

  /** Waits for a line, that doesn't wait to be sent. */
  async reads(line) {
    await this.page.locator("#talk li:not(.waiting)", { hasText: line }).waitFor();
  }

  async picture(name) {
    if (process.env.SCREENSHOTS) await this.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
  }
}

const port = await freePort();
const page = await serve(0);
let server = await start(port, page.url);
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const failures = [];
try {
  const context = await browser.newContext({ viewport: { width: 640, height: 360 }, colorScheme: "light" });
  context.setDefaultTimeout(PATIENCE);
  const open = async (name) => {
    const tab = new Tab(await context.newPage());
    tab.page.on("pageerror", (error) => failures.push(`${name}: ${error}`));
    const query = new URLSearchParams({ session: "demo", name, server: `http://127.0.0.1:${port}` });
    await tab.page.goto(`${page.url}/?${query}`);
    assert.equal(await tab.shows("in"), "connected");
    return tab;
  };
  const ada = await open("Ada");
  const bob = await open("Bob");
  const cyd = await open("Cyd");

  // Everybody sees everybody.
  for (const tab of [ada, bob, cyd]) await tab.lists("Ada", "Bob", "Cyd");
  await ada.says("Is everybody here?");
  for (const tab of [ada, bob, cyd]) await tab.reads("Is everybody here?");
  await bob.says("Bob is.");
  await cyd.reads("Bob is.");
  await cyd.says("So is Cyd. Grüße!");
  for (const tab of [ada, bob, cyd]) await tab.reads("Grüße!");
  // In one order.
  const spoken = (tab) => tab.page.locator("#talk li:not(.note)").allTextContents();
  const order = ["AdaIs everybody here?", "BobBob is.", "CydSo is Cyd. Grüße!"];
  for (const tab of [ada, bob, cyd]) assert.deepEqual(await spoken(tab), order);
  await ada.picture("chat");

  // Another tab comes and is closed, which is seen at once.
  const dee = await open("Dee");
  await ada.reads("Dee came");
  await dee.page.close({ runBeforeUnload: true });
  await ada.reads("Dee left");
  await ada.lists("Ada", "Bob", "Cyd");

  // The server is killed, and starts again.
  await kill(server);
  for (const tab of [ada, bob, cyd]) assert.equal(await tab.shows("reconnecting"), "reconnecting…");
  await ada.says("Said while nobody could hear it.");
  await ada.page.locator("#talk li.waiting").waitFor();
  await ada.picture("reconnecting");
  server = await start(port, page.url);
  for (const tab of [ada, bob, cyd]) assert.equal(await tab.shows("in"), "connected");
  await ada.reads("Said while nobody could hear it.");
  for (const tab of [ada, bob, cyd]) {
    await tab.page.waitForFunction(() => document.querySelectorAll("#people li").length === 3);
  }
  await bob.says("Here we are again.");
  for (const tab of [ada, bob, cyd]) await tab.reads("Here we are again.");
  await ada.picture("back");
  await cyd.says("你好 👋");
  for (const tab of [ada, bob, cyd]) await tab.reads("你好 👋");

  // A page of another origin gets nowhere.
  const other = await serve(0);
  const stranger = new Tab(await context.newPage());
  await stranger.page.goto(`${other.url}/?session=demo&name=Eve&server=http://127.0.0.1:${port}`);
  assert.equal(await stranger.shows("out"), "disconnected");
  other.close();
  await ada.lists(...(await ada.page.locator("#people li").allTextContents()));
  assert.equal(await ada.page.locator("#people li", { hasText: "Eve" }).count(), 0);
  assert.deepEqual(failures, []);
  console.log("examples/web: three tabs chatted, and came back after the server was killed");
} finally {
  await browser.close();
  page.close();
  await kill(server);
}
