"use strict";
// Elements, numbers for people, and small plots. What a name says is only ever text.
const SAMPLES = 120;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawn(name, className) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  made.setAttribute("class", className);
  return made;
}

function cell(className, text) {
  return element("td", className, text);
}

// A part of a whole, as a bar.
function bar(part, whole) {
  const svg = drawn("svg", "meter");
  svg.setAttribute("viewBox", "0 0 100 8");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const [className, width] of [["all", 100], ["part", Math.max(1, part / whole * 100)]]) {
    const rect = drawn("rect", className);
    rect.setAttribute("width", width);
    rect.setAttribute("height", 8);
    svg.append(rect);
  }
  return svg;
}

function count(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (size >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : 2);
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return (value / size).toFixed(1) + " " + unit;
  }
  return Math.round(value) + " B";
}

function time(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

// One figure: its newest value, and how it came to that. No value is a gap.
class Plot {
  constructor(into, name, show) {
    this.show = show;
    this.name = name;
    this.points = [];
    this.card = element("div", "card plot");
    this.value = element("div", "value", "–");
    this.more = element("div", "more");
    this.svg = drawn("svg", "");
    this.svg.setAttribute("viewBox", "0 0 " + (SAMPLES - 1) + " 100");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.area = drawn("path", "area");
    this.line = drawn("path", "line");
    this.at = drawn("path", "at");
    const base = drawn("path", "base");
    base.setAttribute("d", "M0 99.5H" + (SAMPLES - 1));
    this.svg.append(base, this.area, this.line, this.at);
    this.from = element("span");
    this.most = element("span");
    const scale = element("div", "scale");
    scale.append(this.from, this.most);
    this.card.append(element("div", "name", name), this.value, this.more, this.svg, scale);
    into.append(this.card);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.pointed = null; this.draw(); });
  }

  add(when, value, more) {
    this.points.push({ when, value });
    if (this.points.length > SAMPLES) this.points.shift();
    if (more !== undefined) this.told = more;
    this.draw();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    this.pointed = Math.round(((event.clientX - box.left) / box.width) * (SAMPLES - 1));
    this.draw();
  }

  draw() {
    const points = this.points, first = SAMPLES - points.length;
    const values = points.map((point) => point.value).filter((value) => value !== null);
    const most = Math.max(0, ...values), top = most || 1;
    let line = "", area = "", open = null;
    points.forEach(({ value }, at) => {
      const x = first + at;
      if (value === null) { if (open !== null) area += "L" + (x - 1) + " 100L" + open + " 100Z"; open = null; return; }
      const y = (98 - (value / top) * 94).toFixed(2);
      if (open === null) { open = x; line += "M" + x + " " + y + "h0.01"; area += "M" + x + " " + y; }
      line += "L" + x + " " + y;
      area += "L" + x + " " + y;
    });
    if (open !== null) area += "L" + (SAMPLES - 1) + " 100L" + open + " 100Z";
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    const newest = points[points.length - 1], pointed = this.pointed === null ? undefined : points[this.pointed - first];
    this.value.textContent = newest ? this.show(newest.value) : "–";
    this.at.setAttribute("d", pointed ? "M" + this.pointed + " 0V100" : "");
    this.more.textContent = pointed
      ? this.show(pointed.value) + ", " + time((newest.when - pointed.when) / 1000) + " ago"
      : this.told || "";
    this.from.textContent = points.length > 1 ? time((newest.when - points[0].when) / 1000) : "";
    this.most.textContent = values.length ? "most " + this.show(most) : "";
    const label = this.name + ": now " + this.value.textContent + (values.length ? ", at most " + this.show(most) : "");
    this.svg.setAttribute("aria-label", label);
  }
}
