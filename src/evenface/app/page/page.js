// Show the section that the fragment of the address names.

import { byId, el, show } from "./dom.js";
import { get, predictionFields } from "./api.js";
import { startCompare } from "./compare.js";
import { showModel, showRuns, showStudy } from "./runs.js";
import { choose, leave, startTry } from "./try.js";

const SECTIONS = ["try", "runs", "compare"];
let known;
let about;

async function route(event) {
  const [part, id, more] = location.hash.slice(1).split("/");
  if (part === "main") return byId("main").focus();
  const name = SECTIONS.includes(part) ? part : part === "studies" ? "runs" : "try";
  for (const other of SECTIONS) {
    byId(`view-${other}`).hidden = other !== name;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name !== "try") leave();
  if (name === "try" && id) choose(id);
  if (name === "runs") await runs(part, id, more);
  document.title = `${name === "try" ? "Try" : name === "runs" ? "Runs" : "Compare"} · evenface`;
  if (event) (byId(`view-${name}`).querySelector("h1") ?? byId("main")).focus();
}

async function runs(part, id) {
  const container = byId("view-runs");
  try {
    if (!id) showRuns(container, known, about);
    else if (part === "studies") showStudy(container, await get(`/studies/${encodeURIComponent(id)}`), known);
    else showModel(container, await get(`/models/${encodeURIComponent(id)}`), about);
  } catch (error) {
    container.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
  }
}

async function start() {
  try {
    let fields;
    [about, known, fields] = await Promise.all([get("/about"), get("/models"), predictionFields()]);
    byId("keeps").textContent = about.keeps
      ? "Uploads and results are saved, as requested by --save-uploads."
      : "Uploads are deleted after prediction.";
    startTry(known, about, fields);
    startCompare(known, about);
    for (const title of document.querySelectorAll("h1")) title.tabIndex = -1;
    window.addEventListener("hashchange", route);
    await route();
  } catch (error) {
    byId("view-try").hidden = false;
    show(byId("error"), error.message);
  }
}

start();
