"""Runs of sequences: trained, killed, resumed, tested elsewhere, trained together, refused."""

import os
import shutil
import signal
import tarfile
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import evenface as ef
from evenface import api
from evenface.config import load_recipe
from evenface.evaluation.summary import measured
from evenface.preprocessing.store import Store
from evenface.runs import Run
from evenface.training import build
from evenface.training.prediction import score_sequences
from evenface.training.stacked import StackedTrainer
from evenface.training.stacked.runs import StackedRuns, fit_sequences
from evenface.utils.errors import InputError

CLASSES = ("calm", "fear", "joy")
COUNTS = {"calm": 3, "fear": 1, "joy": 5}
SUBJECT = "^(p[0-9]+)-"
DETECTORS = {"method.name": "one-vs-all", "loss": {"name": "adaptive", "severe": 7, "moderate": 1.9}}
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Give files of OpenFace's action units: 14 actors, uneven emotions that differ in their course."""
    folder = tmp_path_factory.mktemp("units")
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate(COUNTS.items()):
        (folder / name).mkdir()
        for actor in range(14):
            for take in range(count):
                course = np.linspace(0, 1, 12 + take)[:, None] * np.eye(3)[label] * 3
                values = np.abs(course + random.normal(0, 0.4, course.shape))
                frame = pd.DataFrame(values, columns=["AU01_r", "AU04_r", "AU12_r"])
                frame.to_csv(folder / name / f"p{actor:02}-{take}.csv", index=False)
    return folder


def recipe(root, **changes):
    content = {
        "name": "units",
        "data": {"source": "openface", "root": str(root), "subjects": SUBJECT, "sequences": {"frames": 6}},
        "protocol": {"test": 0.3, "validation": 0.2},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 6, "top": 5}},
        "training": {"epochs": 6, "batch_size": 8, "accelerator": "cpu", "monitor": "loss"},
        "optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0},
        "augment": {"flip": 0},
    }
    return load_recipe(content, changes)


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A run of detectors that nothing disturbed."""
    settings = recipe(root, **DETECTORS)
    return ef.train(settings.model_dump(mode="json"), out=tmp_path_factory.mktemp("whole") / "run", sample_faces=False)


def trained(settings, folder):
    build.check_recipe(settings)
    with Run.claim(folder, settings, resume=True) as run:
        fit_sequences([(run, settings)])
    return Run(folder)


def same(one, other, exact=True):
    for name in ("weights.safetensors", "last.safetensors"):
        mine, theirs = load_file(one.folder / name), load_file(other.folder / name)
        for key, value in mine.items():
            torch.testing.assert_close(value, theirs[key], **({"rtol": 0, "atol": 0} if exact else TOLERANCE))
    for name in ("predictions.parquet", "validation.parquet"):
        tables = [pd.read_parquet(run.folder / name) for run in (one, other)]
        pd.testing.assert_frame_equal(*tables, check_exact=exact, **({} if exact else TOLERANCE))
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=exact, **({} if exact else TOLERANCE))


def test_a_run_of_detectors_learns_and_says_how(whole):
    assert whole.metrics["overall"]["balanced_accuracy"]["value"] > 0.7
    assert whole.facts["sequences"] == {"points": "openface-aus", "shape": [6, 3, 1], "middle": None}
    counts = dict(zip(CLASSES, whole.facts["counts"]["train"], strict=True))
    found = whole.facts["networks"]
    assert list(found) == list(CLASSES)
    for name, one in found.items():
        assert one["ratio"] == (sum(counts.values()) - counts[name]) / counts[name]
        assert one["loss"] == ("focal" if one["ratio"] > 7 else "cross-entropy")
        assert ("alpha" in one) == (one["ratio"] > 1.9)
        assert 1 <= one["selected"] <= one["epochs"] == 6
    assert len({one["seed"] for one in found.values()}) == 3
    log = (whole.folder / "log.txt").read_text()
    assert "fear: ratio 8, focal (gamma 2, alpha 0.25/0.75)" in log
    assert any(note.startswith("losses by imbalance: calm: ratio 2") for note in whole.facts["notes"])
    assert len(whole.history) == 3 * 6
    assert set(whole.history["class"]) == set(CLASSES)
    page = (whole.folder / "report.html").read_text()
    assert "One-vs-rest classifiers at a threshold" in page
    assert "3 of gru, widths 4-6-5" in page
    assert not (whole.folder / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("networks", [1, 3])
def test_the_epochs_are_a_table_on_the_screen(root, tmp_path, capsys, networks):
    run = trained(recipe(root, **(DETECTORS if networks > 1 else {})), tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(said) if line.startswith("  epoch"))
    assert said[first].split() == ["epoch", "loss", "validation", "loss", "balanced", "accuracy", "sequences/s"]
    rows, history = said[first + 1 :], run.history
    assert [row.split()[0] for row in rows] == [f"{epoch}/6" for epoch in range(1, 7)]
    columns = ["train_loss", "validation_loss", "validation_balanced_accuracy"]
    means = history.groupby("epoch")[columns].mean()
    for row, (_, expected) in zip(rows, means.iterrows(), strict=True):
        assert [float(cell) for cell in row.split()[1:4]] == pytest.approx(expected.tolist(), abs=6e-4)
        assert float(row.split()[4]) > 0
        assert row.index("/6") == rows[0].index("/6")
    if networks == 1:
        lowest = history["validation_loss"] < history["validation_loss"].cummin().shift(fill_value=np.inf)
        assert [row.endswith("  best") for row in rows] == lowest.tolist()
    else:
        assert rows[0].endswith("best for 3 of 3 networks")


def test_stored_weights_say_again_what_is_stored(whole):
    method, store = build.trained_method(whole), Store.open(whole.facts["store"])
    sides = pd.read_parquet(whole.folder / "split.parquet")
    rows = sides.loc[sides["side"] == "test", "row"].to_numpy()
    said = score_sequences(method, store.sequences, rows)
    np.testing.assert_allclose(said, whole.predictions.scores, rtol=1e-6)
    p = whole.predictions.probabilities
    np.testing.assert_allclose(p, said / said.sum(axis=1, keepdims=True), rtol=1e-6)


def test_one_network_of_all_classes_has_no_detectors(root, tmp_path):
    run = ef.train(recipe(root).model_dump(mode="json"), out=tmp_path / "run", sample_faces=False)
    assert list(run.facts["networks"]) == ["all"]
    assert run.predictions.scores is None
    assert "class" not in run.history
    assert len(run.history) == 6


def killed(settings, folder, calls):
    """Train, and be killed when the state has been kept so many times."""
    keep, done = StackedRuns._save_checkpoints, iter(range(1, 99))

    def deadly(self):
        keep(self)
        if next(done) == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    StackedRuns._save_checkpoints = deadly
    trained(settings, folder)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_killed_run_resumes_bit_for_bit(whole, root, tmp_path, calls):
    settings = recipe(root, **DETECTORS, **{"training.checkpoint_minutes": 1e-9})
    process = get_context("fork").Process(target=killed, args=(settings, tmp_path / "run", calls))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    same(whole, trained(settings, tmp_path / "run"))


def test_a_run_that_was_stopped_goes_on_and_an_ended_one_is_left_alone(whole, root, tmp_path, monkeypatch):
    settings, say = recipe(root, **DETECTORS), StackedTrainer._report_epoch

    def press(self, states, *rest):
        say(self, states, *rest)
        if states[0].epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StackedTrainer, "_report_epoch", press)
        with pytest.raises(KeyboardInterrupt):
            trained(settings, tmp_path / "run")
    run = trained(settings, tmp_path / "run")
    same(whole, run)
    before = (run.folder / "log.txt").read_text()
    fit_sequences([(run, settings)])
    assert (run.folder / "log.txt").read_text() == before


def test_runs_trained_as_one_are_as_if_each_were_alone_and_may_change_company(whole, root, tmp_path, monkeypatch):
    others = [
        recipe(root, **DETECTORS, seed=1),
        recipe(root, **{"network.recurrent.kind": "lstm", "training.epochs": 3}),
        recipe(root, **DETECTORS, **{"protocol.cohorts": 2, "protocol.cohort": 1}),
    ]
    settings, said = [recipe(root, **DETECTORS), *others], []
    runs = [Run(tmp_path / f"run-{place}") for place in range(len(settings))]
    with monkeypatch.context() as patch:
        keep = StackedRuns._save_checkpoints
        patch.setattr(StackedRuns, "_save_checkpoints", lambda self: (keep(self), os.kill(os.getpid(), signal.SIGINT)))
        patch.setattr(StackedTrainer, "share", 0.5)
        short = [
            one.model_copy(update={"training": one.training.model_copy(update={"checkpoint_minutes": 1e-9})})
            for one in settings
        ]
        with pytest.raises(KeyboardInterrupt):
            fit_sequences(list(zip(runs, short, strict=True)))
    fit_sequences(list(zip(runs[:2], settings[:2], strict=True)))
    fit_sequences(list(zip(runs, settings, strict=True)), report=said.append)
    assert said[-1] == 1
    assert said == sorted(said)
    for place, one in enumerate(settings):
        alone = whole if place == 0 else trained(one, tmp_path / f"alone-{place}")
        same(alone, runs[place], exact=False)
    assert Run(runs[0].folder).facts["together"] == 2
    people = [set(pd.read_parquet(runs[place].folder / "split.parquet")["subject"]) for place in (0, 3)]
    assert (len(people[0]), len(people[1])) == (14, 7)


def test_a_run_that_cannot_be_used_is_refused_before_any_folder_is_written(root, tmp_path):
    good, bad = recipe(root), recipe(root, **{"protocol.cohorts": 99})
    pairs = [(Run(tmp_path / "good"), good), (Run(tmp_path / "bad"), bad)]
    with pytest.raises(InputError, match="99 cohorts"):
        fit_sequences(pairs)
    assert not any(tmp_path.iterdir())


def test_cross_dataset_evaluation_compare_and_check(whole, root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root / "calm", other / "calm")
    shutil.copytree(root / "joy", other / "happy")
    target = {"name": "there", "data": {"source": "openface", "root": str(other), "subjects": SUBJECT}}
    there = api.evaluate(whole.folder, on=target, class_map={"happy": "joy"}, all_samples=True, sample_faces=False)
    assert there.predictions.classes == ("calm", "joy")
    assert there.predictions.scores.shape == (14 * 8, 2)
    assert any(note.startswith("LEAK") for note in there.facts["notes"])
    assert there.metrics["overall"]["accuracy"]["value"] > 0.8
    plain = ef.train(recipe(root).model_dump(mode="json"), out=tmp_path / "plain", sample_faces=False)
    found = ef.compare([plain.folder, whole.folder], out=tmp_path / "compared", sample_faces=False)
    assert found.report.is_file()
    findings = api.check_data(recipe(root).model_dump(mode="json"))
    assert findings.compared == 14 * 9
    few = {"name": "few", "data": {**target["data"], "features": "intensities", "sequences": {"frames": 9}}}
    with pytest.raises(InputError, match=r"frames cannot be 9"):
        api.evaluate(whole.folder, on=few, out=tmp_path / "no", **{"data.sequences.frames": 9})


def test_other_numbers_are_refused_elsewhere(whole, root, tmp_path):
    other = tmp_path / "other"
    for name in CLASSES:
        (other / name).mkdir(parents=True)
        for place in range(4):
            pd.DataFrame({"AU01_r": [0.0, 1], "AU02_r": [0.0, 2]}).to_csv(other / name / f"{place}.csv", index=False)
    target = {"name": "there", "data": {"source": "openface", "root": str(other)}}
    with pytest.raises(InputError, match=r"takes sequences with shape \[6, 3, 1\]; there has shape \[6, 2, 1\]"):
        api.evaluate(whole.folder, on=target, all_samples=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"augment.rotate": 5}, "augment.rotate has no effect on sequences"),
        ({"network.temporal": {"kind": "gru"}}, "network.temporal has no effect on sequences"),
        ({"network.weights": "hub"}, "network.weights has no effect"),
        ({"training.devices": 2}, "training.devices has no effect"),
        ({"training.cache_features": True}, "training.cache_features has no effect"),
        ({"training.precision": "bf16-mixed"}, "training.precision has no effect"),
        ({"optimizer.name": "lamb"}, "not trained by the optimiser lamb"),
        ({"method.name": "eac"}, "method 'eac' is for images, not for sequences"),
        ({"method.name": "one-vs-all", "method.width": 3}, "no option 'width'"),
        ({"loss.name": "adaptive"}, "Set method.name=one-vs-all"),
        ({"loss.name": "focall"}, "no loss 'focall'"),
        ({"network.name": "resnet18", "network.recurrent": {}}, "network.recurrent has no effect on images"),
        ({"network.name": "resnet18"}, "network.recurrent has no effect on images"),
        ({"augment.flip": 0.5}, "action units cannot be mirrored"),
        ({"augment.flip_duplicates": True}, "action units cannot be mirrored"),
        ({"training.tta_flip": True}, "action units cannot be mirrored"),
        ({"training.patience": 3, "protocol.validation": 0}, "patience needs validation"),
    ],
)
def test_what_means_nothing_to_sequences_is_refused(root, tmp_path, changes, says):
    with pytest.raises(InputError) as error:
        ef.train(recipe(root, **changes).model_dump(mode="json"), out=tmp_path / "run")
    assert says in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"augment.flip_duplicates": True}, "augment.flip_duplicates has no effect on images"),
        ({"augment.flip_landmarks": "literal"}, "augment.flip_landmarks has no effect on images"),
        ({"data.sequences": {"source": "mesh"}}, "data.sequences has no effect on images"),
        ({"network.name": "recurrent"}, "gives images, but the network recurrent takes sequences"),
    ],
)
def test_what_means_nothing_to_pictures_is_refused(small_recipe, tmp_path, changes, says):
    if "network.name" in changes:  # its own settings of pictures would be refused first
        changes = {**changes, "augment.rotate": 0, "augment.erase": 0, "network.dropout": 0}
    with pytest.raises(InputError) as error:
        ef.train(small_recipe, out=tmp_path / "run", **changes)
    assert says in str(error.value)


def test_pictures_may_be_detected_class_by_class_too(small_recipe, tmp_path):
    changes = {"method.name": "one-vs-all", "loss.name": "adaptive", "training.epochs": 1}
    run = ef.train(small_recipe, out=tmp_path / "run", sample_faces=False, **changes)
    scores = run.predictions.scores
    np.testing.assert_allclose(run.predictions.probabilities, scores / scores.sum(axis=1, keepdims=True))
    assert "detectors" in run.metrics


def test_action_units_of_ravdess_tell_emotions_of_an_actor_who_was_not_learnt_from(real_data, tmp_path):
    with tarfile.open(real_data / "sequences" / "ravdess_au.tar.xz") as packed:
        packed.extractall(tmp_path / "units", filter="data")
    settings = load_recipe(
        "ravdess-au", {"data.root": str(tmp_path / "units"), "training.epochs": 15, "training.accelerator": "cpu"}
    )
    run = trained(settings, tmp_path / "run")
    assert run.facts["sequences"]["shape"] == [6, 35, 1]
    assert run.facts["people"] == {"train": 4, "validation": 0, "test": 1}
    assert sum(run.facts["counts"]["test"]) == 60
    assert measured("accuracy", run.predictions) > 0.3  # an eighth by guessing
