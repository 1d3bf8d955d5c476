"""Saying nothing where one is not sure: how much is answered, and how often the answers are wrong."""

from dataclasses import dataclass

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, units_of
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.utils.errors import InputError

POINTS = 201


@dataclass(frozen=True)
class Point:
    """Answer from a probability of ``threshold`` on: ``coverage`` of the samples, ``risk`` of the answers wrong."""

    threshold: float
    risk: float
    coverage: float


@dataclass(frozen=True)
class RiskCoverage:
    """What each threshold gives, from the strictest to the loosest; arrays of shape (K,).

    ``risk`` is the share of wrong ones among the answers, ``coverage`` the share of samples that are answered: those
    whose highest probability is at least ``threshold``. The last threshold is 0: everything is answered.
    """

    threshold: np.ndarray
    risk: np.ndarray
    coverage: np.ndarray

    @property
    def area(self) -> float:
        """AURC: the mean risk over all coverages, 0 to 1; guessing which answers to hold back gives the error rate.

        References
        ----------
        Geifman, Uziel and El-Yaniv, *Bias-reduced uncertainty estimation for deep neural classifiers*, ICLR 2019.
        """
        return float((np.diff(self.coverage, prepend=0.0) * self.risk).sum())

    def at_risk(self, risk: float) -> Point | None:
        """Find the loosest threshold whose answers are wrong at most so often; none where there is none."""
        if not 0 <= risk <= 1:
            raise InputError(f"a risk must be from 0 to 1, got {risk}", "0.1 bears one wrong answer in ten.")
        kept = np.flatnonzero(self.risk <= risk)
        return self._point(int(kept[-1])) if len(kept) else None

    def at_threshold(self, threshold: float) -> Point | None:
        """Give what answering from a probability on does to these samples; none where none is answered."""
        kept = np.flatnonzero(self.threshold >= threshold)
        return Point(threshold, float(self.risk[kept[-1]]), float(self.coverage[kept[-1]])) if len(kept) else None

    def thinned(self, points: int = POINTS) -> "RiskCoverage":
        """Keep at most so many thresholds, evenly spread, the strictest and the loosest among them."""
        rows = np.unique(np.linspace(0, len(self.threshold) - 1, points).round().astype(int))
        return RiskCoverage(self.threshold[rows], self.risk[rows], self.coverage[rows])

    def _point(self, row: int) -> Point:
        return Point(float(self.threshold[row]), float(self.risk[row]), float(self.coverage[row]))


def risk_coverage(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> RiskCoverage:
    """Give risk and coverage at every threshold.

    Parameters
    ----------
    confidence : array of float, shape (N,)
        Highest probability of each sample.
    correct : array of bool, shape (N,)
        Whether its class was the true one.
    weights : array of float, shape (N,), optional
        How much each sample counts, above 0 in sum, as where classes are to count by another balance than theirs.

    Returns
    -------
    RiskCoverage
        Samples of equal confidence are answered together.
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
    """What a threshold does to samples: risk and coverage, and of each class how much is answered and found."""

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
    """Say what a threshold that was found elsewhere does to these samples."""
    units = units_of(predictions)
    told = predictions.probabilities.max(axis=1) >= threshold
    right = predictions.predicted == predictions.labels
    sums = np.zeros((units.count, 3))
    counted = np.ones(len(told)) if weights is None else np.asarray(weights, dtype=np.float64)
    np.add.at(sums, units.codes, counted[:, None] * np.stack([told | True, told, told & ~right], axis=1))
    whole, drawn = sums.sum(axis=0), resample_sums(sums, resamples, seed)
    shares = []
    for top, bottom in ((2, 1), (1, 0)):
        low, high = percentile(divide(drawn[:, top], drawn[:, bottom]), level)
        shares.append(Estimate(float(divide(whole[top], whole[bottom])), float(low), float(high)))
    c = len(predictions.classes)
    of, said, found = (np.bincount(predictions.labels[rows], minlength=c) for rows in (told | True, told, told & right))
    return Answered(
        threshold, shares[0], shares[1], tuple(divide(said, of).tolist()), tuple(divide(found, said).tolist())
    )
