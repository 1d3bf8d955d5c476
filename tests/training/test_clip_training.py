"""Whole runs on clips whose label lies in time alone: what they saw, and the exact way back."""

import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from clip_runs import RECIPE, STORED, prepared_as, rising_and_falling, train
from PIL import Image
from processes import in_process, same_run, train_and_die
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.reporting import summaries
from evenface.training import build
from evenface.utils.errors import InputError


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return rising_and_falling(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def prepared(store, monkeypatch):
    prepared_as(monkeypatch, store)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        prepared_as(patch, store)
        return train(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_on_clips_says_what_it_saw_and_can_be_rebuilt(whole, store):
    assert whole.facts["frames"] == 3
    assert whole.predictions.clip is not None
    assert whole.predictions.ordered
    assert "bilstm over frames" in summaries.provenance([whole])["network"]
    assert "3 frames of each" in summaries.provenance([whole])["data"]
    rows = pd.read_parquet(whole.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    method = build.trained_method(whole).eval()
    with torch.inference_mode():
        found = method.predict(to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]])))
    assert whole.predictions.probabilities == pytest.approx(found.double().numpy(), abs=1e-5)
    faces = summaries.sample_faces(whole)
    assert any(np.array_equal(faces["rising"][0], clip[3]) for clip in store.images)


TRANSFORMER = {"network.temporal": {"kind": "transformer", "hidden": 8, "layers": 1}}


@pytest.mark.parametrize("settings", [{}, STORED, {**STORED, **TRANSFORMER}])
def test_a_killed_run_resumes_bit_for_bit(whole, tmp_path, settings):
    undisturbed = train(tmp_path / "whole", **settings) if settings else whole
    often = {"training.checkpoint_minutes": 1e-4}
    process = in_process(train_and_die, 5, RECIPE, out=tmp_path / "run", **settings, **often)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = train(tmp_path / "run", resume=True, **settings, **often)
    same_run(undisturbed.folder, resumed.folder)


def test_recurrent_networks_and_transformers_find_what_lies_in_time_and_what_ignores_order_cannot(tmp_path):
    small = {"network.temporal.hidden": 16, "network.temporal.heads": 2, "network.temporal.dropout": 0}
    settings = {**STORED, **small, "training.epochs": 25, "training.checkpoint": "last"}
    found = {
        kind: train(tmp_path / kind, **settings, **{"network.temporal.kind": kind}).metrics["overall"]["accuracy"]
        for kind in ("mean", "attention", "bilstm", "transformer")
    }
    assert min(found["bilstm"]["value"], found["transformer"]["value"]) > 0.9
    assert max(found["mean"]["value"], found["attention"]["value"]) < 0.7


def test_mirrors_of_clips_are_averaged_in(whole, store, tmp_path):
    settings = {"training.epochs": 1, "optimizer.lr": 1e-12, "training.checkpoint": "last", "training.tta_flip": True}
    run = train(tmp_path / "run", **settings)
    rows = pd.read_parquet(run.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    images = to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]]))
    method = build.trained_method(run).eval()
    with torch.inference_mode():
        expected = (method.predict(images) + method.predict(images.flip(-1))) / 2
    assert run.predictions.probabilities == pytest.approx(expected.double().numpy(), abs=1e-6)


def test_clips_that_hold_too_few_frames_are_refused(tmp_path):
    with pytest.raises(InputError, match="has 6 frames of each clip"):
        train(tmp_path / "run", **{"data.clips.frames": 8, "data.clips.stored_frames": 8})


def test_a_run_of_clips_is_tested_on_clips_of_as_many_frames_only(whole, store, tmp_path, monkeypatch):
    other = replace(store, manifest=replace(store.manifest, source="other"))
    prepared_as(monkeypatch, other)
    on = {**RECIPE, "name": "elsewhere", "data": {**RECIPE["data"], "source": "clips", "clips": {"frames": 5}}}
    run = ef.evaluate(whole.folder, on=on, out=tmp_path / "there", sample_faces=False)
    assert run.predictions.probabilities == pytest.approx(whole.predictions.probabilities, abs=1e-6)
    stills = replace(other, images=other.images[:, :1])
    prepared_as(monkeypatch, stills)
    with pytest.raises(InputError, match="takes clips of 3 frames; elsewhere has single images"):
        ef.evaluate(whole.folder, on=on, out=tmp_path / "stills", sample_faces=False)


def test_the_command_line_goes_from_folders_of_frames_to_a_report(store, tmp_path, monkeypatch):
    monkeypatch.undo()
    for row, images in zip(store.manifest.table.to_dict("records"), store.images, strict=True):
        folder = tmp_path / "clips" / store.manifest.classes[row["label"]] / row["sample"]
        folder.mkdir(parents=True)
        for number, frame in enumerate(images[..., 0]):
            Image.fromarray(frame).save(folder / f"{number}.png")
    data = {**RECIPE["data"], "root": str(tmp_path / "clips"), "subjects": "^(p[0-9]+)-"}
    content = {**RECIPE, "data": data, "training": {**RECIPE["training"], "epochs": 1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    words = ["train", tmp_path / "recipe.yaml", "--out", tmp_path / "run"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "balanced accuracy" in done.stdout
    run = ef.Run.open(tmp_path / "run")
    assert run.facts["frames"] == 3
    assert Store.open(run.facts["store"]).images.shape == (48, 6, 32, 32, 1)
    assert "rising" in (tmp_path / "run" / "report.html").read_text("utf-8")
