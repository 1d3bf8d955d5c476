"""Confidence intervals by the bootstrap: people are resampled where they are known, else clips, else samples.

Images of one person are correlated, so they are not independent observations. An interval for performance on *other
people* requires resampling people, with all their images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import TargetPredictions

LEVEL = 0.95
RESAMPLES = 2000
CHUNK = 4_000_000
THRESHOLD = 0.5
"""Score from which on a one-vs-rest classifier predicts its class."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where not defined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def estimate(entry: Mapping[str, Any]) -> Estimate:
    """Turn an entry of ``metrics.json`` (``value``, ``low``, ``high``; None is not defined) into an estimate."""
    return Estimate(*(float("nan") if entry[part] is None else entry[part] for part in ("value", "low", "high")))


@dataclass(frozen=True)
class Units:
    """Units of resampling: the unit of each sample, their number, and their name."""

    codes: np.ndarray
    count: int
    name: str


def units_of(predictions: Predictions | TargetPredictions) -> Units:
    """Return people where every subject is known, else clips where some have several samples, else samples."""
    groups, name = predictions.subject, "people"
    if groups is None and predictions.in_parts:
        groups, name = predictions.clip, "clips"
    if groups is None:
        return Units(np.arange(len(predictions)), len(predictions), "samples")
    names, codes = np.unique(groups.astype(str), return_inverse=True)
    return Units(codes, len(names), name)


def unit_matrices(predictions: Predictions, units: Units) -> np.ndarray:
    """Compute the confusion matrix of each unit, float32, shape (U, C, C); sums are exact up to 16 million samples."""
    c = len(predictions.classes)
    stack = np.zeros((units.count, c, c), dtype=np.float32)
    np.add.at(stack, (units.codes, predictions.labels, predictions.predicted), 1)
    return stack


def unit_moments(predictions: Predictions, units: Units) -> np.ndarray:
    """Sum 1, t, z, t², z², tz, abs(z - t), (z - t)² over each unit: true value t and output z, less the mean of t."""
    truth, output = predictions.true_values, predictions.place
    centre = truth.mean()
    t, z = truth - centre, output - centre
    error = output - truth
    columns = np.stack([np.ones(len(t)), t, z, t**2, z**2, t * z, np.abs(error), error**2], axis=1)
    sums = np.zeros((units.count, columns.shape[1]))
    np.add.at(sums, units.codes, columns)
    return sums


def unit_value_bins(predictions: Predictions, units: Units) -> np.ndarray:
    """Count the samples of each true level and sum their absolute errors, for each unit, shape (U, C, 2)."""
    error = np.abs(predictions.place - predictions.true_values)
    sums = np.zeros((units.count, len(predictions.classes), 2))
    np.add.at(sums, (units.codes, predictions.labels), np.stack([np.ones(len(error)), error], axis=1))
    return sums


def fired(predictions: Predictions) -> np.ndarray:
    """Return which samples the one-vs-rest classifier of each class assigns to it, bool, shape (N, C).

    With scores that is where the score is 0.5 or more, for several classes or none; else the predicted class.
    """
    if predictions.scores is not None:
        return np.asarray(predictions.scores >= THRESHOLD)
    return np.asarray(predictions.predicted[:, None] == np.arange(len(predictions.classes)))


def unit_tables(predictions: Predictions, units: Units) -> np.ndarray:
    """Count ``[[TN, FP], [FN, TP]]`` of each class for each unit, float32, shape (U, C, 2, 2)."""
    c = len(predictions.classes)
    own = predictions.labels[:, None] == np.arange(c)
    stack = np.zeros((units.count, c, 2, 2), dtype=np.float32)
    np.add.at(stack, (units.codes[:, None], np.arange(c), own.astype(int), fired(predictions).astype(int)), 1)
    return stack


def draws(count: int, resamples: int, seed: int, width: int | None = None) -> Iterator[np.ndarray]:
    """Draw ``count`` units with replacement, ``resamples`` times; yield their multiplicities, float32, (r, count)."""
    if count == 1:
        yield np.full((resamples, 1), np.nan, dtype=np.float32)
        return
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(count, width or 0))
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        drawn = random.integers(0, count, size=(r, count)) + np.arange(r)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=r * count).reshape(r, count).astype(np.float32)


def resample_sums(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Sum the values of the units, ``(U, ...)``, over each draw: ``(R, ...)``."""
    return resample_each([values], resamples, seed)[0]


def resample_each(values: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0) -> list[np.ndarray]:
    """Sum several arrays of values of the same units over the same draws, which are generated once."""
    flat = [array.reshape(len(array), -1) for array in values]
    sums: list[list[np.ndarray]] = [[array[:0]] for array in flat]
    for weights in draws(len(values[0]), resamples, seed):
        double = weights.astype(np.float64)
        for parts, array in zip(sums, flat, strict=True):
            parts.append((weights if array.dtype == np.float32 else double) @ array)
    return [
        np.concatenate(parts).reshape(resamples, *array.shape[1:]) for parts, array in zip(sums, values, strict=True)
    ]


def percentile(drawn: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Compute the percentile interval over the first axis; draws where the value is not defined are skipped."""
    if not len(drawn):
        return np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
    known = ~np.isnan(drawn)
    filled = np.where(known.any(axis=0), drawn, 0)
    low, high = np.nanquantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    undefined = ~known.any(axis=0)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def wilson(hits: np.ndarray, n: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Compute Wilson's score interval of a proportion of independent samples; NaN where ``n`` is zero.

    References
    ----------
    Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 1927.
    """
    from scipy.special import ndtri

    # own code: importing statsmodels' proportion_confint takes longer than a whole comparison
    z, n = -ndtri((1 - level) / 2), np.asarray(n, dtype=np.float64)
    share = divide(hits, n)
    scale = 1 + divide(z**2, n)
    middle = (share + divide(z**2, 2 * n)) / scale
    half = z * np.sqrt(divide(share * (1 - share), n) + divide(z**2, 4 * n**2)) / scale
    low, high = middle - half, middle + half
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def recall_intervals(
    matrices: np.ndarray, drawn: np.ndarray, units: Units, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the interval of each class's recall, shape (C,).

    Where samples are the units it is Wilson's. Else it is the percentile interval over people (or clips); where all
    samples of a class are correct, or all wrong, resampling shows no variance, and Wilson's interval with *one
    observation per person* is used.
    """
    total = matrices.sum(axis=0)
    hits, n = np.diagonal(total), total.sum(axis=-1)
    if units.name == "samples":
        return wilson(hits, n, level)
    low, high = percentile(divide(np.diagonal(drawn, axis1=-2, axis2=-1), drawn.sum(axis=-1)), level)
    persons = (matrices.sum(axis=-1) > 0).sum(axis=0)
    narrow = wilson(divide(hits, n) * persons, persons, level)
    flat = (hits == 0) | (hits == n)
    return np.where(flat, narrow[0], low), np.where(flat, narrow[1], high)
