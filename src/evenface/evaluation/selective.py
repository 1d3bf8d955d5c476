"""Selective prediction: risk–coverage curve and thresholds."""

from dataclasses import dataclass

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, units_of
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.utils.errors import InputError

POINTS = 201


def check_risk(risk: float) -> None:
    """Check that a maximum error rate is one."""
    if not 0 <= risk <= 1:
        raise InputError(f"a risk must be from 0 to 1, got {risk}", "For example 0.1 for an error rate of 10 %.")


@dataclass(frozen=True)
class Point:
    """Risk (error rate of the accepted predictions) and coverage (share accepted) at a threshold."""

    threshold: float
    risk: float
    coverage: float


@dataclass(frozen=True)
class RiskCoverage:
    """Risk and coverage at each threshold, from the strictest to the loosest; arrays of shape (K,).

    ``coverage`` is the share of accepted samples, those whose highest probability is at least ``threshold``, and
    ``risk`` their error rate. The last threshold is 0, which accepts all samples.
    """

    threshold: np.ndarray
    risk: np.ndarray
    coverage: np.ndarray

    @property
    def area(self) -> float:
        """Area under the risk–coverage curve (AURC), 0 to 1; rejecting at random gives the error rate.

        References
        ----------
        Geifman, Uziel and El-Yaniv, *Bias-reduced uncertainty estimation for deep neural classifiers*, ICLR 2019.
        """
        return float((np.diff(self.coverage, prepend=0.0) * self.risk).sum())

    def at_risk(self, risk: float) -> Point | None:
        """Return the loosest threshold whose risk is at most a maximum; None where there is none."""
        check_risk(risk)
        kept = np.flatnonzero(self.risk <= risk)
        return self._point(int(kept[-1])) if len(kept) else None

    def at_threshold(self, threshold: float) -> Point | None:
        """Return risk and coverage at a threshold; None where no sample is accepted."""
        kept = np.flatnonzero(self.threshold >= threshold)
        return Point(threshold, float(self.risk[kept[-1]]), float(self.coverage[kept[-1]])) if len(kept) else None

    def thinned(self, points: int = POINTS) -> "RiskCoverage":
        """Keep at most ``points`` thresholds, evenly spaced, including the strictest and the loosest."""
        rows = np.unique(np.linspace(0, len(self.threshold) - 1, points).round().astype(int))
        return RiskCoverage(self.threshold[rows], self.risk[rows], self.coverage[rows])

    def _point(self, row: int) -> Point:
        return Point(float(self.threshold[row]), float(self.risk[row]), float(self.coverage[row]))


def risk_coverage(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> RiskCoverage:
    """Compute risk and coverage at every threshold.

    Parameters
    ----------
    confidence : array of float, shape (N,)
        Highest probability of each sample.
    correct : array of bool, shape (N,)
        Whether the predicted class is the true one.
    weights : array of float, shape (N,), optional
        Weight of each sample, for example for another class prior; the sum must be above 0.

    Returns
    -------
    RiskCoverage
        Samples of equal confidence are accepted together.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    counted = (np.ones(len(confidence)) if weights is None else np.asarray(weights, dtype=np.float64))[order]
    answered = np.cumsum(counted)[ends]
    wrong = np.cumsum(counted * ~np.asarray(correct, dtype=bool)[order])[ends]
    thresholds = ranked[ends].astype(np.float64)
    thresholds[-1] = 0.0
    return RiskCoverage(thresholds, divide(wrong, answered), answered / answered[-1])


@dataclass(frozen=True)
class Answered:
    """Risk and coverage at a threshold, and of each class its coverage and its recall among accepted samples."""

    threshold: float
    risk: Estimate
    coverage: Estimate
    class_coverage: tuple[float, ...]
    class_recall: tuple[float, ...]


def answered(
    predictions: Predictions,
    threshold: float,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Answered:
    """Compute risk and coverage at a threshold that was chosen on other samples, with intervals."""
    units = units_of(predictions)
    accepted = predictions.probabilities.max(axis=1) >= threshold
    correct = predictions.predicted == predictions.labels
    sums = np.zeros((units.count, 3))
    counted = np.ones(len(accepted)) if weights is None else np.asarray(weights, dtype=np.float64)
    np.add.at(sums, units.codes, counted[:, None] * np.stack([accepted | True, accepted, accepted & ~correct], axis=1))
    total, drawn = sums.sum(axis=0), resample_sums(sums, resamples, seed)
    shares = []
    for top, bottom in ((2, 1), (1, 0)):
        low, high = percentile(divide(drawn[:, top], drawn[:, bottom]), level)
        shares.append(Estimate(float(divide(total[top], total[bottom])), float(low), float(high)))
    c = len(predictions.classes)
    every, kept, hits = (
        np.bincount(predictions.labels[rows], minlength=c) for rows in (accepted | True, accepted, accepted & correct)
    )
    return Answered(
        threshold, shares[0], shares[1], tuple(divide(kept, every).tolist()), tuple(divide(hits, kept).tolist())
    )
