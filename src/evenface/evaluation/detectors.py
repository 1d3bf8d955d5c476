"""Each class's detector by itself: whether it fires on its class and is silent on the rest, at a threshold of 0.5.

With scores, as one-vs-all keeps them, a detector fires where its score is 0.5 or more, and several may fire on a
sample, or none. Without scores the detector of the predicted class fires, and no other: one-vs-rest of the prediction.

A table of a detector is its confusion matrix of two classes, rest and own: ``[[TN, FP], [FN, TP]]``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from evenface.evaluation import metrics
from evenface.evaluation.intervals import Estimate, Units, percentile, resample_sums
from evenface.evaluation.predictions import Predictions

THRESHOLD = 0.5
EACH = "class_"
"""Begins the name of a metric of detectors that has one value for each class; without it, it is their mean."""

DETECTORS: dict[str, metrics.Metric] = {
    f"{metrics.DETECTOR}accuracy": metrics.accuracy,
    f"{metrics.DETECTOR}precision": lambda table: metrics.precision(table)[..., 1],
    f"{metrics.DETECTOR}recall": lambda table: metrics.recall(table)[..., 1],
    f"{metrics.DETECTOR}f1": lambda table: metrics.f1(table)[..., 1],
    f"{metrics.DETECTOR}specificity": lambda table: metrics.specificity(table)[..., 1],
}
"""Name to a function of tables of detectors, ``(..., C, 2, 2) -> (..., C)``; NaN where it is not defined."""


def fired(predictions: Predictions) -> np.ndarray:
    """Say which detectors fire on which samples, bool, shape (N, C)."""
    if predictions.scores is not None:
        return np.asarray(predictions.scores >= THRESHOLD)
    return np.asarray(predictions.predicted[:, None] == np.arange(len(predictions.classes)))


def unit_tables(predictions: Predictions, units: Units) -> np.ndarray:
    """Give the tables of all detectors for each unit, float32, shape (U, C, 2, 2)."""
    c = len(predictions.classes)
    own = predictions.labels[:, None] == np.arange(c)
    stack = np.zeros((units.count, c, 2, 2), dtype=np.float32)
    np.add.at(stack, (units.codes[:, None], np.arange(c), own.astype(int), fired(predictions).astype(int)), 1)
    return stack


def per_class(predictions: Predictions) -> dict[str, np.ndarray]:
    """Give every metric of :data:`DETECTORS` for each class, each of shape (C,)."""
    tables = unit_tables(predictions, Units(np.zeros(len(predictions), dtype=np.int64), 1, "samples"))[0]
    return {name: metric(tables) for name, metric in DETECTORS.items()}


def mean(values: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Average over the classes that are present in the truth, leaving out what is not defined: (..., C) -> (...)."""
    known = ~np.isnan(values) & (tables[..., 1, :].sum(axis=-1) > 0)
    return metrics.divide(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def measured(name: str, predictions: Predictions) -> float:
    """Compute the mean over classes of a metric of :data:`DETECTORS`."""
    tables = unit_tables(predictions, Units(np.zeros(len(predictions), dtype=np.int64), 1, "samples"))[0]
    return float(mean(DETECTORS[name](tables), tables))


def detector_metrics(
    predictions: Predictions, units: Units, resamples: int, seed: int, level: float, plain: Callable[[Estimate], Any]
) -> dict[str, Any]:
    """Compute all of them with intervals, for ``metrics.json``.

    Returns
    -------
    dict
        ``mean`` (metric to estimate) and ``per_class`` (class to such metrics), estimates as ``plain`` gives them.
    """
    stack = unit_tables(predictions, units)
    whole, drawn = stack.sum(axis=0), resample_sums(stack, resamples, seed)
    means: dict[str, Any] = {}
    each: dict[str, dict[str, Any]] = {name: {} for name in predictions.classes}
    for name, metric in DETECTORS.items():
        values, spread = metric(whole), metric(drawn)
        low, high = percentile(mean(spread, drawn), level)
        means[name] = plain(Estimate(float(mean(values, whole)), float(low), float(high)))
        for label, *entry in zip(predictions.classes, values, *percentile(spread, level), strict=True):
            each[label][name] = plain(Estimate(*(float(part) for part in entry)))
    return {"mean": means, "per_class": each}
