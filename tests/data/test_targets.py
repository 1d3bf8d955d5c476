"""Targets of a manifest: what is predicted, and the strata that splits and sampling balance."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.data.manifest import Manifest, make_table
from evenface.data.targets import combinations, is_unit, select_targets, target_columns, value_bins
from evenface.utils.errors import InputError


def made(task="classification", classes=("calm", "pain"), **columns):
    n = len(next(iter(columns.values()), range(40)))
    rows = [{"sample": f"s{i}", "path": f"{i}.png", "label": i % len(classes)} for i in range(n)]
    table = make_table(rows).assign(**columns)
    return Manifest(table, tuple(classes), "made", "/", task=task)


NAN = float("nan")
UNITS = {"AU1": [0.0, 3.0, np.nan, 1.0] * 10, "AU12": [0.0, 0.0, 5.0, 2.0] * 10}


def test_units_become_targets_that_are_present_from_an_intensity_on():
    got = select_targets(made(**UNITS), targets=["AU1", "AU12"], positive_from=2)
    assert (got.task, got.targets, got.outputs) == ("multilabel", ("AU1", "AU12"), ("AU1", "AU12"))
    np.testing.assert_array_equal(got.target_values(np.arange(4)), [[0, 0], [1, 0], [np.nan, 1], [0, 1]])
    assert got.target_values(np.arange(4)).dtype == np.float32


def test_numbers_become_a_regression_and_columns_of_zero_and_one_multilabel():
    assert select_targets(made(pspi=np.arange(40.0)), targets=["pspi"]).task == "regression"
    assert select_targets(made(smile=[0.0, 1.0] * 20), targets=["smile"]).task == "multilabel"
    assert select_targets(made(smile=[0.0, 1.0] * 20), "regression", ["smile"]).task == "regression"


@pytest.mark.parametrize("task", ["regression", "multilabel"])
@pytest.mark.parametrize("names", [["AU1", "AU12"], ["AU12", "AU1"], ["AU12"]])
def test_targets_of_the_dataset_keep_its_task_when_they_are_named(task, names):
    declared = select_targets(made(**UNITS, pspi=np.arange(40.0)), task, ["AU1", "AU12"])
    got = select_targets(declared, None, names)
    assert (got.task, got.targets) == (task, tuple(names))
    assert select_targets(declared, None, ["pspi"]).task == "regression"
    assert select_targets(declared, "regression", names).target_values(np.array([2]))[0, names.index("AU12")] == 5


@pytest.mark.parametrize(
    ("name", "unit"),
    [("AU12", True), ("AU12L", True), ("au4R", True), ("AU12LR", False), ("AU", False), ("AU1_r", False)],
)
def test_names_of_action_units(name, unit):
    assert is_unit(name) == unit


def test_ordered_classes_become_the_value_of_their_level():
    got = select_targets(made("ordinal", ("0", "2", "8")), "regression")
    assert got.targets == ("level",)
    assert set(got.target_values(np.arange(40))[:, 0]) == {0, 2, 8}
    assert got.counts().tolist() == [14, 13, 13]


def test_without_a_choice_a_manifest_stays_as_it_is():
    manifest = made(**UNITS)
    assert select_targets(manifest) is manifest
    assert select_targets(made("ordinal", ("0", "1")), "classification").task == "classification"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ["AU13"]}, r"there is no column of numbers 'AU13' for data.targets"),
        ({"targets": ["who"]}, r"there is no column of numbers 'who'"),
        ({"task": "classification", "targets": ["AU1"]}, "predicts classes, but data.targets names columns"),
        ({"task": "multilabel"}, "needs the columns that are to be predicted"),
        ({"task": "regression"}, "To predict the value of classes that are levels: data.ordered=true"),
        ({"task": "ordinal"}, "not known to be steps of one scale"),
        ({"targets": ["flat"]}, "the target flat has only the value 0"),
        ({"targets": ["empty"]}, "the target empty has no value"),
    ],
)
def test_what_cannot_be_predicted_is_refused(arguments, message):
    manifest = made(**UNITS, who=["a"] * 40, flat=[0.0] * 40, empty=[np.nan] * 40)
    with pytest.raises(InputError, match=message):
        select_targets(manifest, **arguments)


def test_a_manifest_of_targets_is_read_as_it_was_written(tmp_path):
    got = select_targets(made(**UNITS), targets=["AU1"])
    got.save(tmp_path / "manifest.parquet")
    again = Manifest.load(tmp_path / "manifest.parquet")
    assert (again.task, again.targets, again.classes) == (got.task, got.targets, got.classes)
    pd.testing.assert_frame_equal(again.table, got.table)


def test_targets_and_task_must_agree():
    with pytest.raises(InputError, match="a task of regression cannot have the targets none"):
        Manifest(made().table, ("a", "b"), "made", "/", task="regression")


def test_columns_of_people_and_places_are_no_targets():
    manifest = made(**UNITS, age=[30.0] * 40, who=["a"] * 40, votes_calm=[1.0] * 40)
    assert target_columns(manifest) == ["AU1", "AU12"]


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 60))
def test_strata_are_the_combinations_or_the_rarest_unit_of_rare_ones(seed, units, n):
    present = (np.random.default_rng(seed).random((n, units)) < 0.3).astype(float)
    names = [f"AU{i}" for i in range(units)]
    tuples = [tuple(row) for row in present]
    for name, row in zip(combinations(present, names), tuples, strict=True):
        own = [i for i in range(units) if row[i]]
        if not own:
            assert name == "none"
        elif len(own) == 1 or tuples.count(row) >= 10:
            assert name == "+".join(names[i] for i in own)
        else:
            rarest = min(own, key=lambda i: (present[:, i].sum(), i))
            assert name == f"{names[rarest]} in rare combinations"


def test_samples_of_which_no_unit_is_known_are_of_no_combination():
    present = np.repeat([[0.0, 0.0], [NAN, NAN], [NAN, 0.0], [NAN, 1.0]], 10, axis=0)
    assert combinations(present, ["AU1", "AU9"])[::10] == ["none", "unknown", "none", "AU9"]


@given(st.lists(st.floats(-5, 20), min_size=1, max_size=80))
def test_bins_have_equal_width_and_hold_their_values(numbers):
    values = np.array(numbers)
    names = value_bins(values, "x")
    if len(set(numbers)) <= 10:
        assert len(set(names)) <= len(set(numbers))
        return
    width = (values.max() - values.min()) / 10
    for name, value in zip(names, values, strict=True):
        low, high = map(float, name.removeprefix("x ").split(" to "))
        slack = 0.01 * max(1, abs(value)) + 0.01 * width
        assert low - slack <= value <= high + slack
        assert high - low == pytest.approx(width, rel=0.1, abs=0.02)
