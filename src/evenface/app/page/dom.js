// Making elements. Text is always text: nothing that comes from a file or a server is read as markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

export const colour = (place) => `var(--series-${place % 8})`;

// The style sheet alone may say styles in markup; single ones are set here.
export function styled(node, styles) {
  Object.assign(node.style, styles);
  return node;
}

export const dot = (place) => styled(el("span", { class: "dot", "aria-hidden": "true" }), { background: colour(place) });

export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);
export const interval = (one) =>
  one.low === null || one.low === undefined ? number(one.value) : `${number(one.value)} [${number(one.low)}, ${number(one.high)}]`;

export function table(caption, header, rows, options = {}) {
  const cell = (content, place) =>
    place === 0
      ? el("th", { scope: "row", class: "words" }, content)
      : el("td", { class: options.words?.includes(place) ? "words" : null }, content);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      { class: options.class },
      el(
        "thead",
        {},
        el("tr", {}, header.map((name, place) => el("th", { scope: "col", class: options.words?.includes(place) ? "words" : null }, name))),
      ),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}

export function show(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.095 ? 1 : 0)} %`;
