"""Features of clips are stored once, and training on them is training with the frozen backbone."""

import shutil
import socket
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from clip_runs import RECIPE, RESTING, STORED, prepared_as, rising_and_falling, train
from lightning_fabric import Fabric
from processes import as_rank, in_process
from safetensors.torch import load_file

import evenface as ef
from evenface.models import build_network
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.training import build, prediction
from evenface.training.prediction import cached_features
from evenface.utils.errors import InputError
from evenface.utils.files import exclusive_lock


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return rising_and_falling(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def prepared(store, monkeypatch):
    prepared_as(monkeypatch, store)


@pytest.mark.parametrize(("kind", "frames"), [("mean", False), ("bilstm", True), ("transformer", True)])
def test_training_on_stored_features_is_training_with_the_frozen_backbone(tmp_path, frames, kind):
    settings = {**RESTING, "augment.temporal_jitter": frames, "network.temporal.kind": kind}
    one = train(tmp_path / "computed", **settings)
    two = train(tmp_path / "stored", **settings, **{"training.cache_features": True})
    ours, theirs = (load_file(run.folder / "weights.safetensors") for run in (one, two))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=1e-3)
    assert one.predictions.probabilities == pytest.approx(two.predictions.probabilities, abs=1e-4)
    assert one.history["train_loss"].to_numpy() == pytest.approx(two.history["train_loss"].to_numpy(), abs=1e-4)


def test_a_run_on_stored_features_predicts_from_pixels(store, tmp_path):
    run = train(tmp_path / "run", **STORED)
    rows = pd.read_parquet(run.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    method = build.trained_method(run).eval()
    with torch.inference_mode():
        found = method.predict(to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]])))
    assert run.predictions.probabilities == pytest.approx(found.double().numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network.freeze": "none"}, "network.freeze: backbone"),
        ({"augment.flip": 0.5, "augment.erase": 0.1}, "augment.flip=0 augment.erase=0"),
        ({"augment.policy": "randaugment"}, "Set augment.policy=none"),
        ({"training.tta_flip": True}, "training.tta_flip"),
        ({"network.temporal.over": "spatial"}, "spatial"),
        ({"method.name": "mixup"}, "method 'mixup' changes images"),
    ],
)
def test_stored_features_refuse_what_needs_pixels(tmp_path, change, said):
    with pytest.raises(InputError) as refused:
        train(tmp_path / "run", **{**STORED, **change})
    assert said in f"{refused.value.message} {refused.value.hint}"
    assert not (tmp_path / "run").exists()


@pytest.fixture
def fresh(store, tmp_path):
    """The store in a folder of its own, without features."""
    for file in store.path.glob("[!f]*"):
        shutil.copy(file, tmp_path)
    return replace(store, path=tmp_path)


def computed(store, **options):
    network = build_network("test_resnet", 2, channels=1, size=32, freeze="backbone", frames=3, **options)
    return network, cached_features(Fabric(accelerator="cpu", devices=1), network, "test_resnet", store)


@pytest.mark.slow
def test_two_processes_train_on_stored_features_as_one(fresh, monkeypatch, tmp_path):
    prepared_as(monkeypatch, fresh)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**STORED, "network.temporal.dropout": 0.0}
    options = {"out": tmp_path / "two", "training.devices": 2, **settings}
    processes = [in_process(as_rank, rank, 2, port, RECIPE, **options) for rank in range(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = train(tmp_path / "one", **settings), ef.Run.open(tmp_path / "two")
    assert one.history["train_loss"].to_numpy() == pytest.approx(two.history["train_loss"].to_numpy(), rel=1e-3)
    assert np.abs(one.predictions.probabilities - two.predictions.probabilities).max() < 1e-3


def test_features_are_those_of_each_frame_and_computed_once(store, fresh, monkeypatch):
    network, found = computed(fresh)
    assert found.shape == (*store.images.shape[:2], network.width)
    with torch.inference_mode():
        one = network.eval().forward_backbone(to_float(torch.from_numpy(np.array(store.images[5, 2:3]))))[0]
    assert found[5, 2] == pytest.approx(one[0].numpy(), abs=1e-5)
    monkeypatch.setattr(prediction, "_compute", None)
    assert np.array_equal(computed(fresh)[1], found)
    with pytest.raises(TypeError):
        computed(fresh, seed=1)  # other weights, other features


def test_a_killed_computation_goes_on_where_it_stopped(fresh, tmp_path, monkeypatch):
    expected = np.array(computed(fresh)[1])
    (path,) = tmp_path.glob("features-*.npy")
    path.unlink()
    monkeypatch.setattr(prediction, "SYNC_SECONDS", 0.0)
    looked, real = [], prediction.to_float

    def dies(some):
        looked.append(len(some))
        if len(looked) == 3:
            raise KeyboardInterrupt
        return real(some)

    monkeypatch.setattr(prediction, "to_float", dies)
    with pytest.raises(KeyboardInterrupt):
        computed(fresh)
    assert not path.exists()
    assert np.array_equal(computed(fresh)[1], expected)
    assert sum(looked) == expected.shape[0] * expected.shape[1] + looked[2]
    assert [file.name for file in tmp_path.glob("*")].count(path.name) == 1
    assert not list(tmp_path.glob(".*.part"))


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_whole(fresh, tmp_path, monkeypatch):
    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prediction, "_sync", full)
    with pytest.raises(InputError, match="disk is full"):
        computed(fresh)
    assert not list(tmp_path.glob("features-*.npy"))


def test_who_comes_second_waits_for_the_first(tmp_path, capfd):
    entered = threading.Event()

    def second():
        with exclusive_lock(tmp_path / "lock", "somebody is at it"):
            entered.set()

    with exclusive_lock(tmp_path / "lock", "somebody is at it"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join(20)
    assert entered.is_set()
    assert "somebody is at it; waiting" in capfd.readouterr().err
