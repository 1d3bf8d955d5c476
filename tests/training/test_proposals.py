"""Proposals stay within their ranges, rounds cover all trials, and should_prune is worse than the median."""

import math
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from searching import OVER, recipe

from evenface.config.recipe_checks import ranges
from evenface.training.tuning import Trial, best_of, figure_of, propose, round_of, should_prune


@given(st.integers(0, 2**40), st.integers(1, 20))
def test_proposals_by_chance_stay_within_their_ranges(seed, count):
    options = recipe(**{"search.trials": 20, "search.startup_trials": 20}).search
    for one in propose(ranges(recipe()), (), range(count), options, seed, larger=True):
        assert list(one) == list(OVER)
        for key, (low, high, *_) in OVER.items():
            assert low <= one[key] <= high
            assert isinstance(one[key], float if key == "optimizer.lr" else int)


def test_guided_proposals_stay_within_their_ranges_where_the_best_is_at_a_corner():
    corner = {"network.recurrent.dense": 64, "network.recurrent.hidden": 128, "optimizer.lr": 1e-1}
    away = {"network.recurrent.dense": 16, "network.recurrent.hidden": 32, "optimizer.lr": 1e-4}
    done = [
        Trial(0, corner, (1.0,), 1.0, "complete"),
        Trial(1, away, (0.0,), 0.0, "pruned"),
        Trial(2, away | {"optimizer.lr": 1e-3}, (math.nan,), math.nan, "diverged"),
    ]
    options = recipe(**{"search.startup_trials": 3}).search
    for one in propose(ranges(recipe()), done, range(3, 6), options, 0, larger=True):
        assert all(low <= one[key] <= high for key, (low, high, *_) in OVER.items())


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_rounds_cover_all_trials_once_and_none_crosses_the_first_guided_one(trials, first, together):
    options = SimpleNamespace(trials=trials, startup_trials=first, parallel_trials=together)
    covered = []
    while len(covered) < trials:
        numbers = round_of(len(covered), options)
        assert numbers.start == len(covered)
        assert 1 <= len(numbers) <= together
        assert numbers.stop <= first or numbers.start >= first
        assert all(round_of(number, options) == numbers for number in numbers)
        covered += numbers
    assert covered == list(range(trials))


def median_of(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


curves = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=6)


@given(curves, st.lists(curves, max_size=8), st.integers(0, 4), st.booleans())
def test_pruned_is_worse_than_the_median_of_the_best_so_far(curve, others, start, larger):
    best = max if larger else min
    reached = [best(other[: len(curve)]) for other in others]
    expected = False
    if len(curve) >= start and len(others) >= 4:
        middle = median_of(reached)
        expected = best(curve) < middle if larger else best(curve) > middle
    assert should_prune(curve, others, start, larger=larger) == expected


def test_the_figure_is_that_of_the_weights_that_are_tested_and_no_number_is_never_best():
    assert figure_of([0.2, 0.7, math.nan, 0.5], larger=True, last=False) == 0.7
    assert figure_of([0.2, 0.7, 0.5], larger=False, last=False) == 0.2
    assert figure_of([0.2, 0.7, 0.5], larger=True, last=True) == 0.5
    trials = [
        Trial(0, {}, (), 0.5, "complete"),
        Trial(1, {}, (), 0.9, "pruned"),
        Trial(2, {}, (), 0.6, "complete"),
        Trial(3, {}, (), 0.6, "complete"),
        Trial(4, {}, (), math.nan, "diverged"),
    ]
    assert best_of(trials, larger=True).number == 2
    assert best_of(trials, larger=False).number == 0
    assert best_of(trials[4:], larger=True) is None
