"""Runs whose targets are no classes, from the recipe to report, comparison and study."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.runs import Run
from evenface.training.build import trained_method
from evenface.utils.errors import InputError

UNITS = ["AU1", "AU4", "AU12", "AU25"]


def recipe(targets, **training):
    return {
        "name": "small",
        "data": {"source": "synthetic", "people": 12, "total": 84, "size": 48, "channels": 1, "targets": targets},
        "protocol": {"kind": "holdout", "validation": 0.25, "test": 0.25},
        "network": {"name": "compact_vgg_16_half"},
        "training": {"epochs": 1, "batch_size": 16, **training},
    }


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    given = recipe(UNITS, thresholds="validation")
    return api.train(given, out=folder / "run", sample_faces=True)


@pytest.fixture(scope="module")
def pain(tmp_path_factory):
    return api.train(recipe(["pspi"]), out=tmp_path_factory.mktemp("pain") / "run", sample_faces=False)


def test_metrics_come_from_the_stored_predictions(units):
    stored = pd.read_parquet(units.folder / "predictions.parquet")
    metrics = json.loads((units.folder / "metrics.json").read_text())
    assert metrics["task"] == "multilabel"
    for name in UNITS:
        truth, value = stored[f"y_{name}"], stored[f"v_{name}"]
        entry = metrics["per_target"][name]
        assert entry["target_average_precision"]["value"] == pytest.approx(sk.average_precision_score(truth, value))
        assert entry["target_f1"]["value"] == pytest.approx(sk.f1_score(truth, value >= entry["threshold"]))
        assert entry["support"] == truth.sum()


def test_thresholds_are_chosen_on_validation_data_alone(units):
    run = Run.open(units.folder)
    assert run.results.thresholds == run.validation_results.thresholds != (0.5,) * 4
    for index, threshold in enumerate(run.results.thresholds):
        truth, value = run.validation_results.targets[:, index], run.validation_results.values[:, index]
        best = max(sk.f1_score(truth, value >= t) for t in np.unique(value))
        assert sk.f1_score(truth, value >= threshold) == pytest.approx(best)


def test_the_network_predicts_again_what_is_stored(units, pain):
    for run in (units, pain):
        opened = Run.open(run.folder)
        method = trained_method(opened).eval()
        rows = opened.split.set_index("sample")["row"][opened.results.sample].to_numpy()
        images = np.asarray(opened.store.images[rows])[:, 0]
        import torch

        from evenface.preprocessing.augmentation import to_float

        with torch.inference_mode():
            values = method.predict(to_float(torch.from_numpy(images))).numpy()
        np.testing.assert_allclose(values, opened.results.values, atol=1e-5)


def test_a_regression_begins_at_the_mean_and_is_in_the_unit_of_the_target(pain):
    opened = Run.open(pain.folder)
    truth = opened.results.targets[:, 0]
    assert truth.max() > 4
    assert abs(opened.results.values.mean() - truth.mean()) < 3
    assert opened.facts["loss"] == "squared-error"
    assert {"ccc", "expected_mae", "macro_mae"} <= set(opened.metrics["overall"])
    assert list(opened.history)[3:6] == ["validation_loss", "validation_mae", "validation_ccc"]


def test_report_and_card_name_targets_and_no_classes(units, pain):
    for run, names in ((units, UNITS), (pain, ["pspi", "Error by true value"])):
        page = (run.folder / "report.html").read_text()
        card = (run.folder / "model-card.md").read_text()
        for name in names:
            assert name in page
        assert "| class |" not in card
        assert "Confusion" not in page
    assert "not validated on patients" in (pain.folder / "model-card.md").read_text()


def test_the_screen_says_targets_metrics_and_what_is_next(tmp_path):
    path = tmp_path / "units.yaml"
    path.write_text(json.dumps(recipe(UNITS)))
    result = CliRunner().invoke(app, ["train", str(path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    for part in ("targets   AU1 ", "loss binary-cross-entropy", "macro average precision", "next    evenface predict"):
        assert part in result.output
    again = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run")])
    assert again.exit_code == 0, again.output
    other = [*("loss.name=asymmetric", "training.sampling=inverse"), "--out", str(tmp_path / "other")]
    assert CliRunner().invoke(app, ["train", str(path), *other]).exit_code == 0
    compared = CliRunner().invoke(
        app, ["compare", str(tmp_path / "run"), str(tmp_path / "other"), "--out", str(tmp_path / "compared")]
    )
    assert compared.exit_code == 0, compared.output
    assert "macro average precision" in compared.output
    assert (tmp_path / "compared" / "tables" / "target_average_precision-differences.csv").is_file()


def test_a_study_measures_each_target(tmp_path):
    definition = {
        "name": "tiny",
        "recipe": recipe(["AU1", "AU25"]),
        "factors": {"loss": {"plain": {}, "asymmetric": {"loss.name": "asymmetric"}}},
        "seeds": 1,
        "metrics": ["macro_target_average_precision", "target_f1"],
        "baseline": {"loss": "plain"},
    }
    result = api.study(definition, out=tmp_path / "study", jobs=1)
    assert not result.failed
    runs = pd.read_csv(tmp_path / "study" / "runs.csv")
    each = pd.read_csv(tmp_path / "study" / "tables" / "classes-target_f1.csv")
    assert {"AU1", "AU25"} <= {*each.columns, *each.iloc[:, 0]}
    for folder, value in zip(runs["folder"], runs["macro average precision"], strict=True):
        stored = pd.read_parquet(tmp_path / "study" / folder / "predictions.parquet")
        areas = [sk.average_precision_score(stored[f"y_{name}"], stored[f"v_{name}"]) for name in ("AU1", "AU25")]
        assert value == pytest.approx(np.mean(areas))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"name": "dicc"}}, "method 'dicc' is for classification and ordinal"),
        ({"loss": {"name": "focal"}}, "loss 'focal' is for classification and ordinal"),
        ({"loss": {"name": "ccc"}}, "loss 'ccc' is for regression, not for multilabel"),
        ({"training": {"monitor": "ccc", "epochs": 1}}, "training.monitor: ccc is not for multilabel"),
        ({"data": {"source": "synthetic", "people": 12, "total": 84, "size": 48, "targets": ["AU99"]}}, "no column of"),
    ],
)
def test_what_does_not_suit_the_task_is_refused_in_one_sentence(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        api.train({**recipe(UNITS), **change}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "predictions.parquet").exists()


def test_a_run_of_targets_is_resumed_where_it_was_stopped(tmp_path, monkeypatch):
    from evenface.training.trainer import Trainer

    whole = api.train(recipe(["AU1", "AU25"], epochs=2), out=tmp_path / "whole", sample_faces=False)
    kept, end = Trainer._end_epoch, []

    def stop(self, *arguments):
        kept(self, *arguments)
        if not end:
            end.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        api.train(recipe(["AU1", "AU25"], epochs=2), out=tmp_path / "halves", sample_faces=False)
    halves = api.train(recipe(["AU1", "AU25"], epochs=2), out=tmp_path / "halves", resume=True, sample_faces=False)
    np.testing.assert_array_equal(Run.open(halves.folder).results.values, Run.open(whole.folder).results.values)


@pytest.mark.parametrize("targets", [(), UNITS])
def test_what_every_loss_is_given_is_no_option(tmp_path, targets):
    for key in ("names", "targets", "counts"):
        with pytest.raises(InputError, match=f"has no option '{key}'"):
            api.train({**recipe(targets), "loss": {"name": "cross-entropy", key: [1, 2]}}, out=tmp_path / "run")


@pytest.mark.parametrize(("targets", "monitor"), [(UNITS, "loss"), (UNITS, "macro_f1"), (["pspi"], "mae")])
def test_weights_are_selected_by_any_metric_of_the_task(tmp_path, capsys, targets, monitor):
    run = api.train(recipe(targets, monitor=monitor), out=tmp_path / "run", sample_faces=False)
    assert f"validation_{monitor}" in run.history
    shown = "ccc" if targets == ["pspi"] else "macro average precision"
    assert f"validation loss  {shown}" in capsys.readouterr().err
