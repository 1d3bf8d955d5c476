"""All numbers of one run with their intervals, ready for ``metrics.json``."""

import math
from typing import Any

import numpy as np

from evenface.evaluation import metrics, scores
from evenface.evaluation.continuous import CONTINUOUS, unit_moments
from evenface.evaluation.detectors import detector_metrics
from evenface.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Estimate,
    Units,
    draws,
    percentile,
    recall_intervals,
    resample_sums,
    unit_matrices,
    units_of,
)
from evenface.evaluation.predictions import Predictions

RANKING_RESAMPLES = 400
RANKING_SAMPLES = 2_000_000


def metrics_of(
    predictions: Predictions, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Any]:
    """Compute every metric and its interval.

    Parameters
    ----------
    predictions : Predictions
        What the model said.
    seed : int, default=0
        Seed of the resampling; the same predictions and seed give the same numbers.
    resamples : int, default=2000
        Bootstrap draws, 0 for values without intervals; areas under curves, which cost far more, use the first 400
        at most (100 on 20,000 samples and more).
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    dict
        ``unit``, ``units``, ``samples``, ``seed``, ``resamples``, ``level``; ``overall`` (metric to value, low,
        high); ``per_class`` (class to ``support`` and such metrics); ``confusion`` (rows: true class);
        ``absent`` (classes not in the truth); ``never_predicted`` (classes in the truth but never predicted).
        What is not defined is None. Of ordered classes also ``levels`` (metric to value, low, high). Where there are
        scores also ``detectors``, see :func:`evenface.evaluation.detectors.detector_metrics`. Where several
        samples make a clip also ``by_clip``, all of this of the clips; or ``mixed``, the first clip whose samples
        differ in label or subject, so that nothing is said by clip.
    """
    units = units_of(predictions)
    matrices = unit_matrices(predictions, units)
    whole = metrics.confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    drawn = resample_sums(matrices, resamples, seed)
    overall = {name: _estimate(f(whole), f(drawn), level) for name, f in metrics.OVERALL.items()}
    by_class = {name: _estimates(f(whole), percentile(f(drawn), level)) for name, f in metrics.PER_CLASS.items()}
    by_class["recall"] = _estimates(metrics.recall(whole), recall_intervals(matrices, drawn, units, level))
    few = min(resamples, RANKING_RESAMPLES, max(100, RANKING_SAMPLES // len(predictions)))
    for name, (classwise, mean) in _ranking(predictions, units, few, seed, level).items():
        by_class[name], overall[f"macro_{name}"] = classwise, mean
    p, labels = predictions.probabilities, predictions.labels
    losses = {"log_loss": scores.log_loss(p, labels), "brier": scores.brier(p, labels)}
    overall |= _means(losses, units, resamples, seed, level)
    bins = scores.reliability(p.max(axis=1), predictions.predicted == labels)
    overall["ece"] = Estimate(scores.expected_calibration_error(bins))
    further: dict[str, Any] = {}
    if predictions.ordered:
        functions = metrics.ordered(predictions.levels)
        levels = {name: _estimate(f(whole), f(drawn), level) for name, f in functions.items()}
        moments = unit_moments(predictions, units)
        total, spread = moments.sum(axis=0), resample_sums(moments, resamples, seed)
        levels |= {name: _estimate(f(total), f(spread), level) for name, f in CONTINUOUS.items()}
        further["levels"] = {name: _plain(value) for name, value in levels.items()}
    if predictions.scores is not None:
        further["detectors"] = detector_metrics(predictions, units, resamples, seed, level, _plain)
    if predictions.in_parts and predictions.mixed is None:
        further["by_clip"] = metrics_of(predictions.by_clip(), seed, resamples, level)
    elif predictions.in_parts:
        further["mixed"] = predictions.mixed
    present, guessed = whole.sum(axis=1) > 0, whole.sum(axis=0) > 0
    return {
        "unit": units.name,
        "units": units.count,
        "samples": len(predictions),
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "overall": {name: _plain(value) for name, value in overall.items()},
        "per_class": {
            name: {"support": int(whole[i].sum())} | {key: _plain(values[i]) for key, values in by_class.items()}
            for i, name in enumerate(predictions.classes)
        },
        "confusion": whole.tolist(),
        "absent": [name for name, there in zip(predictions.classes, present, strict=True) if not there],
        "never_predicted": [
            name for name, there, said in zip(predictions.classes, present, guessed, strict=True) if there and not said
        ],
        **further,
    }


def _estimate(value: Any, drawn: np.ndarray, level: float) -> Estimate:
    low, high = percentile(drawn, level)
    return Estimate(float(value), float(low), float(high))


def _estimates(values: np.ndarray, interval: tuple[np.ndarray, np.ndarray]) -> list[Estimate]:
    return [Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, *interval, strict=True)]


def _plain(estimate: Estimate) -> dict[str, float | None]:
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if math.isnan(part) else part for name, part in parts.items()}


def _ranking(
    predictions: Predictions, units: Units, resamples: int, seed: int, level: float
) -> dict[str, tuple[list[Estimate], Estimate]]:
    """Average precision and ROC-AUC of each class against the rest, and their means over classes present."""
    functions = {"average_precision": scores.average_precision, "roc_auc": scores.roc_auc}
    sides = [(predictions.labels == k, predictions.probabilities[:, k]) for k in range(len(predictions.classes))]
    chunks = [
        np.stack([[f(*side, weights[:, units.codes]) for side in sides] for f in functions.values()])
        for weights in draws(units.count, resamples, seed, width=len(predictions))
    ]
    drawn = np.concatenate([np.empty((len(functions), len(sides), 0)), *chunks], axis=-1)
    present = predictions.support > 0
    result = {}
    for name, f, sample in zip(functions, functions.values(), drawn, strict=True):
        values = np.array([float(f(*side)) for side in sides])
        mean = _estimate(_mean_known(values[present]), _mean_known(sample[present]), level)
        result[name] = (_estimates(values, percentile(sample.T, level)), mean)
    return result


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined."""
    known = ~np.isnan(values)
    return metrics.divide(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _means(losses: dict[str, np.ndarray], units: Units, resamples: int, seed: int, level: float) -> dict[str, Estimate]:
    """Means over samples of what each of them costs, shape (N,) each."""
    columns = np.stack([np.ones(len(units.codes)), *losses.values()], axis=1)
    sums = np.zeros((units.count, columns.shape[1]))
    np.add.at(sums, units.codes, columns)
    drawn = resample_sums(sums, resamples, seed)
    return {
        name: _estimate(values.mean(), drawn[:, i] / drawn[:, 0], level)
        for i, (name, values) in enumerate(losses.items(), start=1)
    }
