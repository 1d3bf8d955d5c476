"""Keep what runs found: predictions, recipe, history and metrics of each, and their comparison.

``python -m benchmarks.accuracy FOLDER RUN RUN...`` copies them from run folders to FOLDER, without this
machine's paths. Everything in FOLDER's ``summary.json`` is computed from the predictions beside it.
"""

import argparse
import datetime
import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import commit, hardware
from evenface.evaluation.comparison import compare
from evenface.evaluation.wording import screen, sureness
from evenface.files import write_json
from evenface.reporting import groups
from evenface.runs import HISTORY, METRICS, PREDICTIONS, Run

FACTS = ("seed", "device", "environment", "manifest", "counts", "notes", "epochs", "training_seconds", "peak_memory_mb")


def keep(run: Run, folder: Path) -> None:
    """Copy what is worth keeping of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PREDICTIONS, HISTORY, METRICS):
        shutil.copyfile(run.folder / name, folder / name)
    recipe = run.recipe.model_dump(mode="json")
    recipe["data"]["root"] = None
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    write_json(folder / "facts.json", {name: run.facts[name] for name in FACTS})


def summarise(runs: list[Run], date: str) -> dict[str, Any]:
    """Compare the runs, the first being the baseline."""
    methods = {name: [run.predictions for run in group] for name, group in groups(runs).items()}
    comparison = compare(methods)
    return {
        "date": date,
        "commit": commit(),
        "hardware": hardware(),
        "screen": screen(comparison).splitlines(),
        "how_sure": sureness(comparison),
        "methods": {
            method.name: {
                "overall": {name: vars(estimate) for name, estimate in method.overall.items()},
                "recall": {
                    label: vars(estimate) for label, estimate in zip(comparison.classes, method.recall, strict=True)
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
    summary = summarise(runs, options.date)
    write_json(options.folder / "summary.json", summary)
    print("\n".join(summary["screen"]))


if __name__ == "__main__":
    main()
