"""The bundled model is what its card says: on a small set of people drawn for this test, and in what it shows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import recall_score, roc_auc_score

import evenface as ef
from evenface.config import load_recipe
from evenface.config.predict import RELIABLE
from evenface.inference.model import ModelMetadata
from evenface.inference.registry import BUNDLED, FOLDER
from evenface.preprocessing import mesh_points
from evenface.preprocessing.mesh_points import point_input
from evenface.synthesis.actions import AUS, LABELS
from evenface.synthesis.images import draw_faces

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "bundled-model"


@pytest.fixture(scope="module")
def model():
    return ef.load()


@pytest.fixture(scope="module")
def drawn():
    """Faces of people that no training has seen, at the size that they were trained at."""
    return draw_faces(70, people=35, size=72, seed=77, look="varied")


def test_the_card_is_of_the_shipped_recipe_and_has_results_on_real_faces(model):
    recipe, real = load_recipe("evenface-synthetic"), model.card["real_faces"]
    assert model.model.auxiliary == recipe.data.auxiliary
    assert real["samples"] > 3_000
    assert 1 / 7 < real["balanced_accuracy"] < 1
    assert real["balanced_accuracy"] == pytest.approx(np.mean(list(real["recall"].values())))
    for name, (low, high) in real["intervals"].items():
        value = {**real, **real["recall"], **real["units"]}[name]
        assert low <= value <= high, name
    shown = {name for name, area in real["units"].items() if area >= RELIABLE}
    assert set(model.model.shown()) == shown
    assert shown < set(model.model.auxiliary)


def test_people_drawn_anew_are_recognised_about_as_well_as_the_card_says(model, drawn):
    faces = [model(image) for image in drawn.images]
    found = [(row, answer[0]) for row, answer in enumerate(faces) if len(answer)]
    assert len(found) > 60
    true = np.array([LABELS[drawn.labels[row]] for row, _ in found])
    said = np.array([answer.label for _, answer in found])
    stated = model.card["results"]["overall"]["accuracy"]["value"]
    error = np.sqrt(stated * (1 - stated) / len(found))
    assert (true == said).mean() == pytest.approx(stated, abs=4 * error)
    for unit in model.model.shown():
        drawn_unit = drawn.units[[row for row, _ in found], AUS.index(int(unit[2:]))]
        values = [answer.values[unit] for _, answer in found]
        assert np.corrcoef(drawn_unit, values)[0, 1] > 0.5, unit


def test_the_file_is_small_and_states_what_it_takes_beside_the_crop(model):
    path = FOLDER / f"{BUNDLED}.onnx"
    assert path.stat().st_size < 8e6
    metadata = model.model.metadata
    properties = metadata.to_properties()
    assert json.loads(properties["evenface.format"]) == 4
    assert metadata.precision == "int8"
    assert "8 bits" in model.card["network"]["description"]
    again = ModelMetadata.from_properties(properties, path)
    assert again.mesh == pytest.approx(metadata.mesh)
    assert "face mesh" in model.card["network"]["description"]


def test_the_mesh_changes_what_a_crop_with_a_face_gets_and_nothing_else(model, drawn):
    network = model.model
    crops = np.stack([np.asarray(image.mean(axis=2), np.uint8)[12:60, 12:60] for image in drawn.images[:8]])
    batch = np.concatenate([crops, np.full((1, 48, 48), 90, np.uint8)])[:, None, :, :, None]
    points = point_input(batch[:, 0], network.metadata.mesh)
    seen = points.any(axis=(1, 2))
    assert seen[:-1].sum() >= 6
    assert not seen[-1]
    alone = network._run(batch, {"points": np.zeros_like(points)})
    both = network.forward(batch)
    assert np.abs(both - alone)[seen].max(axis=1).min() > 1e-3
    assert both[~seen] == pytest.approx(alone[~seen], abs=1e-6)
    assert both[:, :7].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert ((both[:, 7:] >= 0) & (both[:, 7:] <= 5)).all()
    assert network.outputs(batch) == pytest.approx(both, abs=1e-6), "one view is enough"


def test_the_mesh_of_a_followed_face_is_not_detected_again_in_its_crop(model, drawn, monkeypatch):
    looked = []
    detect = mesh_points.detect_mesh

    def counted(view):
        looked.append(view)
        return detect(view)

    monkeypatch.setattr(mesh_points, "detect_mesh", counted)
    frame = Image.new("RGB", (320, 240), (120, 120, 120))
    frame.paste(Image.fromarray(drawn.images[0]).resize((200, 200)), (60, 20))
    followed = model((number / 25, frame) for number in range(3))
    assert len(followed) == 3
    assert not looked
    detected = model(((number / 25, frame) for number in range(3)), tracking=False)
    assert len(looked) == 3
    for one, other in zip(followed, detected, strict=True):
        assert one.box == pytest.approx(other.box)
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=0.15)


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the results of benchmarks are not part of an installation")
def test_the_results_on_real_faces_are_those_of_the_stored_outputs(model):
    table, real = pd.read_parquet(RESULTS / "real-faces.parquet"), model.card["real_faces"]
    assert real["samples"] == len(table) == table["sample"].nunique()
    names = [f"p_{name}" for name in model.classes]
    said = table[names].idxmax(axis=1).str.removeprefix("p_")
    recalls = recall_score(table["label"], said, labels=list(model.classes), average=None)
    assert list(real["recall"].values()) == pytest.approx(recalls)
    assert real["accuracy"] == pytest.approx((table["label"] == said).mean())
    for unit, label in {"AU12": "happy", "AU4": "angry", "AU15": "sad", "AU9": "disgust", "AU1": "surprise"}.items():
        rows = table[table["label"].isin([label, "neutral"])]
        assert real["units"][unit] == pytest.approx(roc_auc_score(rows["label"] == label, rows[f"v_{unit}"])), unit
