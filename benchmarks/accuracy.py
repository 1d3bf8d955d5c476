"""Keep the results of runs: predictions, recipe, history and metrics of each, and their comparison.

``python -m benchmarks.accuracy FOLDER RUN RUN...`` copies them from run folders to FOLDER, without paths of this
machine. Everything in FOLDER's ``summary.json`` is computed from the predictions beside it. Runs that differ only in
their seed are not compared: their mean and interval are reported, and their learning curves drawn.
"""

import argparse
import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.common import commit, hardware
from evenface.evaluation import metrics
from evenface.evaluation.comparison import compare
from evenface.evaluation.summary import metrics_of
from evenface.reporting import figures, style
from evenface.reporting.summaries import comparison_summary, comparison_uncertainty, group_runs
from evenface.runs import HISTORY, METRICS, PREDICTIONS, VALIDATION, Run
from evenface.statistics.t_tests import estimate
from evenface.utils.files import write_json

FACTS = ("seed", "device", "environment", "manifest", "counts", "notes", "epochs", "training_seconds", "peak_memory_mb")


def keep(run: Run, folder: Path) -> None:
    """Copy predictions, history, metrics, recipe and metadata of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PREDICTIONS, HISTORY, METRICS):
        shutil.copyfile(run.folder / name, folder / name)
    if (run.folder / VALIDATION).is_file():
        shutil.copyfile(run.folder / VALIDATION, folder / VALIDATION)
    recipe = run.recipe.model_dump(mode="json")
    recipe["data"]["root"] = None
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    write_json(folder / "facts.json", {name: run.facts[name] for name in FACTS})


def repeated(runs: list[Run]) -> dict[str, Any]:
    """Return the metrics of each run, and their mean over seeds with Student's interval."""
    each = {run.folder.name: metrics_of(run.predictions) for run in runs}
    values = {
        name: [float(one["overall"][name]["value"]) for one in each.values()]
        for name in ("accuracy", "balanced_accuracy", "macro_f1")
    }
    recalls = [metrics.recall(np.asarray(one["confusion"])).tolist() for one in each.values()]
    mean = {name: _spread(own) for name, own in values.items()}
    return {
        "screen": [
            f"{name.replace('_', ' ')}  {own['mean']:.3f} [{own['low']:.3f}, {own['high']:.3f}] over {len(runs)} seeds"
            for name, own in mean.items()
        ],
        "runs": {name: one["overall"] for name, one in each.items()},
        "mean": mean,
        "recall": dict(zip(runs[0].predictions.classes, np.mean(recalls, axis=0).tolist(), strict=True)),
    }


def _spread(values: list[float]) -> dict[str, float]:
    mean, sd, seeds = estimate(np.asarray(values))
    return {"mean": mean.value, "sd": sd, "low": mean.low, "high": mean.high, "seeds": seeds}


def summarise(runs: list[Run]) -> dict[str, Any]:
    """Compare the runs, the first being the baseline."""
    methods = {name: [run.predictions for run in group] for name, group in group_runs(runs).items()}
    if len(methods) == 1:
        return repeated(runs)
    comparison = compare(methods)
    return {
        "screen": comparison_summary(comparison).splitlines(),
        "how_sure": comparison_uncertainty(comparison),
        "methods": {
            method.name: {
                "overall": {name: vars(estimate) for name, estimate in method.overall.items()},
                "recall": {
                    label: vars(estimate) for label, estimate in zip(comparison.classes, method.by_class, strict=True)
                },
            }
            for method in comparison.methods
        },
        "differences": {
            pair.candidate: {name: vars(difference) for name, difference in pair.overall.items()}
            for pair in comparison.pairs
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, the baseline first")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    options = parser.parse_args()
    runs = [Run.open(folder) for folder in options.runs]
    for run in runs:
        keep(run, options.folder / run.folder.name)
    if len(group_runs(runs)) == 1:
        curves = figures.training_curves({f"seed {run.recipe.seed}": run.history for run in runs})
        assert curves is not None
        style.save(curves, options.folder / "learning-curve.svg")
    summary = {"date": options.date, "commit": commit(), "hardware": hardware(), **summarise(runs)}
    write_json(options.folder / "summary.json", summary)
    print("\n".join(summary["screen"]))


if __name__ == "__main__":
    main()
