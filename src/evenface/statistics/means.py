"""Means of repeated values with Student's t."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evenface.evaluation.intervals import LEVEL, Estimate

if TYPE_CHECKING:
    import pandas as pd

FLAT = 1e-12
"""Standard deviations up to this share of the largest value are rounding: the values are the same."""


def estimate(
    values: "np.ndarray | pd.Series[float]",
    level: float = LEVEL,
    within: tuple[float, float] = (-math.inf, math.inf),
    overlap: float = 0.0,
) -> tuple[Estimate, float, int]:
    """Give mean with t-interval, standard deviation, and number of values; what is not defined is left out.

    Parameters
    ----------
    values : array of float, shape (n,)
        Each of one repetition.
    level : float
        Of the interval.
    within : tuple of float
        Smallest and largest value that there can be: the interval ends there.
    overlap : float, default=0
        n_test / n_train where the values are of folds, see :func:`~evenface.statistics.resampled.resampled_t_test`.

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
    """Give the t-interval of a mean, from its standard error and degrees of freedom."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, df)) * error
    return Estimate(mean, mean - half, mean + half)


class TTest(NamedTuple):
    """Student's t, its degrees of freedom and its two-sided p; NaN where the noise is not known."""

    t: float
    df: float
    p: float


def t_test(mean: float, error: float, df: float, size: float = 1.0) -> TTest:
    """Test whether a mean is zero.

    Without any spread the noise is not known: p is then NaN, or 1 where the mean is zero as well.

    Parameters
    ----------
    mean, error, df : float
        The mean, its standard error and degrees of freedom.
    size : float
        Largest absolute value behind them: what counts as rounding is relative to it.
    """
    from scipy.stats import t

    if df < 1 or np.isnan(error):
        return TTest(float("nan"), df, float("nan"))
    if error <= FLAT * size:
        return TTest(0.0, df, 1.0) if abs(mean) <= FLAT * size else TTest(float("nan"), df, float("nan"))
    return TTest(mean / error, df, float(2 * t.sf(abs(mean / error), df)))


def welch(values: np.ndarray, base: np.ndarray) -> tuple[float, float, float]:
    """Difference of two independent means, its standard error, and Welch's degrees of freedom."""
    parts = [float(side.var(ddof=1)) / len(side) for side in (values, base)]
    error = sum(parts) ** 0.5
    share = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (values, base), strict=True))
    df = error**4 / share if share > 0 else float(len(values) + len(base) - 2)
    return float(values.mean() - base.mean()), error, df
