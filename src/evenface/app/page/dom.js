// Create elements. Text is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

export const colour = (index) => `var(--series-${index % 8})`;

// The content security policy forbids inline styles in markup; they are set by script.
export function styled(node, styles) {
  Object.assign(node.style, styles);
  return node;
}

export const dot = (index) => styled(el("span", { class: "dot", "aria-hidden": "true" }), { background: colour(index) });

export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);
export const interval = ({ value, low, high }) =>
  low === null || low === undefined ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;

export function table(caption, header, rows, options = {}) {
  const cell = (content, column) =>
    column === 0
      ? el("th", { scope: "row", class: "words" }, content)
      : el("td", { class: options.words?.includes(column) ? "words" : null }, content);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      { class: options.class },
      el(
        "thead",
        {},
        el("tr", {}, header.map((name, column) => el("th", { scope: "col", class: options.words?.includes(column) ? "words" : null }, name))),
      ),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}

export function show(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

// What models of each task predict.
export const OUTPUTS = { classification: "Classes", ordinal: "Levels", regression: "Values", multilabel: "Targets" };
export const isTarget = ({ task }) => task === "regression" || task === "multilabel";
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;
// The name of a metric for readers who know that it is of targets.
export const short = (name) => name.replace(" (continuous)", "");
export const calibration = ({ task, calibrated, temperature }) => {
  if (task === "regression") return "";
  if (!calibrated) return "Probabilities are not calibrated: their order is meaningful, their values may be too high or too low.";
  return `Probabilities are calibrated${task === "multilabel" ? ", each target by itself" : ` (temperature ${number(temperature, 2)})`}.`;
};
// A value of a regression: two significant digits, or one after the point.
export const valueText = (value) => (Math.abs(value) < 1 ? String(Number(value.toPrecision(2))) : value.toFixed(1)).replace("-", "−");

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.095 ? 1 : 0)} %`;

// Probabilities, or values of a regression; null without a face.
export const outputs = (row) => row.probabilities ?? row.values;
export const presentTargets = (row, { classes, thresholds }) => classes.filter((_, i) => row.probabilities[i] >= thresholds[i]);
export const outputText = (value, { task }) => (task === "regression" ? valueText(value) : percent(value));
