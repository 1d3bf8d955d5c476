// Which part of the page is shown, by what stands behind # in the address.

import { byId, el, show } from "./dom.js";
import { get } from "./api.js";
import { startCompare } from "./compare.js";
import { showModel, showRuns, showStudy } from "./runs.js";
import { choose, leave, startTry } from "./try.js";

const PARTS = ["try", "runs", "compare"];
let known;

async function route(event) {
  const [part, id, more] = location.hash.slice(1).split("/");
  if (part === "main") return byId("main").focus();
  const name = PARTS.includes(part) ? part : part === "studies" ? "runs" : "try";
  for (const other of PARTS) {
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
  const place = byId("view-runs");
  try {
    if (!id) showRuns(place, known);
    else if (part === "studies") showStudy(place, await get(`/studies/${encodeURIComponent(id)}`), known);
    else showModel(place, await get(`/models/${encodeURIComponent(id)}`));
  } catch (error) {
    place.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
  }
}

async function start() {
  try {
    const [about, models] = await Promise.all([get("/about"), get("/models")]);
    known = models;
    byId("keeps").textContent = about.keeps
      ? "Uploads and results are saved in the folder named by --save-uploads."
      : "Uploads are removed as soon as they are judged.";
    startTry(known, about.limits);
    startCompare(known);
    for (const title of document.querySelectorAll("h1")) title.tabIndex = -1;
    window.addEventListener("hashchange", route);
    await route();
  } catch (error) {
    byId("view-try").hidden = false;
    show(byId("error"), error.message);
  }
}

start();
