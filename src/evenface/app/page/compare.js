// Choosing runs, and saying which is better.

import { byId, el, interval, number, show, signed, table } from "./dom.js";
import { compare } from "./api.js";

const NAMES = { balanced_accuracy: "balanced accuracy", accuracy: "accuracy", macro_f1: "macro F1", mae: "MAE", qwk: "quadratic kappa", icc: "ICC(3,1)" };
const named = (key) => NAMES[key] ?? key.replaceAll("_", " ");

export function startCompare({ models }) {
  const chosen = [];
  const runs = models.filter((one) => one.kind === "run");
  byId("choices").replaceChildren(
    ...runs.map((one) =>
      el("label", { class: "check" },
        el("input", {
          type: "checkbox",
          value: one.id,
          onchange: ({ target }) => {
            if (target.checked) chosen.push(one.id);
            else chosen.splice(chosen.indexOf(one.id), 1);
          },
        }),
        `${one.name}  ${one.balanced_accuracy ? number(one.balanced_accuracy.value) : ""}`),
    ),
  );
  byId("comparing").addEventListener("submit", async (event) => {
    event.preventDefault();
    show(byId("compare-error"), chosen.length < 2 ? "Choose two or more runs." : "");
    if (chosen.length < 2) return;
    byId("compare").disabled = true;
    byId("compare-status").textContent = "Comparing…";
    byId("compared").replaceChildren();
    try {
      shown(await compare([...chosen], ({ before }) => {
        byId("compare-status").textContent = before ? `Waiting for ${before} other job${before > 1 ? "s" : ""}…` : "Comparing…";
      }));
      byId("compare-status").textContent = "Compared.";
    } catch (error) {
      show(byId("compare-error"), error.message);
      byId("compare-status").textContent = "";
    }
    byId("compare").disabled = false;
  });
}

function shown(found) {
  const heading = el("h2", { tabindex: "-1" }, "What was found");
  const keys = Object.keys(found.methods[0].overall);
  const place = byId("compared");
  place.replaceChildren(
    heading,
    ...found.pairs.map((pair) => el("p", { class: "answer" }, el("strong", {}, `${pair.candidate} against ${pair.baseline}: `), pair.said.replace(/(?<![\w.])-(?=\d)/g, "−"))),
    el("p", { class: "quiet" }, `Over ${found.units.toLocaleString("en")} ${found.unit}, on the same test samples. A difference counts as certain where its interval leaves out zero and its p, after Holm's correction, is at most 0.05.`),
    table("Methods", ["method", "runs", ...keys.map(named)], found.methods.map((one) => [one.name, String(one.runs), ...keys.map((key) => interval(one.overall[key]))])),
  );
  for (const pair of found.pairs) {
    const base = found.methods.find((one) => one.name === pair.baseline);
    const other = found.methods.find((one) => one.name === pair.candidate);
    place.append(
      el("h3", {}, `Recall of each class: ${pair.candidate} against ${pair.baseline}`),
      table("Recall of each class", ["class", "test samples", pair.baseline, pair.candidate, "difference", "p", "certain"],
        pair.classes.map((one, i) => [one.name, String(found.support[i]), number(base.recall[i].value), number(other.recall[i].value), change(one), number(one.p), one.certain ? "yes" : "no"])),
    );
  }
  if (found.notes.length) place.append(el("div", { class: "note" }, el("ul", {}, found.notes.map((line) => el("li", {}, line)))));
  heading.focus();
}

function change(one) {
  const text = one.value === null ? "–" : `${signed(one.value)} [${signed(one.low)}, ${signed(one.high)}]`;
  return el("span", { class: one.certain ? (one.value > 0 ? "up" : "down") : null }, text);
}
