"""The studies of p5: they plan everywhere, their groups train as one, and what they print is what the paper prints."""

import functools

import numpy as np
import pytest

from evenface.learner import check_parts
from evenface.studies import load_study, shipped_studies
from evenface.studies.groups import grouped
from evenface.studies.plan import Choice, make_plan
from evenface.studies.readings import comparisons

CELLS = {  # cells of the full and of the quick size
    "p5-factorial": (8, 8),
    "p5-thresholds": (42, 9),
    "p5-focal": (20, 9),
    "p5-architecture": (4, 4),
    "p5-samples": (8, 8),
    "p5-table7": (1, 1),
}
COHORTS = {"p5-thresholds": 12, "p5-focal": 12, "p5-samples": 12}
names = pytest.mark.parametrize("name", CELLS)
TABLE1 = """
GRU Bayesian adaptive 0.927 0.727
GRU Bayesian standard 0.925 0.579
GRU predefined adaptive 0.927 0.670
GRU predefined standard 0.946 0.727
LSTM Bayesian adaptive 0.925 0.716
LSTM Bayesian standard 0.931 0.663
LSTM predefined adaptive 0.908 0.680
LSTM predefined standard 0.929 0.661
"""
TABLE3 = {  # differences of means as printed
    ("detector_accuracy", "architecture"): 0.008,
    ("detector_accuracy", "optimization"): -0.001,
    ("detector_accuracy", "loss"): 0.011,
    ("detector_f1", "architecture"): -0.004,
    ("detector_f1", "optimization"): -0.013,
    ("detector_f1", "loss"): -0.041,
}


@functools.cache
def planned(name, on, size):
    """Plan one seed and fold of each cell; that the others differ in these alone is the plan's own test."""
    study = load_study(name)
    data = {
        key: part.model_copy(update={"seeds": None, "folds": None, "sizes": {}}) if size == "full" else part
        for key, part in study.on.items()
    }
    return make_plan(study.model_copy(update={"on": data, "seeds": (0,), "folds": None}), Choice(on, size))


def everywhere(name):
    for on in load_study(name).on:
        yield on, planned(name, on, "full")


@names
def test_a_study_says_what_it_is_and_what_it_deviates_in(name):
    study = load_study(name)
    assert study.name == name
    assert study.about
    assert "Winarno" in study.paper
    assert list(study.on) == ["ckplus", "synthetic", "ravdess"]
    for on in study.on.values():
        for part in (study, on, *study.sizes.values(), *on.sizes.values()):
            assert all(one.text.strip().endswith(".") for one in part.deviations)


def test_every_study_of_the_paper_ships():
    assert {name for name in shipped_studies() if name.startswith("p5")} == set(CELLS)


@names
def test_cells_are_those_of_the_factors_and_every_run_can_be(name):
    for on, plan in everywhere(name):
        assert len(plan.cells) == (6 if (name, on) == ("p5-samples", "ravdess") else CELLS[name][0])
        for run in plan.runs:
            recipe = run.recipe
            assert recipe.network.name == "recurrent"
            assert recipe.training.select == "best"
            assert recipe.protocol.validation > 0
            assert recipe.protocol.cohorts == (COHORTS.get(name, 36) if on == "synthetic" else 1)
            assert (recipe.augment.added, on) != (True, "ravdess")  # action units have no mirror
            check_parts(recipe)


@names
def test_quick_is_smaller_and_changes_no_condition(name):
    study = load_study(name)
    for on in study.on:
        data = study.on[on].model_copy(update={"seeds": None, "folds": None})
        once = {"seeds": (0,), "folds": None, "on": {**study.on, on: data}}
        plan = make_plan(study.model_copy(update=once), Choice(on, "quick"))
        assert len(plan.cells) == (6 if (name, on) == ("p5-samples", "ravdess") else CELLS[name][1])
        assert {run.recipe.training.epochs for run in plan.runs} == {60}
        assert {run.recipe.training.patience for run in plan.runs} == {15 if on == "synthetic" else 10}
        assert {run.recipe.training.monitor for run in plan.runs} == {"loss"}
        assert all(run.recipe.search.trials in (0, 5) for run in plan.runs)
        searched = {run.cell for run in plan.runs if run.recipe.search.trials}
        assert all(run.recipe.search.over for run in plan.runs if run.recipe.search.trials)
        if name == "p5-factorial":
            assert searched == {cell for cell in plan.cells if "Bayesian" in cell}


def test_the_factorial_has_36_independent_repetitions_of_eight_conditions():
    plan = make_plan(load_study("p5-factorial"), Choice("synthetic", "quick"))
    assert len(plan.runs) == len(plan.trainings) == 8 * 36
    assert {run.recipe.protocol.cohort for run in plan.runs} == set(range(36))
    groups = grouped(plan.trainings, {run.folder for run in plan.trainings}, 2)
    assert max(map(len, groups)) == 32
    assert all(len({run.recipe.network.recurrent.kind for run in group}) == 1 for group in groups)
    searched = [run.recipe.search for run in plan.runs if run.recipe.search.trials]
    assert len(searched) == 4 * 36
    assert set(searched[0].over) == {f"network.recurrent.{part}" for part in ("dense", "hidden", "top")}


def test_the_figures_are_those_in_print():
    study = load_study("p5-factorial")
    rows = {tuple(row.cell.values()): row.values for row in study.printed}
    lines = [line.split() for line in TABLE1.split("\n") if line]
    found = {cell: (values["detector_accuracy"], values["detector_f1"]) for cell, values in rows.items()}
    assert found == {tuple(line[:3]): (float(line[3]), float(line[4])) for line in lines}


def test_table_4_is_of_the_condition_whose_means_it_gives():
    study = load_study("p5-factorial")
    (row,) = [row for row in study.printed if "class_detector_f1" in row.values]
    for metric in ("detector_accuracy", "detector_f1"):
        each = list(row.values[f"class_{metric}"].values())
        assert np.mean(each) == pytest.approx(row.values[metric], abs=1e-3)


def test_differences_have_the_papers_signs():
    study = load_study("p5-factorial")
    plan = planned("p5-factorial", "ckplus", "full")
    means = {tuple(row.cell.values()): row.values for row in study.printed}
    places = {factor: place for place, factor in enumerate(plan.factors)}
    for factor, level, base in comparisons(plan):
        for metric in ("detector_accuracy", "detector_f1"):
            sides = [
                np.mean([values[metric] for cell, values in means.items() if cell[places[factor]] == side])
                for side in (level, base)
            ]
            assert sides[0] - sides[1] == pytest.approx(TABLE3[metric, factor], abs=1e-3)


def test_table_7_quotes_what_others_report():
    study = load_study("p5-table7")
    assert [row.values["accuracy"] for row in study.quoted] == [0.7865, 0.87, 0.92, 0.921]
    assert [row.values for row in study.printed] == [{"detector_accuracy": 0.927}]
    assert all(row.source for row in study.quoted)
