// The status page in a real browser: a server under load, sessions whose names are meant to
// harm, light and dark, wide and narrow, and the server gone and back.
//
//   SIGNALBOX=… CHROMIUM=… MODULES=…/node_modules node tests/status/look.mjs [PICTURES]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { SIGNALBOX, CHROMIUM, MODULES } = process.env;
const { chromium } = createRequire(join(MODULES, "x.js"))("playwright-core");
const pictures = process.argv[2];
const PATIENCE = 30_000;

// All are names that a session may have: visible ASCII, to 255 bytes.
const HOSTILE = [
  '<script>document.title="owned"</script>',
  '"><img/src=x/onerror=document.title="owned">',
  "<svg/onload=document.title='owned'>",
  "';document.title='owned';//",
  "</script><script>alert(1)</script>",
  "javascript:alert(1)",
  "__proto__",
  "constructor",
  "&lt;b&gt;&#x41;",
  "%3Cscript%3E&filter=x&sessions=0#",
  "x".repeat(255),
];

const children = new Set();
function start(...args) {
  const child = spawn(SIGNALBOX, args, { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

async function serve(admin) {
  const child = start("serve", "--listen", "127.0.0.1:0", "--admin-listen", admin, "--log-level", "error");
  const addresses = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const told = /^ +(gRPC|admin) +http:\/\/(\S+)/.exec(line);
    if (told) addresses[told[1]] = told[2];
    if (addresses.gRPC && addresses.admin) break;
  }
  child.stdout.resume();
  return { child, ...addresses };
}

async function member(server, session) {
  const child = start("join", session, "--stay", "--json", "--server", `http://${server.gRPC}`);
  await once(child.stdout, "data");
  child.stdout.resume();
  return child;
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const complaints = [];
let isGone = false;

async function open(url, colorScheme, width, height) {
  const page = await (await browser.newContext({ colorScheme, viewport: { width, height } })).newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => complaints.push(`an error: ${error.message}`));
  page.on("dialog", (dialog) => { complaints.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  // That nobody answers is told in the console, too.
  page.on("console", (said) => { if (said.type() === "error" && !isGone) complaints.push(`the console: ${said.text()}`); });
  page.on("request", (request) => { if (new URL(request.url()).origin !== new URL(url).origin) complaints.push(`a request: ${request.url()}`); });
  await page.goto(url);
  return page;
}

const names = (page) => page.locator("#sessions td.id").allTextContents();
const shot = async (page, name) => { if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true }); };

try {
  if (pictures) mkdirSync(pictures, { recursive: true });
  let server = await serve("127.0.0.1:0");
  await Promise.all(HOSTILE.map((name) => member(server, name)));
  const load = start("bench", "mixed", "--server", `http://${server.gRPC}`, "--members", "60", "--rate", "150", "--bad", "10",
    "--rounds", "20", "--time", "5s", "--json");
  load.stdout.resume();
  const url = `http://${server.admin}/status`;
  const wide = await open(url, "light", 1280, 900);
  const dark = await open(url, "dark", 1280, 900);
  const narrow = await open(url, "light", 390, 844);

  // Load shows: in figures, in plots, in reasons, and who reads too slowly.
  await wide.waitForFunction(() => {
    const value = (at) => Number(document.querySelectorAll(".plot .value")[at].textContent.replaceAll(",", ""));
    const plot = (at) => document.querySelectorAll(".plot .line")[at].getAttribute("d").split("L").length;
    return value(0) >= 11 && value(2) > 10 && value(3) > 100 && plot(0) > 5 && plot(2) > 5;
  });
  await wide.waitForSelector("#closes tr:has-text('FRAME_INVALID')");
  await wide.waitForSelector("#readers tr:has-text('bench-')");
  if (pictures) await wide.waitForTimeout(30_000);
  for (const [page, name] of [[wide, "light"], [dark, "dark"], [narrow, "narrow"]]) {
    await shot(page, name);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(over, 0, `${name}: it is ${over} pixels too wide`);
  }
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.notEqual(await ground(wide), await ground(dark));

  // Names are text, all of it, wherever they come.
  for (const name of HOSTILE) {
    await wide.fill("#filter", name);
    await wide.waitForFunction((name) => {
      const cells = [...document.querySelectorAll("#sessions td.id")];
      return cells.length === 1 && cells[0].textContent === name && cells[0].title === name && !cells[0].children.length;
    }, name);
  }
  await wide.fill("#filter", "no such name");
  await wide.waitForSelector("#sessions td:has-text('none')");
  await wide.fill("#filter", "");

  // Each head sorts, and turns the order round.
  const first = [...HOSTILE].sort((one, other) => (one < other ? -1 : 1))[0];
  await wide.click("#columns button:has-text('Session')");
  await wide.waitForFunction((first) => document.querySelector("#sessions td.id")?.textContent === first, first);
  await wide.click("#columns button:has-text('Session')");
  await wide.waitForFunction((last) => document.querySelector("#sessions td.id")?.textContent === last, "x".repeat(255));
  await wide.click("#columns button:has-text('Connections')");
  await wide.waitForFunction(() => document.querySelector("#sessions td.id")?.textContent.startsWith("bench-"));
  assert.equal((await names(wide)).length, 17, "eleven, and six of the load");

  // It pauses, and goes on.
  await wide.click("#pause");
  const asked = [];
  wide.on("request", (request) => asked.push(request.url()));
  await wide.waitForTimeout(2_500);
  assert.deepEqual(asked, []);
  await wide.click("#pause");
  await wide.waitForResponse((response) => response.url().includes("status.json"));

  // The server goes, which is said, and comes back, which is seen.
  isGone = true;
  load.kill();
  server.child.kill("SIGTERM");
  await wide.waitForSelector("#trouble:has-text('No answer since')");
  await wide.waitForSelector("#state.away");
  await shot(wide, "away");
  server = await serve(server.admin);
  await wide.waitForSelector("#state.ready");
  await wide.waitForSelector("#trouble", { state: "hidden" });

  for (const page of [wide, dark, narrow]) {
    assert.equal(await page.title(), "Signalbox");
    assert.equal(await page.locator("script").count(), 2);
    assert.equal(await page.locator("img, iframe, object").count(), 0);
  }
  assert.deepEqual(complaints, []);
  console.log(`status page: ${HOSTILE.length} hostile names are text, light, dark and narrow fit, a server gone and back shows`);
} finally {
  await browser.close();
  for (const child of children) child.kill("SIGKILL");
}
