"""Metrics of the probabilities themselves: ranking (curves, areas) and calibration.

Every function that takes ``weights`` counts a sample as often as its weight says, over any number of leading
axes; a bootstrap draw is such a set of weights. What is not defined (a class without samples) is NaN.
"""

from dataclasses import dataclass

import numpy as np

from evenface.evaluation.metrics import divide

TINY = 1e-12


@dataclass(frozen=True)
class Curve:
    """Precision against recall at each threshold, from the strictest to the loosest; arrays of shape (T,)."""

    recall: np.ndarray
    precision: np.ndarray
    threshold: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """What was promised and what was kept, in equal bins of the highest probability; arrays of shape (B,)."""

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def _steps(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Count true and false positives at each distinct threshold, shape (..., T), and the thresholds, falling.

    Samples with equal scores fall on the same side of any threshold, so they make one step together.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    count = np.ones(len(score)) if weights is None else np.asarray(weights, dtype=np.float64)[..., order]
    hits = np.cumsum(count * positive[order], axis=-1)[..., ends]
    return hits, np.cumsum(count, axis=-1)[..., ends] - hits, ranked[ends]


def precision_recall_curve(positive: np.ndarray, score: np.ndarray) -> Curve:
    """Precision and recall at every threshold "score at least t".

    Parameters
    ----------
    positive : array of bool, shape (N,)
        Which samples are of the class.
    score : array of float, shape (N,)
        Their probabilities of it.

    Returns
    -------
    Curve
        Recall is NaN where no sample is of the class.
    """
    hits, alarms, thresholds = _steps(positive, score, None)
    return Curve(divide(hits, hits[-1:]), divide(hits, hits + alarms), thresholds)


def average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Precision averaged over the steps of recall, without interpolation; NaN where no sample is of the class.

    Parameters
    ----------
    positive, score : arrays of shape (N,)
        As in :func:`precision_recall_curve`.
    weights : array of shape (..., N), optional
        How often each sample counts.

    Returns
    -------
    array of shape (...)
    """
    hits, alarms, _ = _steps(positive, score, weights)
    gain = np.diff(hits, axis=-1, prepend=0)
    reached = np.nan_to_num(divide(hits, hits + alarms))
    return divide((gain * reached).sum(axis=-1), hits[..., -1])


def roc_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Chance that a sample of the class scores higher than one of the rest, ties counting half.

    NaN where either side is empty. Parameters as in :func:`average_precision`.
    """
    hits, alarms, _ = _steps(positive, score, weights)
    before = np.concatenate([np.zeros_like(hits[..., :1]), hits[..., :-1]], axis=-1)
    area = (np.diff(alarms, axis=-1, prepend=0) * (hits + before) / 2).sum(axis=-1)
    return divide(area, hits[..., -1] * alarms[..., -1])


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Sort samples by their highest probability into ``bins`` equal bins ``(low, high]`` from 0 to 1.

    Parameters
    ----------
    confidence : array of float, shape (N,)
        Probability of the predicted class.
    correct : array of bool, shape (N,)
        Whether that class was the true one.
    bins : int, default=15
        Number of bins. Mean confidence and accuracy of an empty bin are NaN.
    """
    place = reliability_bin(confidence, bins)
    count = np.bincount(place, minlength=bins)
    promised = np.bincount(place, weights=confidence, minlength=bins)
    kept = np.bincount(place, weights=correct.astype(np.float64), minlength=bins)
    return Reliability(np.linspace(0, 1, bins + 1), count, divide(promised, count), divide(kept, count))


def reliability_bin(confidence: np.ndarray, bins: int = 15) -> np.ndarray:
    """Index of the bin ``(low, high]`` that each confidence falls into; exactly 0 falls into the first."""
    place: np.ndarray = np.ceil(confidence * bins).astype(np.int64) - 1
    return place.clip(0, bins - 1)


def expected_calibration_error(bins: Reliability) -> float:
    """ECE: mean over samples of the distance between confidence and accuracy of their bin.

    It comes without an interval on purpose: chance alone makes the distances larger, more so in a resample, and a
    percentile interval would lie above the value.

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3.
    """
    gaps = np.abs(np.nan_to_num(bins.confidence - bins.accuracy))
    return float((gaps * bins.count).sum() / bins.count.sum())


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log of the true class's probability per sample, shape (N,); probabilities below 1e-12 count as 1e-12."""
    loss: np.ndarray = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], TINY, None))
    return loss


def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance to the truth summed over the classes, per sample, shape (N,); 0 to 2 (Brier 1950)."""
    distance: np.ndarray = np.sum((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2, axis=1)
    return distance


def shares(scores: np.ndarray) -> np.ndarray:
    """Divide the scores of each sample by their sum, ``(N, C) -> (N, C)``; where all are 0, every class alike."""
    total = scores.sum(axis=1, keepdims=True)
    alike = np.full_like(scores, 1 / scores.shape[1])
    result: np.ndarray = np.divide(scores, total, out=alike, where=total != 0)
    return result
