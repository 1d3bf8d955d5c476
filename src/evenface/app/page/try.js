// Select a model and a file or the camera, and predict.

import { OUTPUTS, byId, el, isTarget, number, outputs, sentence, short, show } from "./dom.js";
import { predict } from "./api.js";
import { Camera } from "./camera.js";
import { clear, showPrediction } from "./result.js";

const INPUTS = { image: "images", video: "videos", features: "feature files" };
const FILE_FIELDS = ["file", "model", "explain", "baseline"];
let models = [];
let limits;
let metrics;
let running = null;
let camera = null;

export function startTry(known, about, fields) {
  ({ limits, metrics } = about);
  models = known.models.filter((model) => model.usable);
  byId("explain-label").textContent = sentence(fields.explain.description);
  byId("settings").replaceChildren(
    ...Object.entries(fields).filter(([name]) => !FILE_FIELDS.includes(name)).map(([name, schema]) => setting(name, schema)),
  );
  const select = byId("model");
  select.replaceChildren(...models.map((model) => el("option", { value: model.id }, model.name)));
  if (!models.length) return show(byId("error"), "No run has weights, so none can predict.");
  select.addEventListener("change", describe);
  byId("predict-form").addEventListener("submit", (event) => event.preventDefault());
  byId("file").addEventListener("change", ({ target }) => target.files[0] && predictFile(target.files[0]));
  byId("cancel").addEventListener("click", () => running?.abort());
  byId("camera").addEventListener("click", toggleCamera);
  acceptDrops(byId("drop"));
  byId("file-help").textContent = `At most ${Math.round(limits.upload / 1e6)} MB; videos of at most ${limits.seconds} seconds.`;
  describe();
}

export function choose(id) {
  if (models.some((model) => model.id === id)) byId("model").value = id;
  describe();
}

export function leave() {
  running?.abort();
  if (camera) toggleCamera();
}


// A labelled input for a setting, with the type, bounds and default of its JSON Schema.
function setting(name, schema) {
  const types = schema.anyOf ?? [schema];
  const type = types.find((option) => option.type !== "null");
  const optional = types.length > 1;
  const value = schema.page_default ?? schema.default ?? "";
  const applies = { "data-models": schema.models, "data-tasks": schema.tasks };
  let input;
  if (type.type === "boolean") {
    input = el("input", { name, type: "checkbox", checked: value === true });
    return el("label", { class: "check", ...applies }, input, el("span", {}, sentence(schema.description)));
  }
  if (type.enum) {
    const options = type.enum.map((option) => el("option", { value: option, selected: option === value }, option));
    input = el("select", { name }, optional ? el("option", { value: "" }, "default") : null, options);
  } else if (type.type === "string") {
    input = el("input", { name, type: "text", value, maxlength: type.maxLength, autocomplete: "off", spellcheck: "false" });
  } else {
    const bounds = { min: type.minimum ?? type.exclusiveMinimum, max: type.maximum ?? type.exclusiveMaximum };
    input = el("input", { name, type: "number", value: String(value), ...bounds, step: type.type === "integer" ? 1 : "any", required: !optional });
  }
  return el("label", applies, sentence(schema.description), input);
}

const selectedModel = () => models.find((model) => model.id === byId("model").value);

function describe() {
  const model = selectedModel();
  if (!model) return;
  const inputs = model.takes.map((kind) => INPUTS[kind]).join(", ");
  const label = sentence(short(metrics[model.metric]));
  const accuracy = model.result ? ` ${label} on its test set: ${number(model.result.value, 2)}.` : "";
  byId("model-facts").textContent = `${OUTPUTS[model.task]}: ${model.classes.join(", ")}. Inputs: ${inputs}.${accuracy}`;
  const kind = model.takes.includes("image") ? "images" : "clips";
  for (const label of document.querySelectorAll("[data-models]")) label.hidden = label.dataset.models !== kind;
  for (const label of document.querySelectorAll("[data-tasks=classes]")) label.hidden = isTarget(model);
  byId("baseline-field").hidden = !model.baseline;
  byId("camera").disabled = !model.takes.includes("image") && !model.takes.includes("video");
  if (camera) toggleCamera();
}

function acceptDrops(zone) {
  const highlight = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, highlight(true));
  zone.addEventListener("dragleave", highlight(false));
  zone.addEventListener("drop", (event) => {
    highlight(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) predictFile(file);
  });
  // A file dropped outside the zone must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
}

function settings() {
  const values = {};
  for (const input of byId("settings").querySelectorAll("[name]")) {
    if (!input.closest("label").hidden) values[input.name] = input.type === "checkbox" ? input.checked : input.value;
  }
  const [baseline] = byId("baseline").files;
  if (baseline && selectedModel().baseline) values.baseline = baseline;
  return values;
}

async function predictFile(file) {
  running?.abort();
  if (camera) toggleCamera();
  clear(byId("result"));
  show(byId("error"), "");
  const problem = invalid(file);
  if (problem) return show(byId("error"), problem);
  const own = (running = new AbortController());
  const values = { ...settings(), explain: byId("explain").checked };
  busy(true, `Predicting ${file.name} with ${selectedModel().name}…`);
  try {
    const prediction = await predict(file, file.name, byId("model").value, values, showProgress, own.signal);
    const faces = new Set(prediction.rows.filter(outputs).map((row) => row.face)).size;
    const found = faces ? `${faces} face${faces > 1 ? "s" : ""} detected.` : "No face was detected.";
    byId("status").textContent = prediction.kind === "features" ? "Prediction finished." : found;
    showPrediction(byId("result"), prediction, file);
  } catch (error) {
    if (own !== running) return;
    byId("status").textContent = error.name === "AbortError" ? "Cancelled." : "";
    if (error.name !== "AbortError") show(byId("error"), error.message);
  } finally {
    if (own === running) {
      busy(false);
      byId("file").value = "";
    }
  }
}

// Why a file cannot be sent; empty if it can.
function invalid(file) {
  if (!byId("predict-form").checkValidity()) {
    byId("predict-form").querySelector("details").open = true;
    byId("predict-form").reportValidity();
    return "A setting is invalid. Correct it and choose the file again.";
  }
  const megabytes = (bytes) => Math.round(bytes / 1e6);
  if (file.size > limits.upload - 100_000) return `${file.name} has ${megabytes(file.size)} MB; the limit is ${megabytes(limits.upload)} MB. Use a smaller or shorter file.`;
  return file.size ? "" : `${file.name} is empty. Use another file.`;
}

function showProgress({ state, before, done }) {
  const bar = byId("progress");
  if (state === "running" && done > 0) bar.value = done;
  else bar.removeAttribute("value");
  if (state === "waiting" && before) byId("status").textContent = `Waiting for ${before} other job${before > 1 ? "s" : ""}…`;
}

function busy(on, text) {
  byId("busy").hidden = !on;
  byId("progress").removeAttribute("value");
  if (on) byId("status").textContent = text;
}

async function toggleCamera() {
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
  clear(byId("result"));
  const own = (camera = new Camera(byId("result"), selectedModel(), settings));
  button.textContent = "Stop the camera";
  byId("status").textContent = "Opening the camera…";
  try {
    const file = await own.start();
    if (file) {
      if (camera === own) await toggleCamera();
      await predictFile(file);
    }
  } catch (error) {
    if (camera === own) await toggleCamera();
    byId("status").textContent = "";
    show(byId("error"), error.message);
  }
}
