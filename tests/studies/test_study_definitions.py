"""Shipped studies load, plan and build, and their printed values are those of the papers."""

import functools
from typing import Any

import numpy as np
import pytest

from evenface.config import load_recipe
from evenface.studies import load_study, shipped_studies
from evenface.studies.plan import StudyOptions, make_plan
from evenface.training.build import build_method, check_recipe

FER2013 = {"angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171, "neutral": 4965}
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
TABLES = {
    "p2-table1": ("rafdb", 60),  # the paper's eight methods that are run, three standards, the control on both views
    "p2-table2": ("rafdb", 60),
    "p2-table3": ("rafdb", 20),
    "p2-table4": ("rafdb", 90),
    "p2-table5": ("rafdb", 35),
    "p2-table6": ("affectnet", 35),
    "p2-table7": ("ferplus", 25),
    "p2-figure9": ("rafdb", 120),  # two lines of twelve points that share one, and both terms off
    "p4-table1": ("fer2013", 60),
    "p4-table2": ("mmafedb", 60),
    "p4-table3": ("emotion-domestic", 60),
    "p4-table4": ("emotion-domestic", 60),
    "p4-table5": ("fer2013", 60),
    "p4-table6": ("fer2013", 10),
    "p4-tablea1": ("fer2013", 60),
    "p4-tablea2": ("mmafedb", 60),
    "p4-tablea3": ("emotion-domestic", 60),
    "p4-tablea4": ("emotion-domestic", 30),
    "p4-tablea5": ("fer2013", 30),
    "p4-tablea6": ("fer2013", 30),
    "p4-tablea7": ("fer2013", 60),
}
"""Study to the paper's own data and the runs that its table implies with five seeds."""
SLIPS = {  # printed means that are not the means of the classes printed beside them
    ("p2-table3", ("without", "without")),
    ("p2-table4", ("100", "baseline")),
    *(("p2-table4", (factor, "MEK")) for factor in ("50", "100", "150")),
    ("p2-table5", ("intensity",)),
    ("p2-table6", ("BBN",)),
}
names = pytest.mark.parametrize("name", TABLES)


@functools.cache
def study_of(name):
    return load_study(name)


@functools.cache
def planned(name, on, size):
    """Plan one seed of each cell; that the others differ in the seed alone is the plan's own test."""
    study = study_of(name)
    quick = study.sizes["quick"].model_copy(update={"seeds": None})
    return make_plan(study.model_copy(update={"seeds": (0,), "sizes": {"quick": quick}}), StudyOptions(on, size))


def everywhere(name):
    for on in study_of(name).datasets:
        for size in ("full", "quick"):
            yield on, size, planned(name, on, size)


def printed(name, metric="accuracy"):
    """Data set, cell and seed to the figure that stands in print."""
    study = study_of(name)
    first = next(iter(study.datasets))
    return {
        (row.dataset or first, tuple(row.cell.items()), row.seed): row.values[metric]
        for row in study.printed
        if metric in row.values
    }


def test_every_table_of_both_papers_ships():
    assert set(shipped_studies()) >= set(TABLES)


@names
def test_a_study_has_a_description_and_its_deviations(name):
    study = study_of(name)
    assert study.name == name
    assert study.about
    assert study.paper
    assert next(iter(study.datasets)) == TABLES[name][0]
    assert {"fer2013", "synthetic"} <= set(study.datasets)
    assert study.sizes["quick"].deviations
    for on in study.datasets.values():
        for part in (study, on, *study.sizes.values(), *on.sizes.values()):
            assert all(one.text.strip().endswith(".") for one in part.deviations)


@names
def test_the_full_size_has_the_runs_of_the_printed_table(name):
    own, runs = TABLES[name]
    study = study_of(name)
    assert len(planned(name, own, "full").runs) * len(study.seeds) == runs
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.sizes["quick"].seeds == (0, 1, 2)


@names
def test_every_run_names_a_recipe_that_can_be(name):
    for on, _, plan in everywhere(name):
        for run in plan.runs:
            assert run.recipe.data.source == on
            named = set((run.recipe.protocol.imbalance and run.recipe.protocol.imbalance.counts) or {})
            named |= set(run.recipe.method.options.get("subclasses", ())) if is_mapping(run) else set()
            assert named <= set(FERPLUS if on == "ferplus" else FER2013), named


def is_mapping(run: Any) -> bool:
    return isinstance(run.recipe.method.options.get("subclasses"), dict)


@names
def test_counts_can_be_met_and_leave_the_rarest_class_some(name):
    for on, size, plan in everywhere(name):
        for run in plan.runs:
            uneven = run.recipe.protocol.imbalance
            if uneven is None or uneven.counts is None:
                continue
            assert min(uneven.counts.values()) >= 13
            if on == "fer2013":
                assert all(count <= FER2013[label] for label, count in uneven.counts.items())
            if size == "quick":
                assert sum(uneven.counts.values()) < 5000


@names
def test_nothing_is_held_back_and_nothing_selected_but_by_the_papers_protocol(name):
    for _, _, plan in everywhere(name):
        for run in plan.runs:
            assert run.recipe.protocol.validation == 0
            assert run.recipe.training.checkpoint == "last"
            assert run.recipe.network.weights == "random"
    assert study_of(name).paper_protocol == {"training.checkpoint": "test"}


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("p2")])
def test_images_are_augmented_alike_in_all_rows_and_a_control_has_both_views_without_the_terms(name):
    for _, _, plan in everywhere(name):
        augments = {run.recipe.augment for run in plan.runs}
        assert {(augment.flip, augment.erase, augment.erase_area) for augment in augments} == {(0.5, 0.5, (0.02, 0.25))}
        assert len(augments) == 1
        methods = [(run.recipe.method.name, run.recipe.method.options) for run in plan.runs]
        assert any(own == "rebalanced-attention" and on.get("lam") == on.get("mu") == 0 for own, on in methods)


def parts():
    """One recipe for every choice of method and loss, and one for every network and size, that some run has."""
    methods, networks = {}, {}
    for name in TABLES:
        for on, _, plan in everywhere(name):
            for run in plan.runs:
                recipe = run.recipe
                key = (recipe.method.model_dump_json(), recipe.loss.model_dump_json(), on == "ferplus")
                methods.setdefault(key, recipe)
                networks.setdefault((recipe.network.name, recipe.data.size), recipe)
    return methods, networks


def test_every_method_is_built_with_the_classes_of_its_data():
    small = {"network.name": "compact_vgg_24", "data.size": 32}
    for recipe in parts()[0].values():
        classes = FERPLUS if recipe.data.source == "ferplus" else tuple(FER2013)
        build_method(load_recipe(recipe.model_dump(), small), np.array([40, 20, 16, 12, 10, 8, 6]), classes)


@pytest.mark.slow
def test_every_network_takes_its_size():
    plain = {"method": {"name": "erm"}, "loss": {"name": "cross-entropy"}}
    for recipe in parts()[1].values():
        check_recipe(load_recipe(recipe.model_dump(), plain))


@names
def test_printed_figures_are_of_cells_that_are_run(name):
    study = study_of(name)
    for row in study.printed:
        plan = planned(name, row.dataset or next(iter(study.datasets)), "full")
        assert tuple(row.cell[factor] for factor in plan.factors) in plan.cells
        assert all(
            0 <= value <= 1 for metric, value in row.values.items() if metric.endswith("accuracy") and not row.gain
        )
    for row in study.quoted:
        assert row.source
        assert tuple(row.cell.values()) not in planned(name, next(iter(study.datasets)), "full").cells


@names
def test_printed_means_are_those_of_the_printed_classes_but_for_known_slips(name):
    study = study_of(name)
    rows = [row for row in (*study.printed, *study.quoted) if "recall" in row.values]
    assert bool(rows) == (name.startswith("p2-table"))
    for row in rows:
        recall = row.values["recall"]
        assert set(recall) == set(FERPLUS if name == "p2-table7" else FER2013)
        slip = abs(np.mean(list(recall.values())) - row.values["balanced_accuracy"]) > 1.5e-4
        assert slip == ((name, tuple(row.cell.values())) in SLIPS)


@pytest.mark.parametrize(("table", "runs"), [(f"p4-table{i}", f"p4-tablea{i}") for i in (1, 2, 3)])
def test_the_papers_table_prints_one_of_its_five_runs(table, runs):
    single = printed(runs)
    for (on, cell, _), value in printed(table).items():
        found = [v for (_, c, _), v in single.items() if c == cell]
        assert len(found) == (5 if dict(cell)["clustering"] == "with" else 1)
        assert value in found
        assert on == TABLES[table][0]


@pytest.mark.parametrize(
    ("gains", "tables"), [("p4-tablea6", ["p4-tablea5"]), ("p4-tablea7", ["p4-table1", "p4-table2", "p4-table3"])]
)
def test_printed_gains_are_those_of_the_printed_tables(gains, tables):
    figures = {key: value for table in tables for key, value in printed(table).items()}
    found = printed(gains)
    assert len(found) == len(figures) / 2
    for (on, cell, _), gain in found.items():
        before = figures[on, tuple((dict(cell) | {"clustering": "without"}).items()), None]
        assert gain == pytest.approx(figures[on, cell, None] / before - 1, abs=6e-5)


def test_tables_of_the_same_runs_train_nothing_twice():
    """A1 to A3, A7 and (but for the metrics) A4 are Tables 1 to 3 again."""
    for again, of in [("p4-tablea1", "p4-table1"), ("p4-tablea3", "p4-table3"), ("p4-tablea4", "p4-table3")]:
        own = TABLES[of][0]
        digests = {run.digest for run in planned(of, own, "full").runs}
        assert {run.digest for run in planned(again, own, "full").runs} <= digests
