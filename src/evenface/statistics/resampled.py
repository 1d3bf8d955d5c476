"""Corrected resampled t-test (Nadeau and Bengio): differences over folds, whose training sets overlap."""

import math
from dataclasses import dataclass

import numpy as np

from evenface.evaluation.intervals import LEVEL, Estimate
from evenface.statistics.means import TTest, estimate, standard_error, student, t_test


@dataclass(frozen=True)
class ResampledT:
    """Mean difference over the test sets of a cross-validation.

    Parameters
    ----------
    difference : Estimate
        Mean with the interval of the corrected test.
    sd : float
        Standard deviation of the differences, not corrected.
    count : int
        How many there are.
    corrected, plain : TTest
        The corrected resampled t-test, and the paired t-test that takes the differences as independent. They are the
        same where training sets do not overlap.
    """

    difference: Estimate
    sd: float
    count: int
    corrected: TTest
    plain: TTest


def fold_overlap(folds: int) -> float:
    """Return n_test / n_train of k-fold cross-validation, 1 / (k - 1); of leave-one-subject-out, k subjects.

    Examples
    --------
    >>> fold_overlap(5)
    0.25
    """
    if folds < 2:
        raise ValueError(f"cross-validation has 2 folds or more, got {folds}")
    return 1 / (folds - 1)


def resampled_t_test(
    differences: np.ndarray,
    overlap: float,
    *,
    level: float = LEVEL,
    size: float = 1.0,
    pooled: tuple[float, float] | None = None,
) -> ResampledT:
    r"""Test whether a mean difference over folds is zero.

    Parameters
    ----------
    differences : array of shape (J,)
        One per fold (or per fold and repetition of the cross-validation); NaN is left out.
    overlap : float
        n_test / n_train: :func:`fold_overlap` for folds, 0 where units share no training data.
    level : float, default=0.95
        Confidence level of the interval.
    size : float, default=1
        As in :func:`~evenface.statistics.means.t_test`.
    pooled : (float, float), optional
        Standard deviation of a difference and its degrees of freedom where they are estimated from several comparisons
        together; by default of these differences, with J - 1.

    Notes
    -----
    Networks of different folds learn from mostly the same samples, so their differences are correlated, and the
    paired t-test rejects too often. With correlation :math:`n_{test} / (n_{test} + n_{train})` the variance of the
    mean of J differences of variance :math:`s^2` is

    .. math:: s^2 \left(\frac{1}{J} + \frac{n_{test}}{n_{train}}\right)

    with J - 1 degrees of freedom. Repeated cross-validation of r times k folds is J = rk with the same ratio,
    1 / (k - 1). In leave-one-subject-out the test sets are single people, who share nothing, while any two training
    sets share all people but two: the ratio is 1 / (people - 1), and the variance about doubles. The plain test, which
    stands beside, takes the one set of training people as given and asks about other test people alone.

    References
    ----------
    Nadeau and Bengio, *Inference for the generalization error*, Machine Learning 52, 2003. Bouckaert and Frank,
    *Evaluating the replicability of significance tests for comparing learning algorithms*, PAKDD 2004.
    """
    found, own, n = estimate(differences, level)
    sd, df = pooled or (own, n - 1.0)
    if n < 2:
        unknown = t_test(found.value, math.nan, df, size)
        return ResampledT(found, sd, n, unknown, unknown)
    difference = student(found.value, standard_error(sd, n, overlap), df, level)
    corrected, plain = (t_test(found.value, standard_error(sd, n, share), df, size) for share in (overlap, 0.0))
    return ResampledT(difference, sd, n, corrected, plain)
