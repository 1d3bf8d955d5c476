// Probabilities over time, a panel for each face, and the position in the video.

import { colour, dot, el, isTarget, number, outputs, percent, presentTargets, styled, svg, valueText } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 100;
const MAX_FACES = 12;

// The rows at a time: for each face the last one before it, or of windows the one with the nearest centre.
export function at(rows, seconds) {
  const latestOf = new Map();
  for (const row of rows) {
    if (row.time === null || row.time > seconds + 1e-6) continue;
    const known = latestOf.get(row.face);
    if (!known || nearer(row, known, seconds)) latestOf.set(row.face, row);
  }
  const latest = Math.max(...[...latestOf.values()].map((row) => row.time));
  return [...latestOf.values()].filter((row) => row.face !== null && (row.until >= seconds || row.time >= latest - 1e-6)).sort((a, b) => a.face - b.face);
}

const middle = (row) => (row.time + row.until) / 2;
const nearer = (row, known, seconds) =>
  row.end - row.frame > 1 && known.until >= seconds && row.until >= seconds
    ? Math.abs(middle(row) - seconds) < Math.abs(middle(known) - seconds)
    : row.time >= known.time;

export function timeline(prediction, go) {
  const rows = prediction.rows.filter((row) => outputs(row) && row.time !== null);
  const length = prediction.rows.reduce((last, row) => Math.max(last, row.until ?? 0), Math.max(prediction.seconds ?? 0, 0.04));
  const faces = [...Map.groupBy(rows, (row) => row.face)].sort((a, b) => b[1].length - a[1].length).slice(0, MAX_FACES).sort((a, b) => a[0] - b[0]);
  const lines = [];
  const slide = el("input", { type: "range", min: 0, max: length, step: "any", value: 0, "aria-label": "Position in the video, in seconds" });
  const seek = (seconds) => {
    slide.value = seconds;
    slide.setAttribute("aria-valuetext", `${number(seconds, 1)} seconds`);
    for (const line of lines) for (const end of ["x1", "x2"]) line.setAttribute(end, (WIDTH * seconds) / length);
  };
  const move = (seconds) => {
    seek(seconds);
    go(seconds);
  };
  slide.addEventListener("input", () => move(Number(slide.value)));
  const scale = range(rows, prediction);
  const panels = faces.map(([, part]) => panel(part, prediction, length, lines, move, scale));
  if (!panels.length) return [seek];
  return [
    seek,
    el("h2", {}, "Over time"),
    el("ul", { class: "legend" }, prediction.classes.map((name, i) => el("li", {}, dot(i), name))),
    ...panels,
    slide,
    el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, "0 s"), el("span", {}, `${number(length, 1)} s`)),
  ];
}

// Lowest and highest output that is drawn: probabilities from 0 to 1, values as they are.
function range(rows, { task }) {
  if (task !== "regression") return [0, 1];
  let [low, high] = [0, 0];
  for (const row of rows) {
    low = Math.min(low, ...row.values);
    high = Math.max(high, ...row.values);
  }
  return [low, high > low ? high : low + 1];
}

// A line for each target, interrupted where the face was not detected.
function targetLines(rows, prediction, x, [low, high], step) {
  return prediction.classes.map((_, c) => {
    const path = rows.map((row, i) => {
      const y = (HEIGHT * (1 - (outputs(row)[c] - low) / (high - low))).toFixed(1);
      return `${i && row.time - rows[i - 1].time <= 1.5 * step ? "L" : "M"}${x((row.time + row.until) / 2)} ${y}${rows.length === 1 ? "h4" : ""}`;
    });
    return styled(svg("path", { d: path.join(""), fill: "none", "vector-effect": "non-scaling-stroke" }), { stroke: colour(c), strokeWidth: "1.6px" });
  });
}

function panel(rows, prediction, length, lines, move, scale) {
  const x = (seconds) => ((WIDTH * seconds) / length).toFixed(1);
  const starts = rows.map((row) => row.time);
  const gaps = starts.slice(1).map((start, i) => start - starts[i]).sort((a, b) => a - b);
  const step = gaps.length ? gaps[gaps.length >> 1] : Math.max(0.04, rows[0].until - rows[0].time);
  const spans = rows.map((row, i) => {
    const next = starts[i + 1] ?? Infinity;
    const own = Math.max(row.until, row.time + step);
    return [row.time, next - row.time > 1.5 * step ? Math.min(own, next) : next];
  });
  const layers = isTarget(prediction) ? targetLines(rows, prediction, x, scale, step) : prediction.classes.map((_, c) => {
    const path = rows.map((row, i) => {
      const low = row.probabilities.slice(0, c).reduce((a, b) => a + b, 0);
      const [top, bottom] = [low + row.probabilities[c], low].map((share) => (HEIGHT * (1 - share)).toFixed(1));
      return `M${x(spans[i][0])} ${bottom}V${top}H${x(spans[i][1])}V${bottom}z`;
    });
    return styled(svg("path", { d: path.join("") }), { fill: colour(c), stroke: colour(c), strokeWidth: "0.6px" });
  });
  const line = svg("line", { class: "now", x1: 0, x2: 0, y1: 0, y2: HEIGHT });
  lines.push(line);
  const title = `${summary(rows, prediction)}${prediction.task === "regression" ? `; drawn from ${valueText(scale[0])} to ${valueText(scale[1])}` : ""}`;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title }, layers, line);
  drawing.addEventListener("click", (event) => {
    const area = drawing.getBoundingClientRect();
    move(((event.clientX - area.left) / area.width) * length);
  });
  return el("div", { class: "timeline" }, el("p", { class: "quiet" }, title), drawing);
}

function summary(rows, prediction) {
  const who = prediction.kind === "features" ? "" : `Face ${rows[0].face}: `;
  if (prediction.task === "regression") {
    const means = prediction.classes.map((name, c) => `${name} ${valueText(rows.reduce((sum, row) => sum + row.values[c], 0) / rows.length)}`);
    return `${who}mean ${means.join(", ")}`;
  }
  const counts = new Map();
  const add = (label) => counts.set(label, (counts.get(label) ?? 0) + 1);
  for (const row of rows) {
    if (prediction.task === "multilabel") presentTargets(row, prediction).forEach(add);
    else add(row.label || "no label");
  }
  if (!counts.size) return `${who}none present`;
  const parts = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([label, count]) => `${label} ${percent(count / rows.length)}`);
  return `${who}${parts.join(", ")} of ${rows.length.toLocaleString("en")} ${rows[0].end - rows[0].frame > 1 ? "window" : "frame"}${rows.length > 1 ? "s" : ""}`;
}
