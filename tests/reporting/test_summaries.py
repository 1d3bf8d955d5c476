"""Runs are grouped into methods by their settings, never by the names of their folders."""

import pytest

from evenface.config import load_recipe
from evenface.reporting.summaries import group_runs
from evenface.runs import FACTS, RECIPE, Run
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
