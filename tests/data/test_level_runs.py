"""Runs on ordered classes where training lacks a level: PSPI by regression and ordinal, one person left out."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_unbc import unbc

import evenface as ef
from evenface.config import load_recipe
from evenface.data.imbalance import class_weights
from evenface.data.splits import split_manifest
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured
from evenface.studies.plan import StudyOptions
from evenface.studies.run import describe_plan
from evenface.training import build, data
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")

PAIN = {"042-aa042": [0, 0, 1, 2, 4, 8], "043-bb043": [0, 1, 2, 2, 4, 4], "044-cc044": [0, 0, 1, 1, 2, 4]}
"""PSPI of the frames of three people; 8 is one person's alone."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Write a tree like UNBC's whose frames are the brighter, the more pain they show."""
    root = tmp_path_factory.mktemp("unbc")
    unbc(root, [(person, f"{person[4:]}t1", pspi * 2, {}) for person, pspi in PAIN.items()])
    random = np.random.default_rng(0)
    for person, pspi in PAIN.items():
        for number, value in enumerate(pspi * 2, 1):
            pixels = (20 + 25 * value + random.normal(0, 3, (32, 32))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"Images/{person}/{person[4:]}t1/{person[4:]}t1{number:03d}.png")
    return root


def recipe(root, method="regression", **settings):
    content = {
        "name": "pspi",
        "data": {"source": "unbc", "root": str(root), "levels": "all", "size": 32, "channels": 1},
        "protocol": {"kind": "leave-one-out", "validation": 0},
        "network": {"name": "compact_vgg_16_half"},
        "method": {"name": method},
        "loss": {"name": "cross-entropy", "alpha": "inverse"},
        "optimizer": {"lr": 0.01},
        "training": {"epochs": 2, "batch_size": 8, "accelerator": "cpu", "checkpoint": "last"},
        "augment": {"flip": 0.0},
    }
    return load_recipe(content, settings)


@pytest.mark.parametrize("method", ["regression", "ordinal"])
def test_a_level_that_only_the_tested_person_shows_is_no_obstacle(archive, tmp_path, method):
    run = ef.train(recipe(archive, method).model_dump(mode="json"), out=tmp_path / "run", sample_faces=False)
    said = run.predictions
    assert set(said.subject) == {"042-aa042"}
    assert sum(run.facts["counts"]["train"]) == 24
    assert run.facts["counts"]["train"][8] == 0 < run.facts["counts"]["test"][8]
    assert any(note.startswith("the training set has no sample of 3, 5, 6, 7, 8") for note in run.facts["notes"])
    assert "values of the levels are their names: 0, 1, 2" in "\n".join(run.facts["notes"])
    assert said.levels == tuple(range(16))
    place = said.probabilities @ np.arange(16)
    if method == "ordinal":
        np.testing.assert_allclose(said.output, place, rtol=1e-4)
    else:
        np.testing.assert_allclose(said.output.clip(0, 15), place, rtol=1e-3, atol=1e-4)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    truth = table["label"].astype(float)  # on this archive a label is its PSPI
    assert measured("rmse", said) == pytest.approx(np.sqrt(((table["output"] - truth) ** 2).mean()))
    stored = json.loads((run.folder / "metrics.json").read_text("utf-8"))["levels"]
    assert stored["rmse"]["value"] == pytest.approx(measured("rmse", said))
    again = build.trained_method(run)
    assert again.values.tolist() == list(range(16))


def test_validation_and_other_methods_still_need_what_they_need(archive):
    with pytest.raises(InputError, match="the class 3 has no training sample"):
        checked(recipe(archive, "erm"))
    only = {"protocol.imbalance": {"counts": {str(level): 0 for level in range(1, 16)}}}
    with pytest.raises(InputError, match="the class 1 has no training sample"):
        checked(recipe(archive, **only))
    checked(recipe(archive))


def checked(what):
    store = data.prepare_store(what)
    data.TrainingData(what, store).check()


def test_imbalance_by_a_factor_leaves_absent_levels_alone(archive):
    what = recipe(archive, **{"protocol.imbalance": {"factor": 8}})
    store = data.prepare_store(what)
    sides = split_manifest(store.manifest, what.protocol)
    assert store.manifest.counts(sides.train).tolist()[:9] == [6, 3, 2, 0, 1, 0, 0, 0, 0]  # 6, 3, 1.5, 0.75
    assert any("the training set has no sample of" in note for note in sides.notes)


@pytest.mark.parametrize("rule", ["inverse", "effective", "ratio"])
def test_weights_of_absent_classes_are_nought_and_the_others_as_without_them(rule):
    found = class_weights(rule, [6, 0, 3, 0, 1], absent=True)
    assert found[[1, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(found[[0, 2, 4]], class_weights(rule, [6, 3, 1]))
    np.testing.assert_allclose(class_weights(rule, [6, 3, 1], absent=True), class_weights(rule, [6, 3, 1]))
    with pytest.raises(InputError, match="the class 1, 3 has no training sample"):
        class_weights(rule, [6, 0, 3, 0, 1])


def test_files_of_before_have_levels_by_their_classes(tmp_path):
    old = Predictions(["a", "b"], None, [0, 1], np.eye(3)[:2], ("0", "5", "9"), ordered=True)
    old.save(tmp_path / "p.parquet")
    assert Predictions.load(tmp_path / "p.parquet").levels == (0, 5, 9)
    assert Predictions(["a"], None, [0], [[1, 0]], ("x", "y")).levels is None


def test_a_study_of_all_people_counts_those_of_the_data(archive):
    content = {"name": "loso", "recipe": recipe(archive).model_dump(mode="json"), "factors": {"a": {"b": {}}}}
    lines = describe_plan({**content, "folds": "all", "metrics": ["rmse", "macro_roc_auc"]}, StudyOptions())
    assert any(line.startswith("  3 runs to train") for line in lines)


@pytest.mark.parametrize(
    ("clips", "share"),
    [
        ({"sampling": "uniform", "frames": 16}, "25%"),  # of 12 frames
        ({"sampling": "stride", "frames": 16}, "25%"),
        ({"sampling": "windows", "frames": 8, "stride": 5}, "62%"),  # three frames are taken
        ({"sampling": "uniform", "frames": 13}, None),  # one in thirteen
        ({"sampling": "windows", "frames": 8, "stride": 1}, None),
    ],
)
def test_padding_of_a_large_share_of_the_sampled_frames_is_a_warning(archive, clips, share):
    what = recipe(archive, **{"data": {"source": "unbc", "root": str(archive), "unit": "clip", "scale": "pspi"}})
    what = load_recipe(what.model_dump(mode="json"), {"data.size": 32, "data.channels": 1, "data.clips": clips})
    for _ in range(2):  # made, then found
        notes = [note for note in data.prepare_store(what).manifest.notes if note.startswith("WARNING: padding")]
        assert [note.split()[2] for note in notes] == ([share] if share else [])
