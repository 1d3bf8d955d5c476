"""Auxiliary targets: action units that a second head predicts beside the classes, from the recipe to the page."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("onnx")

from pages import client_of, ended

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.config import load_recipe
from evenface.inference import export, open_model
from evenface.inference.onnx_model import OnnxModel
from evenface.methods.base import AuxiliaryHead, StepContext
from evenface.methods.erm import ERM
from evenface.models.backbone import HeadOnly
from evenface.preprocessing.augmentation import to_float
from evenface.runs import Run
from evenface.training.build import trained_method
from evenface.training.data import check_values
from evenface.utils.errors import InputError

UNITS = ["AU4", "AU6", "AU12"]


def recipe():
    return {
        "name": "small",
        "data": {"source": "synthetic", "people": 12, "total": 84, "size": 48, "channels": 1, "auxiliary": UNITS},
        "protocol": {"kind": "holdout", "validation": 0.25, "test": 0.25},
        "network": {"name": "compact_vgg_16_half"},
        "training": {"epochs": 1, "batch_size": 16, "tta_flip": True},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.train(recipe(), out=tmp_path_factory.mktemp("auxiliary") / "run", sample_faces=False)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "latencies", lambda *_: {})
        return api.export(run.folder, out=tmp_path_factory.mktemp("file") / "units.onnx")


@pytest.fixture(scope="module")
def photo(run):
    opened = Run.open(run.folder)
    table = opened.store.manifest.table
    return opened.store.manifest.root / table["path"].iloc[0]


def test_the_loss_is_the_squared_error_of_what_is_known_in_standard_deviations():
    targets = np.array([[0.0, 2.0], [4.0, np.nan], [2.0, 3.0], [np.nan, np.nan]])
    head = AuxiliaryHead(3, targets, weight=0.5)
    features, indices = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3, 2])
    values, standardised = head(features).detach().numpy(), head.linear(features).detach().numpy()
    mean, deviation = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
    np.testing.assert_allclose(values, standardised * deviation + mean, rtol=1e-5)
    expected = []
    for row, index in enumerate(indices.tolist()):
        errors = [
            ((values[row, t] - targets[index, t]) / deviation[t]) ** 2 for t in range(2) if targets[index, t] >= 0
        ]
        expected.append(0.5 * sum(errors) / max(len(errors), 1))
    np.testing.assert_allclose(head.loss(features, indices).detach().numpy(), expected, rtol=1e-4, atol=1e-7)


def test_a_step_learns_both_from_the_same_features():
    targets = np.array([[0.0], [4.0], [2.0]])
    settings = load_recipe(recipe()).network
    method = ERM(HeadOnly(settings, 3), torch.nn.CrossEntropyLoss(reduction="none"))
    images, labels = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])
    alone = method(images, labels)
    method.auxiliary = AuxiliaryHead(2, targets, weight=3.0)
    method.ctx = StepContext(0, 0, 1, 1, torch.tensor([2, 1]))
    errors = (method.auxiliary.linear(images.flatten(1)[:, :2])[:, 0] - torch.tensor([0.0, 1.2247449])) ** 2
    torch.testing.assert_close(method(images, labels), alone + 3 * errors)
    scores = method.with_auxiliary(images)
    torch.testing.assert_close(scores[:, :3], method.predict(images))
    torch.testing.assert_close(scores[:, 3:], method.auxiliary(images.flatten(1)[:, :2]))


def test_what_is_stored_are_the_units_of_the_test_samples(run):
    trained = Run.open(run.folder)
    table = trained.store.manifest.table.set_index("sample")
    assert list(trained.auxiliary.sample) == list(trained.results.sample)
    expected = table.loc[list(trained.auxiliary.sample), UNITS].to_numpy()
    np.testing.assert_allclose(trained.auxiliary.targets, expected, atol=1e-6)


def test_results_card_and_report_have_them(run):
    metrics = json.loads((run.folder / "metrics.json").read_text())
    stored = pd.read_parquet(run.folder / "auxiliary.parquet")
    assert set(metrics["per_class"]) == set(run.facts["classes"])
    for name in UNITS:
        error = (stored[f"y_{name}"] - stored[f"v_{name}"]).abs().mean()
        assert metrics["auxiliary"]["per_target"][name]["expected_mae"]["value"] == pytest.approx(error)
    card = (run.folder / "model-card.md").read_text()
    assert "Beside the classes: AU4, AU6, AU12." in card
    assert "Targets beside the classes:" in card
    assert "Targets beside the classes" in (run.folder / "report.html").read_text()
    again = api.evaluate(run.folder)
    assert again.metrics == {key: value for key, value in metrics.items() if key != "digest"}


def test_network_file_and_stored_predictions_agree(run, file):
    opened = Run.open(run.folder)
    rows = opened.split.set_index("sample")["row"][opened.auxiliary.sample].to_numpy()
    stored = np.asarray(opened.store.images[rows])
    torched, exported = open_model(run.folder), OnnxModel(file.path)
    assert torched.auxiliary == exported.auxiliary == tuple(UNITS)
    method = trained_method(opened).eval()
    with torch.inference_mode():
        views = [to_float(torch.from_numpy(view.copy())) for view in (stored[:, 0], stored[:, 0, :, ::-1])]
        features = [method.network(view).features for view in views]
        values = sum(method.auxiliary(each) for each in features).numpy() / 2
    np.testing.assert_allclose(values, opened.auxiliary.values, atol=1e-5)
    for model in (torched, exported):
        outputs = model.outputs(stored)
        np.testing.assert_allclose(outputs[:, 7:], opened.auxiliary.values, atol=1e-4)
        np.testing.assert_allclose(model.scores(stored), opened.results.probabilities, atol=1e-5)
        assert model.probabilities(stored).shape == (len(rows), 7)
    import onnxruntime

    named = onnxruntime.InferenceSession(file.path).get_outputs()
    assert [output.name for output in named] == ["probabilities", "values"]
    assert file.parity.max_difference < 1e-4


def test_tables_screen_and_page_show_units(file, photo, tmp_path):
    model = ef.load(file.path)
    faces = model(photo)
    assert faces.task == "classification"
    assert faces.classes == model.classes
    (face,) = faces
    assert list(face.values) == UNITS
    row = faces.rows[0]
    assert [name for name in row if name.startswith("v_")] == [f"v_{name}" for name in UNITS]
    present = [f"{name} {face.values[name]:.1f}" for name in UNITS if face.values[name] >= 1]
    assert face.text == "  ".join([f"{face.label} {face.probability:.2f}", *present])
    assert face.text in faces.lines()[0]
    for suffix in ("csv", "parquet", "json"):
        out = tmp_path / f"table.{suffix}"
        result = CliRunner().invoke(app, ["predict", str(photo), "--model", str(file.path), f"--{suffix}", str(out)])
        assert result.exit_code == 0, result.output
    (written,) = json.loads((tmp_path / "table.json").read_text())
    assert written["v_AU12"] == pytest.approx(face.values["AU12"], abs=1e-5)
    with client_of([file.path]) as client:
        (entry,) = client.get("/api/v1/models").json()["models"]
        asked = {"files": {"file": ("a.png", photo.read_bytes())}, "data": {"model": entry["id"]}}
        prediction = ended(client, client.post("/api/v1/predictions?wait=20", **asked).json())["prediction"]
    assert prediction["auxiliary"] == UNITS
    assert prediction["rows"][0]["values"] == pytest.approx(list(face.values.values()), abs=1e-4)
    assert len(prediction["rows"][0]["probabilities"]) == 7


def test_units_that_fail_on_real_faces_are_shown_only_on_request(file, photo):
    model = ef.load(file.path)
    model.model.card = model.card | {"real_faces": {"units": {"AU12": 0.92, "AU4": 0.69}}}
    (face,), (whole,) = model(photo), model(photo, all_units=True)
    assert list(face.values) == ["AU12"]  # AU6 was not measured
    assert list(whole.values) == UNITS
    assert face.values["AU12"] == whole.values["AU12"]
    model.model.auxiliary = ()
    with pytest.raises(InputError, match="predicts no action units beside its classes"):
        model(photo, all_units=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"name": "dicc"}}, "method 'dicc' learns classes alone, not data.auxiliary"),
        ({"method": {"name": "tau-norm"}}, "method 'tau-norm' learns classes alone"),
        ({"data.targets": ["AU1"]}, "predicted beside classes, and this recipe has none"),
        ({"data.auxiliary": ["AU4", "AU4"]}, "names a column twice"),
        ({"data.auxiliary": ["AU99"]}, "no column of numbers 'AU99' for data.auxiliary"),
        ({"data.source": "synthetic-demo"}, "no column of numbers 'AU4' for data.auxiliary"),
        ({"data.auxiliary": [], "training.auxiliary_weight": 2.0}, "auxiliary_weight has no effect without"),
        ({"network.name": "recurrent"}, "no effect|classes alone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path, changes, message):
    content = recipe()
    if "data.source" in changes:
        content["data"] = {"size": 48, "channels": 1, "auxiliary": UNITS}
    method = changes.pop("method", None)
    with pytest.raises(InputError, match=message):
        api.train({**content, **({"method": method} if method else {})}, out=tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_unit_that_does_not_vary_is_refused():
    with pytest.raises(InputError, match="the target AU4 has only the value 1 in the training samples"):
        check_values(("AU6", "AU4"), np.array([[0.0, 1.0], [2.0, np.nan], [3.0, 1.0]]), "data.auxiliary")
