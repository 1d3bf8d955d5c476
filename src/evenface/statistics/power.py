"""Power of t tests: power, smallest detectable effect and required number of units."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evenface.statistics.assumptions import ALPHA, Check
from evenface.statistics.designs import counted
from evenface.statistics.effect_sizes import size_word

POWER = 0.80
MOST = 100_000_000
CERTAIN = 40.0
"""Noncentrality beyond which a tail vanishes and the noncentral t can no longer be computed."""


@dataclass(frozen=True)
class Power:
    """Effect, number of units and power of a two-sided t test, one of them found from the others."""

    found: Literal["power", "effect", "count"]
    effect: float
    count: int
    power: float
    alpha: float
    paired: bool
    unit: str
    overlap: float = 0.0
    checks: tuple[Check, ...] = (
        Check(
            "independence",
            None,
            "Units are assumed to be independent and differences normal; a plan cannot check this.",
        ),
    )

    @property
    def sentence(self) -> str:
        """Render the result."""
        name = "corrected resampled" if self.overlap else "paired" if self.paired else "two-sample"
        test = f"{name} t test at {self.alpha:g}"
        units = counted(self.count, self.unit) + ("" if self.paired else " in each group")
        kind = f"{'d_z' if self.paired else 'd_s'} = "
        if self.found == "effect":
            return (
                f"With {units} a {test} has {self.power:.0%} power only for effects of {kind}{self.effect:.3f} or more."
            )
        size = f"{kind}{abs(self.effect):g}"
        if self.found == "count":
            return f"A {test} needs {units} to find {size} with a power of {self.power:.1%}."
        word = "" if self.paired else f" ({size_word(self.effect)})"
        return f"If the true effect is {size}{word}, a {test} with {units} finds it with a power of {self.power:.1%}."


def t_power(effect: float, count: int, *, paired: bool = True, alpha: float = ALPHA, overlap: float = 0.0) -> float:
    """Compute the probability that a two-sided t test rejects: a closed form in the noncentral t distribution.

    References
    ----------
    Cohen, *Statistical power analysis for the behavioral sciences*, 1988.
    """
    from scipy.stats import nct, t

    # own code: statsmodels 0.15 gives NaN where the far tail vanishes (d = 1, n = 31, alpha = 0.001: power 0.961), and
    # its solver then takes that for a power of 1; it knows no overlap of folds either
    if count < 2:
        raise ValueError(f"a t test needs 2 units or more, got {count}")
    df = count - 1 if paired else 2 * count - 2
    shift = abs(effect) * math.sqrt(1 / (1 / count + overlap) if paired else count / 2)
    bound = float(t.isf(alpha / 2, df))
    if shift > bound + CERTAIN:
        return 1.0
    other = float(nct.sf(bound, df, -shift)) if shift < CERTAIN else 0.0
    return min(1.0, float(nct.sf(bound, df, shift)) + other)


def power_of(
    effect: float,
    count: int,
    *,
    paired: bool = True,
    alpha: float = ALPHA,
    unit: str = "unit",
    overlap: float = 0.0,
) -> Power:
    """Compute the power of a t test for a true effect.

    The power at the *observed* effect adds no information to p, although papers print it.
    """
    power = t_power(effect, count, paired=paired, alpha=alpha, overlap=overlap)
    return Power("power", effect, count, power, alpha, paired, unit, overlap)


def smallest_effect(
    count: int,
    *,
    power: float = POWER,
    paired: bool = True,
    alpha: float = ALPHA,
    unit: str = "unit",
    overlap: float = 0.0,
) -> Power:
    """Compute the smallest true effect that a t test with a number of units detects with a given power.

    Examples
    --------
    >>> round(smallest_effect(6).effect, 4)
    1.4345
    """
    from scipy.optimize import brentq

    _shares(power, alpha)

    def lacking(effect: float) -> float:
        return t_power(effect, count, paired=paired, alpha=alpha, overlap=overlap) - power

    high = 1.0
    while lacking(high) < 0:
        high *= 2
    effect = float(brentq(lacking, 0, high, xtol=1e-12))
    return Power("effect", effect, count, power, alpha, paired, unit, overlap)


def units_needed(
    effect: float, *, power: float = POWER, paired: bool = True, alpha: float = ALPHA, unit: str = "unit"
) -> Power:
    """Compute the fewest units (per group) with which a t test detects a true effect with at least a given power.

    Raises
    ------
    ValueError
        If the effect is zero, or so small that no number of units that can be computed finds it.

    Examples
    --------
    >>> units_needed(0.5).count, units_needed(0.2).count
    (34, 199)
    """
    _shares(power, alpha)

    counts = range(2, MOST + 1)
    place = bisect.bisect_left(counts, power, key=lambda n: t_power(effect, n, paired=paired, alpha=alpha))
    if place == len(counts):
        raise ValueError(f"more than {MOST:,} units would be needed")
    count = counts[place]
    return Power("count", effect, count, t_power(effect, count, paired=paired, alpha=alpha), alpha, paired, unit)


def _shares(power: float, alpha: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"expected 0 < alpha < power < 1, got alpha {alpha} and power {power}")


def power_curve(
    effects: Sequence[float], counts: Sequence[int], *, paired: bool = True, alpha: float = ALPHA
) -> pd.DataFrame:
    """Compute the power for each effect and number of units: columns ``effect``, ``count``, ``power``."""
    return pd.DataFrame(
        [(d, n, t_power(d, n, paired=paired, alpha=alpha)) for d in effects for n in counts],
        columns=["effect", "count", "power"],
    )
