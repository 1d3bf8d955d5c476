"""A run that was killed, stopped or shared out ends as one that was not."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from processes import as_rank, command_line, fitted, in_process, same_run, train_and_die
from safetensors.torch import load_file

import evenface as ef
from evenface.models.backbone import Network
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.training.build import trained_method
from evenface.utils.errors import InputError


@pytest.fixture(scope="module")
def whole(small_recipe, tmp_path_factory):
    """The run that nothing disturbed."""
    return fitted(small_recipe, out=tmp_path_factory.mktemp("whole") / "run").folder


@pytest.mark.parametrize("kill", [1, 6, 11, 16])
def test_a_killed_run_resumes_bit_for_bit(small_recipe, whole, tmp_path, kill):
    often = {"training.checkpoint_minutes": 1e-4}  # so that some kills fall between two checkpoints of an epoch
    process = in_process(train_and_die, kill, small_recipe, out=tmp_path / "run", **often)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "run" / "predictions.parquet").exists()
    (tmp_path / "run" / ".tmpfX66uz").touch()  # as safetensors leaves it where the kill falls into its writing
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **often)
    same_run(whole, resumed.folder)
    assert not list(resumed.folder.glob(".*"))


@pytest.mark.parametrize(
    "settings",
    [
        {"augment.policy": "randaugment"},
        {"augment.policy": "trivialaugment"},
        {"data.synthetic": {"fear": 5, "happy": 3}},
        {"optimizer.name": "muon"},
    ],
    ids=["randaugment", "trivialaugment", "drawn faces", "muon"],
)
def test_a_killed_run_with_other_settings_resumes_bit_for_bit(small_recipe, tmp_path, settings):
    often = {"training.checkpoint_minutes": 1e-4, "training.epochs": 2, **settings}
    process = in_process(train_and_die, 8, small_recipe, out=tmp_path / "run", **often)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **often)
    same_run(fitted(small_recipe, out=tmp_path / "undisturbed", **often).folder, resumed.folder)


def test_a_run_whose_images_grow_resumes_bit_for_bit_and_predicts_at_full_size(small_recipe, tmp_path, monkeypatch):
    options = {"training.checkpoint_minutes": 1e-4, "training.start_size": 16}
    process = in_process(train_and_die, 8, small_recipe, out=tmp_path / "run", **options)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **options)
    seen, forward = {True: [], False: []}, Network.forward

    def watched(self, images):
        seen[self.training].append(images.shape[-1])
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", watched)
    same_run(fitted(small_recipe, out=tmp_path / "undisturbed", **options).folder, resumed.folder)
    steps = len(seen[True]) // 3
    assert seen[True] == [16] * steps + [24] * steps + [32] * steps
    assert set(seen[False]) == {32}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"training.start_size": 32}, "training.start_size is 32, the images have 32 pixels"),
        ({"training.start_size": 8, "network.name": "vgg11"}, "cannot be built for images of 8 pixels"),
        ({"training.start_size": 4}, "training.start_size: .*greater than or equal to 8"),
    ],
)
def test_a_first_side_that_cannot_be_is_refused(small_recipe, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        fitted(small_recipe, out=tmp_path / "run", **options)


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(small_recipe, tmp_path):
    words = ["train", small_recipe, "training.epochs=400", "--no-sample-faces", "--out", tmp_path / "run"]
    process = in_process(command_line, words, tmp_path / "screen.txt")
    deadline = time.monotonic() + 100
    while not (tmp_path / "run/history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    said = (tmp_path / "screen.txt").read_text()
    assert "--resume" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_two_processes_train_as_one(small_recipe, tmp_path, norm):
    settings = {"network.norm": norm, "network.dropout": 0.0}
    one = fitted(small_recipe, out=tmp_path / "one", **settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {**settings, "training.devices": 2, "out": tmp_path / "two"}
    processes = [in_process(as_rank, rank, 2, port, small_recipe, **options) for rank in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    two = ef.Run.open(tmp_path / "two")
    # Sums in another order differ in the last digit, and every step multiplies that: the first epoch is held tightest.
    assert one.history["train_loss"][0] == pytest.approx(two.history["train_loss"][0], rel=1e-5)
    assert one.history["train_loss"].to_numpy() == pytest.approx(two.history["train_loss"].to_numpy(), rel=1e-3)
    assert one.history["validation_loss"].to_numpy() == pytest.approx(
        two.history["validation_loss"].to_numpy(), rel=1e-3
    )
    assert one.predictions.sample.tolist() == two.predictions.sample.tolist()
    assert np.abs(one.predictions.probabilities - two.predictions.probabilities).max() < 1e-3


@pytest.mark.slow
def test_devices_of_the_recipe_start_their_own_processes(small_recipe, tmp_path):
    words = [
        "train",
        small_recipe,
        "training.devices=2",
        "network.norm=group",
        "--no-sample-faces",
        "--out",
        tmp_path / "run",
    ]
    done = subprocess.run([sys.executable, "-m", "evenface.cli", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("balanced accuracy") == 1


def test_weights_hold_what_prediction_needs_and_nothing_else(whole):
    names = load_file(whole / "weights.safetensors")
    assert names
    assert all(name.startswith("network.") for name in names)


def test_selection_on_test_data_takes_the_epoch_best_there_and_says_so(small_recipe, tmp_path):
    settings = {"training.checkpoint": "test", "training.monitor": "loss", "training.epochs": 4}
    run = ef.train(small_recipe, out=tmp_path / "run", sample_faces=False, **settings)
    predictions = run.predictions
    own = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    judged = run.history["validation_loss"]
    assert -np.log(own).mean() == pytest.approx(judged.min(), rel=1e-6)
    assert judged.nunique() == 4
    assert any("selected on the test data" in note for note in run.facts["notes"])
    assert "selected on the test data" in (run.folder / "report.html").read_text("utf-8")


def test_the_mirror_is_averaged_in(small_recipe, tmp_path):
    """With random weights and no training to speak of, by the same weights on pictures turned by hand."""
    settings = {"training.epochs": 1, "optimizer.lr": 1e-12, "training.checkpoint": "last"}
    alone = fitted(small_recipe, out=tmp_path / "alone", **settings)
    both = fitted(small_recipe, out=tmp_path / "both", **settings, **{"training.tta_flip": True})
    method = trained_method(alone).eval()
    store = Store.open(alone.facts["store"])
    rows = pd.read_parquet(alone.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    images = to_float(torch.from_numpy(np.ascontiguousarray(store.images[rows, 0])))
    with torch.inference_mode():
        expected = (method.predict(images) + method.predict(images.flip(-1))) / 2
    assert both.predictions.probabilities == pytest.approx(expected.double().numpy(), abs=1e-6)
    assert both.predictions.probabilities != pytest.approx(alone.predictions.probabilities, abs=1e-6)
