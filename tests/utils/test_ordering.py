"""Names are ordered as people mean them: numbers by value, whatever they look like."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import plant, refused

from evenface.data.datasets import read_dataset
from evenface.utils.files import natural_key, natural_order, number_of


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=1, unique=True))
def test_numbers_are_ordered_by_value(values):
    for form in (str, "{:.3f}".format, "{:+.2e}".format):
        names = {form(value) for value in values}
        assert list(map(float, natural_order(names))) == sorted(map(float, names))


@given(st.lists(st.decimals(0, 999, places=3), unique=True, min_size=1))
def test_files_named_by_decimal_numbers_are_ordered_by_value(values):
    names = [f"{value.normalize():f}.png" for value in values]
    assert sorted(names, key=natural_key) == [f"{value.normalize():f}.png" for value in sorted(values)]


@given(st.lists(st.text(max_size=6)))
def test_the_order_does_not_depend_on_that_of_the_input(names):
    assert natural_order(names) == natural_order(random.Random(0).sample(names, len(names)))
    assert set(natural_order(names)) == set(names)


@pytest.mark.parametrize("name", ["nan", "inf", "Infinity", "1_000", "0x10", "1e999", "", "-", "1,5", "٣", " 1"])
def test_what_is_no_plain_number_has_no_value(name):
    assert number_of(name) is None


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["0.0", "10.0", "2.0", "1.0"], ("0.0", "1.0", "2.0", "10.0")),
        (["-1", "0", "-2", "2", "1"], ("-2", "-1", "0", "1", "2")),
        (["1e1", "9", "-0.5"], ("-0.5", "9", "1e1")),
        (["PA4", "PA1", "BL1", "PA10"], ("BL1", "PA1", "PA4", "PA10")),
    ],
)
def test_levels_are_in_the_order_of_their_values(tmp_path, labels, order):
    plant(tmp_path, *(f"{label}/x.mp4" for label in labels))
    table = tmp_path / "levels.csv"
    table.write_text("path,label\n" + "".join(f"{label}/x.mp4,{label}\n" for label in labels))
    assert read_dataset("clips", table, {"ordered": True}).classes == order
    table.unlink()
    assert read_dataset("clip-folder", tmp_path, {"ordered": True}).classes == order


def test_steps_of_a_scale_without_numbers_need_their_order(tmp_path):
    plant(tmp_path, "mild/x.mp4", "none/x.mp4", "severe/x.mp4")
    with refused("the order of the classes mild, none, severe is unknown, as their names contain no numbers"):
        read_dataset("clip-folder", tmp_path, {"ordered": True})
    steps = ["none", "mild", "severe"]
    assert read_dataset("clip-folder", tmp_path, {"ordered": True, "classes": steps}).classes == tuple(steps)
