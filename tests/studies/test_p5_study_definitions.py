"""Studies of p5 plan everywhere, train as stacks, and their printed values are those of the paper."""

import functools

import numpy as np
import pytest

from evenface.losses.one_vs_rest import binary_loss_specs
from evenface.reporting.tables import Table
from evenface.studies import load_study, shipped_studies
from evenface.studies.plan import StudyOptions, grouped, make_plan
from evenface.studies.results import comparisons
from evenface.studies.tables import with_printed
from evenface.training.build import build_method, check_recipe

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
        for key, part in study.datasets.items()
    }
    return make_plan(study.model_copy(update={"on": data, "seeds": (0,), "folds": None}), StudyOptions(on, size))


def everywhere(name):
    for on in load_study(name).datasets:
        yield on, planned(name, on, "full")


@names
def test_a_study_has_a_description_and_its_deviations(name):
    study = load_study(name)
    assert study.name == name
    assert study.about
    assert "Winarno" in study.paper
    assert list(study.datasets) == ["ckplus", "synthetic", "ravdess"]
    for on in study.datasets.values():
        for part in (study, on, *study.sizes.values(), *on.sizes.values()):
            assert all(one.text.strip().endswith(".") for one in part.deviations)


def test_every_study_of_the_paper_ships():
    assert {name for name in shipped_studies() if name.startswith("p5")} == {*CELLS, "p5-intensity", "p5-fer2013"}


def test_intensity_is_crossed_with_the_loss_and_nothing_else_differs():
    full, quick = (make_plan(load_study("p5-intensity"), StudyOptions("ravdess", size)) for size in ("full", "quick"))
    assert (len(full.runs), len(quick.runs)) == (2 * 2 * 5 * 8, 2 * 2 * 5 * 4)
    for run in quick.runs:
        intensity, loss = run.cell
        assert run.recipe.data.options["intensity"] == intensity
        assert run.recipe.loss.name == {"adaptive": "adaptive", "standard": "cross-entropy"}[loss]
        assert run.recipe.protocol.kind == "leave-one-out"
    check_recipe(quick.runs[0].recipe)


def test_the_adaptive_loss_on_fer2013_is_focal_for_the_rarest_class():
    study = load_study("p5-fer2013")
    assert len(make_plan(study).runs) == 2 * 2 * 5
    for run in make_plan(study, StudyOptions(size="quick")).runs:
        counts = run.recipe.protocol.imbalance.counts
        build_method(run.recipe, np.array(list(counts.values())), tuple(counts))
        loss = run.recipe.loss
        focal = {one.name for one in binary_loss_specs(loss.name, list(counts.values()), tuple(counts), **loss.options)
                 if one.loss == "focal"}  # fmt: skip
        expected = {"as it is": {"disgust"}, "10": {"disgust", "surprise"}}[run.cell[0]]
        assert focal == (expected if run.cell[1] == "adaptive" else set())


@names
def test_cells_are_those_of_the_factors_and_every_run_can_be(name):
    for on, plan in everywhere(name):
        assert len(plan.cells) == (6 if (name, on) == ("p5-samples", "ravdess") else CELLS[name][0])
        for run in plan.runs:
            recipe = run.recipe
            assert recipe.network.name == "recurrent"
            assert recipe.training.checkpoint == "best"
            assert recipe.protocol.validation > 0
            assert recipe.protocol.cohorts == (COHORTS.get(name, 36) if on == "synthetic" else 1)
            assert (recipe.augment.flip_duplicates, on) != (True, "ravdess")  # action units have no mirror
        for recipe in {run.cell: run.recipe for run in plan.runs}.values():  # cohorts of a cell differ in samples alone
            check_recipe(recipe)


@names
def test_quick_is_smaller_and_changes_no_condition(name):
    study = load_study(name)
    for on in study.datasets:
        data = study.datasets[on].model_copy(update={"seeds": None, "folds": None})
        once = {"seeds": (0,), "folds": None, "datasets": {**study.datasets, on: data}}
        plan = make_plan(study.model_copy(update=once), StudyOptions(on, "quick"))
        assert len(plan.cells) == (6 if (name, on) == ("p5-samples", "ravdess") else CELLS[name][1])
        assert {run.recipe.training.epochs for run in plan.runs} == {60}
        assert {run.recipe.training.patience for run in plan.runs} == {15 if on == "synthetic" else 10}
        assert {run.recipe.training.monitor for run in plan.runs} == {"loss"}
        assert all(run.recipe.search.trials in (0, 5) for run in plan.runs)
        searched = {run.cell for run in plan.runs if run.recipe.search.trials}
        assert all(run.recipe.search.space for run in plan.runs if run.recipe.search.trials)
        if name == "p5-factorial":
            assert searched == {cell for cell in plan.cells if "Bayesian" in cell}


def test_the_factorial_has_36_independent_repetitions_of_eight_conditions():
    plan = make_plan(load_study("p5-factorial"), StudyOptions("synthetic", "quick"))
    assert len(plan.runs) == len(plan.trainings) == 8 * 36
    assert {run.recipe.protocol.cohort for run in plan.runs} == set(range(36))
    groups = grouped(plan.trainings, {run.folder for run in plan.trainings}, 2)
    assert max(map(len, groups)) == 32
    assert all(len({run.recipe.network.recurrent.kind for run in group}) == 1 for group in groups)
    searched = [run.recipe.search for run in plan.runs if run.recipe.search.trials]
    assert len(searched) == 4 * 36
    assert set(searched[0].space) == {f"network.recurrent.{part}" for part in ("dense", "hidden", "top")}


def test_printed_values_are_those_of_the_paper():
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


STATISTICS = """
variance accuracy 0.282 0.598 0.007 0.05 / 0.001 0.975 0.000 0.05 / 0.516 0.477 0.013 0.051
variance f1 0.002 0.963 0.000 0.05 / 0.022 0.882 0.001 0.05 / 0.207 0.652 0.005 0.05
variance precision 0.103 0.750 0.003 0.05 / 0.255 0.616 0.006 0.05 / 0.587 0.448 0.015 0.051
variance recall 0.497 0.485 0.012 0.051 / 0.292 0.592 0.007 0.05 / 2.210 0.145 0.052 0.053
comparisons accuracy 0.255 0.008 0.335 / -0.018 -0.001 0.929 / 0.269 0.011 0.335
comparisons f1 -0.025 -0.004 0.902 / -0.083 -0.013 0.902 / -0.260 -0.041 0.648
comparisons precision 0.099 0.027 0.633 / 0.154 0.043 0.633 / 0.260 0.065 0.633
comparisons recall -0.306 -0.069 0.171 / -0.288 -0.053 0.171 / -0.787 -0.145 0.002
"""
"""Of Tables 2 and 3, by architecture, optimization and loss; typed from the paper a second time."""


def test_printed_statistics_are_those_of_the_paper():
    rows = load_study("p5-factorial").printed_statistics
    found = {
        (row.table, row.metric, row.factor): [float(str(value).split()[0]) for value in row.figures.values()]
        for row in rows
        if row.table in ("variance", "comparisons")
    }
    expected = {}
    for line in STATISTICS.strip().split("\n"):
        table, metric, numbers = line.split(maxsplit=2)
        for factor, each in zip(("architecture", "optimization", "loss"), numbers.split(" / "), strict=True):
            expected[table, f"detector_{metric}", factor] = [float(number) for number in each.split()]
    assert found == expected
    equivalent = {(row.metric, row.factor) for row in rows if row.figures.get("equivalent") is True}
    assert equivalent == {("detector_accuracy", "optimization")}
    for row in rows:  # Table 5's differences are those of Table 3; so is the effect of Table 6
        if row.table == "equivalence":
            assert row.figures["difference"] == found["comparisons", row.metric, row.factor][1]
        if row.table == "power":
            assert row.figures["d"] == found["comparisons", row.metric, row.factor][0]


def test_printed_means_and_deviations_are_those_of_table_1():
    study = load_study("p5-factorial")
    means = {tuple(row.cell.values()): row.values for row in study.printed}
    conditions = [row for row in study.printed_statistics if row.table == "conditions"]
    assert len(conditions) == 16
    for row in conditions:
        mean, low, high = (float(word.strip("[],")) for word in row.figures["mean"].split())
        assert mean == means[tuple(row.cell.values())][row.metric]
        # The normal interval over the six emotions, to the rounding of both
        assert high - low == pytest.approx(2 * 1.96 * row.figures["sd"] / 6**0.5, abs=2.5e-3)


@pytest.mark.parametrize("on", ["ckplus", "synthetic"])
def test_printed_statistics_are_in_columns_of_their_own(on):
    plan = planned("p5-factorial", on, "full")
    header = ("metric", "effect", "F")
    rows = (("detector accuracy", "loss", 9.0), ("detector accuracy", "architecture × loss", 8.0))
    table = with_printed(plan, Table("2-variance-classes", "Table 2", header, rows, "Ours."))
    assert table.header == (*header, "F as printed", "p as printed", "partial η² as printed", "power as printed")
    assert table.rows == ((*rows[0], 0.516, 0.477, 0.013, 0.051), (*rows[1], "–", "–", "–", "–"))
    assert ("not comparable" in table.note) == (on == "synthetic")
    cell = ("detector F1", "LSTM", "predefined", "standard")
    conditions = with_printed(plan, Table("1-conditions-classes", "", ("metric", *plan.factors), (cell,), ""))
    assert conditions.rows == ((*cell, "0.661 [0.381, 0.941]", 0.35, 0.697),)
    power = Table("6-power-classes", "", ("metric", "compared"), (("detector recall", "architecture: GRU less LSTM"),))
    assert with_printed(plan, power).rows[0][2:] == (6, -0.306, 0.095, 1.435, 34)
    other = Table("2b-mixed-repetitions", "", header, rows, "")
    assert with_printed(plan, other) is other
