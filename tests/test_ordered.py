"""Metrics of ordered classes against scikit-learn, an analysis of variance and identities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from evenface.evaluation import metrics, scores
from evenface.evaluation.named import NAMED, measured
from evenface.evaluation.predictions import Predictions

LEVELS = ("BL1", "PA1", "PA2", "PA3", "PA4")


@st.composite
def levelled(draw, c=5):
    n = draw(st.integers(1, 50))
    level = st.integers(0, c - 1)
    return draw(hnp.arrays(np.int64, n, elements=level)), draw(hnp.arrays(np.int64, n, elements=level))


def matrix_of(truth, guess):
    return metrics.confusion_matrix(truth, guess, 5)


def shrout_fleiss(ratings):
    """ICC(3,1) by the mean squares of a two-way table, (targets, raters)."""
    n, k = ratings.shape
    grand = ratings.mean()
    between = k * ((ratings.mean(axis=1) - grand) ** 2).sum()
    raters = n * ((ratings.mean(axis=0) - grand) ** 2).sum()
    rest = ((ratings - grand) ** 2).sum() - between - raters
    bms, ems = between / (n - 1), rest / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems)


@given(levelled())
def test_distance_and_kappa_equal_scikit_learn(drawn):
    truth, guess = drawn
    matrix = matrix_of(truth, guess)
    assert float(metrics.mean_absolute_error(matrix)) == pytest.approx(sk.mean_absolute_error(truth, guess))
    agreement = float(metrics.quadratic_weighted_kappa(matrix))
    if len(set(truth) | set(guess)) == 1:
        assert math.isnan(agreement)  # all are of one level and called that: chance agrees always
    else:
        assert agreement == pytest.approx(sk.cohen_kappa_score(truth, guess, labels=range(5), weights="quadratic"))


@given(levelled())
def test_icc_equals_the_analysis_of_variance(drawn):
    truth, guess = drawn
    got = float(metrics.icc_3_1(matrix_of(truth, guess)))
    if np.ptp(truth) == np.ptp(guess) == 0:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(shrout_fleiss(np.stack([truth, guess], axis=1).astype(float)), abs=1e-9)


def test_the_analysis_of_variance_gives_the_figure_in_print():
    # Shrout and Fleiss 1979, table 2: six targets, four judges; table 4 prints .71 for ICC(3,1).
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    assert shrout_fleiss(ratings) == pytest.approx(0.71, abs=0.005)


@given(hnp.arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 3)).filter(lambda y: np.ptp(y) > 0))
def test_a_constant_shift_costs_kappa_but_not_icc(truth):
    shifted = matrix_of(truth, truth + 1)
    assert float(metrics.icc_3_1(shifted)) == pytest.approx(1)
    assert float(metrics.mean_absolute_error(shifted)) == pytest.approx(1)
    assert float(metrics.quadratic_weighted_kappa(shifted)) < 1


@given(levelled())
def test_turning_the_scale_round_changes_nothing(drawn):
    matrix = matrix_of(*drawn)
    for name, function in metrics.ORDERED.items():
        value, low, high = float(function(matrix)), 0 if name == "mae" else -1, 4 if name == "mae" else 1
        np.testing.assert_allclose(function(matrix[::-1, ::-1]), value, atol=1e-9, err_msg=name)
        assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name


@given(st.lists(levelled(), min_size=2, max_size=4))
def test_a_stack_gives_what_its_matrices_give(drawn):
    stack = [matrix_of(*one) for one in drawn]
    for name, function in metrics.ORDERED.items():
        np.testing.assert_allclose(
            function(np.stack(stack).astype(np.float32)), [function(one) for one in stack], rtol=1e-12, err_msg=name
        )


def test_nobody_gives_no_number():
    for name, function in metrics.ORDERED.items():
        assert np.isnan(function(np.zeros((5, 5)))), name


def graded(n=120, people=12, seed=0, skill=1.0, clips=None, ordered=True, classes=LEVELS):
    """Predictions of levels; those near the true one are likelier."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes) if clips is None else (np.arange(n) // clips) % len(classes)
    logits = random.normal(size=(n, len(classes))) - skill * np.abs(np.arange(len(classes)) - labels[:, None])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    unit = np.arange(n) if clips is None else np.arange(n) // clips
    who = None if people is None else np.array([f"p{u % people}" for u in unit], dtype=object)
    clip = None if clips is None else np.array([f"c{u}" for u in unit], dtype=object)
    return Predictions(np.array([f"s{i}" for i in range(n)], dtype=object), who, labels, p, classes, clip, ordered)


def test_the_expected_level_is_the_mean_of_levels():
    given_ = graded(40)
    naive = [
        abs(sum(k * p for k, p in enumerate(row)) - y)
        for row, y in zip(given_.probabilities, given_.labels, strict=True)
    ]
    np.testing.assert_allclose(scores.expected_level_error(given_.probabilities, given_.labels), naive)
    assert measured("expected_mae", given_) == pytest.approx(np.mean(naive))
    sure = np.eye(5)[given_.predicted]
    assert scores.expected_level_error(sure, given_.labels).mean() == pytest.approx(measured("mae", given_))


def test_every_name_is_measured_by_sample_and_by_clip():
    given_ = graded(120, clips=4)
    joined = given_.by_clip()
    for name in NAMED:
        whole = measured(name, given_)
        assert math.isfinite(whole), name
        if not name.startswith("clip_"):
            assert measured(f"clip_{name}", given_) == measured(name, joined), name
            assert math.isnan(measured(f"clip_{name}", graded())), name
    assert measured("clip_accuracy", given_) == np.mean(joined.predicted == joined.labels)


def test_recall_is_detection_whatever_the_mean_and_means_are_weighted_by_support():
    given_ = graded(73)
    assert measured("macro_recall", given_) == measured("macro_pd", given_) == measured("balanced_accuracy", given_)
    assert measured("weighted_recall", given_) == measured("weighted_pd", given_)
    matrix = matrix_of(given_.labels, given_.predicted)
    for name, each in metrics.PER_CLASS.items():
        expected = np.average(each(matrix), weights=given_.support)
        assert measured(f"weighted_{name}", given_) == pytest.approx(expected), name
    weighted = sum(
        n / 73 * np.mean((given_.labels == k) == (given_.predicted == k)) for k, n in enumerate(given_.support)
    )
    assert measured("weighted_accuracy_one_vs_rest", given_) == pytest.approx(weighted)  # eq 7 of p1, literally


def test_small_is_good_of_errors_and_alarms_only():
    given_, better = graded(200, skill=0.5), graded(200, skill=3.0)
    for name in (*NAMED, *metrics.PER_CLASS):
        if name in NAMED and not name.startswith("clip_"):
            gain = measured(name, better) - measured(name, given_)
            assert (gain < 0) == metrics.lower_is_better(name) == metrics.lower_is_better(f"clip_{name}"), name
