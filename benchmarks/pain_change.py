"""Agreement of pain as change with the truth of synthetic clips of people that were not trained on.

``python -m benchmarks.pain_change RUN RUN... --out results.json``: runs of the recipe ``synthetic-pain-units`` with
several seeds, each measured by itself and summarised by mean and range. For every test clip the predicted units of its
frames give a score like PSPI, and its change against the person's own baseline; both are compared with those of the
drawn units.
"""

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import commit, hardware
from evenface.evaluation.pain_change import STATEMENT, pain_change, pspi_like
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.evaluation.target_summary import target_metrics_of
from evenface.runs import Run
from evenface.utils.files import write_json


def scores(predictions: TargetPredictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted score of each frame."""
    sides = (predictions.targets, predictions.values)
    true, said = (pspi_like(dict(zip(predictions.names, side.T, strict=True))) for side in sides)
    return true, said


def measured(run: Run) -> dict[str, Any]:
    """Compare scores and changes of one run's test clips with the truth."""
    predictions = run.results
    assert isinstance(predictions, TargetPredictions)
    assert predictions.clip is not None
    true, said = scores(predictions)
    change = np.full((2, len(true)), np.nan)
    inside = []
    for clip in np.unique(predictions.clip.astype(str)):
        rows = np.flatnonzero(predictions.clip == clip)
        for side, values in enumerate((true, said)):
            change[side, rows] = pain_change(values[rows])
        if true[rows].std() > 0:
            inside.append(float(stats.pearsonr(true[rows], said[rows]).statistic))
    kept = {}
    for name, (truth, value) in {"score": (true, said), "change": (change[0], change[1])}.items():
        one = TargetPredictions(
            predictions.sample,
            predictions.subject,
            truth[:, None],
            value[:, None],
            (name,),
            "regression",
            predictions.clip,
        )
        kept[name] = target_metrics_of(one)["overall"]
    units = {name: entry["ccc"] for name, entry in target_metrics_of(predictions)["per_target"].items()}
    return {**kept, "pearson within clips, median": float(np.median(inside)), "clips": len(inside), "units ccc": units}


def over_seeds(each: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean, lowest and highest value of every measure over the runs."""
    within = "pearson within clips, median"
    found = {within: [values[within] for values in each.values()]}
    for kind in ("score", "change"):
        for key in next(iter(each.values()))[kind]:
            found[f"{kind} {key}"] = [values[kind][key]["value"] for values in each.values()]
    return {
        name: {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
        for name, values in found.items()
    }


def main() -> None:
    """Measure the runs and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = [Run.open(path) for path in arguments.runs]
    each = {f"seed {run.facts['seed']}": measured(run) for run in runs}
    content = {
        "commit": commit(),
        "date": str(datetime.date.today()),
        **hardware(),
        "statement": STATEMENT,
        "runs": each,
        "over seeds": over_seeds(each),
    }
    write_json(arguments.out, content)
    for name, values in each.items():
        for kind in ("score", "change"):
            entry = values[kind]
            print(
                name,
                kind,
                *(f"{key} {entry[key]['value']:.3f}" for key in ("ccc", "pearson", "icc_3_1", "expected_mae")),
            )
        print(name, "pearson within clips, median", f"{values['pearson within clips, median']:.3f}")
    for name, spread in content["over seeds"].items():
        print("over seeds", name, f"{spread['mean']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]")


if __name__ == "__main__":
    main()
