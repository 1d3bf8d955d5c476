// List runs and studies, and show the details of one.

import { OUTPUTS, calibration, el, interval, isTarget, number, short, styled, table } from "./dom.js";
import { renderCard } from "./card.js";

const INPUTS = { image: "images", video: "videos", features: "feature files" };
const title = (text) => el("h1", { tabindex: "-1" }, text);
const link = (href, text, more = {}) => el("a", { href, ...more }, text);

export function showRuns(container, { models, studies }, { metrics }) {
  container.replaceChildren(
    title("Runs"),
    models.length
      ? table(
          "Runs and exported models",
          ["name", "main metric", "result", "predicts", "inputs"],
          models.map((model) => [
            link(`#runs/${model.id}`, model.name),
            short(metrics[model.metric]),
            model.result ? interval(model.result) : "–",
            isTarget(model) && model.classes.length < 4 ? model.classes.join(", ") : `${model.classes.length} ${OUTPUTS[model.task].toLowerCase()}`,
            model.takes.map((kind) => INPUTS[kind]).join(", ") || "–",
          ]),
          { words: [1, 3, 4] },
        )
      : el("p", {}, "No runs."),
    el("p", { class: "quiet" }, "The main metric of each task, on the test set, with its 95 % confidence interval. Balanced accuracy is the mean recall over the classes."),
  );
  if (!studies.length) return;
  container.append(
    el("h2", {}, "Studies"),
    table(
      "Studies",
      ["name", "runs", "about"],
      studies.map((study) => [link(`#studies/${study.id}`, study.name), String(study.runs), study.about]),
      { words: [2], class: "wide" },
    ),
  );
}

export function showStudy(container, study, { models }) {
  const names = new Map(models.map(({ id, name }) => [id, name]));
  container.replaceChildren(
    el("p", {}, link("#runs", "All runs")),
    title(study.name),
    el("p", { class: "lead" }, study.about),
    study.report ? el("p", {}, link(`/api/v1/studies/${study.id}/report.html`, "Report", { target: "_blank", rel: "noopener" })) : null,
    study.header.length ? table("Table of the study", study.header, study.rows.map((row) => row.map(rounded))) : el("p", {}, "No table yet."),
    el("h2", {}, "Runs"),
    el("ul", {}, study.models.filter((id) => names.has(id)).map((id) => el("li", {}, link(`#runs/${id}`, names.get(id))))),
  );
}

const rounded = (text) => (/^-?\d+\.\d{4,}$/.test(text) ? number(Number(text)) : text);

export function showModel(container, model, { metrics, headline }) {
  const tiles = headline[model.task].filter((name) => model.overall[name]);
  container.replaceChildren(
    el("p", {}, link("#runs", "All runs")),
    title(model.name),
    el("p", { class: "lead" }, model.about),
    ...model.warnings.map((line) => el("p", { class: "note" }, el("strong", {}, line))),
    el("p", { class: "row" }, model.usable ? link(`#try/${model.id}`, "Try this model") : null,
      model.report ? link(`/api/v1/models/${model.id}/report.html`, "Full report", { target: "_blank", rel: "noopener" }) : null),
    el("div", { class: "tiles" }, tiles.map((name) => tile(short(metrics[name]), model.overall[name]))),
    el("p", { class: "quiet" }, [
      model.units ? `On the test set, with 95 % confidence intervals; unit of replication: ${model.units}. ` : "",
      calibration(model),
    ].join("")),
  );
  if (model.per_class.length) {
    const rows = model.per_class.map((row) => [row.name, String(row.support), interval(row.recall), interval(row.precision), interval(row.f1)]);
    container.append(el("h2", {}, "Classes"), table("Results of each class", ["class", "test samples", "recall", "precision", "F1"], rows));
  }
  if (model.per_target.length) container.append(el("h2", {}, "Targets"), targetTable(model, metrics));
  if (model.confusion.length) container.append(el("h2", {}, "Confusion matrix"), ...confusion(model));
  if (model.notes.length) container.append(el("div", { class: "note" }, el("h2", {}, "Notes"), el("ul", {}, model.notes.map((line) => el("li", {}, line)))));
  if (model.card) container.append(el("h2", {}, "Model card"), renderCard(model.card));
}

// The metrics of each target, with their intervals.
function targetTable(model, metrics) {
  const [{ metrics: own, threshold }] = model.per_target;
  const names = Object.keys(own);
  const counted = threshold === null ? ["test samples"] : ["test samples with it", "threshold"];
  const rows = model.per_target.map((row) => [row.name, String(row.support), ...(row.threshold === null ? [] : [number(row.threshold, 2)]), ...names.map((name) => interval(row.metrics[name]))]);
  return table("Results of each target", ["target", ...counted, ...names.map((name) => short(metrics[name]))], rows);
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
  const matrix = table("Confusion matrix", ["true \\ predicted", ...names], rows, { class: "confusion" });
  for (const cell of matrix.querySelectorAll("td")) {
    styled(cell, { background: `rgba(var(--shade), ${0.6 * Number(cell.firstChild.dataset.share)})` });
  }
  return [matrix, el("p", { class: "quiet" }, "Rows are true classes, columns predicted classes; numbers of test samples, shaded by their fraction of the row.")];
}
