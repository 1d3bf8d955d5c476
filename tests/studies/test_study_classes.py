"""Per-class tables of a study, ours and printed, against counts made by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from evenface.evaluation.predictions import Predictions
from evenface.studies import load_study
from evenface.studies.plan import StudyOptions, make_plan
from evenface.studies.report import heading, protocol_bias, training_figures
from evenface.studies.results import measure
from evenface.studies.tables import cell_table, class_table, confusion_table
from evenface.utils.errors import InputError

SAID = {"calm": 3, "pain": 3}
STUDY = {
    "name": "s",
    "recipe": {"name": "r", "data": {"source": "folder", "root": "x"}},
    "factors": {"lr": {"high": {"optimizer.lr": 1.0}, "low": {"optimizer.lr": 0.1}}},
    "metrics": ["accuracy", "recall", "confusion"],
    "seeds": 2,
    "validation": True,
    "datasets": {"faces": {}},
    "printed": [
        {
            "cell": {"lr": "high"},
            "accuracy": 0.9,
            "recall": {"calm": 0.5},
            "confusion": {"calm": {"calm": 3, "pain": 3}},
        },
        {"cell": {"lr": "low"}, "test_set": "validation", "accuracy": 0.7, "recall": {"calm": 0.25, "pain": 1.0}},
    ],
    "quoted": [{"cell": {"lr": "other"}, "recall": {"pain": 0.1}, "source": "Someone 2020"}],
}
CLASSES = {"high": ("calm", "pain"), "low": ("rising", "falling")}
"""Cells may have classes of their own."""


@pytest.fixture
def judged(tmp_path):
    """A study whose runs are only predictions: 30 test and 20 validation samples each."""
    plan = make_plan(load_study(STUDY))
    rng = np.random.default_rng(0)
    known = {}
    for run in plan.trainings:
        folder = tmp_path / run.folder
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"notes": []}))
        for file, count in (("predictions", 30), ("validation", 20)):
            names = np.array([f"s{i}" for i in range(count)], dtype=object)
            p = rng.dirichlet((1, 1), count)
            found = Predictions(names, None, np.arange(count) % 2, p, CLASSES[run.cell[0]])
            found.save(folder / f"{file}.parquet")
            known.setdefault((file, run.cell[0]), []).append(found)
    return plan, measure(plan, tmp_path), known


def test_the_validation_set_is_an_evaluation_set_of_its_own(judged):
    plan, runs, known = judged
    assert plan.evaluation_sets == ("", "validation")
    rows = {(row[0], row[1]): row for row in cell_table(plan, runs, spread=False).rows}
    for side, file in (("faces", "predictions"), ("validation", "validation")):
        for level in ("high", "low"):
            naive = np.mean([(p.predicted == p.labels).mean() for p in known[file, level]])
            assert rows[side, level][3].value == pytest.approx(naive)
    assert rows["faces", "high"][4] == 0.9
    assert rows["validation", "low"][4] == 0.7


def test_per_class_recall_is_that_of_the_predictions_followed_by_printed_values(judged):
    plan, runs, known = judged
    table = class_table(plan, runs, "recall")
    assert table.header == ("tested on", "lr", "figures", "calm", "pain", "rising", "falling")
    rows = {row[:3]: row[3:] for row in table.rows}
    naive = np.mean([recall_score(p.labels, p.predicted, average=None) for p in known["validation", "low"]], axis=0)
    assert [cell.value for cell in rows["validation", "low", "ours"]] == pytest.approx(
        [np.nan] * 2 + naive.tolist(), nan_ok=True
    )
    assert rows["validation", "low", "as printed"][:2] == (0.25, 1.0)
    assert rows["faces", "high", "as printed"][0] == 0.5
    assert rows["faces", "other", "quoted"][1] == 0.1
    assert [row[:3] for row in table.rows].index(("faces", "high", "as printed")) == 1


def test_confusions_are_mean_counts_of_the_classes_that_a_cell_has(judged):
    plan, runs, known = judged
    table = confusion_table(plan, runs)
    assert table.header == ("tested on", "lr", "figures", "true", "as calm", "as pain", "as rising", "as falling")
    rows = {row[:4]: row[4:] for row in table.rows}
    for level, places in (("high", (0, 1)), ("low", (2, 3))):
        naive = np.mean([confusion_matrix(p.labels, p.predicted) for p in known["predictions", level]], axis=0)
        for true, counts in zip(CLASSES[level], naive, strict=True):
            assert [rows["faces", level, "ours", true][place] for place in places] == pytest.approx(counts)
    assert ("faces", "high", "ours", "rising") not in rows
    assert rows["faces", "high", "as printed", "calm"][:2] == (3, 3)
    assert ("faces", "high", "as printed", "pain") not in rows


def test_a_run_without_validation_set_has_no_row_for_it(tmp_path):
    plan = make_plan(load_study(STUDY))
    for run in plan.trainings:
        (tmp_path / run.folder).mkdir(parents=True)
        (tmp_path / run.folder / "run.json").write_text(json.dumps({"notes": []}))
        Predictions(np.array(["a", "b"]), None, np.array([0, 1]), np.eye(2), ("calm", "pain")).save(
            tmp_path / run.folder / "predictions.parquet"
        )
    assert set(measure(plan, tmp_path)["test"]) == {""}


@pytest.mark.usefixtures("real_figures")
def test_curves_are_means_over_the_runs_of_a_cell(judged):
    import pandas as pd

    plan, runs, _ = judged
    histories = {
        folder: pd.DataFrame({"epoch": [1, 2], "train_loss": [place, 0.0]})
        for place, folder in enumerate(sorted(set(runs["folder"])))
    }
    ((said, figure),) = training_figures(plan, runs, histories)
    drawn = sorted(float(line.get_ydata()[0]) for line in figure.axes[0].lines if len(line.get_ydata()) == 2)
    assert said == ""
    assert drawn == [0.5, 2.5]  # folders 0 and 1 are the cell high, 2 and 3 low


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"confusion": 3}, "counts by true and predicted class"),
        ({"recall": 0.3}, "one value for each class"),
        ({"accuracy": 0.3, "test_set": "validaton"}, "unknown name"),
        ({"confusion": {"calm": {"pain": "many"}}}, "is not a number"),
    ],
)
def test_printed_values_of_the_wrong_form_are_errors(row, said):
    with pytest.raises(InputError, match=said):
        load_study({**STUDY, "printed": [{"cell": {"lr": "high"}, **row}]})


def test_a_papers_protocol_differs_by_data_set_and_states_its_bias():
    study = load_study(
        {
            **STUDY,
            "paper_protocol": {"training.checkpoint": "test"},
            "datasets": {"faces": {}, "clips": {"paper_protocol": {"protocol.by": "frame"}}},
        }
    )
    plans = {on: make_plan(study, StudyOptions(on, protocol="paper")) for on in ("faces", "clips")}
    assert [plan.runs[0].recipe.protocol.by for plan in plans.values()] == ["auto", "frame"]
    assert "selected on the test data, as" in protocol_bias(plans["faces"])
    assert "in both training and" in heading(plans["clips"], 4)
    assert protocol_bias(make_plan(study)) == ""
