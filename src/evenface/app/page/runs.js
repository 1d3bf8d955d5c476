// Runs, studies, and all that is known of one.

import { el, interval, number, styled, table } from "./dom.js";
import { rendered } from "./card.js";

const NAMES = { balanced_accuracy: "Balanced accuracy", accuracy: "Accuracy", macro_f1: "Macro F1" };
const title = (text) => el("h1", { tabindex: "-1" }, text);
const link = (href, text, more = {}) => el("a", { href, ...more }, text);

export function showRuns(place, { models, studies }) {
  place.replaceChildren(
    title("Runs"),
    models.length
      ? table(
          "Runs and files of models",
          ["name", "balanced accuracy", "classes", "takes"],
          models.map((one) => [
            link(`#runs/${one.id}`, one.name),
            one.balanced_accuracy ? interval(one.balanced_accuracy) : "–",
            String(one.classes.length),
            one.takes.join(", ") || "–",
          ]),
          { words: [3] },
        )
      : el("p", {}, "There are none."),
    el("p", { class: "quiet" }, "Balanced accuracy is the mean recall over the classes on the run's test side, with its 95 % interval."),
  );
  if (!studies.length) return;
  place.append(
    el("h2", {}, "Studies"),
    table(
      "Studies",
      ["name", "runs", "about"],
      studies.map((one) => [link(`#studies/${one.id}`, one.name), String(one.runs), one.about]),
      { words: [2], class: "wide" },
    ),
  );
}

export function showStudy(place, study, { models }) {
  const names = new Map(models.map((one) => [one.id, one.name]));
  place.replaceChildren(
    el("p", {}, link("#runs", "All runs")),
    title(study.name),
    el("p", { class: "lead" }, study.about),
    study.report ? el("p", {}, link(`/api/v1/studies/${study.id}/report.html`, "Report", { target: "_blank", rel: "noopener" })) : null,
    study.header.length ? table("Table of the study", study.header, study.rows.map((row) => row.map(rounded))) : el("p", {}, "There is no table yet."),
    el("h2", {}, "Runs"),
    el("ul", {}, study.models.filter((id) => names.has(id)).map((id) => el("li", {}, link(`#runs/${id}`, names.get(id))))),
  );
}

const rounded = (text) => (/^-?\d+\.\d{4,}$/.test(text) ? number(Number(text)) : text);

export function showModel(place, model) {
  const tiles = Object.entries(NAMES).filter(([key]) => model.overall[key]);
  place.replaceChildren(
    el("p", {}, link("#runs", "All runs")),
    title(model.name),
    el("p", { class: "lead" }, model.about),
    ...model.warnings.map((line) => el("p", { class: "note" }, el("strong", {}, line))),
    el("p", { class: "row" }, model.usable ? link(`#try/${model.id}`, "Try this model") : null,
      model.report ? link(`/api/v1/models/${model.id}/report.html`, "Whole report", { target: "_blank", rel: "noopener" }) : null),
    el("div", { class: "tiles" }, tiles.map(([key, name]) => tile(name, model.overall[key]))),
    el("p", { class: "quiet" }, [
      model.units ? `On the test side, with 95 % intervals over ${model.units}. ` : "",
      model.calibrated ? `Probabilities are calibrated (temperature ${number(model.temperature, 2)}).` : "Probabilities are not calibrated.",
    ].join("")),
  );
  if (model.per_class.length) {
    const rows = model.per_class.map((one) => [one.name, String(one.support), interval(one.recall), interval(one.precision), interval(one.f1)]);
    place.append(el("h2", {}, "Classes"), table("Results of each class", ["class", "test samples", "recall", "precision", "F1"], rows));
  }
  if (model.confusion.length) place.append(el("h2", {}, "Confusions"), ...confusion(model));
  if (model.notes.length) place.append(el("div", { class: "note" }, el("h2", {}, "Read with this in mind"), el("ul", {}, model.notes.map((line) => el("li", {}, line)))));
  if (model.card) place.append(el("h2", {}, "Model card"), rendered(model.card));
}

const tile = (name, value) =>
  el("div", { class: "tile" }, el("p", { class: "quiet" }, name), el("p", { class: "big" }, number(value.value)),
    el("p", { class: "quiet" }, value.low === null ? "" : `[${number(value.low)}, ${number(value.high)}]`));

function confusion(model) {
  const names = model.classes;
  const rows = model.confusion.map((row, i) => {
    const sum = row.reduce((a, b) => a + b, 0);
    return [names[i], ...row.map((count) => el("span", { "data-share": sum ? count / sum : 0 }, String(count)))];
  });
  const made = table("Confusions", ["true class", ...names], rows, { class: "confusion" });
  for (const cell of made.querySelectorAll("td")) {
    styled(cell, { background: `rgba(var(--shade), ${0.6 * Number(cell.firstChild.dataset.share)})` });
  }
  return [made, el("p", { class: "quiet" }, "A row for each true class, a column for what was said; test samples, shaded by their share of the row.")];
}
