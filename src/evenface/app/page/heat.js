// What spoke for each class: heat maps on faces, frames of a clip, points.

import { colour, el, percent, styled, svg } from "./dom.js";

export function heat(found) {
  if (found.unexplained) return [el("h2", {}, "What spoke for each class"), el("p", {}, found.unexplained)];
  if (!found.explained.length) return [];
  return [
    el("h2", {}, "What spoke for each class"),
    el("p", { class: "quiet lead" }, `${how(found.explained[0])} It says what the model looked at, not why a person shows an expression, and not that the model is right.`),
    ...found.explained.flatMap((one) => explained(one, found)),
  ];
}

const METHODS = { gradcam: "Grad-CAM", cam: "class activation mapping", gradients: "gradients times input", occlusion: "occlusion" };

const how = ({ kind, method }) =>
  ({
    map: `By ${METHODS[method] ?? method}: warm where a region spoke for the class, scaled for each class by itself.`,
    frames: `By ${METHODS[method] ?? method}: warm where a region spoke for the class; bars say how much each frame spoke for it (up) or against it (down).`,
    points: `By ${METHODS[method] ?? method}: blue speaks for the class, orange against it.`,
  })[kind];

function explained(one, found) {
  const row = found.rows[one.row];
  const name = found.kind === "numbers" ? "The sequence" : `Face ${row.face}`;
  const caption = (i) => `${found.classes[i]} ${percent(row.probabilities[i])}`;
  const parts = [el("h3", {}, name)];
  if (one.kind === "map") {
    const figures = one.maps.map((maps, i) => picture(maps[0], `Heat map of ${found.classes[i]} on face ${row.face}`, caption(i)));
    parts.push(el("div", { class: "heat" }, picture(one.crops[0], `Face ${row.face} as the model was given it`, "as given"), ...figures));
    return parts;
  }
  const order = row.probabilities.map((share, i) => [share, i]).sort((a, b) => b[0] - a[0]).map(([, i]) => i);
  const each = order.map((i) => el("div", {}, el("p", {}, el("strong", {}, caption(i))), ...ofClass(one, i, found)));
  parts.push(...each.slice(0, 1));
  if (each.length > 1) parts.push(el("details", {}, el("summary", {}, "Other classes"), ...each.slice(1)));
  return parts;
}

function ofClass(one, i, found) {
  const parts = [];
  const shown = one.maps.length ? one.maps[i] : [];
  if (shown.length) parts.push(el("div", { class: "strip" }, shown.map((uri, k) => picture(uri, `Frame ${one.shown[k] + 1}, heat map of ${found.classes[i]}`, `frame ${one.shown[k] + 1}`))));
  if (one.frames.length) parts.push(levels(one.frames[i], `Evidence of each frame for ${found.classes[i]}`));
  if (one.places.length) parts.push(dots(one.places, one.points[i], `Points of the face, by evidence for ${found.classes[i]}`));
  else if (one.points.length) parts.push(levels(one.points[i], `Evidence of each number for ${found.classes[i]}`));
  return parts;
}

const picture = (source, words, caption) => el("figure", {}, el("img", { src: source, alt: words, width: 168, height: 168 }), el("figcaption", {}, caption));
const most = (values) => Math.max(...values.map(Math.abs), 1e-12);
const shade = (value) => colour(value >= 0 ? 0 : 1);

// Bars up and down from a middle line.
function levels(values, words) {
  const high = most(values);
  const best = values.indexOf(Math.max(...values));
  const bars = values.map((value, k) => {
    const size = (48 * Math.abs(value)) / high;
    return styled(svg("rect", { x: k + 0.1, width: 0.8, y: value >= 0 ? 50 - size : 50, height: size }), { fill: shade(value) });
  });
  const label = `${words}; most at ${best + 1} of ${values.length} (${values[best].toPrecision(2).replace("-", "−")})`;
  return el("div", { class: "timeline" }, svg("svg", { viewBox: `0 0 ${values.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": label }, bars), el("p", { class: "quiet" }, `${label}.`));
}

function dots(places, values, words) {
  const high = most(values);
  const xs = places.map(([x]) => x);
  const ys = places.map(([, y]) => y);
  const middle = (all) => (Math.min(...all) + Math.max(...all)) / 2;
  const size = Math.max(...[xs, ys].map((all) => Math.max(...all) - Math.min(...all))) || 1;
  const [left, top] = [xs, ys].map((all) => middle(all) - size / 2);
  const marks = places.map(([x, y], k) => {
    const strength = Math.abs(values[k]) / high;
    return styled(svg("circle", { cx: (100 * (x - left)) / size, cy: (100 * (y - top)) / size, r: 0.5 + 1.6 * strength }), { fill: shade(values[k]), opacity: 0.3 + 0.7 * strength });
  });
  return svg("svg", { class: "points", viewBox: "-4 -4 108 108", role: "img", "aria-label": words }, marks);
}
