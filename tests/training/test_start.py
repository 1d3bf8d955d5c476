"""Training that starts from the weights of the bundled model, or of a run."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.config import load_recipe
from evenface.inference.onnx_model import POINTS
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.mesh_points import USED
from evenface.runs import Run
from evenface.synthesis.images import draw_faces
from evenface.training.build import build_model
from evenface.utils.errors import InputError

BUNDLED = "evenface-synthetic"


def test_the_network_of_the_bundled_weights_is_the_bundled_model_without_a_mesh():
    model = ef.load().model
    network = build_model(load_recipe(BUNDLED, {"network.weights": BUNDLED}), len(model.classes)).eval()
    drawn = draw_faces(8, people=8, size=72, seed=5, look="varied").images
    stored = drawn.mean(axis=3).astype(np.uint8)[:, np.newaxis, 12:60, 12:60, np.newaxis]
    absent = {POINTS: np.zeros((8, len(USED), 3), np.float32)}
    with torch.inference_mode():
        logits = network(to_float(torch.from_numpy(stored[:, 0]))).logits
    exported = np.log(model._run(stored, absent)[:, : len(model.classes)])
    assert model.metadata.precision == "int8"
    centred = logits.double().numpy() - logits.double().logsumexp(dim=1, keepdim=True).numpy()
    assert np.abs(np.exp(centred) - np.exp(exported)).mean() < 0.02
    assert np.corrcoef(centred.ravel(), exported.ravel())[0, 1] > 0.99


def test_a_folder_of_faces_is_learnt_from_the_bundled_weights(people_folder, tmp_path):
    short = ["training.epochs=1", "training.batch_size=8"]
    arguments = ["train", "--data", str(people_folder), "--start", BUNDLED, "--out", str(tmp_path / "run"), *short]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    run = Run.open(tmp_path / "run")
    bundled = load_recipe(BUNDLED)
    assert (run.recipe.network.name, run.recipe.network.weights) == (bundled.network.name, BUNDLED)
    assert (run.recipe.data.size, run.recipe.data.channels) == (bundled.data.size, bundled.data.channels)
    assert f"weights from {BUNDLED}: " in (run.folder / "log.txt").read_text()
    assert (
        f"Initialised with {BUNDLED}, which was trained on synthetic people alone"
        in (run.folder / "model-card.md").read_text()
    )
    again = api.start_settings(run.folder)
    assert again["network.weights"] == str(run.weights.resolve())
    assert again["network.name"] == bundled.network.name


def test_what_is_set_comes_before_what_is_taken_from_the_start(tmp_path):
    assert api.start_settings(BUNDLED)["data.size"] == 48
    with pytest.raises(InputError, match="nothing in it fits this network"):
        api.train("demo", start=BUNDLED, out=tmp_path / "run", **{"network.name": "test_resnet"})


def test_what_cannot_be_a_start_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"evenface-syntetic is no run folder to start from"):
        api.train("demo", start="evenface-syntetic", out=tmp_path / "run")
    with pytest.raises(InputError, match="no run folder"):
        api.start_settings(tmp_path)
    assert not (tmp_path / "run").exists()
