"""Student's, Welch's and the corrected resampled t-test, and t-intervals of means."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, Estimate

if TYPE_CHECKING:
    import pandas as pd

FLAT = 1e-12
"""Standard deviations up to this share of the largest value are rounding errors."""


def estimate(
    values: "np.ndarray | pd.Series[float]",
    level: float = LEVEL,
    within: tuple[float, float] = (-math.inf, math.inf),
    overlap: float = 0.0,
) -> tuple[Estimate, float, int]:
    """Compute mean with t-interval, standard deviation and number of values; NaN is left out.

    Examples
    --------
    >>> found, sd, n = estimate(np.array([0.1, 0.2, 0.3]))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), n
    (0.2, -0.048, 0.448, 3)
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return Estimate(float("nan")), float("nan"), 0
    mean = float(known.mean())
    if n == 1:
        return Estimate(mean), float("nan"), 1
    sd = float(known.std(ddof=1))
    found = student(mean, standard_error(sd, n, overlap), n - 1, level)
    return Estimate(mean, max(found.low, within[0]), min(found.high, within[1])), sd, n


def standard_error(sd: float, n: int, overlap: float = 0.0) -> float:
    """Return the standard error of a mean of n values; ``overlap`` is n_test / n_train where they are of folds."""
    return sd * math.sqrt(1 / n + overlap) if n else float("nan")


def student(mean: float, error: float, df: float, level: float = LEVEL) -> Estimate:
    """Compute the t-interval of a mean from its standard error and degrees of freedom."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, df)) * error
    return Estimate(mean, mean - half, mean + half)


class TTest(NamedTuple):
    """Student's t, its degrees of freedom and its two-sided p; NaN where the variance is not known."""

    t: float
    df: float
    p: float


def t_test(mean: float, error: float, df: float, size: float = 1.0) -> TTest:
    """Test whether a mean is zero.

    Without variance p is NaN, or 1 where the mean is zero as well.
    """
    from scipy.stats import t

    if df < 1 or np.isnan(error):
        return TTest(float("nan"), df, float("nan"))
    if error <= FLAT * size:
        return TTest(0.0, df, 1.0) if abs(mean) <= FLAT * size else TTest(float("nan"), df, float("nan"))
    return TTest(mean / error, df, float(2 * t.sf(abs(mean / error), df)))


def welch(values: np.ndarray, base: np.ndarray) -> tuple[float, float, float]:
    """Compute the difference of two independent means, its standard error, and Welch's degrees of freedom."""
    parts = [float(side.var(ddof=1)) / len(side) for side in (values, base)]
    error = sum(parts) ** 0.5
    share = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (values, base), strict=True))
    df = error**4 / share if share > 0 else float(len(values) + len(base) - 2)
    return float(values.mean() - base.mean()), error, df


@dataclass(frozen=True)
class ResampledT:
    """Mean difference over the test sets of a cross-validation."""

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

    Notes
    -----
    Networks of different folds learn from mostly the same samples, so their differences are correlated, and the
    paired t-test rejects too often. With correlation :math:`n_{test} / (n_{test} + n_{train})` the variance of the
    mean of J differences of variance :math:`s^2` is

    .. math:: s^2 \left(\frac{1}{J} + \frac{n_{test}}{n_{train}}\right)

    with J - 1 degrees of freedom. Repeated cross-validation of r times k folds is J = rk with the same ratio,
    1 / (k - 1). In leave-one-subject-out the test sets are single people, who share nothing, while any two training
    sets share all people but two: the ratio is 1 / (people - 1), and the variance about doubles. The plain test,
    which is given too, takes the training set as fixed and generalises to other test people only.

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
