"""Effect sizes with intervals: Cohen's d of pairs and groups, Hedges' correction, partial eta squared."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evenface.evaluation.bootstrap import LEVEL
from evenface.evaluation.formatting import signed
from evenface.statistics.designs import Groups, Pairs, plural
from evenface.statistics.t_tests import FLAT, standard_error

Kind = Literal["d_z", "d_av", "d_s", "d_total"]
MEANING = {
    "d_z": "mean difference in standard deviations of the differences",
    "d_av": "mean difference in standard deviations of the values, both levels' variances averaged",
    "d_s": "difference of means in pooled standard deviations",
    "d_total": "difference of means in standard deviations of a single value, between and within units together",
}
D_WORDS = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"), (math.inf, "large"))
ETA_WORDS = ((0.01, "negligible"), (0.06, "small"), (0.14, "medium"), (math.inf, "large"))
ETA_LEVEL = 0.90
HUGE_T, HUGE_F = 1e4, 1e6


@dataclass(frozen=True)
class EffectSize:
    """A standardised difference."""

    kind: Kind
    value: float
    low: float
    high: float
    hedges: float
    level: float
    unit: str
    count: int

    @property
    def word(self) -> str:
        """Cohen's label of d_av and d_s: negligible below 0.2, small below 0.5, medium below 0.8, else large.

        Empty for d_z, which the correlation of the levels makes arbitrarily large, so that the labels do not apply.
        """
        return "" if self.kind == "d_z" else size_word(self.value)

    @property
    def sentence(self) -> str:
        """Render size, measure and number of values."""
        if math.isnan(self.value):
            return f"{self.kind} is not defined, as there is no variance."
        word = f"{self.word}; " if self.word else ""
        of = "pairs" if self.kind in ("d_z", "d_av") else plural(self.unit)
        return (
            f"{self.kind} = {signed(self.value, 2)} [{signed(self.low, 2)}, {signed(self.high, 2)}] ({word}"
            f"{MEANING[self.kind]}), Hedges' g = {signed(self.hedges, 2)}, over {self.count:,} {of}."
        )


def size_word(d: float) -> str:
    """Return Cohen's label of a d."""
    return "undefined" if math.isnan(d) else next(word for bound, word in D_WORDS if abs(d) < bound)


def eta_word(eta: float) -> str:
    """Return Cohen's label of a (partial) eta squared: bounds 0.01, 0.06 and 0.14."""
    return "undefined" if math.isnan(eta) else next(word for bound, word in ETA_WORDS if eta < bound)


def hedges_factor(df: float) -> float:
    r"""Compute the factor that removes the bias of d: :math:`J = \Gamma(m/2) / (\sqrt{m/2}\,\Gamma((m-1)/2))`.

    References
    ----------
    Hedges, *Distribution theory for Glass's estimator of effect size*, J Educ Stat 1981.

    Examples
    --------
    >>> round(hedges_factor(10), 4)
    0.9227
    """
    if df <= 1:
        return float("nan")
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)


def cohens_d(given: Pairs | Groups, kind: Kind | None = None, *, level: float = LEVEL) -> EffectSize:
    """Compute Cohen's d with Hedges' correction and an interval from the noncentral t distribution.

    Parameters
    ----------
    given : Pairs or Groups
        The two levels.
    kind : {"d_z", "d_av", "d_s"}, optional
        By default ``d_z`` of pairs, ``d_s`` of groups. ``d_av`` is of pairs.
    level : float, default=0.95
        Confidence level.

    Notes
    -----
    The intervals of d_z and d_s are exact for normal values (d_s: of equal variance); that of d_av is Algina and
    Keselman's, which scales the one of d_z. Over folds they follow the corrected resampled t-test.

    References
    ----------
    Cohen, *Statistical power analysis for the behavioral sciences*, 1988. Steiger and Fouladi, *Noncentrality interval
    estimation and the evaluation of statistical models*, 1997. Algina and Keselman, *Approximate confidence intervals
    for effect sizes*, Educ Psychol Meas 2003. Lakens, *Calculating and reporting effect sizes*, Front Psychol 2013.
    """
    kind = kind or ("d_z" if isinstance(given, Pairs) else "d_s")
    if kind not in (("d_z", "d_av") if isinstance(given, Pairs) else ("d_s",)):
        raise ValueError(f"{kind} is not defined for {type(given).__name__}")
    variances = float(given.values.var(ddof=1)), float(given.base.var(ddof=1))
    n, base = len(given.values), len(given.base)
    if isinstance(given, Pairs):
        spread = float(given.change.std(ddof=1))
        df, error = n - 1, standard_error(spread, n, given.overlap)
        scale = spread if kind == "d_z" else math.sqrt(sum(variances) / 2)
    else:
        df = n + base - 2
        spread = scale = math.sqrt(((n - 1) * variances[0] + (base - 1) * variances[1]) / df)
        error = scale * math.sqrt(1 / n + 1 / base)
    if not min(scale, spread) > FLAT * given.size:
        scale = 0.0
    difference = float(given.values.mean() - given.base.mean())
    return standardised(kind, difference, error, df, scale, level, given.unit, len(given))


def standardised(
    kind: Kind, difference: float, error: float, df: float, sd: float, level: float, unit: str, count: int
) -> EffectSize:
    """Divide a difference by a standard deviation; the interval is that of its noncentral t."""
    if not sd > 0:
        return EffectSize(kind, math.nan, math.nan, math.nan, math.nan, level, unit, count)
    low, high = (bound * error / sd for bound in noncentral_t(difference / error, df, level))
    return EffectSize(kind, difference / sd, low, high, difference / sd * hedges_factor(df), level, unit, count)


def noncentral_t(t: float, df: float, level: float = LEVEL) -> tuple[float, float]:
    """Compute the interval of the noncentrality of the t distribution that ``t`` was drawn from."""
    from scipy.stats import chi2, nct

    if abs(t) > HUGE_T:  # SciPy's distribution is NaN there; the normal part is nothing beside the error's
        low, high = (float(t * math.sqrt(chi2.ppf(share, df) / df)) for share in ((1 - level) / 2, (1 + level) / 2))
        return min(low, high), max(low, high)

    def bound(share: float) -> float:
        return _root(lambda shift: float(nct.cdf(t, df, shift)) - share, t, 1 + abs(t))

    return bound((1 + level) / 2), bound((1 - level) / 2)


def noncentral_f(f: float, df: float, df_error: float, level: float = ETA_LEVEL) -> tuple[float, float]:
    """Compute the interval of the noncentrality of the F distribution of ``f``; bounds are 0 where none fits."""
    from scipy.stats import chi2, ncf
    from scipy.stats import f as central

    if f > HUGE_F:  # as of t
        low, high = (float(f * df * chi2.ppf(share, df_error)) for share in ((1 - level) / 2, (1 + level) / 2))
        return low / df_error, high / df_error

    def bound(share: float) -> float:
        if float(central.cdf(f, df, df_error)) <= share:
            return 0.0
        high = max(1.0, f * df)
        while float(ncf.cdf(f, df, df_error, high)) > share:
            high *= 2
        return _solve(lambda shift: float(ncf.cdf(f, df, df_error, shift)) - share, 0.0, high)

    return bound((1 + level) / 2), bound((1 - level) / 2)


def partial_eta(f: float, df: float, df_error: float, level: float = ETA_LEVEL) -> tuple[float, float, float]:
    r"""Compute partial eta squared of an F, and its interval :math:`\lambda / (\lambda + df + df_e + 1)`.

    The level is 0.90 by default, as the test is one-sided: the interval then excludes zero exactly where p is below
    0.05.

    References
    ----------
    Steiger, *Beyond the F test*, Psychol Methods 2004.

    Examples
    --------
    >>> round(partial_eta(2.210, 1, 40)[0], 3)
    0.052
    """
    if math.isnan(f):
        return math.nan, math.nan, math.nan
    low, high = (shift / (shift + df + df_error + 1) for shift in noncentral_f(f, df, df_error, level))
    return f * df / (f * df + df_error), low, high


def _root(function: Callable[[float], float], start: float, step: float) -> float:
    """Find where a falling function is zero, from a start outward."""
    low, high = start - step, start + step
    while function(low) < 0:
        low -= step
        step *= 2
    while function(high) > 0:
        high += step
        step *= 2
    return _solve(function, low, high)


def _solve(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-12, rtol=1e-12))
