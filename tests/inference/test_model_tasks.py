"""Models of every task, from the run folder to the exported file, table, page and refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("onnx")

from pages import client_of, ended

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.inference import export, open_model
from evenface.inference.export import StoredSamples
from evenface.inference.prediction_table import read_rows
from evenface.runs import Run
from evenface.utils.errors import InputError

TASKS = ("classification", "ordinal", "regression", "multilabel")
TARGETS = {"regression": ["pspi", "AU12"], "multilabel": ["AU1", "AU4", "AU12", "AU25"]}
NAMES = {"classification": ["calm", "fear", "happy"], "ordinal": ["calm", "fear", "happy"], **TARGETS}


@pytest.fixture(scope="module")
def runs(small_recipe, tmp_path_factory):
    """A run of each task, by its name."""
    folder = tmp_path_factory.mktemp("tasks")
    ef.train(small_recipe, out=folder / "classification", sample_faces=False, **{"training.epochs": 1})
    levels = {"data.ordered": True, "data.classes": ["calm", "fear", "happy"]}
    ef.train(small_recipe, out=folder / "ordinal", sample_faces=False, **{"training.epochs": 1}, **levels)
    for task, targets in TARGETS.items():
        recipe = {
            "name": task,
            "data": {"source": "synthetic", "people": 12, "total": 120, "size": 32, "channels": 1}
            | {"targets": targets, "task": task},
            "protocol": {"kind": "holdout", "validation": 0.4, "test": 0.2},
            "network": {"name": "compact_vgg_16_half"},
            "training": {"epochs": 1, "batch_size": 16, "thresholds": "validation"},
        }
        ef.train(recipe, out=folder / task, sample_faces=False)
    return {task: folder / task for task in TASKS}


@pytest.fixture(scope="module")
def files(runs, one_registry, tmp_path_factory):
    """The exported file of each of them."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "latencies", lambda *_: {})
        return {task: api.export(run, out=folder / f"{task}.onnx") for task, run in runs.items()}


@pytest.fixture(scope="module")
def photo(people_folder):
    return people_folder / "fear" / "p00-0.png"


@pytest.mark.parametrize("task", TASKS)
def test_the_file_predicts_as_the_run_whatever_the_task(runs, files, task):
    run, file = open_model(runs[task]), open_model(files[task].path)
    assert (run.task, file.task) == (task, task)
    assert list(file.classes) == list(run.classes) == NAMES[task]
    assert file.thresholds == run.thresholds
    assert (run.thresholds is None) == (task != "multilabel")
    opened = Run.open(runs[task])
    samples = StoredSamples.of(opened)
    rows = samples.rows("test")
    images = samples.arrays_of(rows)
    np.testing.assert_allclose(file.scores(images), run.scores(images), atol=1e-5)
    np.testing.assert_allclose(file.calibrated(file.scores(images)), run.calibrated(run.scores(images)), atol=1e-5)
    results = opened.results
    stored = results.probabilities if task in ("classification", "ordinal") else results.values
    by_name = dict(zip(results.sample, stored, strict=True))
    expected = [by_name[name] for name in samples.manifest.table["sample"].iloc[rows]]
    np.testing.assert_allclose(file.probabilities(images), expected, atol=1e-5)
    parity = files[task].parity
    assert (parity.same_class is None) == (task in TARGETS)
    assert ("same class" in "".join(parity.lines)) == (task not in TARGETS)


def concordance(truth, predicted):
    """Lin's coefficient, from its definition."""
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    return 2 * covariance / (truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2)


@pytest.mark.parametrize("task", TARGETS)
def test_int8_of_targets_costs_what_is_reported(runs, files, task, tmp_path, monkeypatch):
    from sklearn.metrics import average_precision_score

    monkeypatch.setattr(export, "latencies", lambda *_: {})
    out = tmp_path / "small.onnx"
    cost = api.export(runs[task], out=out, int8=True, max_accuracy_loss=2).cost
    samples = StoredSamples.of(Run.open(runs[task]))
    rows = samples.rows("validation")
    truth, images = samples.manifest.target_values(rows), samples.arrays_of(rows)
    metric = average_precision_score if task == "multilabel" else concordance
    means = []
    for path in (files[task].path, out):
        predicted = open_model(path).probabilities(images)
        means.append(np.mean([metric(truth[:, i], predicted[:, i]) for i in range(truth.shape[1])]))
    assert cost.pair.overall[cost.comparison.main].value == pytest.approx(means[1] - means[0], abs=1e-6)
    assert cost.loss == pytest.approx(means[0] - means[1], abs=1e-6)
    assert ("average precision" if task == "multilabel" else "CCC") in cost.lines[0]


@pytest.mark.parametrize("task", TASKS)
def test_tables_json_and_frames_have_the_columns_of_the_task(files, photo, tmp_path, task):
    model = ef.load(files[task].path)
    faces = model(photo)
    (face,) = faces
    start = "v_" if task == "regression" else "p_"
    columns = [name for name in faces.to_pandas() if name.startswith(("p_", "v_"))]
    assert columns == [f"{start}{name}" for name in NAMES[task]]
    assert ("temperature" in faces.columns) == (task not in TARGETS)
    assert faces.task == ("classification" if task == "ordinal" else task)
    paths = [tmp_path / f"t.{suffix}" for suffix in ("csv", "json", "parquet")]
    ef.predict(photo, model, out=paths)
    for path in paths:
        (row,) = read_rows(path)
        assert {key: value for key, value in row.items() if key != "digest"} == faces.rows[0], path
    (row,) = json.loads(faces.to_json())
    stored = face.values if task == "regression" else face.probabilities
    assert stored == {name: row[f"{start}{name}"] for name in NAMES[task]}
    assert (face.values == {}) == (task != "regression")
    if task == "multilabel":
        thresholds = dict(zip(model.classes, model.model.thresholds, strict=True))
        present = tuple(name for name in model.classes if stored[name] >= thresholds[name])
        assert (face.label, face.present) == ("+".join(present), present)
        assert face.text == ("  ".join(f"{name} {stored[name]:.2f}" for name in present) or "none present")
    elif task == "regression":
        assert (face.label, face.present) == ("", ())
        assert np.isnan(face.probability)
        assert all(f"{name} " in face.text for name in model.classes)
    else:
        assert face.label == max(stored, key=stored.get)
        assert sum(stored.values()) == pytest.approx(1)
    assert face.text in faces.lines()[0]
    assert face.text in repr(face)
    assert all(f"<th>{name}</th>" in faces._repr_html_() for name in model.classes if task in TARGETS)


@pytest.mark.parametrize("task", TASKS)
def test_the_page_predicts_and_describes_models_of_every_task(runs, photo, task, forked_workers):
    with client_of([runs[task]]) as client:
        (model,) = client.get("/api/v1/models").json()["models"]
        assert (model["task"], model["classes"]) == (task, NAMES[task])
        metrics = json.loads((runs[task] / "metrics.json").read_text())
        main = {"multilabel": "macro_target_average_precision", "regression": "ccc"}.get(task, "balanced_accuracy")
        assert (model["metric"], model["result"]["value"]) == (main, metrics["overall"][main]["value"])
        assert client.get("/api/v1/about").json()["headline"][task][0] == main
        detail = client.get(f"/api/v1/models/{model['id']}").json()
        shown = detail["per_target" if task in TARGETS else "per_class"]
        assert [one["name"] for one in shown] == NAMES[task]
        assert bool(detail["confusion"]) == (task not in TARGETS)
        asked = {"files": {"file": ("a.png", photo.read_bytes())}, "data": {"model": model["id"], "explain": True}}
        job = ended(client, client.post("/api/v1/predictions?wait=20", **asked).json())
        assert job["state"] == "done", job
        (row,) = job["prediction"]["rows"]
        (face,) = ef.load(runs[task])(photo)
        outputs = list((face.values or face.probabilities).values())
        np.testing.assert_allclose(row["values" if task == "regression" else "probabilities"], outputs, atol=1e-6)
        assert row["probabilities" if task == "regression" else "values"] is None
        assert (row["label"], job["prediction"]["task"]) == (face.label, task)
        assert [len(one["maps"]) for one in job["prediction"]["explained"]] == [len(NAMES[task])]
        if task in TARGETS:
            asked["data"] = {"model": model["id"], "abstain": 0.5}
            job = ended(client, client.post("/api/v1/predictions?wait=20", **asked).json())
            assert job["error"]["what"].startswith("abstain is for models of classes")


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("setting", [{"prior": "uniform"}, {"prior": "estimate"}, {"abstain": 0.5}])
def test_settings_of_classes_are_refused_before_any_work(files, tmp_path, task, setting):
    (name,) = setting
    with pytest.raises(InputError, match=rf"^{name} is for models of classes; {task} predicts"):
        ef.predict(tmp_path / "missing.png", files[task].path, out=tmp_path / "t.csv", **setting)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("regression", [], "values have no probabilities to calibrate"),
        ("multilabel", ["--prior", "uniform"], "--prior is for runs of classes"),
        ("multilabel", ["--max-error-rate", "0.1"], "--max-error-rate is for runs of classes"),
    ],
)
def test_a_calibration_that_is_not_for_the_task_is_refused(runs, task, words, message):
    result = CliRunner().invoke(app, ["calibrate", str(runs[task]), *words])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_many_faces_are_counted_by_target_and_values_summarised(files, people_folder):
    faces = ef.load(files["multilabel"].path)(people_folder / "fear")
    counts = pd.DataFrame([face.probabilities for face in faces]) >= ef.load(files["multilabel"].path).model.thresholds
    text = "\n".join(faces.lines())
    for name, count in counts.sum().items():
        assert (f"{name} " in text) == bool(count)
    values = pd.DataFrame([face.values for face in ef.load(files["regression"].path)(people_folder / "fear")])
    text = "\n".join(ef.load(files["regression"].path)(people_folder / "fear").lines())
    mean = values["pspi"].mean()
    assert f"pspi    mean {mean:.1f}" in text or f"pspi    mean {mean:.2g}" in text
