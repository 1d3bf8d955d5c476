// Probabilities over time, a panel for each face, and the place in the video.

import { colour, dot, el, number, percent, styled, svg } from "./dom.js";

const WIDE = 1000;
const HIGH = 100;
const MOST = 12;

// The rows that hold at a time: of each face the last one before it, or of windows that whose middle is nearest.
export function at(rows, seconds) {
  const found = new Map();
  for (const row of rows) {
    if (row.time === null || row.time > seconds + 1e-6) continue;
    const known = found.get(row.face);
    if (!known || nearer(row, known, seconds)) found.set(row.face, row);
  }
  const latest = Math.max(...[...found.values()].map((row) => row.time));
  return [...found.values()].filter((row) => row.face !== null && (row.until >= seconds || row.time >= latest - 1e-6)).sort((a, b) => a.face - b.face);
}

const middle = (row) => (row.time + row.until) / 2;
const nearer = (row, known, seconds) =>
  row.end - row.frame > 1 && known.until >= seconds && row.until >= seconds
    ? Math.abs(middle(row) - seconds) < Math.abs(middle(known) - seconds)
    : row.time >= known.time;

export function timeline(found, go) {
  const rows = found.rows.filter((row) => row.probabilities && row.time !== null);
  const length = Math.max(found.seconds ?? 0, ...found.rows.map((row) => row.until ?? 0), 0.04);
  const faces = [...Map.groupBy(rows, (row) => row.face)].sort((a, b) => b[1].length - a[1].length).slice(0, MOST).sort((a, b) => a[0] - b[0]);
  const lines = [];
  const slide = el("input", { type: "range", min: 0, max: length, step: "any", value: 0, "aria-label": "Place in the video, in seconds" });
  const seek = (seconds) => {
    slide.value = seconds;
    slide.setAttribute("aria-valuetext", `${number(seconds, 1)} seconds`);
    for (const line of lines) for (const end of ["x1", "x2"]) line.setAttribute(end, (WIDE * seconds) / length);
  };
  const move = (seconds) => {
    seek(seconds);
    go(seconds);
  };
  slide.addEventListener("input", () => move(Number(slide.value)));
  const panels = faces.map(([face, part]) => panel(face, part, found, length, lines, move));
  if (!panels.length) return [seek];
  return [
    seek,
    el("h2", {}, "Over time"),
    el("ul", { class: "legend" }, found.classes.map((name, i) => el("li", {}, dot(i), name))),
    ...panels,
    slide,
    el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, "0 s"), el("span", {}, `${number(length, 1)} s`)),
  ];
}

function panel(face, rows, found, length, lines, move) {
  const x = (seconds) => ((WIDE * seconds) / length).toFixed(1);
  const starts = rows.map((row) => row.time);
  const gaps = starts.slice(1).map((start, i) => start - starts[i]).sort((a, b) => a - b);
  const step = gaps.length ? gaps[gaps.length >> 1] : Math.max(0.04, rows[0].until - rows[0].time);
  const spans = rows.map((row, i) => {
    const next = starts[i + 1] ?? Infinity;
    const own = Math.max(row.until, row.time + step);
    return [row.time, next - row.time > 1.5 * step ? Math.min(own, next) : next];
  });
  const layers = found.classes.map((_, c) => {
    const path = rows.map((row, i) => {
      const low = row.probabilities.slice(0, c).reduce((a, b) => a + b, 0);
      const [top, bottom] = [low + row.probabilities[c], low].map((share) => (HIGH * (1 - share)).toFixed(1));
      return `M${x(spans[i][0])} ${bottom}V${top}H${x(spans[i][1])}V${bottom}z`;
    });
    return styled(svg("path", { d: path.join("") }), { fill: colour(c), stroke: colour(c), strokeWidth: "0.6px" });
  });
  const line = svg("line", { class: "now", x1: 0, x2: 0, y1: 0, y2: HIGH });
  lines.push(line);
  const words = summary(rows, found);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": words }, layers, line);
  drawing.addEventListener("click", (event) => {
    const area = drawing.getBoundingClientRect();
    move(((event.clientX - area.left) / area.width) * length);
  });
  return el("div", { class: "timeline" }, el("p", { class: "quiet" }, words), drawing);
}

function summary(rows, found) {
  const counts = new Map();
  for (const row of rows) counts.set(row.label || "unsure", (counts.get(row.label || "unsure") ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([label, count]) => `${label} ${percent(count / rows.length)}`);
  const who = found.kind === "numbers" ? "" : `Face ${rows[0].face}: `;
  return `${who}${parts.join(", ")} of ${rows.length.toLocaleString("en")} ${rows[0].end - rows[0].frame > 1 ? "window" : "frame"}${rows.length > 1 ? "s" : ""}`;
}
