"""Bootstrap intervals: whole units are drawn with replacement, not single values of a unit."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.formatting import with_interval
from evenface.statistics.assumptions import Check, enough, failed
from evenface.statistics.designs import counted
from evenface.statistics.t_tests import FLAT

Method = Literal["bca", "percentile"]
RESAMPLES = 9999
FEW = 20
CHUNK = 2_000_000
Statistic = Callable[..., Any]
"""Function of an array and ``axis``, such as ``np.mean``."""


@dataclass(frozen=True)
class Bootstrap:
    """A value with its bootstrap interval."""

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
        """Render value, interval and resampled unit."""
        name = {"bca": "BCa", "percentile": "percentile"}[self.method]
        interval = f"{with_interval(self.estimate)}: {self.level:.0%} {name} interval from {self.resamples:,} draws"
        return " ".join([f"{interval} of {counted(self.count, self.unit)}.", *failed(self.checks)])


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
    """Compute the bootstrap interval of a statistic.

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
    checks = (enough(len(values), unit, FEW, "a bootstrap interval is slightly too narrow"),)
    if len(values) < 2 or np.ptp(values) <= FLAT * np.abs(values).max():
        low = high = value if len(values) > 1 else float("nan")
    else:
        low, high = _interval(values, statistic, method, resamples, level, seed)
    return Bootstrap(Estimate(value, low, high), method, level, resamples, seed, unit, len(values), checks)


def _interval(
    values: np.ndarray, statistic: Statistic, method: Method, resamples: int, level: float, seed: int
) -> tuple[float, float]:
    """Compute SciPy's interval over the draws where the statistic is finite; percentiles where BCa is not defined."""
    from scipy import stats

    known: dict[str, Any] = {"vectorized": True, "confidence_level": level, "batch": max(1, CHUNK // len(values))}
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw without spread has no standardised value
        random = np.random.default_rng(seed)
        drawn = stats.bootstrap(
            (values,), statistic, n_resamples=resamples, method="percentile", rng=random, **known
        ).bootstrap_distribution
        finite = SimpleNamespace(bootstrap_distribution=drawn[np.isfinite(drawn)])
        if not len(finite.bootstrap_distribution):
            return float("nan"), float("nan")
        for kind in (method, "percentile"):
            low, high = stats.bootstrap(
                (values,), statistic, n_resamples=0, method=kind, bootstrap_result=finite, **known
            ).confidence_interval
            if not np.isnan(low):
                break
    return float(low), float(high)
