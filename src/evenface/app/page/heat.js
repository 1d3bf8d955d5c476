// Explanations: saliency maps on faces, evidence per frame of a clip, per landmark or feature.

import { colour, el, isTarget, outputText, outputs, styled, svg } from "./dom.js";

export function explanations(prediction) {
  const unit = isTarget(prediction) ? "target" : "class";
  if (prediction.unexplained) return [el("h2", {}, `Evidence for each ${unit}`), el("p", {}, prediction.unexplained)];
  if (!prediction.explained.length) return [];
  return [
    el("h2", {}, `Evidence for each ${unit}`),
    el("p", { class: "quiet lead" }, `${caption(prediction.explained[0], unit)} It shows what the prediction is based on, not why a person shows an expression, nor that the prediction is correct.`),
    ...prediction.explained.flatMap((item) => explanation(item, prediction)),
  ];
}

const METHODS = { gradcam: "Grad-CAM", cam: "class activation mapping", gradients: "gradient × input", occlusion: "occlusion" };

const caption = ({ kind, method }, unit) =>
  ({
    map: `Saliency maps by ${METHODS[method] ?? method}: warm colours favour the ${unit}; each ${unit} has its own scale.`,
    frames: `Saliency maps by ${METHODS[method] ?? method}: warm colours favour the ${unit}; bars show the evidence of each frame for (up) or against (down) it.`,
    points: `Attribution by ${METHODS[method] ?? method}: blue is evidence for the ${unit}, orange against it.`,
  })[kind];

function explanation(item, prediction) {
  const row = prediction.rows[item.row];
  const name = prediction.kind === "features" ? "The sequence" : `Face ${row.face}`;
  const label = (i) => `${prediction.classes[i]} ${outputText(outputs(row)[i], prediction)}`;
  const parts = [el("h3", {}, name)];
  if (item.kind === "map") {
    const figures = item.maps.map((maps, i) => figure(maps[0], `Saliency map of ${prediction.classes[i]} on face ${row.face}`, label(i)));
    parts.push(el("div", { class: "heat" }, figure(item.crops[0], `Face ${row.face}, input of the model`, "input"), ...figures));
    return parts;
  }
  if (item.attention.length) parts.push(levels(item.attention, `Attention to each frame, the same for all ${isTarget(prediction) ? "targets" : "classes"}`, () => colour(2)));
  const order = outputs(row).map((share, i) => [share, i]).sort((a, b) => b[0] - a[0]).map(([, i]) => i);
  const each = order.map((i) => el("div", {}, el("p", {}, el("strong", {}, label(i))), ...classParts(item, i, prediction)));
  parts.push(...each.slice(0, 1));
  if (each.length > 1) parts.push(el("details", {}, el("summary", {}, isTarget(prediction) ? "Other targets" : "Other classes"), ...each.slice(1)));
  return parts;
}

function classParts(item, i, prediction) {
  const parts = [];
  const shown = item.maps.length ? item.maps[i] : [];
  if (shown.length) parts.push(el("div", { class: "strip" }, shown.map((uri, k) => figure(uri, `Frame ${item.shown[k] + 1}, saliency map of ${prediction.classes[i]}`, `frame ${item.shown[k] + 1}`))));
  if (item.frames.length) parts.push(levels(item.frames[i], `Evidence of each frame for ${prediction.classes[i]}`));
  if (item.places.length) parts.push(dots(item.places, item.points[i], `Facial landmarks by evidence for ${prediction.classes[i]}`));
  else if (item.points.length) parts.push(levels(item.points[i], `Evidence of each feature for ${prediction.classes[i]}`));
  return parts;
}

const figure = (source, alt, text) => el("figure", {}, el("img", { src: source, alt, width: 168, height: 168 }), el("figcaption", {}, text));
const maximum = (values) => Math.max(...values.map(Math.abs), 1e-12);
const shade = (value) => colour(value >= 0 ? 0 : 1);

// Bars above and below a centre line.
function levels(values, title, fill = shade) {
  const high = maximum(values);
  const best = values.indexOf(Math.max(...values));
  const bars = values.map((value, k) => {
    const size = (48 * Math.abs(value)) / high;
    return styled(svg("rect", { x: k + 0.1, width: 0.8, y: value >= 0 ? 50 - size : 50, height: size }), { fill: fill(value) });
  });
  const label = `${title}; maximum at ${best + 1} of ${values.length} (${values[best].toPrecision(2).replace("-", "−")})`;
  return el("div", { class: "timeline" }, svg("svg", { viewBox: `0 0 ${values.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": label }, bars), el("p", { class: "quiet" }, `${label}.`));
}

function dots(places, values, title) {
  const high = maximum(values);
  const xs = places.map(([x]) => x);
  const ys = places.map(([, y]) => y);
  const middle = (all) => (Math.min(...all) + Math.max(...all)) / 2;
  const size = Math.max(...[xs, ys].map((all) => Math.max(...all) - Math.min(...all))) || 1;
  const [left, top] = [xs, ys].map((all) => middle(all) - size / 2);
  const marks = places.map(([x, y], k) => {
    const strength = Math.abs(values[k]) / high;
    return styled(svg("circle", { cx: (100 * (x - left)) / size, cy: (100 * (y - top)) / size, r: 0.5 + 1.6 * strength }), { fill: shade(values[k]), opacity: 0.3 + 0.7 * strength });
  });
  return svg("svg", { class: "points", viewBox: "-4 -4 108 108", role: "img", "aria-label": title }, marks);
}
