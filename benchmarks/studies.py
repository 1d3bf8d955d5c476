"""Keep the results of a study: its tables and, of each run, predictions, recipe, metadata and history.

``python -m benchmarks.studies STUDY FOLDER`` copies them from a study folder, without paths of this machine and
without weights. The result is still a study folder: ``evenface study FOLDER --out FOLDER`` recomputes its tables and
its page from the predictions, which are rounded to 32 bits. Of more than :data:`MANY` runs only the tables are
kept, and all predictions in one file. ``--figure FILE`` also draws the study's first metric.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.common import commit, hardware
from evenface.reporting import style
from evenface.runs import FACTS, HISTORY, PREDICTIONS, VALIDATION
from evenface.studies.plan import START, StudyOptions
from evenface.studies.report import cell_figure
from evenface.studies.results import measure
from evenface.studies.run import open_plan
from evenface.utils.files import write_json

MANY = 90
"""Number of runs above which all predictions are kept in one file."""
TABLES = ("table.csv", "table.md", "differences.csv", "runs.csv")


def keep(study: Path, folder: Path) -> list[Path]:
    """Copy a study; return the folders of the runs."""
    # A study of some levels lists those alone, and may hold runs of others.
    listed = {study / name for name in pd.read_csv(study / "runs.csv")["folder"]} | {study / START}
    runs = sorted(path.parent for path in study.rglob(PREDICTIONS) if listed & {*path.parents})
    folder.mkdir(parents=True, exist_ok=True)
    judged = yaml.safe_load((study / "study.yaml").read_text("utf-8"))["study"].get("validation", False)
    if len(runs) > MANY:
        every = [predictions(run / PREDICTIONS).to_pandas().assign(run=str(run.relative_to(study))) for run in runs]
        pd.concat(every).to_parquet(folder / PREDICTIONS, index=False, compression="zstd")
    for run in runs if len(runs) <= MANY else ():
        has = judged and (run / VALIDATION).is_file()  # initial runs may have none
        keep_run(run, folder / run.relative_to(study), (PREDICTIONS, VALIDATION) if has else (PREDICTIONS,))
    for name in TABLES:
        shutil.copyfile(study / name, folder / name)
    copy_without_paths(study / "study.yaml", folder / "study.yaml")
    return runs


def keep_run(run: Path, folder: Path, files: Sequence[str] = (PREDICTIONS,)) -> None:
    """Copy one run with the given prediction files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        pq.write_table(predictions(run / name), folder / name, compression="zstd")
    shutil.copyfile(run / HISTORY, folder / HISTORY)
    copy_without_paths(run / "recipe.yaml", folder / "recipe.yaml")
    facts = json.loads((run / FACTS).read_text("utf-8"))
    for name in ("store", "digest", "digests"):  # of files as they were before they were rounded
        facts.pop(name, None)
    if drawn := facts.get("synthetic"):
        drawn.pop("store", None)
    write_json(folder / FACTS, without_paths(facts))


def predictions(path: Path) -> pa.Table:
    """Read predictions with what the file states of them; all numbers of samples are rounded to 32 bits."""
    table = pq.read_table(path)
    rounded = [
        field.with_type(pa.float32()) if field.name.startswith(("p_", "s_", "v_", "y_")) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(rounded, metadata=table.schema.metadata))


def draw(study: Path, file: Path) -> None:
    """Draw the first metric of the levels that the study's table lists."""
    plan, _ = open_plan(study, StudyOptions())
    table = pd.read_csv(study / "runs.csv", dtype=str)
    plan = replace(plan, choice=replace(plan.choice, only={name: [*table[name].unique()] for name in plan.factors}))
    chosen = plan.chosen()
    style.save(cell_figure(chosen, measure(chosen, study), plan.study.metrics[0]), file)


def copy_without_paths(source: Path, target: Path) -> None:
    content = without_paths(yaml.safe_load(source.read_text("utf-8")))
    target.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")


def without_paths(value: Any) -> Any:
    """Remove the data path, and replace paths of weights by the initial run of the study."""
    if isinstance(value, dict):
        there = value.get("weights")
        started = {"weights": START} if isinstance(there, str) and there.endswith(".safetensors") else {}
        kept = {key: None if key in ("root", "data.root") else without_paths(one) for key, one in value.items()}
        return kept | started
    return [without_paths(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """Copy, and record hardware, commit and duration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--commit", default=commit(), help="commit that the runs were trained at")
    parser.add_argument("--minutes", type=float, help="duration of the study")
    parser.add_argument("--figure", type=Path, help="SVG or PNG file of the first metric")
    options = parser.parse_args()
    runs = keep(options.study, options.folder)
    if options.figure is not None:
        draw(options.study, options.figure)
    facts = [json.loads((run / FACTS).read_text("utf-8")) for run in runs]
    training = sum(fact["training_seconds"] for fact in facts)
    write_json(
        options.folder / "facts.json",
        {
            "commit": options.commit,
            "hardware": hardware(),
            "runs": len(runs),
            "training_minutes_of_all_runs": round(training / 60, 1),
            "minutes_from_start_to_end": options.minutes,
        },
    )


if __name__ == "__main__":
    main()
