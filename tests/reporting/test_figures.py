"""Figures of statistics show the results they are drawn from, and are identical for identical results."""

import numpy as np
import pandas as pd
import pytest

from evenface import statistics as ef
from evenface.reporting import figures
from evenface.reporting.style import inline_svg, save

pytestmark = pytest.mark.usefixtures("real_figures")


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    cells = [(u, a, b) for u in range(12) for a in ("GRU", "LSTM") for b in ("plain", "tuned")]
    frame = pd.DataFrame(cells, columns=["fold", "network", "search"])
    return frame.assign(accuracy=0.8 + 0.1 * (frame.search == "tuned") + random.normal(scale=0.02, size=len(frame)))


@pytest.fixture(scope="module")
def contrasts(table):
    plan = [("network", "GRU", "LSTM"), ("search", "plain", "tuned")]
    return ef.planned(table, "accuracy", plan, "fold", resamples=200).contrasts


def words(figure):
    return inline_svg(figure, "a figure")


def test_differences_fill_what_is_certain(contrasts):
    figure = figures.differences(contrasts, {"accuracy": 0.02})
    assert [contrast.certain for contrast in contrasts] == [False, True]
    styles = [
        line.get_fillstyle() for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert styles == ["none", "full"]
    assert "practically equivalent" in words(figure)
    assert "GRU − LSTM" in words(figures.effect_sizes(contrasts))


def test_equivalence_writes_the_verdict_beside(table):
    plan = (("network", "GRU", "LSTM", "search"), ("search", "plain", "tuned", "network"))
    found = [
        ef.equivalence(ef.pairs(table, "accuracy", name, level, base, "fold", among=[other]), 0.04)
        for name, level, base, other in plan
    ]
    text = words(figures.equivalence(found))
    assert [result.equivalent for result in found] == [True, False]
    assert text.count(">equivalent<") == text.count(">not shown<") == 1


def test_power_curves_name_the_units_needed():
    text = words(figures.power_curves(count=6, unit="emotion"))
    for said in ("d = 0.2: 199", "d = 0.5: 34", "only d ≥ 1.43", "emotions needed for 80%"):
        assert said in text


def test_heat_map_shows_every_value_and_what_is_not_defined():
    heat = pd.DataFrame({"recall": [0.912, np.nan], "F1": [0.5, 0.25]}, index=["happy", "fear"])
    text = words(figures.class_heat(heat))
    assert all(said in text for said in (">0.91<", ">0.50<", ">0.25<", ">–<", "happy", "F1"))


def test_ranks_are_drawn_best_on_top(table):
    cells = table.assign(method=table.network + " " + table.search)
    found = ef.friedman(cells, "accuracy", "method", "fold")
    figure = figures.critical_difference(found)
    assert [label.get_text().rsplit(" ", 1)[0] for label in figure.axes[0].get_yticklabels()] == list(found.methods)[
        ::-1
    ]
    assert f"critical difference {found.critical:.2f}" in words(figure)


def test_the_same_results_give_the_same_bytes(contrasts, tmp_path):
    for name in ("a.svg", "b.svg"):
        save(figures.effect_sizes(contrasts), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
