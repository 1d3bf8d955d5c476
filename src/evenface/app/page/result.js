// What was said of an upload: the picture or video with boxes, bars, heat maps, a timeline.

import { colour, dot, el, number, percent, styled, svg, table } from "./dom.js";
import { heat } from "./heat.js";
import { at, timeline } from "./timeline.js";

let address = null;

export function cleared(place) {
  place.replaceChildren();
  if (address) URL.revokeObjectURL(address);
  address = null;
}

export function showPrediction(place, found, file) {
  cleared(place);
  const heading = el("h2", { tabindex: "-1" }, "What was found");
  const faces = el("div", {});
  place.append(heading, el("p", { class: "quiet" }, said(found)));
  if (found.kind === "numbers") place.append(faces);
  else {
    address = URL.createObjectURL(file);
    const stage = new Stage(found.width, found.height);
    place.append(el("div", { class: "found" }, el("div", {}, stage.node), faces));
    if (found.kind === "clip") film(place, stage, faces, found, file.name);
    else stage.picture(address, `${file.name}, with boxes around the faces that were found`);
    if (found.kind === "picture") draw(stage, faces, found, found.rows);
  }
  if (found.kind === "numbers") {
    draw(null, faces, found, found.rows.slice(0, 1));
    if (found.rows.length > 1) place.append(...timeline(found, () => {}));
  }
  place.append(...heat(found));
  place.append(saved(found, file.name));
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "start" });
}

function said(found) {
  const scaled = found.calibrated
    ? `Probabilities are calibrated (temperature ${number(found.temperature, 2)}).`
    : "Probabilities are not calibrated: they rank, but their size may mislead.";
  const notes = found.notes.filter((line) => !line.startsWith("probabilities are not calibrated")).map((line) => `${line[0].toUpperCase()}${line.slice(1)}.`);
  return [`By ${found.name}. ${scaled}`, ...notes].join(" ");
}

function film(place, stage, faces, found, name) {
  const now = (seconds) => draw(stage, faces, found, at(found.rows, seconds));
  const video = stage.film(address, `${name}, with boxes around the faces that were found`);
  let plays = true;
  const [seek, ...parts] = timeline(found, (seconds) => {
    if (plays && video.readyState) video.currentTime = seconds;
    else now(seconds);
  });
  place.append(...parts);
  const follow = () => {
    now(video.currentTime);
    seek(video.currentTime);
  };
  const unseen = () => {
    plays = false;
    stage.instead("This browser cannot show the video. What was found stands beside and below.");
  };
  video.addEventListener("timeupdate", () => plays && follow());
  video.addEventListener("loadeddata", () => (video.videoWidth ? follow() : unseen()));
  video.addEventListener("error", unseen);
  if (video.requestVideoFrameCallback) {
    const each = () => {
      follow();
      if (video.isConnected) video.requestVideoFrameCallback(each);
    };
    video.requestVideoFrameCallback(each);
  }
  now(0);
}

// A picture or video with boxes over it.
export class Stage {
  constructor(width, height) {
    this.size = [width, height];
    this.marks = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.node = el("div", { class: "stage" });
  }

  picture(source, words) {
    const image = el("img", { src: source, alt: words, width: this.size[0], height: this.size[1] });
    styled(image, { height: "auto" });
    image.addEventListener("error", () => this.instead("This browser cannot show pictures of this kind. What was found stands beside."));
    this.node.replaceChildren(image, this.marks);
  }

  film(source, words) {
    const video = el("video", { src: source, controls: true, muted: true, playsinline: true, preload: "auto", "aria-label": words });
    this.node.replaceChildren(video, this.marks);
    return video;
  }

  instead(text) {
    this.node.replaceChildren(styled(el("p", { class: "quiet" }, text), { padding: "16px", lineHeight: "1.5" }));
  }

  mark(rows) {
    const high = Math.max(13, this.size[1] / 26);
    const marks = rows.filter((row) => row.box).map((row) => {
      const [left, top, right, bottom] = row.box;
      const box = styled(svg("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top, rx: 3 }), { stroke: colour(row.face - 1) });
      const below = top < 1.2 * high;
      const text = svg("text", { x: left, y: below ? bottom + high : top - 0.3 * high, "font-size": high }, `${row.face}  ${row.label || "unsure"}`);
      return [box, text];
    });
    this.marks.replaceChildren(...marks.flat());
  }
}

const drawn = new WeakMap();

export function draw(stage, place, found, rows) {
  stage?.mark(rows);
  const shown = rows.filter((row) => row.probabilities);
  const key = JSON.stringify(shown.map((row) => [row.face, row.frame]));
  if (drawn.get(place) === key) return;
  drawn.set(place, key);
  place.replaceChildren(...(shown.length ? shown.map((row) => face(row, found)) : [el("p", {}, "No face here.")]));
}

function face(row, found) {
  const best = Math.max(...row.probabilities);
  const label = row.label ? `${row.label} ${percent(best)}` : "unsure";
  const name = found.kind === "numbers" ? label : `Face ${row.face}: ${label}`;
  const head = found.kind === "numbers" ? [] : [dot(row.face - 1)];
  return el("section", { class: "face", "aria-label": name }, el("h3", {}, head, name), bars(row.probabilities, found.classes));
}

function bars(probabilities, classes) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  return el(
    "dl",
    { class: "bars" },
    classes.map((name, i) => {
      const mark = i === best ? " best" : "";
      const fill = styled(el("div", { class: "fill" }), { width: `${100 * probabilities[i]}%`, background: colour(i) });
      return [
        el("dt", { class: mark }, name),
        el("dd", { class: "track", "aria-hidden": "true" }, fill),
        el("dd", { class: `share${mark}` }, percent(probabilities[i])),
      ];
    }),
  );
}

// The rows as a table, and as a file.
function saved(found, name) {
  const many = 200;
  const time = (row) => (row.time === null ? "–" : number(row.time, 2));
  const shown = found.rows.slice(0, many).map((row) => [String(row.face ?? "–"), time(row), row.label || "–", ...found.classes.map((_, i) => (row.probabilities ? number(row.probabilities[i], 2) : "–"))]);
  const header = ["frame", "end", "time", "until", "face", "left", "top", "right", "bottom", "score", "label", ...found.classes.map((one) => `p_${one}`)];
  const rows = found.rows.map((row) => [row.frame, row.end, row.time, row.until, row.face, ...(row.box ?? ["", "", "", ""]), row.score, row.label, ...(row.probabilities ?? found.classes.map(() => ""))]);
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
    el("summary", {}, `Table (${found.rows.length.toLocaleString("en")} row${found.rows.length === 1 ? "" : "s"})`),
    el("p", { class: "row" }, el("button", { type: "button", onclick: save }, "Save as CSV")),
    table("What was found", ["face", "seconds", "label", ...found.classes], shown, { words: [2] }),
    found.rows.length > many ? el("p", { class: "quiet" }, `The first ${many} rows.`) : null,
  );
}
