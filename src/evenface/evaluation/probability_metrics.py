"""Metrics of the probabilities themselves: ranking (curves, areas) and calibration.

Every function that takes ``weights`` weights the samples, over any number of leading axes; a
bootstrap draw is such a set of weights. Undefined values (a class without samples) are NaN.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evenface.evaluation.metric_entry import metric
from evenface.evaluation.metrics import divide, mean_over

TINY = 1e-12
BINS = 15
"""Bins of the calibration error."""


@dataclass(frozen=True)
class Curve:
    """Precision against recall at each threshold, from the strictest to the loosest; arrays of shape (T,)."""

    recall: np.ndarray
    precision: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """Mean confidence and accuracy in bins of the highest probability; arrays of shape (B,)."""

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True)
class _Ranked:
    """What weighted samples add up to at each sample of the class, from the highest score down; shapes (..., P).

    ``own`` is its weight, ``hits`` and ``alarms`` the weights of the class and of the rest that score as high or
    higher, ``above`` those of the rest that score higher. Equal scores fall on the same side of any threshold.
    """

    own: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray
    above: np.ndarray
    rest: np.ndarray


def _ranked(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None) -> _Ranked:
    order = np.argsort(-score, kind="stable")
    falling, place = -score[order], np.flatnonzero(positive[order])
    count = np.ones(len(score)) if weights is None else np.asarray(weights)[..., order]
    start, end = (np.searchsorted(falling, falling[place], side) for side in ("left", "right"))
    total = np.cumsum(np.concatenate([np.zeros_like(count[..., :1]), count], axis=-1), axis=-1)
    own = count[..., place]
    hits = np.cumsum(np.concatenate([np.zeros_like(count[..., :1]), own], axis=-1), axis=-1)
    before, upto = (hits[..., np.searchsorted(place, edge)] for edge in (start, end))
    return _Ranked(own, upto, total[..., end] - upto, total[..., start] - before, total[..., -1] - hits[..., -1])


def precision_recall_curve(positive: np.ndarray, score: np.ndarray) -> Curve:
    """Precision and recall at every threshold "score at least t"."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # equal scores make one step together
    hits = np.cumsum(positive[order].astype(np.float64))[ends]
    return Curve(divide(hits, hits[-1:]), divide(hits, ends + 1), ranked[ends])


def average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Precision averaged over the steps of recall, without interpolation; NaN where no sample is of the class."""
    ranked = _ranked(positive, score, weights)
    reached = np.nan_to_num(divide(ranked.hits, ranked.hits + ranked.alarms))
    return divide((ranked.own * reached).sum(axis=-1), ranked.own.sum(axis=-1))


def roc_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Compute the probability that a sample of the class scores higher than one of the rest, ties counting half.

    NaN where either side is empty. Parameters as in :func:`average_precision`.
    """
    ranked = _ranked(positive, score, weights)
    below = ranked.rest[..., None] - (ranked.alarms + ranked.above) / 2
    area = (ranked.own * below).sum(axis=-1, dtype=np.float64)
    return divide(area, ranked.own.sum(axis=-1, dtype=np.float64) * ranked.rest)


def over_defined(values: np.ndarray, _probabilities: np.ndarray) -> np.ndarray:
    """Average over classes what is defined. Shape (..., C) -> (...)."""
    return mean_over(values, np.ones(values.shape[-1]))


def _of_each_class(
    area: Callable[..., np.ndarray], probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Area under a curve of each class against the rest, shape (..., C)."""
    own = labels[:, None] == np.arange(probabilities.shape[1])
    sides = zip(own.T, probabilities.T, strict=True)
    return np.stack([area(positive, score, weights) for positive, score in sides], axis=-1)


@metric(
    "average_precision",
    label="average precision",
    higher_is_better=True,
    range=(0, 1),
    needs="probabilities",
    per_class=True,
    averages={"macro": over_defined},
    aliases=("auprc", "map"),
)
def class_average_precision(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Average precision of each class against the rest, without interpolation; NaN for a class without samples."""
    return _of_each_class(average_precision, probabilities, labels, weights)


@metric(
    "roc_auc",
    label="ROC-AUC",
    higher_is_better=True,
    range=(0, 1),
    needs="probabilities",
    per_class=True,
    averages={"macro": over_defined},
    aliases=("auc", "auroc"),
)
def class_roc_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of each class against the rest; NaN where either side is empty."""
    return _of_each_class(roc_auc, probabilities, labels, weights)


@metric(
    "ece",
    label="calibration error",
    higher_is_better=False,
    range=(0, 1),
    needs="probabilities",
    interval="none",
    aliases=("calibration error (ECE)", "expected calibration error"),
)
def calibration_error(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Calibration error (ECE) of the highest probability in 15 equal bins (Guo et al. 2017, eq. 3)."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    if weights is None:
        return np.asarray(expected_calibration_error(reliability(confidence, correct)))
    member = reliability_bin(confidence)[:, None] == np.arange(BINS)
    gaps = np.abs(weights @ ((confidence - correct)[:, None] * member)).sum(axis=-1)
    return divide(gaps, weights.sum(axis=-1))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort samples by their highest probability into ``bins`` equal bins ``(low, high]`` from 0 to 1."""
    index = reliability_bin(confidence, bins)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=values, minlength=bins) for values in (confidence, correct.astype(np.float64)))
    return Reliability(np.linspace(0, 1, bins + 1), count, *(divide(values, count) for values in sums))


def reliability_bin(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Index of the bin ``(low, high]`` that each confidence falls into; exactly 0 falls into the first."""
    index: np.ndarray = np.ceil(confidence * bins).astype(np.int64) - 1
    return index.clip(0, bins - 1)


def expected_calibration_error(bins: Reliability) -> float:
    """ECE: mean over samples of the distance between confidence and accuracy of their bin.

    It has no percentile interval: sampling noise biases it upwards, more so in a resample, so the interval would lie
    above the value.

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3.
    """
    gaps = np.abs(np.nan_to_num(bins.confidence - bins.accuracy))
    return float((gaps * bins.count).sum() / bins.count.sum())


@metric(
    "log_loss",
    label="log loss",
    higher_is_better=False,
    range=(0, math.inf),
    needs="losses",
    aliases=("nll", "cross_entropy"),
)
def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log of the true class's probability per sample, shape (N,); probabilities below 1e-12 count as 1e-12."""
    loss: np.ndarray = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], TINY, None))
    return loss


@metric("brier", label="Brier score", higher_is_better=False, range=(0, 2), needs="losses")
def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance to the truth summed over the classes, per sample, shape (N,) (Brier 1950)."""
    distance: np.ndarray = np.sum((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2, axis=1)
    return distance


def shares(scores: np.ndarray) -> np.ndarray:
    """Divide the scores of each sample by their sum, ``(N, C) -> (N, C)``; where all are 0, uniform."""
    total = scores.sum(axis=1, keepdims=True)
    alike = np.full_like(scores, 1 / scores.shape[1])
    result: np.ndarray = np.divide(scores, total, out=alike, where=total != 0)
    return result
