"""Whether a method is better than plain training by more than noise, from the folds of the training side."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evenface.evaluation.intervals import Estimate
from evenface.evaluation.paired import holm
from evenface.evaluation.verdict import ALPHA
from evenface.statistics.t_tests import fold_overlap, resampled_t_test


@dataclass(frozen=True)
class Against:
    """A candidate against plain training.

    Parameters
    ----------
    name : str
        The candidate.
    value : float
        Its balanced accuracy, mean over folds.
    difference, low, high : float
        Less that of plain training, with an interval that holds for all candidates at once; NaN without any spread.
    p : float
        Of that test, by Holm's correction over the candidates.
    plain_p : float
        Taking folds as independent and this comparison as the only one.
    better : int
        Folds in which it is above plain training.
    """

    name: str
    value: float
    difference: float
    low: float
    high: float
    p: float
    plain_p: float
    better: int

    @property
    def certain(self) -> bool:
        """Whether it is better by more than noise."""
        return self.low > 0 and self.p <= ALPHA


@dataclass(frozen=True)
class Decision:
    """What is recommended, and what that rests on.

    Parameters
    ----------
    plain : float
        Balanced accuracy of plain training, mean over folds.
    folds : int
        How many there are.
    against : tuple of Against
        Every candidate, the best first.
    """

    plain: float
    folds: int
    against: tuple[Against, ...]

    @property
    def recommended(self) -> Against | None:
        """The best candidate where it is better by more than noise; else none, which is plain training."""
        return self.against[0] if self.against and self.against[0].certain else None


def decide(scores: pd.DataFrame, plain: str) -> Decision:
    """Compare every candidate with plain training, fold by fold.

    Parameters
    ----------
    scores : DataFrame
        Balanced accuracy: a row for each fold of K, a column for each method.
    plain : str
        The column of plain training.

    Notes
    -----
    The corrected resampled t-test of :func:`~evenface.statistics.t_tests.resampled_t_test`. What a fold adds to all
    methods is taken out, and the noise is pooled over all methods: the variance of a difference is twice the residual
    mean square of the two-way table without interaction, with (K - 1)(M - 1) degrees of freedom for M methods. p is by
    Holm's correction over the candidates; intervals hold for all candidates at once (Bonferroni).
    """
    table = scores.to_numpy(dtype=np.float64)
    folds, methods = table.shape
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = float((folds - 1) * (methods - 1))
    pooled, level = (math.sqrt(2 * float((left**2).sum()) / freedom), freedom), 1 - ALPHA / (methods - 1)
    candidates = scores.columns.drop(plain)
    changes = [(scores[name] - scores[plain]).to_numpy(dtype=np.float64) for name in candidates]
    tested = [resampled_t_test(change, fold_overlap(folds), level=level, pooled=pooled) for change in changes]
    corrected = holm(np.array([one.corrected.p for one in tested]))
    found = []
    for name, change, one, p in zip(candidates, changes, tested, corrected, strict=True):
        known = one.difference if not math.isnan(p) else Estimate(one.difference.value)
        ends = (known.value, known.low, known.high, float(p), one.plain.p, int((change > 0).sum()))
        found.append(Against(str(name), float(scores[name].mean()), *ends))
    ranked = sorted(found, key=lambda one: -one.difference)
    return Decision(float(scores[plain].mean()), folds, tuple(ranked))
