"""Runs are grouped into methods by their settings, never by the names of their folders."""

import numpy as np
import pandas as pd
import pytest

from evenface.config import load_recipe
from evenface.evaluation.comparison import compare
from evenface.evaluation.predictions import Predictions
from evenface.reporting.report import training
from evenface.reporting.summaries import chance_warnings, comparable_histories, group_runs
from evenface.runs import FACTS, HISTORY, RECIPE, Run
from evenface.utils.errors import InputError
from evenface.utils.files import write_json_with_digest


@pytest.fixture
def run(tmp_path):
    """Make a run folder that holds a recipe only."""
    from evenface.config import dump_recipe

    def make(name, facts=None, **overrides):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        recipe = load_recipe({"name": "r", "data": {"source": "folder", "root": "x"}}, overrides)
        (folder / RECIPE).write_text(dump_recipe(recipe))
        write_json_with_digest(folder / FACTS, facts or {})
        return Run(folder)

    return make


def test_seeds_and_machines_do_not_make_methods(run):
    runs = [run("a"), run("b", seed=1), run("c", seed=2, **{"training.loggers": ["tensorboard"], "data.root": "y"})]
    other = run("d", **{"loss.name": "focal", "loss.gamma": 1.0})
    assert {name: len(found) for name, found in group_runs([*runs, other]).items()} == {
        "cross-entropy": 3,
        "focal, gamma 1.0": 1,
    }


def test_a_model_file_keeps_its_name_and_the_runs_beside_it_theirs(run):
    focal = {"loss.name": "focal", "loss.gamma": 1.0}
    runs = [run("m", facts={"model": {"name": "other"}}), run("a"), run("b", **focal), run("c", seed=1, **focal)]
    assert list(group_runs(runs)) == ["other", "cross-entropy", "focal, gamma 1.0"]
    assert list(group_runs(runs[:2])) == ["other", "r"]


def test_methods_with_long_descriptions_stay_apart_though_folders_share_names(run):
    long = {"loss.name": "focal", "loss.alpha": [0.123456789] * 9}
    longer = {"loss.name": "focal", "loss.alpha": [0.987654321] * 9}
    runs = [run("A/s0", **long), run("A/s1", seed=1, **long), run("B/s0", **longer), run("B/s1", seed=1, **longer)]
    assert list(group_runs(runs).values()) == [runs[:2], runs[2:]]


def test_a_run_of_targets_is_named_by_the_loss_that_it_was_trained_by(run):
    runs = [
        run("a", facts={"loss": "binary-cross-entropy"}),
        run("b", facts={"loss": "asymmetric"}, **{"loss.name": "asymmetric"}),
    ]
    assert list(group_runs(runs)) == ["binary-cross-entropy", "asymmetric"]


def test_names_given_decide(run):
    one, two = run("a"), run("b", seed=1)
    assert group_runs([one, two], ["x", "y"]) == {"x": [one], "y": [two]}
    with pytest.raises(InputError, match="2 names"):
        group_runs([one, two], ["x"])
    with pytest.raises(InputError, match="twice"):
        group_runs([one, one])


def test_training_losses_are_drawn_of_methods_alone_that_minimise_the_same(run):
    logged = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [1.0, 0.9]})
    runs = [run("a"), run("b", **{"optimizer.lr": 0.1}), run("c", **{"loss.name": "focal"})]
    for one in runs:
        logged.to_csv(one.folder / HISTORY, index=False)
    for chosen, whole in ((runs[:2], True), (runs[1:], False)):
        histories = comparable_histories({one.folder.name: [one] for one in chosen})
        assert [list(history) for history in histories.values()] == [
            [column for column in logged if whole or column != "train_loss"]
        ] * 2
        (section,) = training(histories)
        assert ("Training losses are not drawn" in section.figures[0].caption) is not whole


def test_a_comparison_of_runs_that_are_all_at_chance_is_warned_of():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    names = np.array([f"s{number}" for number in range(len(labels))], dtype=object)

    def predictions(right):
        shown = np.where(random.random(len(labels)) < right, labels, random.integers(0, 3, len(labels)))
        return Predictions(names, None, labels, np.eye(3)[shown] * 0.7 + 0.1, ("a", "b", "c"))

    chance, other, good = predictions(0), predictions(0), predictions(0.8)
    (warning,) = chance_warnings(compare({"one": [chance], "two": [other]}))
    assert warning.startswith("WARNING: no method is significantly above chance, a balanced accuracy of 0.333")
    assert chance_warnings(compare({"one": [chance], "two": [good]})) == []
