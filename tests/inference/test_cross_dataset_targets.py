"""Evaluation of a run of targets on another data set: targets are matched by name, and nothing is ignored silently."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from evenface import api
from evenface.runs import Run
from evenface.utils.errors import InputError

UNITS = ["AU1", "AU12", "AU25"]
OTHER = {"source": "synthetic", "people": 10, "total": 70, "size": 48, "channels": 1, "seed": 5}


def recipe(**data):
    return {
        "name": "small",
        "data": {"source": "synthetic", "people": 12, "total": 84, "size": 48, "channels": 1, **data},
        "protocol": {"kind": "holdout", "validation": 0.0, "test": 0.25},
        "network": {"name": "compact_vgg_16_half"},
        "training": {"epochs": 1, "batch_size": 16, "checkpoint": "last"},
    }


def other(**data):
    return {"name": "other", "data": {**OTHER, **data}, "protocol": {"kind": "holdout", "test": 0.5}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units") / "run"
    return api.train(recipe(targets=UNITS), out=folder, sample_faces=False)


def test_targets_are_those_of_the_data_and_values_those_of_the_model(run, tmp_path):
    result = api.evaluate(run.folder, on=other(), out=tmp_path / "on", sample_faces=False)
    stored = pd.read_parquet(tmp_path / "on" / "predictions.parquet")
    table = Run(tmp_path / "on").store.manifest.table.set_index("sample").loc[stored["sample"]]
    for name in UNITS:
        np.testing.assert_array_equal(stored[f"y_{name}"], table[name].to_numpy() >= 1)
        value = result.metrics["per_target"][name]["target_average_precision"]["value"]
        assert value == pytest.approx(average_precision_score(stored[f"y_{name}"], stored[f"v_{name}"]))
    (note,) = [note for note in result.facts["notes"] if "does not predict" in note]
    assert "AU4" in note
    assert not any(word in note for word in ("pose", "gaze", "pspi"))


def test_the_targets_that_the_recipe_of_the_data_names_are_the_ones_evaluated(run, tmp_path):
    for number, given in enumerate((other(targets=["AU12", "AU4"]), other())):
        overrides = {} if number == 0 else {"data.targets": ["AU12"]}
        result = api.evaluate(run.folder, on=given, out=tmp_path / f"on-{number}", sample_faces=False, **overrides)
        assert list(result.metrics["per_target"]) == ["AU12"]
        assert any("not evaluated on other: AU1, AU25" in note for note in result.facts["notes"])
    assert any("does not predict AU4 of other" in note for note in Run(tmp_path / "on-0").facts["notes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ["AU112"]}, "no column of numbers 'AU112'"),
        ({"targets": ["AU4"]}, "other has no column of the targets of the run: AU1, AU12, AU25"),
        ({"baseline": "neutral"}, r"data\.baseline cannot be neutral: the run takes none"),
    ],
)
def test_what_the_run_cannot_predict_is_refused(run, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        api.evaluate(run.folder, on=other(**change), out=tmp_path / "on", sample_faces=False)
    assert not (tmp_path / "on").exists()


def test_inputs_are_relative_to_the_baseline_of_training_and_that_is_recorded(tmp_path):
    given = recipe(targets=["pspi"], baseline="subject-mean") | {
        "network": {"name": "compact_vgg_16_half", "temporal": {"kind": "difference"}}
    }
    run = api.train(given, out=tmp_path / "run", sample_faces=False)
    result = api.evaluate(run.folder, on=other(), out=tmp_path / "on", sample_faces=False)
    assert result.facts["on"]["data"]["baseline"]["kind"] == "subject-mean"
    assert list(result.metrics["per_target"]) == ["pspi"]
    with pytest.raises(InputError, match=r"data\.baseline cannot be neutral: the run takes subject-mean"):
        api.evaluate(run.folder, on=other(baseline="neutral"), out=tmp_path / "not", sample_faces=False)
