"""Pretraining on unlabelled images: what it reads, resuming, what a training starts from, and what is refused."""

import json
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from processes import in_process, train_and_die
from safetensors.torch import load_file
from typer.testing import CliRunner

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.models import build_network
from evenface.reporting.summaries import run_summary
from evenface.runs import IMAGE_DIGESTS
from evenface.training import pretraining
from evenface.training.pretraining import COLLAPSED, CollapseWarning, Pretraining, training_rows
from evenface.training.trainer import Trainer
from evenface.utils.errors import InputError

QUICK = {"network": "test_resnet", "size": 32, "batch_size": 16, "device": "cpu"}
OFTEN = {"training.checkpoint_minutes": 1e-4, "training.precision": "32-true"}


@pytest.fixture(scope="module")
def faces(people_folder, tmp_path_factory):
    """The made-up people at different depths, in folders that are no classes, with other files among them."""
    folder = tmp_path_factory.mktemp("faces")
    for number, path in enumerate(sorted(people_folder.rglob("*.png"))[:40]):
        place = folder / ("a/deep/er" if number % 3 else "b" if number % 2 else ".")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{number}.png")
    (folder / "b" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """A pretraining that nothing disturbed."""
    return ef.pretrain(faces, tmp_path_factory.mktemp("whole") / "run", epochs=2, **QUICK, **OFTEN)


def test_a_nested_folder_without_labels_is_pretrained_on(whole, faces):
    assert whole.facts["images"] == 40
    history = pd.read_csv(whole.folder / "history.csv")
    assert list(history) == ["epoch", "lr", "train_loss", "output_std", "images_per_second"]
    assert history["train_loss"].between(-1, 1).all()
    assert history["output_std"].between(0, whole.facts["full_std"]).all()
    assert whole.recipe.optimizer.lr == pytest.approx(0.05 * 16 / 256)
    assert repr(whole).startswith(f"<pretraining {whole.folder}: test_resnet on 40 images of 32 px, 2 epochs, loss ")
    assert len(repr(whole)) < 250
    names = {path.name for path in whole.folder.iterdir()}
    assert names == {"pretraining.json", "weights.safetensors", "image-digests.npy", "history.csv", "log.txt"}
    assert ef.pretrain(faces, whole.folder, epochs=2, resume=True, **QUICK, **OFTEN).facts == whole.facts


def test_a_run_warns_of_test_images_that_the_network_was_pretrained_on(whole, people_folder, small_recipe, tmp_path):
    pretrained = {Image.open(path).tobytes() for path in sorted(people_folder.rglob("*.png"))[:40]}
    quick = {"training.epochs": 1, "network.dropout": 0}
    for weights, warned in ((whole.folder, True), ("random", False)):
        settings = api.start_settings(weights) if warned else {}
        run = ef.train(small_recipe, out=tmp_path / str(warned), sample_faces=False, **settings, **quick)
        images = [np.asarray(Image.open(people_folder / name)) for name in run.results.sample]
        known = sum(image.tobytes() in pretrained for image in images)
        assert 0 < known < len(images)
        told = [line for line in run_summary(run) if "images of the pretraining" in line]
        assert (len(told) == 1 and f"{known} of {len(images)} test samples" in told[0]) if warned else not told
    (whole.folder / IMAGE_DIGESTS).rename(tmp_path / "moved.npy")
    try:
        run = ef.train(
            small_recipe, out=tmp_path / "none", sample_faces=False, **api.start_settings(whole.folder), **quick
        )
        assert not any("images of the pretraining" in note for note in run.facts["notes"])
    finally:
        (tmp_path / "moved.npy").rename(whole.folder / IMAGE_DIGESTS)


def killed(kill, **options):
    """Pretrain, and be killed at the end of the given step."""
    import processes

    processes.fitted = ef.pretrain
    train_and_die(kill, **options)


@pytest.mark.parametrize("kill", [1, 3])
def test_a_killed_pretraining_resumes_bit_for_bit(faces, whole, tmp_path, kill):
    options = {"data": faces, "out": tmp_path / "run", "epochs": 2, **QUICK, **OFTEN}
    process = in_process(killed, kill, **options)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert repr(Pretraining(tmp_path / "run")) == f"<pretraining {tmp_path / 'run'}: not finished>"
    with pytest.raises(InputError, match="has not ended"):
        api.start_settings(tmp_path / "run")
    with pytest.raises(InputError, match="has begun already\n  Add --resume"):
        ef.pretrain(**options)
    resumed = ef.pretrain(**options, resume=True)
    assert (resumed.folder / "weights.safetensors").read_bytes() == whole.weights.read_bytes()
    histories = [pd.read_csv(one.folder / "history.csv").drop(columns="images_per_second") for one in (whole, resumed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_ctrl_c_saves_the_step(faces, whole, tmp_path, monkeypatch):
    step = Trainer.step

    def pressed(self, batch):
        signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "step", pressed)
    options = {"network.name": "test_resnet", "data.size": 32, **OFTEN}
    words = ["pretrain", "--data", str(faces), "--out", str(tmp_path / "run"), "--epochs", "2", "--batch-size", "16"]
    words += ["--device", "cpu", *(f"{key}={value}" for key, value in options.items())]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    assert result.output.endswith("evenface: interrupted; run the same command again with --resume to continue\n")
    monkeypatch.undo()
    result = CliRunner().invoke(app, [*words, "--resume"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == whole.weights.read_bytes()


def test_a_network_starts_from_the_weights(whole):
    given = load_file(whole.weights)
    for weights in (whole.weights, whole.folder):
        network = build_network("test_resnet", 7, channels=1, size=32, weights=str(weights))
        own = network.state_dict()
        assert all(torch.equal(own[name.removeprefix("network.")], value) for name, value in given.items())
    assert network.load_report.missing == ("classifier.weight", "classifier.bias")
    assert not network.load_report.unused
    random = build_network("test_resnet", 7, channels=1, size=32).state_dict()
    changed = [name for name, value in random.items() if not torch.equal(value, own[name]) and "backbone" in name]
    assert len(changed) > len(given) / 2


def test_a_training_starts_from_it_and_its_model_card_states_that(whole, people_folder, tmp_path):
    words = ["--start", str(whole.folder), "--out", str(tmp_path / "run"), "training.epochs=1", "--no-sample-faces"]
    result = CliRunner().invoke(app, ["train", "--data", str(people_folder), *words])
    assert result.exit_code == 0, result.output
    run = ef.Run.open(tmp_path / "run")
    assert (run.recipe.network.name, run.recipe.data.size, run.recipe.data.channels) == ("test_resnet", 32, 1)
    assert run.facts["pretraining"]["images"] == 40
    card = (run.folder / "model-card.md").read_text()
    name = whole.recipe.data.root.rpartition("/")[2]
    assert f"pretrained by SimSiam on 40 unlabelled images of {name} for 2 epochs; the licence of these" in card
    assert "is unknown" in card


def test_other_files_state_no_pretraining(whole, tmp_path):
    from safetensors.torch import save_file

    for number, stated in enumerate(['{"method": "SimSiam"}', "[1]", "no json"]):
        path = tmp_path / f"{number}.safetensors"
        save_file(load_file(whole.weights), path, {"pretraining": stated})
        assert build_network("test_resnet", 7, channels=1, size=32, weights=str(path)).load_report.pretraining is None


def test_labels_and_held_out_images_are_not_used(people_folder, tmp_path):
    for side in ("train", "test"):
        for number, path in enumerate(sorted(people_folder.rglob("*.png"))[:24]):
            place = tmp_path / "faces" / side / path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / f"{side}{number}.png")
    manifest = pretraining.guess_unlabelled(tmp_path / "faces").manifest
    rows, notes = training_rows(manifest)
    assert [manifest.table["sample"][row].split("/")[0] for row in rows] == ["train"] * 24
    assert notes == ["24 images of validation and test sets are left out"]
    assert set(manifest.table["label"]) == {0}
    alone = pretraining.guess_unlabelled(tmp_path / "faces" / "test").manifest
    assert len(training_rows(alone)[0]) == 24


def test_images_of_a_table_are_pretrained_on_without_its_labels(people_folder, tmp_path):
    shutil.copytree(people_folder / "calm", tmp_path / "calm")
    paths = sorted(f"calm/{path.name}" for path in (tmp_path / "calm").iterdir())[:32]
    for name, labels in {"one": ["a", "b"], "other": ["b", "a"]}.items():
        pd.DataFrame({"path": paths, "label": labels * 16}).to_csv(tmp_path / f"{name}.csv", index=False)
        ef.pretrain(tmp_path / f"{name}.csv", tmp_path / name, epochs=1, **QUICK)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- the command


def test_the_command_prints_the_result_and_what_to_do_next(faces, tmp_path):
    words = ["pretrain", "--data", str(faces), "--out", str(tmp_path / "run"), "--epochs", "1", "--network"]
    words += ["test_resnet", "--size", "32", "--batch-size", "32", "--seed", "4", "--device", "cpu", "augment.zoom=0.1"]
    words += ["training.loggers=[tensorboard]"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    said, facts = result.stdout.splitlines(), json.loads((tmp_path / "run" / "pretraining.json").read_text())
    assert said[-4].startswith("pretrained  test_resnet on 40 images of 32 px, 1 epochs, loss ")
    assert f"{facts['output_std']:.4f}; 0 is a collapse, 1/sqrt(d) = {facts['full_std']:.4f} the maximum" in said[-3]
    assert said[-2] == f"weights     {tmp_path / 'run' / 'weights.safetensors'}"
    assert said[-1] == f"next        evenface train --start {tmp_path / 'run'} --data FOLDER"
    assert "output std" in result.stderr
    assert (facts["recipe"]["seed"], facts["recipe"]["augment"]["zoom"]) == (4, 0.1)
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_collapse_is_warned_of_once_while_it_lasts_and_in_the_end(whole, capsys):
    logger = CollapseWarning(0.1)
    for epoch, value in enumerate([0.05, 0.019, 0.001, 0.021, 0.01], 1):
        logger.log(epoch, {"output_std": value})
    warned = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in warned] == ["epoch 2", "epoch 5"]
    assert "the outputs have collapsed" in warned[0]
    logger.close()
    low = Pretraining(whole.folder)
    low.__dict__["facts"] = {**whole.facts, "output_std": 0.9 * COLLAPSED * whole.facts["full_std"]}
    assert low.lines()[0].startswith("warning  the outputs have collapsed")
    assert ", collapsed>" in repr(low)
    assert not any("collapsed" in line for line in whole.lines()) or whole.collapsed


def test_identical_images_collapse(tmp_path):
    """Without augmentation, all outputs for one image are the same."""
    (tmp_path / "faces").mkdir()
    for number in range(16):
        Image.new("L", (32, 32), 90).save(tmp_path / "faces" / f"{number}.png")
    still = dict.fromkeys(("flip", "rotate", "shift", "zoom", "brightness", "contrast", "saturation", "erase"), 0)
    settings = {f"augment.{key}": value for key, value in still.items()}
    result = ef.pretrain(tmp_path / "faces", tmp_path / "run", epochs=1, **QUICK, **settings)
    assert result.collapsed
    assert result.facts["output_std"] < 1e-3 * result.facts["full_std"]


# --- what is refused


def refused(message, *arguments, **options):
    with pytest.raises(InputError, match=message) as info:
        ef.pretrain(*arguments, **{**QUICK, **options})
    assert len(str(info.value).splitlines()) <= 2


def test_what_cannot_be_pretrained_on_is_refused_in_one_sentence(faces, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    out = tmp_path / "out"
    refused("no images in .*, which has no files", tmp_path / "empty", out)
    refused("no images in .*, which has a.txt", tmp_path / "texts", out)
    refused("does not exist", tmp_path / "nowhere", out)
    refused("40 images are fewer than a batch of 64\n  Add images, or set --batch-size 40", faces, out, batch_size=64)
    refused("there is no network 'resnet81'", faces, out, network="resnet81")
    refused("the network recurrent is not for images", faces, out, network="recurrent")
    refused("training.epochs is given twice", faces, out, epochs=1, **{"training.epochs": 2})
    refused("data.size", faces, out, size=8)
    assert not out.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol.test", 0.5),
        ("method.name", "mixup"),
        ("loss.name", "focal"),
        ("network.head", "cosine"),
        ("network.temporal.kind", "lstm"),
        ("training.sampling", "inverse"),
        ("training.tta_flip", True),
        ("training.patience", 3),
        ("training.compile", "default"),
        ("data.targets", ["AU1"]),
        ("data.synthetic.fear", 5),
        ("data.baseline.kind", "neutral"),
        ("augment.flip_landmarks", "literal"),
    ],
)
def test_settings_without_effect_are_refused(faces, tmp_path, key, value):
    refused(f"{key} has no effect on pretraining", faces, tmp_path / "out", **{key: value})


def test_an_output_that_is_taken_is_refused(faces, whole, tmp_path):
    refused(r"has ended already\n  Add --resume", faces, whole.folder, epochs=2, **OFTEN)
    refused(r"begun with other settings: seed\n", faces, whole.folder, epochs=2, seed=1, resume=True, **OFTEN)
    (tmp_path / "mine").write_text("mine")
    refused("exists and is no pretraining", faces, tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_changed_images_and_changed_weights_are_refused(whole, faces, tmp_path):
    copied = shutil.copytree(whole.folder, tmp_path / "run")
    facts = json.loads((copied / "pretraining.json").read_text())
    for key in ("digests", "digest"):
        facts.pop(key)
    (copied / "pretraining.json").write_text(json.dumps(facts))
    fewer = shutil.copytree(faces, tmp_path / "fewer")
    (fewer / "0.png").unlink()
    refused("images of the pretraining .* have changed", fewer, copied, epochs=2, resume=True, **OFTEN)
    other = shutil.copytree(whole.folder, tmp_path / "other")
    content = bytearray((other / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (other / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="missing, or was changed"):
        api.start_settings(other)


def test_images_without_labels_are_no_training_data(faces, tmp_path):
    settings = {"data.source": "unlabelled", "data.root": str(faces), "data.size": 32, "data.channels": 1}
    with pytest.raises(InputError, match="the source unlabelled has no labels to train on"):
        ef.train({"name": "x", "data": {"source": "unlabelled"}}, out=tmp_path / "run", **settings)


def test_images_that_cannot_be_read_are_skipped(faces, tmp_path):
    damaged = shutil.copytree(faces, tmp_path / "faces")
    (damaged / "b" / "broken.png").write_bytes(b"\x89PNG broken")
    result = ef.pretrain(damaged, tmp_path / "run", epochs=1, **QUICK)
    assert result.facts["images"] == 40
    assert "1 skipped" in result.facts["prepared"]
    assert np.isfinite(result.facts["loss"])
