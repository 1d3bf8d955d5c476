"""The tables in benchmarks/results are those of the predictions beside them, by scikit-learn."""

import json
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

RESULTS = Path(__file__).parents[1] / "benchmarks/results"
FILES = {"": "predictions.parquet", "validation": "validation.parquet"}
STUDIES = sorted(path.parent for path in RESULTS.glob("*/study.yaml"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_cell_is_the_mean_of_its_runs_predictions(study):
    runs, table = (pd.read_csv(study / name, keep_default_na=False) for name in ("runs.csv", "table.csv"))
    sides = runs.get("tested on", pd.Series("", index=runs.index)).map(lambda side: FILES.get(side, FILES[""]))
    every = pd.read_parquet(study / FILES[""]) if (study / FILES[""]).is_file() else None  # of many runs, in one file
    kept = len(set(every["run"])) if every is not None else 0
    assert len(runs) == kept + sum(len(list((study / "runs").rglob(name))) for name in set(sides))
    found = []
    for folder, name in zip(runs["folder"], sides, strict=True):
        predictions = every[every["run"] == folder] if every is not None else pd.read_parquet(study / folder / name)
        picked = predictions.filter(like="p_").to_numpy().argmax(axis=1)
        found.append(
            {
                "accuracy": accuracy_score(predictions["label"], picked),
                "balanced accuracy": balanced_accuracy_score(predictions["label"], picked),
                "macro F1": f1_score(predictions["label"], picked, average="macro"),
            }
        )
    measured = pd.DataFrame(found)
    factors = list(runs.columns[: list(runs.columns).index("seed")])
    parted = {"folds", "cohorts"} & set(table)  # seeds of a fold are tested on the same samples
    unit = [*factors, "fold" if parted else "seed"]
    cells = pd.concat([runs[unit], measured], axis=1).groupby(unit).mean().groupby(factors)
    kept = table.set_index(factors)
    assert "accuracy" in kept
    for metric in measured.columns.intersection(kept.columns):
        means, spreads = cells[metric].mean(), cells[metric].std()
        assert kept[metric].to_dict() == pytest.approx(means.to_dict(), abs=1e-6)
        assert kept[f"{metric} sd"].to_dict() == pytest.approx(spreads.to_dict(), abs=1e-6)


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


def test_nothing_kept_names_this_machine():
    texts = [path for suffix in ("yaml", "json", "csv", "md") for path in RESULTS.rglob(f"*.{suffix}")]
    assert len(texts) > 100
    assert not [
        path for path in texts if any(word in path.read_text("utf-8") for word in ("/home/", "/tmp/", "/work/"))
    ]
