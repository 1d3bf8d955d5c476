// Select runs and show their statistical comparison.

import { byId, el, interval, isTarget, number, sentence, short, show, signed, table } from "./dom.js";
import { compare } from "./api.js";

export function startCompare({ models }, { metrics, headline }) {
  const selected = [];
  const runs = models.filter((model) => model.kind === "run");
  byId("choices").replaceChildren(
    ...runs.map((run) =>
      el("label", { class: "check" },
        el("input", {
          type: "checkbox",
          value: run.id,
          onchange: ({ target }) => {
            if (target.checked) selected.push(run.id);
            else selected.splice(selected.indexOf(run.id), 1);
          },
        }),
        `${run.name}  ${run.result ? `${short(metrics[run.metric])} ${number(run.result.value)}` : ""}`),
    ),
  );
  byId("compare-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    show(byId("compare-error"), selected.length < 2 ? "Select two or more runs." : "");
    if (selected.length < 2) return;
    byId("compare").disabled = true;
    byId("compare-status").textContent = "Comparing…";
    byId("compared").replaceChildren();
    try {
      const result = await compare([...selected], ({ before }) => {
        byId("compare-status").textContent = before ? `Waiting for ${before} other job${before > 1 ? "s" : ""}…` : "Comparing…";
      });
      showComparison(result, metrics, headline);
      byId("compare-status").textContent = "Comparison finished.";
    } catch (error) {
      show(byId("compare-error"), error.message);
      byId("compare-status").textContent = "";
    }
    byId("compare").disabled = false;
  });
}

function showComparison(result, labels, headline) {
  const heading = el("h2", { tabindex: "-1" }, "Result");
  const all = Object.keys(result.methods[0].overall);
  const first = headline[result.task].filter((name) => all.includes(name));
  const label = (name) => short(labels[name] ?? name.replaceAll("_", " "));
  const unit = isTarget(result) ? "target" : "class";
  const each = `${sentence(label(result.each))} of each ${unit}`;
  const container = byId("compared");
  container.replaceChildren(
    heading,
    ...result.pairs.map((pair) => el("p", { class: "answer" }, el("strong", {}, `${pair.candidate} compared with ${pair.baseline}: `), pair.summary.replace(/(?<![\w.])-(?=\d)/g, "−"))),
    el("p", { class: "quiet" }, `Unit of replication: ${result.units.toLocaleString("en")} ${result.unit}, with the same test samples. A difference is significant if its 95 % interval excludes zero and its p-value, after Holm's correction, is at most 0.05.`),
    table("Methods", ["method", "runs", ...first.map(label)], result.methods.map((method) => [method.name, String(method.runs), ...first.map((name) => interval(method.overall[name]))])),
  );
  for (const pair of result.pairs) {
    const base = result.methods.find((method) => method.name === pair.baseline);
    const candidate = result.methods.find((method) => method.name === pair.candidate);
    container.append(
      el("h3", {}, `${each}: ${pair.candidate} compared with ${pair.baseline}`),
      table(each, [unit, "test samples", pair.baseline, pair.candidate, "difference", "p", "significant"],
        pair.classes.map((row, i) => [row.name, String(result.support[i]), number(base.each[i].value), number(candidate.each[i].value), difference(row), number(row.p), row.certain ? "yes" : "no"])),
    );
  }
  const rows = all.map((name) => [label(name), ...result.methods.map((method) => interval(method.overall[name]))]);
  container.append(el("details", {}, el("summary", {}, "All metrics"), table("All metrics", ["metric", ...result.methods.map(({ name }) => name)], rows)));
  if (result.notes.length) container.append(el("div", { class: "note" }, el("ul", {}, result.notes.map((line) => el("li", {}, line)))));
  heading.focus();
}

function difference(row) {
  const text = row.value === null ? "–" : `${signed(row.value)} [${signed(row.low)}, ${signed(row.high)}]`;
  return el("span", { class: row.certain ? (row.value > 0 ? "up" : "down") : null }, text);
}
