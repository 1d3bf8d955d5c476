"""Training on clips: which frames are seen, what changes them, features that are stored, and the exact way back."""

import itertools
import json
import multiprocessing
import os
import signal
import socket
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import evenface as ef
from evenface import assembly, learner, reporting
from evenface.augment import COLUMNS, augment, to_float
from evenface.cli import app
from evenface.data.manifest import Manifest, make_table
from evenface.errors import InputError
from evenface.faces.store import Store
from evenface.files import exclusive
from evenface.networks import build_network
from evenface.recipes.schema import Augment
from evenface.training import features
from evenface.training.batches import Faces, TrainingBatches, chosen_frames
from evenface.training.features import stored_features
from evenface.training.trainer import Trainer

CPU = torch.device("cpu")
FORK = multiprocessing.get_context("fork")


# Which frames are seen.


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 1000))
def test_one_frame_is_drawn_from_each_stretch(frames, more, seed):
    stored = frames + more
    numbers = np.random.default_rng(seed).random((20, frames), dtype=np.float32)
    numbers[0], numbers[1] = 0, np.nextafter(np.float32(1), np.float32(0))
    for row, own in zip(chosen_frames(stored, frames, numbers), numbers, strict=True):
        for stretch, (frame, number) in enumerate(zip(row, own, strict=True)):
            assert frame == int((stretch + float(number)) * stored / frames)
            assert stretch * stored // frames <= frame < max((stretch + 1) * stored / frames, stretch + 1)
    middles = chosen_frames(stored, frames)
    assert (np.diff(middles) > 0).all()
    if more == 0:
        assert middles.tolist() == list(range(frames))


def batches(frames, *, random=True, stored=7, n=24, rank=0, world=1, seed=3):
    images = np.zeros((n, stored, 2, 2, 1), np.uint8) + np.arange(n, dtype=np.uint8)[:, None, None, None, None]
    images[:, :, 0, 0, 0] = np.arange(stored)
    faces = Faces(images, CPU, frames)
    return TrainingBatches(
        faces, np.arange(n), np.arange(n) % 3, batch_size=8, seed=seed, random_frames=random, rank=rank, world=world
    )


def seen(batch):
    return batch.images[..., 0, 0, 0]


def test_frames_are_drawn_anew_in_each_epoch_and_stay_with_their_clip():
    walked = [list(batches(3).epoch(epoch)) for epoch in (0, 0, 1)]
    for one, two, other in zip(*walked, strict=True):
        assert one.images.shape == (8, 3, 2, 2, 1)
        assert (one.images[..., 1, 1, 0] == torch.from_numpy(one.rows)[:, None]).all()
        assert torch.equal(one.images, two.images)
        assert (seen(one).diff(dim=1) >= 0).all()
        assert not torch.equal(seen(one), seen(other))
    middles = batches(3, random=False).epoch(0)
    assert all((seen(batch) == torch.tensor([1, 3, 5])).all() for batch in middles)


def test_frames_are_the_same_from_the_middle_of_an_epoch_and_in_several_processes():
    alone, rest = list(batches(3).epoch(2)), list(batches(3).epoch(2, start=1))
    assert all(torch.equal(one.images, two.images) for one, two in zip(alone[1:], rest, strict=True))
    shares = [list(batches(3, rank=rank, world=2).epoch(2)) for rank in range(2)]
    for step, batch in enumerate(alone):
        assert torch.equal(torch.cat([share[step].images for share in shares]), batch.images)


def test_one_frame_of_a_clip_is_a_still():
    first, other = (next(batches(1, seed=seed).epoch(0)) for seed in (3, 4))
    assert first.images.shape == (8, 2, 2, 1)
    assert not torch.equal(seen(first), seen(other))


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_what_lies_on_the_device_whole_is_what_is_read_piece_by_piece(frames):
    made = batches(frames)
    alone = list(made.epoch(1))
    made.faces.resident = torch.from_numpy(made.faces.images)
    assert all(torch.equal(one.images, two.images) for one, two in zip(alone, made.epoch(1), strict=True))
    rows = np.array([3, 0])
    taken = made.faces.take(rows)
    made.faces.resident = None
    assert torch.equal(taken, made.faces.take(rows))


def test_a_second_batch_draws_frames_of_its_own():
    batch = next(batches(3).epoch(0, second="inverse"))
    assert not torch.equal(seen(batch), seen(batch.second))


# What changes them.

ALL = Augment(
    flip=0.5, rotate=20, shift=0.1, zoom=0.1, shear=0.1, brightness=0.3, contrast=0.3, saturation=0.3, erase=0.7
)


def test_all_frames_of_a_clip_change_alike():
    """Two frames that hold the same pixels hold the same afterwards, and a clip of one picture changes as it does."""
    generator = torch.Generator().manual_seed(0)
    stills = torch.rand(6, 3, 16, 16, generator=generator)
    numbers = torch.rand(6, COLUMNS, generator=generator)
    clips = stills[:, None].repeat(1, 4, 1, 1, 1)
    changed = augment(clips, numbers, ALL)
    expected = augment(stills.clone(), numbers, ALL)
    for frame in changed.unbind(1):
        torch.testing.assert_close(frame, expected)


def test_what_a_frame_adds_to_another_is_scaled_and_not_evened_out():
    """Brightness and contrast are one affine map of grey for the whole clip: a frame's own mean plays no part."""
    clip = torch.rand(1, 3, 1, 8, 8) * 0.2 + torch.tensor([0.3, 0.4, 0.5]).view(1, 3, 1, 1, 1)
    changed = augment(clip.clone(), torch.full((1, COLUMNS), 0.8), Augment(flip=0, brightness=0.2, contrast=0.2))
    x, y = clip.flatten(), changed.flatten()
    design = torch.stack([x, torch.ones_like(x)], dim=1)
    torch.testing.assert_close(design @ torch.linalg.lstsq(design, y).solution, y, atol=1e-5, rtol=0)


def test_clips_become_network_input_frame_by_frame():
    images = torch.randint(256, (2, 3, 4, 5, 1), dtype=torch.uint8)
    frames = torch.stack([to_float(clip) for clip in images])
    assert torch.equal(to_float(images), frames)
    assert to_float(images).flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    kept = torch.rand(2, 3, 7)
    assert to_float(kept) is kept


# Whole runs, on clips whose label lies in time alone.


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Clips of 12 people that become brighter or darker: a class's frames are the other's in reverse."""
    random = np.random.default_rng(0)
    rows, images = [], []
    for person, number in itertools.product(range(12), range(2)):
        frames = (
            random.normal(40, 15, (1, 32, 32)) + 25 * np.arange(6)[:, None, None] + random.normal(0, 5, (6, 32, 32))
        )
        for label, clip in enumerate((frames, frames[::-1])):
            name = f"p{person:02}-{number}-{label}"
            who = f"p{person:02}"
            rows.append({"sample": name, "path": name, "label": label, "subject": who, "clip": name, "lost": 0})
            images.append(clip.clip(0, 255).astype(np.uint8)[..., None])
    folder = tmp_path_factory.mktemp("clips")
    manifest = Manifest(make_table(rows), ("rising", "falling"), "made-up", folder, content="clips", ordered=True)
    manifest.save(folder / "manifest.parquet")
    np.save(folder / "images.npy", np.stack(images))
    (folder / "quarantine.csv").write_text("sample,path,reason\n")
    (folder / "store.json").write_text(json.dumps({"key": "k", "lost": []}))
    return Store.open(folder)


@pytest.fixture(autouse=True)
def prepared(store, monkeypatch):
    monkeypatch.setattr(assembly, "prepare_store", lambda _recipe: store)


RECIPE = {
    "name": "clips",
    "data": {"source": "clip-folder", "root": "nowhere", "size": 32, "channels": 1, "clips": {"frames": 3, "keep": 6}},
    "protocol": {"kind": "holdout", "test": 0.3, "validation": 0.2},
    "network": {"name": "test_resnet", "temporal": {"kind": "bilstm", "hidden": 8, "layers": 1}},
    "training": {"epochs": 3, "batch_size": 8, "accelerator": "cpu"},
    "optimizer": {"lr": 0.01},
    "augment": {"rotate": 5, "frames": "random"},
}
RESTING = {"network.freeze": "backbone", "augment.flip": 0, "augment.rotate": 0}
STORED = {**RESTING, "training.features": "stored"}


def train(folder, **overrides):
    return ef.train(RECIPE, out=folder, faces=False, **overrides)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "prepare_store", lambda _recipe: store)
        return train(tmp_path_factory.mktemp("whole") / "run")


def same_run(one, other):
    for name in ("weights.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(folder / "predictions.parquet") for folder in (one, other)), check_exact=True
    )
    losses = [pd.read_csv(folder / "history.csv").drop(columns="images_per_second") for folder in (one, other)]
    pd.testing.assert_frame_equal(*losses, check_exact=True)


def test_a_run_on_clips_says_what_it_saw_and_can_be_rebuilt(whole, store):
    assert whole.facts["frames"] == 3
    assert whole.predictions.clip is not None
    assert whole.predictions.ordered
    assert "bilstm over frames" in reporting.facts([whole])["network"]
    assert "3 frames of each" in reporting.facts([whole])["data"]
    rows = pd.read_parquet(whole.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    method = learner.trained_method(whole).eval()
    with torch.inference_mode():
        found = method.predict(to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]])))
    assert whole.predictions.probabilities == pytest.approx(found.double().numpy(), abs=1e-5)
    faces = reporting.sample_faces(whole)
    assert any(np.array_equal(faces["rising"][0], clip[3]) for clip in store.images)


def train_and_die(kill, *arguments, **options):
    step, done = Trainer.step, itertools.count(1)

    def deadly(self, batch):
        value = step(self, batch)
        if next(done) == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    Trainer.step = deadly
    train(*arguments, **options)


@pytest.mark.parametrize("stored", [False, True])
def test_a_killed_run_resumes_bit_for_bit(whole, tmp_path, stored):
    settings = STORED if stored else {}
    undisturbed = train(tmp_path / "whole", **settings) if stored else whole
    often = {"training.checkpoint_minutes": 1e-4}
    process = FORK.Process(target=train_and_die, args=(5, tmp_path / "run"), kwargs={**settings, **often})
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = train(tmp_path / "run", resume=True, **settings, **often)
    same_run(undisturbed.folder, resumed.folder)


def test_a_recurrent_network_finds_what_lies_in_time_and_the_mean_cannot(tmp_path):
    settings = {**STORED, "training.epochs": 25, "training.select": "last"}
    found = {
        kind: train(tmp_path / kind, **settings, **{"network.temporal.kind": kind}).metrics["overall"]["accuracy"]
        for kind in ("mean", "bilstm")
    }
    assert found["bilstm"]["value"] > 0.9
    assert found["mean"]["value"] < 0.7


def test_mirrors_of_clips_are_averaged_in(whole, store, tmp_path):
    settings = {"training.epochs": 1, "optimizer.lr": 1e-12, "training.select": "last", "training.mirror": True}
    run = train(tmp_path / "run", **settings)
    rows = pd.read_parquet(run.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    images = to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]]))
    method = learner.trained_method(run).eval()
    with torch.inference_mode():
        expected = (method.predict(images) + method.predict(images.flip(-1))) / 2
    assert run.predictions.probabilities == pytest.approx(expected.double().numpy(), abs=1e-6)


def test_clips_that_hold_too_few_frames_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds 6 frames of each clip"):
        train(tmp_path / "run", **{"data.clips.frames": 8, "data.clips.keep": 8})


def test_a_run_of_clips_is_tested_on_clips_of_as_many_frames_only(whole, store, tmp_path, monkeypatch):
    other = replace(store, manifest=replace(store.manifest, source="other"))
    monkeypatch.setattr(assembly, "prepare_store", lambda _recipe: other)
    on = {**RECIPE, "name": "elsewhere", "data": {**RECIPE["data"], "source": "clips", "clips": {"frames": 5}}}
    run = ef.transfer(whole.folder, on, out=tmp_path / "there", faces=False)
    assert run.predictions.probabilities == pytest.approx(whole.predictions.probabilities, abs=1e-6)
    stills = replace(other, images=other.images[:, :1])
    monkeypatch.setattr(assembly, "prepare_store", lambda _recipe: stills)
    with pytest.raises(InputError, match="takes clips of 3 frames, elsewhere gives single pictures"):
        ef.transfer(whole.folder, on, out=tmp_path / "stills", faces=False)


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


# Stored features.


@pytest.mark.parametrize(("kind", "frames"), [("mean", "middle"), ("bilstm", "random")])
def test_training_on_stored_features_is_training_with_the_frozen_backbone(tmp_path, frames, kind):
    settings = {**RESTING, "augment.frames": frames, "network.temporal.kind": kind}
    one = train(tmp_path / "computed", **settings)
    two = train(tmp_path / "stored", **settings, **{"training.features": "stored"})
    ours, theirs = (load_file(run.folder / "weights.safetensors") for run in (one, two))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=1e-3)
    assert one.predictions.probabilities == pytest.approx(two.predictions.probabilities, abs=1e-4)
    assert one.history["train_loss"].to_numpy() == pytest.approx(two.history["train_loss"].to_numpy(), abs=1e-4)


def test_a_run_on_stored_features_predicts_from_pixels(store, tmp_path):
    run = train(tmp_path / "run", **STORED)
    rows = pd.read_parquet(run.folder / "split.parquet").query("side == 'test'")["row"].to_numpy()
    method = learner.trained_method(run).eval()
    with torch.inference_mode():
        found = method.predict(to_float(torch.from_numpy(store.images[rows][:, [1, 3, 5]])))
    assert run.predictions.probabilities == pytest.approx(found.double().numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network.freeze": "none"}, "network.freeze: backbone"),
        ({"augment.flip": 0.5, "augment.erase": 0.1}, "augment.flip=0 augment.erase=0"),
        ({"training.mirror": True}, "training.mirror"),
        ({"network.temporal.over": "spatial"}, "spatial"),
        ({"method.name": "mixup"}, "method 'mixup' changes pictures"),
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
    return replace(store, path=tmp_path)


def computed(store, **options):
    network = build_network("test_resnet", 2, channels=1, size=32, freeze="backbone", frames=3, **options)
    return network, stored_features(Fabric(accelerator="cpu", devices=1), network, "test_resnet", store)


def as_rank(rank, port, folder):
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    train(folder, **STORED, **{"training.devices": 2, "network.temporal.dropout": 0.0})


@pytest.mark.slow
def test_two_processes_train_on_stored_features_as_one(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(assembly, "prepare_store", lambda _recipe: fresh)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [FORK.Process(target=as_rank, args=(rank, port, tmp_path / "two")) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = train(tmp_path / "one", **STORED, **{"network.temporal.dropout": 0.0}), ef.Run.open(tmp_path / "two")
    assert one.history["train_loss"].to_numpy() == pytest.approx(two.history["train_loss"].to_numpy(), rel=1e-3)
    assert np.abs(one.predictions.probabilities - two.predictions.probabilities).max() < 1e-3


def test_features_are_those_of_each_frame_and_computed_once(store, fresh, monkeypatch):
    network, found = computed(fresh)
    assert found.shape == (*store.images.shape[:2], network.width)
    with torch.inference_mode():
        one = network.eval().look(to_float(torch.from_numpy(np.array(store.images[5, 2:3]))))[0]
    assert found[5, 2] == pytest.approx(one[0].numpy(), abs=1e-5)
    monkeypatch.setattr(features, "_compute", None)
    assert np.array_equal(computed(fresh)[1], found)
    with pytest.raises(TypeError):
        computed(fresh, seed=1)  # other weights, other features


def test_a_killed_computation_goes_on_where_it_stopped(fresh, tmp_path, monkeypatch):
    expected = np.array(computed(fresh)[1])
    (path,) = tmp_path.glob("features-*.npy")
    path.unlink()
    monkeypatch.setattr(features, "SYNC_SECONDS", 0.0)
    looked, real = [], features.to_float

    def dies(some):
        looked.append(len(some))
        if len(looked) == 3:
            raise KeyboardInterrupt
        return real(some)

    monkeypatch.setattr(features, "to_float", dies)
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

    monkeypatch.setattr(features, "_sync", full)
    with pytest.raises(InputError, match="disk is full"):
        computed(fresh)
    assert not list(tmp_path.glob("features-*.npy"))


def test_who_comes_second_waits_for_the_first(tmp_path, capfd):
    entered = threading.Event()

    def second():
        with exclusive(tmp_path / "lock", "somebody is at it"):
            entered.set()

    with exclusive(tmp_path / "lock", "somebody is at it"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join(20)
    assert entered.is_set()
    assert "somebody is at it; waiting for it" in capfd.readouterr().err
