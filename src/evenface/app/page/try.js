// Choosing a model and a file or the camera, and asking.

import { byId, el, number, show } from "./dom.js";
import { predict } from "./api.js";
import { Camera } from "./camera.js";
import { cleared, showPrediction } from "./result.js";

const WORDS = { picture: "pictures", video: "videos", numbers: "files of numbers" };
let models = [];
let limits;
let running = null;
let camera = null;

export function startTry(known, given) {
  limits = given;
  models = known.models.filter((one) => one.usable);
  const select = byId("model");
  select.replaceChildren(...models.map((one) => el("option", { value: one.id }, one.name)));
  if (!models.length) return show(byId("error"), "None of the runs has weights, so none can be tried.");
  select.addEventListener("change", describe);
  byId("asking").addEventListener("submit", (event) => event.preventDefault());
  byId("file").addEventListener("change", ({ target }) => target.files[0] && ask(target.files[0]));
  byId("cancel").addEventListener("click", () => running?.abort());
  byId("camera").addEventListener("click", filmed);
  dropping(byId("drop"));
  byId("file-help").textContent = `At most ${Math.round(limits.upload / 1e6)} MB; videos of at most ${limits.seconds} seconds.`;
  describe();
}

export function choose(id) {
  if (models.some((one) => one.id === id)) byId("model").value = id;
  describe();
}

export function leave() {
  running?.abort();
  if (camera) filmed();
}

const model = () => models.find((one) => one.id === byId("model").value);

function describe() {
  const one = model();
  if (!one) return;
  const takes = one.takes.map((word) => WORDS[word]).join(", ");
  const said = one.balanced_accuracy ? ` Balanced accuracy on its test side ${number(one.balanced_accuracy.value, 2)}.` : "";
  byId("model-facts").textContent = `Tells apart ${one.classes.join(", ")}. Takes ${takes}.${said}`;
  const stills = one.takes.includes("picture");
  for (const label of document.querySelectorAll("[data-for]")) label.hidden = (label.dataset.for === "stills") !== stills;
  byId("camera").disabled = !one.takes.includes("picture") && !one.takes.includes("video");
  if (camera) filmed();
}

function dropping(zone) {
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) ask(file);
  });
  // A file that is dropped beside the zone must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
}

function settings() {
  const found = {};
  for (const field of byId("asking").querySelectorAll(".settings [name]")) {
    if (!field.closest("label").hidden) found[field.name] = field.value;
  }
  return found;
}

async function ask(file) {
  running?.abort();
  if (camera) filmed();
  cleared(byId("result"));
  show(byId("error"), "");
  const fault = trouble(file);
  if (fault) return show(byId("error"), fault);
  const own = (running = new AbortController());
  const { name } = model();
  const chosen = { ...settings(), explain: byId("explain").checked };
  waiting(true, `Judging ${file.name} by ${name}…`);
  try {
    const found = await predict(file, file.name, byId("model").value, chosen, watch, own.signal);
    const faces = new Set(found.rows.filter((row) => row.probabilities).map((row) => row.face)).size;
    byId("status").textContent = found.kind === "numbers" ? "Judged." : faces ? `${faces} face${faces > 1 ? "s" : ""} found.` : "No face was found.";
    showPrediction(byId("result"), found, file);
  } catch (error) {
    if (own !== running) return;
    byId("status").textContent = error.name === "AbortError" ? "Cancelled." : "";
    if (error.name !== "AbortError") show(byId("error"), error.message);
  } finally {
    if (own === running) {
      waiting(false);
      byId("file").value = "";
    }
  }
}

function trouble(file) {
  if (!byId("asking").checkValidity()) {
    byId("asking").querySelector("details").open = true;
    byId("asking").reportValidity();
    return "A setting is out of range. Mend it and choose the file again.";
  }
  if (file.size > limits.upload - 100_000) return `${file.name} has ${Math.round(file.size / 1e6)} MB, and ${Math.round(limits.upload / 1e6)} MB are the limit. Give a smaller or shorter file.`;
  return file.size ? "" : `${file.name} is empty. Give another file.`;
}

function watch({ state, before, done }) {
  const bar = byId("progress");
  if (state === "running" && done > 0) bar.value = done;
  else bar.removeAttribute("value");
  if (state === "waiting" && before) byId("status").textContent = `Waiting for ${before} other job${before > 1 ? "s" : ""}…`;
}

function waiting(on, text) {
  byId("busy").hidden = !on;
  byId("progress").removeAttribute("value");
  if (on) byId("status").textContent = text;
}

async function filmed() {
  const button = byId("camera");
  if (camera) {
    camera.stop();
    camera = null;
    button.textContent = "Use the camera";
    byId("status").textContent = "The camera is off.";
    return;
  }
  running?.abort();
  show(byId("error"), "");
  cleared(byId("result"));
  const own = (camera = new Camera(byId("result"), model(), settings, limits));
  button.textContent = "Stop the camera";
  byId("status").textContent = "Opening the camera…";
  try {
    const film = await own.start();
    if (film) {
      if (camera === own) await filmed();
      await ask(film);
    }
  } catch (error) {
    if (camera === own) await filmed();
    byId("status").textContent = "";
    show(byId("error"), error.message);
  }
}
