"""Bootstrap intervals: units are drawn with replacement, never single values of one unit."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evenface.evaluation.formatting import with_interval
from evenface.evaluation.intervals import LEVEL, Estimate, percentile
from evenface.statistics.checks import Check, failed
from evenface.statistics.means import FLAT
from evenface.statistics.tidy import counted

Method = Literal["bca", "percentile"]
RESAMPLES = 9999
FEW = 20
CHUNK = 2_000_000
Statistic = Callable[..., Any]
"""Function of an array and ``axis``, such as ``np.mean``."""


@dataclass(frozen=True)
class Bootstrap:
    """A value with its bootstrap interval.

    Parameters
    ----------
    estimate : Estimate
        Value and interval; the interval is NaN where it is not defined.
    method : {"bca", "percentile"}
        How the interval was taken from the draws.
    level : float
        Confidence level.
    resamples, seed : int
        Of the draws.
    unit : str
        What was drawn.
    count : int
        How many of them there are.
    checks : tuple of Check
        Whether there are enough of them.
    """

    estimate: Estimate
    method: Method
    level: float
    resamples: int
    seed: int
    unit: str
    count: int
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """Give value, interval, and what was drawn."""
        name = {"bca": "BCa", "percentile": "percentile"}[self.method]
        said = f"{with_interval(self.estimate)}: {self.level:.0%} {name} interval from {self.resamples:,} draws"
        return " ".join([f"{said} of {counted(self.count, self.unit)}.", *failed(self.checks)])


def bootstrap(
    values: np.ndarray,
    statistic: Statistic = np.mean,
    *,
    method: Method = "bca",
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    unit: str = "unit",
) -> Bootstrap:
    """Interval of a statistic by drawing units.

    Parameters
    ----------
    values : array of shape (N,)
        One value for each unit; of pairs, their differences.
    statistic : callable, default=numpy.mean
        Takes an array and ``axis``.
    method : {"bca", "percentile"}
        BCa corrects the percentiles for bias and skewness.
    resamples : int, default=9999
        How many draws; papers often take 1000.
    level : float, default=0.95
        Confidence level.
    seed : int, default=0
        The same seed gives the same interval.
    unit : str
        What the values are of.

    References
    ----------
    Efron, *Better bootstrap confidence intervals*, JASA 1987.
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values must have shape (N,) with N >= 1, got {values.shape}")
    value = float(statistic(values, axis=-1))
    checks = (_enough(len(values), unit),)
    if len(values) < 2 or np.ptp(values) <= FLAT * np.abs(values).max():
        low = high = value if len(values) > 1 else float("nan")
    else:
        drawn = _drawn(values, statistic, resamples, seed)
        low, high = _bca(values, statistic, drawn, value, level) if method == "bca" else _ends(drawn, level)
    return Bootstrap(Estimate(value, low, high), method, level, resamples, seed, unit, len(values), checks)


def _enough(count: int, unit: str) -> Check:
    if count >= FEW:
        return Check("units", True, f"{counted(count, unit)} were drawn.")
    return Check("units", False, f"With only {counted(count, unit)} a bootstrap interval is somewhat too narrow.")


def _drawn(values: np.ndarray, statistic: Statistic, resamples: int, seed: int) -> np.ndarray:
    """Compute the statistic on each draw, some draws at a time to bound memory."""
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(values))
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw without spread has no standardised value
        for start in range(0, resamples, rows):
            chosen = random.integers(0, len(values), size=(min(rows, resamples - start), len(values)))
            parts.append(np.asarray(statistic(values[chosen], axis=-1), dtype=np.float64))
    found = np.concatenate(parts)
    return np.where(np.isfinite(found), found, np.nan)


def _ends(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = percentile(drawn, level)
    return float(low), float(high)


def _bca(
    values: np.ndarray, statistic: Statistic, drawn: np.ndarray, value: float, level: float
) -> tuple[float, float]:
    """Percentiles moved by the bias of the draws and by how the statistic's spread changes with its value."""
    from scipy.stats import norm

    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    below = (np.sum(known < value) + np.sum(known <= value)) / (2 * len(known))
    left_out = np.array([float(statistic(np.delete(values, i), axis=-1)) for i in range(len(values))])
    pull = np.nanmean(left_out) - left_out
    spread = float(np.nansum(pull**2))
    if not 0 < below < 1 or spread <= (FLAT * np.abs(values).max()) ** 2:
        return _ends(drawn, level)
    bias, speed = float(norm.ppf(below)), float(np.nansum(pull**3)) / (6 * spread**1.5)
    shifted = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(known, norm.cdf(bias + shifted / (1 - speed * shifted)))
    return float(low), float(high)
