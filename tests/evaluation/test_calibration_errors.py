"""Calibration errors and abstention, each against counting."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import matrices, predictions, sample
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score

from evenface.evaluation.calibration import (
    calibration_error,
    error_estimates,
    loss_estimates,
    reliability_by_mass,
    tempered,
)
from evenface.evaluation.probability_metrics import brier
from evenface.evaluation.selective import answered, risk_coverage
from evenface.utils.errors import InputError


def naive_error(promised, kept, bins):
    total = 0.0
    for low in range(bins):
        rows = [i for i, p in enumerate(promised) if low / bins < p <= (low + 1) / bins or (low == 0 and p == 0)]
        if rows:
            gap = sum(promised[i] for i in rows) / len(rows) - sum(bool(kept[i]) for i in rows) / len(rows)
            total += len(rows) * abs(gap)
    return total / len(promised)


@given(matrices)
@settings(max_examples=25, deadline=None)
def test_calibration_error_is_that_of_a_loop_and_from_0_to_1(batch):
    p, y = batch
    top = naive_error(p.max(axis=1).tolist(), (p.argmax(axis=1) == y).tolist(), 15)
    assert calibration_error(p, y) == pytest.approx(top, abs=1e-9)
    each = [naive_error(p[:, k].tolist(), (y == k).tolist(), 15) for k in range(p.shape[1])]
    assert calibration_error(p, y, of="classes") == pytest.approx(np.mean(each), abs=1e-9)
    for binning in ("width", "mass"):
        assert 0 <= calibration_error(p, y, binning=binning) <= 1


def test_bins_of_equal_mass_are_those_of_sklearn():
    p, y = sample(997, c=2, seed=8)
    kept, promised = calibration_curve(y, p[:, 1], n_bins=10, strategy="quantile")
    own = reliability_by_mass(p[:, 1], y == 1, 10)
    np.testing.assert_allclose(own.count, 99.7, atol=1)
    np.testing.assert_allclose(own.accuracy, kept, atol=0.02)  # theirs interpolates between two samples
    np.testing.assert_allclose(own.confidence, promised, atol=0.01)
    ranked = np.argsort(p[:, 1])
    ends = np.ceil(np.arange(11) / 10 * 997).astype(int)
    gaps = [abs((p[ranked[a:b], 1] - y[ranked[a:b]]).sum()) for a, b in itertools.pairwise(ends)]
    assert sum(gaps) / 997 == pytest.approx(
        calibration_error(np.c_[1 - p[:, 1], p[:, 1]], y, bins=10, binning="mass", of="classes"), abs=2e-3
    )


def test_equal_confidences_share_a_bin():
    assert reliability_by_mass(np.full(30, 0.5), np.arange(30) < 15).count.tolist() == [30]


def test_what_holds_has_nearly_no_error_and_what_is_too_sure_has_its_gap():
    p, y = sample(60_000, seed=9)
    assert calibration_error(p, y) < 0.01
    sure = np.where(np.eye(2)[np.arange(1000) % 2] == 1, 0.9, 0.1)
    labels = np.where(np.arange(1000) % 10 < 6, np.arange(1000) % 2, 1 - np.arange(1000) % 2)
    assert calibration_error(sure, labels) == pytest.approx(0.3)


def test_estimates_agree_with_the_errors_and_cover_the_truth():
    hits = []
    for seed in range(30):
        p, y = sample(600, seed=100 + seed)
        before, after = predictions(tempered(p, 0.5), y), predictions(p, y)
        first, second, change = error_estimates(before, after, resamples=200, seed=seed)
        assert first.value == pytest.approx(calibration_error(before.probabilities, y))
        assert second.value == pytest.approx(calibration_error(p, y))
        assert change.value == pytest.approx(second.value - first.value)
        assert change.high < 0
        hits.append(second.low == 0)  # what holds has a true error of 0
    assert np.mean(hits) > 0.8


def test_people_make_intervals_wider_and_losses_are_means():
    p, y = sample(600, seed=2)
    y = np.where(np.arange(600) % 6 < 3, y, (y + 1) % 3)  # half of six people are misread
    alone, together = (error_estimates(*[predictions(p, y, n)] * 2, resamples=300)[0] for n in (None, 6))
    assert together.high - together.low > 2 * (alone.high - alone.low)
    first, second, change = loss_estimates(predictions(tempered(p, 0.5), y), predictions(p, y), brier, resamples=50)
    assert second.value == pytest.approx(
        np.mean([sum((p[i, k] - (y[i] == k)) ** 2 for k in range(3)) for i in range(600)])
    )
    assert change.value == pytest.approx(second.value - first.value)
    assert second.low < second.value < second.high


@given(matrices, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_risk_and_coverage_are_those_of_counting(batch, digits):
    p, y = batch
    confidence = np.round(p.max(axis=1), 1 + digits)
    correct = p.argmax(axis=1) == y
    curve = risk_coverage(confidence, correct)
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.coverage[-1] == 1
    assert curve.threshold[-1] == 0
    for threshold, risk, coverage in zip(curve.threshold, curve.risk, curve.coverage, strict=True):
        told = confidence >= threshold
        assert coverage == pytest.approx(told.mean())
        assert risk == pytest.approx((~correct)[told].mean())
    assert 0 <= curve.area <= 1
    twice = risk_coverage(np.repeat(confidence, 2), np.repeat(correct, 2))
    assert twice.area == pytest.approx(curve.area)
    assert risk_coverage(confidence, correct, np.full(len(y), 3.0)).area == pytest.approx(curve.area)


def test_area_is_the_mean_risk_of_the_surest_and_weights_are_copies():
    p, y = sample(200, seed=4)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    ranked = ~correct[np.argsort(-confidence)]
    assert risk_coverage(confidence, correct).area == pytest.approx(
        np.mean([ranked[: i + 1].mean() for i in range(200)])
    )
    copies = 1 + y
    weighted = risk_coverage(confidence, correct, copies)
    copied = risk_coverage(np.repeat(confidence, copies), np.repeat(correct, copies))
    np.testing.assert_allclose(weighted.risk, copied.risk)
    np.testing.assert_allclose(weighted.coverage, copied.coverage)


def test_thresholds_keep_the_risk_and_answer_as_much_as_they_can():
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, False, True, False]))
    assert (curve.at_risk(0.25).threshold, curve.at_risk(0.25).coverage) == (0.6, 0.8)
    assert curve.at_risk(0.0).threshold == 0.8
    assert curve.at_risk(1.0).threshold == 0.0
    assert risk_coverage(np.array([0.9]), np.array([False])).at_risk(0.5) is None
    assert curve.at_threshold(0.65).coverage == 0.6
    assert curve.at_threshold(0.95) is None
    assert curve.thinned(2).threshold.tolist() == [0.9, 0.0]
    with pytest.raises(InputError, match="from 0 to 1"):
        curve.at_risk(1.5)


def test_what_is_answered_is_counted_by_class():
    p, y = sample(300, seed=12)
    found = answered(predictions(p, y, 20), 0.6, resamples=100)
    told, right = p.max(axis=1) >= 0.6, p.argmax(axis=1) == y
    assert found.coverage.value == pytest.approx(told.mean())
    assert found.risk.value == pytest.approx(1 - accuracy_score(y[told], p[told].argmax(axis=1)))
    for k in range(3):
        assert found.class_coverage[k] == pytest.approx(told[y == k].mean())
        assert found.class_recall[k] == pytest.approx(right[told & (y == k)].mean())
    assert found.risk.low < found.risk.value < found.risk.high
    twice = answered(predictions(p, y, 20), 0.6, weights=1.0 + (y == 2), resamples=100)
    counted = np.where(y == 2, 2.0, 1.0)
    assert twice.risk.value == pytest.approx(np.average(~right[told], weights=counted[told]))
    assert twice.coverage.value == pytest.approx(np.average(told, weights=counted))
    nobody = answered(predictions(p, y), 1.01, resamples=10)
    assert math.isnan(nobody.risk.value)
    assert nobody.coverage.value == 0
