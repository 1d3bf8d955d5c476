"""Bins of labels, and weights inverse to their density."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from target_batches import LEVELS, NAN

from evenface.losses import LabelWeights
from evenface.losses.label_density import LabelBins, gaussian_kernel, label_bins


@pytest.mark.parametrize(
    ("labels", "bins", "expected"),
    [
        ([0, 1, 3, 15, NAN], None, LabelBins(0.0, 1.0, 16)),
        ([0.5, 1.0, 2.5], None, LabelBins(0.5, 0.5, 5)),
        ([-1, 1], None, LabelBins(-1.0, 2.0, 2)),
        ([3, 3, NAN], None, LabelBins(3.0, 1.0, 1)),
        ([NAN], None, LabelBins(0.0, 1.0, 1)),
        ([0, 4], 5, LabelBins(0.0, 1.0, 5)),
    ],
)
def test_steps_of_a_scale_have_a_bin_each(labels, bins, expected):
    assert label_bins(labels, bins) == expected


def test_labels_that_are_no_steps_have_a_hundred_bins():
    labels = np.random.default_rng(0).normal(size=1000)
    bins = label_bins(labels)
    assert bins.count == 100
    index = bins.index(labels)
    assert (index.min(), index.max()) == (0, 99)
    assert np.abs(labels - (bins.low + index * bins.width)).max() <= bins.width / 2 * (1 + 1e-9)
    assert label_bins([0, 1e-4, 1]).count == 100  # steps so small that there would be 10,001


@given(st.lists(st.integers(-20, 40), min_size=2, unique=True), st.floats(0.01, 100), st.floats(-50, 50))
def test_standardised_levels_keep_their_bins(levels, scale, mean):
    """Targets of a regression are standardised, in 32 bits, before they are given to a loss."""
    levels = np.array(sorted(levels))
    encoded = ((levels.astype(np.float32) - np.float32(mean)) / np.float32(scale)).astype(np.float32)
    steps = np.gcd.reduce(np.diff(levels))
    if np.diff(levels).min() == steps:
        expected = (levels - levels[0]) // steps
        assert label_bins(encoded).index(encoded.astype(float)).tolist() == expected.tolist()


def test_values_out_of_range_are_in_the_last_bins_for_tensors_too():
    bins = LabelBins(0.0, 0.5, 4)
    assert bins.index(torch.tensor([-3.0, 0.3, 9.0])).tolist() == [0, 1, 3]
    assert bins.index(np.array([-3.0, 0.3, 9.0])).tolist() == [0, 1, 3]


@pytest.mark.parametrize(("rule", "power"), [("inverse", 1), ("sqrt-inverse", 0.5)])
def test_weights_are_inverse_to_counts_with_mean_one(rule, power):
    weights = LabelWeights(LEVELS, rule)
    known = np.nan_to_num(LEVELS)
    found = weights(torch.tensor(known, dtype=torch.float32)).double().numpy()
    for column, values in zip(LEVELS.T, found.T, strict=True):
        counts = np.array([(column == value).sum() for value in column], dtype=float)
        expected = counts.clip(5) ** -power if rule == "inverse" else np.maximum(counts, 1) ** -power
        expected /= expected[~np.isnan(column)].mean()
        np.testing.assert_allclose(values[~np.isnan(column)], expected[~np.isnan(column)], rtol=1e-6)


def test_weights_fall_with_counts_beyond_a_thousand_too():
    """Frames of PSPI as in UNBC-McMaster: most show no pain."""
    counts = [40029, 2909, 2351, 1412, 802, 242]
    labels = np.repeat(np.arange(6.0), counts)[:, None]
    found = LabelWeights(labels, "inverse")(torch.arange(6.0)[:, None])[:, 0].double().numpy()
    np.testing.assert_allclose(found * counts, np.full(6, sum(counts) / 6), rtol=1e-6)
    assert (np.diff(found) > 0).all()


def test_smoothed_density_is_a_sum_over_neighbouring_bins():
    labels = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [50, 5, 40, 7, 9, 20])[:, None]
    counts = [math.sqrt(n) for n in (50, 5, 40, 7, 9, 20)]
    raw = []
    for b in range(6):
        near = [(other, abs(other - b)) for other in range(6) if abs(other - b) <= 1]
        raw.append(1 / sum(math.exp(-(d**2) / (2 * 1.5**2)) * counts[other] for other, d in near))
    mean = sum(w * n for w, n in zip(raw, (50, 5, 40, 7, 9, 20), strict=True)) / 131
    found = LabelWeights(labels, "sqrt-inverse", "gaussian", kernel_size=3, sigma=1.5)(torch.arange(6.0)[:, None])
    np.testing.assert_allclose(found[:, 0].numpy(), np.array(raw) / mean, rtol=1e-6)


def test_smoothing_brings_the_weights_of_neighbours_together():
    labels = np.repeat([0.0, 1.0, 2.0], [50, 1, 50])[:, None]
    plain, smooth = (
        LabelWeights(labels, "sqrt-inverse", how)(torch.arange(3.0)[:, None])[:, 0] for how in ("none", "gaussian")
    )
    assert plain[1] / plain[0] > 5
    assert 0.7 < smooth[1] / smooth[0] < 1


def test_bins_without_training_labels_have_the_largest_weight():
    weights = LabelWeights(np.array([[0.0]] * 9 + [[1.0]] + [[5.0]] * 4), "sqrt-inverse")
    found = weights(torch.arange(6.0)[:, None])[:, 0]
    assert (found[2:5] == found[1]).all()
    assert found[1] == found.max()


def test_kernel():
    np.testing.assert_allclose(gaussian_kernel(5, 2.0), [math.exp(-((d / 2) ** 2) / 2) for d in (-2, -1, 0, 1, 2)])
