"""Whether a method is better than plain training by more than noise, from the folds of the training side."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evenface.evaluation.intervals import LEVEL
from evenface.statistics.means import student, t_test

ALPHA = 1 - LEVEL


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
        Less that of plain training, with an interval that holds for all candidates at once.
    p : float
        Times the number of candidates, at most 1.
    better : int
        Folds in which it is above plain training.
    """

    name: str
    value: float
    difference: float
    low: float
    high: float
    p: float
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
    r"""Compare every candidate with plain training, fold by fold.

    Parameters
    ----------
    scores : DataFrame
        Balanced accuracy: a row for each fold of K, a column for each method.
    plain : str
        The column of plain training.

    Notes
    -----
    What a fold adds to all methods is taken out: the noise :math:`s^2` of one value is the residual mean square of
    the two-way table without interaction, with (K - 1)(M - 1) degrees of freedom for M methods. Folds share training
    samples, so their differences are not independent; the variance of a mean difference is therefore taken as

    .. math:: 2 s^2 \left(\frac{1}{K} + \frac{1}{K - 1}\right)

    where 1 / (K - 1) is the share of tested to trained samples. p and intervals are Bonferroni's over the candidates.

    References
    ----------
    Nadeau and Bengio, *Inference for the generalization error*, Machine Learning 52, 2003, section 3.
    """
    table = scores.to_numpy(dtype=np.float64)
    folds, methods = table.shape
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (folds - 1) * (methods - 1)
    error = math.sqrt(2 * (left**2).sum() / freedom * (1 / folds + 1 / (folds - 1)))
    found = []
    for name in scores.columns.drop(plain):
        each = scores[name] - scores[plain]
        change = student(float(each.mean()), error, freedom, 1 - ALPHA / (methods - 1))
        p = min(1.0, t_test(change.value, error, freedom).p * (methods - 1))
        value = float(scores[name].mean())
        found.append(Against(str(name), value, change.value, change.low, change.high, p, int((each > 0).sum())))
    ranked = sorted(found, key=lambda one: -one.difference)
    return Decision(float(scores[plain].mean()), folds, tuple(ranked))
