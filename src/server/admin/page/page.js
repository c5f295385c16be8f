"use strict";
// Asks for status.json once a second while somebody looks, and shows it.
const by = (id) => document.getElementById(id);
const sum = (map) => Object.values(map).reduce((all, one) => all + one, 0);

const plots = {};
for (const [key, name, show] of [
  ["sessions", "Sessions", count], ["connections", "Connections", count],
  ["signals", "Signals in, per second", count], ["deliveries", "Deliveries out, per second", count],
  ["closes", "Closes, per minute", count], ["outbox", "Events waiting in outboxes", count],
  ["memory", "Memory for signals", bytes], ["engine", "Process CPU", (value) => value === null ? "–" : count(value) + " %"],
]) plots[key] = new Plot(by("plots"), name, show);
let latency = null;

const COLUMNS = [
  ["name", "Session", ""], ["connections", "Connections", ""], ["interrupted", "Interrupted", "minor"],
  ["rate", "Events per second", ""], ["sequence", "Sequence", "minor"], ["age", "Age", ""],
];
let sort = "rate", order = "first", paused = false, timer = null, asking = null, before = null, away = null;
// Snapshots of the last minute, for what there was in it.
let minute = [];

const buttons = COLUMNS.map(([key, name, className]) => {
  const button = element("button", "", name), head = element("th", className);
  button.type = "button";
  button.addEventListener("click", () => {
    order = sort === key && order === "first" ? "last" : "first";
    sort = key;
    mark();
    ask();
  });
  head.append(button);
  by("columns").append(head);
  return [key, name, button];
});

function mark() {
  for (const [key, name, button] of buttons) {
    button.setAttribute("aria-pressed", String(key === sort));
    button.textContent = key === sort ? name + (order === "first" ? " ▾" : " ▴") : name;
  }
}

function fill(body, rows, nothing, columns) {
  if (!rows.length) {
    const only = cell("facts", nothing), row = element("tr");
    only.colSpan = columns;
    row.append(only);
    rows = [row];
  }
  by(body).replaceChildren(...rows);
}

function row(...cells) {
  const made = element("tr");
  made.append(...cells.map((one) => one instanceof Node ? one : cell("", one)));
  return made;
}

function name(text, className) {
  const named = cell("id " + (className || ""), text);
  named.title = text;
  return named;
}

// By how much something grew, in a second; none after a restart.
function rate(now, then, read) {
  if (!then) return null;
  const over = now.node.uptime_seconds - then.node.uptime_seconds;
  return over > 0 ? Math.max(0, read(now) - read(then)) / over : null;
}

function reasons(body, now, read) {
  const all = read(now), most = Math.max(1, ...Object.values(all)), then = minute[0];
  const rows = Object.entries(all).sort((one, other) => other[1] - one[1]).map(([reason, times]) => {
    const share = cell("minor");
    share.append(bar(times, most));
    const recent = rate(now, then === now ? null : then, (snapshot) => read(snapshot)[reason] || 0);
    return row(reason, count(recent === null ? null : Math.round(recent * 60)), count(times), share);
  });
  fill(body, rows, "none", 4);
}

function facts(now) {
  const node = now.node;
  by("state").textContent = node.state;
  by("state").className = "state " + node.state;
  by("facts").textContent = [
    node.address, node.name ? "node " + node.name : "", "version " + node.version, "up " + time(node.uptime_seconds),
    "engine " + now.engine.kind, node.workers + (node.workers === 1 ? " worker" : " workers"),
  ].filter(Boolean).join(" · ");
  by("trouble").hidden = !node.why;
  by("trouble").textContent = node.why || "";
  by("scope").textContent = now.engine.kind === "redis"
    ? "Sessions, connections, signals, readers and memory are those of this node; a session's epoch and sequence are the whole cluster's. Other nodes have a page of their own. An interrupted connection is on no node, so none counts it."
    : "All of it is this one process: sessions live in its memory.";
}

function plot(now) {
  const when = Date.now(), totals = now.totals, then = before;
  plots.sessions.add(when, totals.sessions, "");
  plots.connections.add(when, totals.connected + totals.interrupted, count(totals.interrupted) + " interrupted, " + count(totals.streams) + " streams");
  const from = (source) => rate(now, then, (snapshot) => snapshot.totals.signals[source] || 0);
  const client = from("client"), server = from("server");
  plots.signals.add(when, client === null ? null : client + server, client === null ? "" : count(client) + " by members, " + count(server) + " by backends");
  plots.deliveries.add(when, rate(now, then, (snapshot) => snapshot.totals.deliveries), count(totals.deliveries) + " in all");
  // Over the last minute: in one second there are none, or a storm.
  const closes = rate(now, minute[0] === now ? null : minute[0], (snapshot) => sum(snapshot.totals.closes));
  plots.closes.add(when, closes === null ? null : Math.round(closes * 60), count(sum(totals.closes)) + " in all");
  plots.outbox.add(when, now.outboxes.events, bytes(now.outboxes.bytes) + ", " + count(now.outboxes.most_events) + " in the fullest");
  plots.memory.add(when, sum(now.memory.spent), now.memory.limit === null ? "no limit" : "of " + bytes(now.memory.limit));
  const cpu = now.process && rate(now, then && then.process ? then : null, (snapshot) => snapshot.process.cpu_seconds);
  plots.engine.add(when, cpu === null ? null : cpu * 100, now.process ? bytes(now.process.memory_bytes) + " resident" : "");
  if (now.engine.answers) {
    latency = latency || new Plot(by("plots"), "Engine latency, mean", (value) => value === null ? "–" : count(value) + " ms");
    const calls = rate(now, then && then.engine.answers ? then : null, (snapshot) => snapshot.engine.answers.count);
    const took = rate(now, then && then.engine.answers ? then : null, (snapshot) => snapshot.engine.answers.seconds);
    latency.add(when, calls ? took / calls * 1000 : null, count(calls) + " scripts per second");
  }
}

function tables(now) {
  const sessions = now.sessions;
  by("shown").textContent = count(sessions.rows.length) + " of " + count(sessions.matching)
    + (sessions.matching < sessions.looked_at ? " that match, of " + count(sessions.looked_at) : "");
  fill("sessions", sessions.rows.map((one) => row(
    name(one.id), count(one.connected + one.interrupted), cell("minor", count(one.interrupted)),
    count(one.events_per_second), cell("minor", count(one.sequence)), time(one.age_seconds),
  )), "none", 6);
  fill("readers", now.readers.map((one) => {
    const full = cell(one.full >= 0.5 ? "full" : "", Math.round(one.full * 100) + " %");
    return row(name(one.session || "(not in yet)"), name(one.connection || "", "minor"), full, count(one.events), cell("minor", bytes(one.bytes)), time(one.waiting_seconds), cell("minor", time(one.age_seconds)));
  }), "nobody leaves anything behind", 7);
  reasons("closes", now, (snapshot) => snapshot.totals.closes);
  reasons("refusals", now, (snapshot) => snapshot.totals.refusals);
  const rest = Object.entries(now.engine.figures).map(([key, value]) => row(key.replaceAll("_", " "), count(value)));
  for (const [key, value] of Object.entries(now.memory.spent)) rest.push(row("memory for " + key.replaceAll("_", " "), bytes(value)));
  for (const [key, value] of Object.entries(now.totals.cap_hits)) rest.push(row("cap hit: " + key.replaceAll("_", " "), count(value)));
  for (const [key, value] of Object.entries(now.totals.joins)) rest.push(row("joins: " + key.replaceAll("_", " "), count(value)));
  rest.push(row("panics, each a bug", count(now.totals.panics)));
  if (now.process) rest.push(row("threads of process " + now.process.id, count(now.process.threads)));
  fill("rest", rest, "", 2);
}

function show(now) {
  if (before && now.node.uptime_seconds < before.node.uptime_seconds) { before = null; minute = []; }
  if (before && now.node.uptime_seconds === before.node.uptime_seconds) return tables(now);
  minute.push(now);
  while (minute.length > 1 && now.node.uptime_seconds - minute[0].node.uptime_seconds > 60) minute.shift();
  facts(now);
  plot(now);
  tables(now);
  before = now;
}

function lost(why) {
  away = away || new Date();
  by("state").textContent = "away";
  by("state").className = "state away";
  by("trouble").hidden = false;
  by("trouble").textContent = "No answer since " + away.toLocaleTimeString() + " (" + why + "). What is shown is from before; asking again.";
  for (const one of Object.values(plots).concat(latency || [])) if (one.points.length) one.add(Date.now(), null, "");
  before = null;
}

async function ask() {
  clearTimeout(timer);
  if (asking) asking.abort();
  const mine = asking = new AbortController();
  const limit = setTimeout(() => mine.abort(), 10000);
  let pause = 1000;
  try {
    const query = new URLSearchParams({ sessions: "20", sort, order, filter: by("filter").value });
    const answer = await fetch("status.json?" + query, { signal: mine.signal, cache: "no-store" });
    if (answer.status === 429) pause = 1000 * (Number(answer.headers.get("retry-after")) || 1);
    else if (!answer.ok) throw new Error(answer.status + " " + (await answer.text()).trim());
    else {
      const now = await answer.json();
      if (now.version !== 1) throw new Error("its status has version " + now.version + "; this page reads 1: reload it");
      away = null;
      show(now);
    }
  } catch (error) {
    if (mine === asking) lost(error.name === "AbortError" ? "it took too long" : error.message);
  } finally {
    clearTimeout(limit);
    if (mine === asking) { asking = null; if (!paused && !document.hidden) timer = setTimeout(ask, pause); }
  }
}

by("filter").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 300); });
by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").textContent = paused ? "Go on" : "Pause";
  by("pause").setAttribute("aria-pressed", String(paused));
  if (paused) { clearTimeout(timer); if (asking) asking.abort(); asking = null; } else { before = null; ask(); }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) { before = null; ask(); } else clearTimeout(timer);
});
mark();
ask();
