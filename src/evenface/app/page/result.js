// Show a prediction: the image or video with boxes, probabilities, saliency maps, a timeline.

import { calibration, colour, el, isTarget, number, outputs, percent, presentTargets, styled, svg, table, valueText } from "./dom.js";
import { explanations } from "./heat.js";
import { at, timeline } from "./timeline.js";

let address = null;

export function clear(container) {
  container.replaceChildren();
  if (address) URL.revokeObjectURL(address);
  address = null;
}

export function showPrediction(container, prediction, file) {
  clear(container);
  const heading = el("h2", { tabindex: "-1" }, "Result");
  const faces = el("div", {});
  container.append(heading, el("p", { class: "quiet" }, description(prediction)));
  if (prediction.kind === "features") container.append(faces);
  else {
    address = URL.createObjectURL(file);
    const stage = new Stage(prediction.width, prediction.height);
    container.append(el("div", { class: "found" }, el("div", {}, stage.node), faces));
    if (prediction.kind === "video") showVideo(container, stage, faces, prediction, file.name);
    else stage.showImage(address, `${file.name}, with boxes around the detected faces`);
    if (prediction.kind === "image") draw(stage, faces, prediction, prediction.rows);
  }
  if (prediction.kind === "features") {
    draw(null, faces, prediction, prediction.rows.slice(0, 1));
    if (prediction.rows.length > 1) container.append(...timeline(prediction, () => {}));
  }
  container.append(...explanations(prediction));
  container.append(rowTable(prediction, file.name));
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "start" });
}

function description(prediction) {
  const notes = prediction.notes.filter((line) => !line.startsWith("probabilities are not calibrated")).map((line) => `${line.startsWith(prediction.name) ? line[0] : line[0].toUpperCase()}${line.slice(1)}.`);
  return [`Model: ${prediction.name}. ${calibration(prediction)}`.trim(), ...notes].join(" ");
}

function showVideo(container, stage, faces, prediction, name) {
  const showAt = (seconds) => draw(stage, faces, prediction, at(prediction.rows, seconds));
  const video = stage.showVideo(address, `${name}, with boxes around the detected faces`);
  let playable = true;
  const [seek, ...parts] = timeline(prediction, (seconds) => {
    if (playable && video.readyState) video.currentTime = seconds;
    else showAt(seconds);
  });
  container.append(...parts);
  const follow = () => {
    showAt(video.currentTime);
    seek(video.currentTime);
  };
  const unplayable = () => {
    playable = false;
    stage.replace("This browser cannot show the video. The result is listed beside and below.");
  };
  video.addEventListener("timeupdate", () => playable && follow());
  video.addEventListener("loadeddata", () => (video.videoWidth ? follow() : unplayable()));
  video.addEventListener("error", unplayable);
  if (video.requestVideoFrameCallback) {
    const each = () => {
      follow();
      if (video.isConnected) video.requestVideoFrameCallback(each);
    };
    video.requestVideoFrameCallback(each);
  }
  showAt(0);
}

// An image or video with boxes over it.
export class Stage {
  constructor(width, height) {
    this.size = [width, height];
    this.marks = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.node = el("div", { class: "stage" });
  }

  showImage(source, alt) {
    const image = el("img", { src: source, alt, width: this.size[0], height: this.size[1] });
    styled(image, { height: "auto" });
    image.addEventListener("error", () => this.replace("This browser cannot show images of this type. The result is listed beside."));
    this.node.replaceChildren(image, this.marks);
  }

  showVideo(source, title) {
    const video = el("video", { src: source, controls: true, muted: true, playsinline: true, preload: "auto", "aria-label": title });
    this.node.replaceChildren(video, this.marks);
    return video;
  }

  replace(text) {
    this.node.replaceChildren(styled(el("p", { class: "quiet" }, text), { padding: "16px", lineHeight: "1.5" }));
  }

  mark(rows, text) {
    const high = Math.max(13, this.size[1] / 26);
    const marks = rows.filter((row) => row.box).map((row) => {
      const [left, top, right, bottom] = row.box;
      const box = svg("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top, rx: 3 });
      const below = top < 1.2 * high;
      const written = svg("text", { x: left, y: below ? bottom + high : top - 0.3 * high, "font-size": high }, `${row.face}  ${text(row)}`);
      return [box, written];
    });
    this.marks.replaceChildren(...marks.flat());
  }
}

const drawn = new WeakMap();

export function draw(stage, container, prediction, rows) {
  stage?.mark(rows, (row) => (isTarget(prediction) ? summaryOf(row, prediction) : row.label || "no label"));
  const shown = rows.filter(outputs);
  const key = JSON.stringify(shown.map((row) => [row.face, row.frame]));
  if (drawn.get(container) === key) return;
  drawn.set(container, key);
  container.replaceChildren(...(shown.length ? shown.map((row) => face(row, prediction)) : [el("p", {}, "No face.")]));
}

function face(row, prediction) {
  const label = summaryOf(row, prediction);
  const name = prediction.kind === "features" ? label : `Face ${row.face}: ${label}`;
  const shown = prediction.task === "regression" ? values(row.values, prediction.classes) : bars(row, prediction);
  const further = prediction.auxiliary.length ? el("p", {}, unitsOf(row, prediction) || "No action unit of intensity 1 or more.") : null;
  return el("section", { class: "face", "aria-label": name }, el("h3", {}, name), posed(row), shown, further);
}

// The prediction in a few words.
function summaryOf(row, prediction) {
  if (prediction.task === "regression") return prediction.classes.map((name, i) => `${name} ${valueText(row.values[i])}`).slice(0, 2).join(", ");
  if (prediction.task === "multilabel") return presentTargets(row, prediction).join(", ") || "none present";
  return row.label ? `${row.label} ${percent(Math.max(...row.probabilities))}` : "no label";
}

// Values beside the classes in a few words: of action units those of intensity 1 or more.
function unitsOf(row, prediction) {
  const named = prediction.auxiliary.map((name, i) => [name, row.values[i]]);
  return named.filter(([name, value]) => !/^AU[0-9]/.test(name) || value >= 1).map(([name, value]) => `${name} ${valueText(value)}`).join(", ");
}

const values = (numbers, names) =>
  el("dl", { class: "values" }, names.map((name, i) => el("div", {}, el("dt", { class: "quiet" }, name), el("dd", { class: "big" }, valueText(numbers[i])))));

const ANGLES = ["yaw", "pitch", "roll"];

function posed(row) {
  if (!row.pose) return null;
  const text = ANGLES.map((name, i) => `${name} ${number(row.pose[i], 0)}°`).join(", ");
  return el("p", { class: "quiet" }, `Head: ${text}`);
}

// A bar for each class or target; of targets, a mark at the probability from which each is present.
function bars(row, { classes, thresholds }) {
  const { probabilities } = row;
  const best = probabilities.indexOf(Math.max(...probabilities));
  const strong = (i) => (thresholds ? probabilities[i] >= thresholds[i] : i === best);
  const list = classes.map((name, i) => {
    const mark = strong(i) ? " best" : "";
    const fill = styled(el("div", { class: thresholds && !mark ? "fill below" : "fill" }), { width: `${100 * probabilities[i]}%`, background: colour(i) });
    const limit = thresholds ? styled(el("div", { class: "limit" }), { left: `${100 * thresholds[i]}%` }) : null;
    return [
      el("dt", { class: mark }, name),
      el("dd", { class: "track", "aria-hidden": "true" }, fill, limit),
      el("dd", { class: `share${mark}` }, percent(probabilities[i])),
    ];
  });
  const legend = thresholds ? el("p", { class: "quiet" }, "A target is present from the mark on; those present are in bold.") : null;
  return [el("dl", { class: "bars" }, list), legend];
}

// The rows as a table, with a button that saves them as CSV.
function rowTable(prediction, name) {
  const maxRows = 200;
  const labelled = prediction.task !== "regression";
  const time = (row) => (row.time === null ? "–" : number(row.time, 2));
  const angles = prediction.rows.some((row) => row.pose) ? ANGLES : [];
  const shown = prediction.rows.slice(0, maxRows).map((row) => [String(row.face ?? "–"), time(row), ...(labelled ? [row.label || "–"] : []), ...angles.map((_, i) => (row.pose ? number(row.pose[i], 0) : "–")), ...prediction.classes.map((_, i) => (outputs(row) ? number(outputs(row)[i], 2) : "–")), ...prediction.auxiliary.map((_, i) => (row.values ? number(row.values[i], 1) : "–"))]);
  const header = ["frame", "end", "time", "until", "face", "left", "top", "right", "bottom", "score", ...ANGLES, "label", ...prediction.classes.map((name) => `${labelled ? "p" : "v"}_${name}`), ...prediction.auxiliary.map((name) => `v_${name}`)];
  const rows = prediction.rows.map((row) => [row.frame, row.end, row.time, row.until, row.face, ...(row.box ?? ["", "", "", ""]), row.score, ...(row.pose?.map((angle) => angle.toFixed(1)) ?? ["", "", ""]), row.label, ...(outputs(row) ?? prediction.classes.map(() => "")), ...prediction.auxiliary.map((_, i) => row.values?.[i] ?? "")]);
  const quoted = (cell) => (/[",\n]/.test(String(cell ?? "")) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
  const save = () => {
    const text = [header, ...rows].map((row) => row.map(quoted).join(",")).join("\n");
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name.replace(/\.[^.]*$/, "")}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  return el(
    "details",
    {},
    el("summary", {}, `Table (${prediction.rows.length.toLocaleString("en")} row${prediction.rows.length === 1 ? "" : "s"})`),
    el("p", { class: "row" }, el("button", { type: "button", onclick: save }, "Save as CSV")),
    table("Result", ["face", "seconds", ...(labelled ? ["label"] : []), ...angles, ...prediction.classes, ...prediction.auxiliary], shown, { words: labelled ? [2] : [] }),
    prediction.rows.length > maxRows ? el("p", { class: "quiet" }, `The first ${maxRows} rows.`) : null,
  );
}
