"""The tables in benchmarks/results are those of the predictions beside them, by scikit-learn."""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
)

from evenface.studies.plan import StudyOptions
from evenface.studies.run import claim, open_plan
from evenface.utils.errors import InputError

RESULTS = Path(__file__).parents[1] / "benchmarks/results"
FILES = {"": "predictions.parquet", "validation": "validation.parquet"}
SCORES = {
    "accuracy": accuracy_score,
    "balanced accuracy": balanced_accuracy_score,
    "macro F1": partial(f1_score, average="macro"),
}
STUDIES = sorted(path.parent for path in RESULTS.glob("*/study.yaml"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_cell_is_the_mean_of_its_runs_predictions(study):
    runs, table = (pd.read_csv(study / name, keep_default_na=False) for name in ("runs.csv", "table.csv"))
    sides = runs.get("tested on", pd.Series("", index=runs.index)).map(lambda side: FILES.get(side, FILES[""]))
    every = pd.read_parquet(study / FILES[""]) if (study / FILES[""]).is_file() else None  # of many runs, in one file
    kept = len(set(every["run"])) if every is not None else 0
    assert len(runs) == kept + sum(len(list((study / "runs").rglob(name))) for name in set(sides))
    shown = {name: score for name, score in SCORES.items() if name in table}
    groups = dict(list(every.groupby("run"))) if every is not None else {}
    found = []
    for folder, name in zip(runs["folder"], sides, strict=True):
        predictions = groups[folder] if every is not None else pd.read_parquet(study / folder / name)
        found.append(_scores(predictions, shown) if "label" in predictions else _target_scores(predictions))
    measured = pd.DataFrame(found)
    factors = list(runs.columns[: list(runs.columns).index("seed")])
    parted = {"folds", "cohorts"} & set(table)  # seeds of a fold are tested on the same samples
    unit = [*factors, "fold" if parted else "seed"]
    cells = pd.concat([runs[unit], measured], axis=1).groupby(unit).mean().groupby(factors)
    kept = table.set_index(factors)
    assert len(measured.columns.intersection(kept.columns))
    for metric in measured.columns.intersection(kept.columns):
        for name, values in ((metric, cells[metric].mean()), (f"{metric} sd", cells[metric].std())):
            shown = pd.to_numeric(kept[name]).dropna()  # of several tasks, some cells have no such metric
            assert shown.to_dict() == pytest.approx(values.dropna().to_dict(), abs=1e-6)


def _scores(predictions, shown):
    labels, picked = predictions["label"].to_numpy(), predictions.filter(like="p_").to_numpy().argmax(axis=1)
    return {name: score(labels, picked) for name, score in shown.items()}


def _target_scores(predictions):
    """Means over targets of what needs no threshold: of action units average precision, of numbers the errors."""
    names = [name.removeprefix("y_") for name in predictions.columns if name.startswith("y_")]
    pairs = [(predictions[f"y_{name}"], predictions[f"v_{name}"]) for name in names]
    units = all(true.isin([0, 1]).all() for true, _ in pairs)
    score = average_precision_score if units else mean_absolute_error
    return {"macro average precision" if units else "MAE (continuous)": mean(score(*pair) for pair in pairs)}


def test_the_best_on_fer2013_is_what_its_predictions_say():
    folder = RESULTS / "fer2013-best"
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    kept = [pd.read_parquet(path) for path in sorted(folder.glob("*/predictions.parquet"))]
    picked = [(one["label"], one.filter(like="p_").to_numpy().argmax(axis=1)) for one in kept]
    assert len(kept) == summary["mean"]["accuracy"]["seeds"] == 3
    assert summary["mean"]["accuracy"]["mean"] == pytest.approx(mean(accuracy_score(*one) for one in picked))
    balanced = [balanced_accuracy_score(*one) for one in picked]
    assert summary["mean"]["balanced_accuracy"]["mean"] == pytest.approx(mean(balanced))
    assert summary["mean"]["balanced_accuracy"]["sd"] == pytest.approx(stdev(balanced))


def test_a_kept_study_is_reported_again_with_a_note_on_changed_settings(tmp_path):
    kept = shutil.copytree(RESULTS / "p1-table6-synthetic-quick", tmp_path / "kept")
    plan, own = open_plan(kept, StudyOptions())
    assert own == kept
    (note,) = claim(plan, kept)
    assert "network.weights" not in note, "kept without the path of this machine"
    for name in ("data.clips.stored_frames", "optimizer.betas"):
        assert name in note
    shutil.rmtree(kept / plan.runs[0].folder)
    with pytest.raises(InputError, match="another version of evenface"):
        claim(plan, kept)


def test_nothing_kept_names_this_machine():
    texts = [path for suffix in ("yaml", "json", "csv", "md") for path in RESULTS.rglob(f"*.{suffix}")]
    assert len(texts) > 100
    assert not [
        path for path in texts if any(word in path.read_text("utf-8") for word in ("/home/", "/tmp/", "/work/"))
    ]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_p_is_scipys_of_the_runs_and_corrected_where_folds_share_training_data(study):
    read = {"keep_default_na": False, "na_values": [""]}
    runs, table = pd.read_csv(study / "runs.csv", dtype=str, **read), pd.read_csv(study / "differences.csv", **read)
    factors = [
        name for name in runs.columns[: list(runs.columns).index("seed")] if name not in ("tested on", "warning")
    ]
    if "tested on" in runs:  # differences are of the study's own test data
        runs = runs[runs["tested on"] != "validation"]
    repeat, merged, checked = ["seed", "fold"], {}, 0
    for row in table.to_dict("records"):
        if row["unit"] not in ("runs", "folds", "cohorts") or math.isnan(row["p"]):
            continue
        factor = row["compared"].split(": ")[0]
        others, metric = [name for name in factors if name != factor], row["metric"]
        if row["compared"] not in merged:
            sides = (runs[runs[factor] == level] for level in row["compared"].split(": ")[1].split(" less "))
            both = next(sides).merge(next(sides), on=[*repeat, *others]).fillna({"fold": "0"})
            texts = [", ".join(map(" ".join, zip(others, one, strict=True))) for one in both[others].to_numpy()]
            values = {f"{name}_{side}": float for name in set(table["metric"]) for side in "xy"}
            merged[row["compared"]] = both.astype(values).assign(text=texts)
        pairs = merged[row["compared"]].dropna(subset=[f"{metric}_x", f"{metric}_y"])
        setting = row.get("setting", "–")  # without the column there is but one
        if setting == "over all settings":
            whole = pairs.groupby(repeat)[others[0]].transform("size")
            pairs = pairs[whole == whole.max()]
        elif setting != "–":
            pairs = pairs[pairs["text"] == setting]
        unit = "seed" if row["unit"] == "runs" else "fold"
        value, base = pairs.groupby(unit)[[f"{metric}_x", f"{metric}_y"]].mean().to_numpy().T
        test = stats.ttest_rel(value, base)
        expected = 1.0 if (value == base).all() else test.pvalue  # nothing that differs, of which scipy has no p
        assert row["pairs"] == len(value)
        assert row.get("p (plain paired t)", row["p"]) == pytest.approx(expected, rel=1e-6), row
        if row["unit"] == "folds":
            n = len(value)  # all folds were run: each tests on 1 / (n - 1) of what it learns from
            t = abs(test.statistic) * math.sqrt((1 / n) / (1 / n + 1 / (n - 1)))
            assert row["p"] == pytest.approx(2 * stats.t.sf(t, n - 1), rel=1e-6)
        larger = "larger than training noise" if unit == "seed" else "larger than noise"
        assert row["verdict"] == (larger if row["p (Holm)"] <= 0.05 else f"not {larger}")
        checked += 1
    assert checked >= min(5, len(table))
