"""Runs of sequences whose sizes are searched: what stands in the folder, what test data have to do with it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import evenface as ef
from evenface.config import load_recipe
from evenface.runs import Run
from evenface.training import build
from evenface.training.stacked import StackedTrainer
from evenface.training.stacked.runs import begin, fit_sequences, search_settings, sequence_run
from evenface.utils.errors import InputError

OVER = {"network.recurrent.dense": [2, 5], "network.recurrent.hidden": [3, 8]}
CLASSES = ("calm", "fear", "joy")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Give a file of 84 sequences of 12 people: three classes that differ in their course."""
    random = np.random.default_rng(0)
    labels = np.tile([0, 0, 0, 0, 1, 2, 2], 12)
    courses = np.linspace(0, 2, 5)[None, :, None] * np.eye(3)[labels][:, None]
    people = np.array([f"p{place // 7:02}" for place in range(len(labels))])
    file = tmp_path_factory.mktemp("numbers") / "numbers.npz"
    values = (courses + random.normal(0, 0.5, courses.shape)).astype(np.float32)
    np.savez(file, sequences=values[..., None], labels=labels, classes=np.array(CLASSES), subjects=people)
    return file


def recipe(root, **changes):
    content = {
        "name": "numbers",
        "data": {"source": "sequences", "root": str(root), "sequences": {"frames": 5}},
        "protocol": {"by": "subject", "test": 0.25, "validation": 0.25},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 6, "top": 4}},
        "method": {"name": "one-vs-all"},
        "training": {"epochs": 6, "batch_size": 8, "accelerator": "cpu", "monitor": "loss"},
        "optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0},
        "augment": {"flip": 0},
        "search": {"trials": 6, "startup_trials": 6, "space": OVER},
    }
    return load_recipe(content, changes)


def trained(settings, folder, **more):
    build.check_recipe(settings)
    with Run.claim(folder, settings, resume=True) as run:
        fit_sequences([(run, settings)], **more)
    return Run(folder)


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return ef.train(
        recipe(root, **{"search.startup_trials": 5}).model_dump(mode="json"), out=folder, sample_faces=False
    )


def test_each_class_gets_the_sizes_of_its_best_trial_and_the_folder_says_so(whole):
    trials = pd.read_csv(whole.folder / "search.csv")
    assert list(trials["network"]) == [name for name in CLASSES for _ in range(6)]
    for name in CLASSES:
        own = trials[trials["network"] == name].set_index("trial")
        assert list(own["proposed"]) == ["by chance"] * 5 + ["guided"]
        best = own.loc[own.loc[own["state"] == "complete", "validation_loss"].idxmin()]
        sizes = whole.facts["networks"][name]["network"]
        assert {key: sizes[key.rpartition(".")[2]] for key in OVER} == {key: best[key] for key in OVER}
        assert sizes["top"] == 4
        facts = whole.facts["search"][name]
        assert facts["settings"] == {key: best[key] for key in OVER}
        assert facts["validation_loss"] == pytest.approx(best["validation_loss"])
        for key, (low, high) in OVER.items():
            assert own[key].between(low, high).all()
    widths = {tuple(value.shape) for key, value in load_file(whole.weights).items() if key.endswith("dense.weight")}
    assert widths == {(whole.facts["networks"][name]["network"]["dense"], 3) for name in CLASSES}
    assert "search for fear: dense" in (whole.folder / "log.txt").read_text()
    assert any("searched on the validation data" in note and "joy: dense" in note for note in whole.facts["notes"])
    assert build.trained_method(whole).one_vs_rest
    assert whole.recipe.search.trials == 6


def jobs_of(root, folder, **changes):
    settings = recipe(root, **{"search.trials": 3, **changes})
    run = Run(folder)
    job = sequence_run(run, settings, {})
    begin(job, 1)
    return job


def test_test_data_change_nothing_and_validation_data_do(root, tmp_path):
    found = {}
    for side in ("none", "test", "validation"):
        job = jobs_of(root, tmp_path / side)
        sequences = np.array(job.data.store.sequences)
        if side != "none":
            sequences[getattr(job.data.split, side)] = np.nan if side == "test" else 0

        def start(members, sequences=sequences):
            return StackedTrainer(members, sequences, quiet=True, diverged="end")

        [after] = search_settings([job], start)
        found[side] = {name: one.table.drop(columns="state") for name, one in after.searched.items()}
    for name in CLASSES:
        pd.testing.assert_frame_equal(found["test"][name], found["none"][name])
        assert not found["validation"][name].equals(found["none"][name])


def test_a_trial_that_diverges_is_passed_over(root, tmp_path):
    job = jobs_of(root, tmp_path / "run", **{"method.name": "erm", "search.trials": 4})
    made = []

    def start(members):
        wild = members[1].optimizer.model_copy(update={"lr": 1e30})
        made.append(
            StackedTrainer([members[0], replace(members[1], optimizer=wild), *members[2:]], sequences, diverged="end")
        )
        return made[-1]

    sequences = np.array(job.data.store.sequences)
    [after] = search_settings([job], start)
    one = after.searched["all"]
    assert list(one.table["state"])[1] == "diverged"
    assert one.trial != 1
    assert np.isfinite(one.figure)


def test_a_run_whose_search_was_killed_goes_on(root, tmp_path, monkeypatch):
    settings = recipe(root, **{"search.parallel_trials": 2})
    run = trained(settings, tmp_path / "whole")
    begun = []

    def killed(self, until):
        begun.append(self)
        if len({id(one) for one in begun}) == 2:
            raise KeyboardInterrupt
        return original(self, until)

    original = StackedTrainer.run
    with monkeypatch.context() as patch:
        patch.setattr(StackedTrainer, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(settings, tmp_path / "run")
    again = trained(settings, tmp_path / "run")
    for name in ("search.csv", "history.csv"):
        pd.testing.assert_frame_equal(*(pd.read_csv(one.folder / name) for one in (run, again)))


def test_runs_of_other_seeds_share_the_search_in_one_file(root, tmp_path):
    runs = [recipe(root, seed=seed, **{"search.trials": 3}) for seed in (0, 1)]
    pairs = [(Run(tmp_path / str(one.seed)), one) for one in runs]
    told = []
    fit_sequences(pairs, searches=tmp_path / "search.sqlite", report=told.append)
    facts = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("0", "1")]
    assert facts[0]["search"] == facts[1]["search"]
    assert facts[0]["networks"]["joy"]["seed"] != facts[1]["networks"]["joy"]["seed"]
    assert not (tmp_path / "0" / "search.sqlite").exists()
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_search_without_validation_people_is_refused(root, tmp_path):
    settings = recipe(root, **{"protocol.validation": 0})
    with pytest.raises(InputError, match=r"protocol\.validation"):
        trained(settings, tmp_path / "run")
