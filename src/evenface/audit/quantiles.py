"""Quantiles, p-values and powers, as ranges that hold the error of floating point."""

from fractions import Fraction
from math import sqrt

from evenface.audit.numbers import Printed, Range


def about(value: float) -> Range:
    """Give a computed value with room for the error of floating point, in the paper's favour."""
    slack = Fraction(abs(value)) / 10**9 + Fraction(1, 10**12)
    return Range(Fraction(value) - slack, Fraction(value) + slack)


def between(one: float, other: float) -> Range:
    """Give the values between two computed ones, whichever is larger."""
    return Range(about(min(one, other)).lo, about(max(one, other)).hi)


def _tails(one: float, other: float) -> Range:
    """Return the values between two tail probabilities, with room in proportion to them: they may be very small."""
    room = Fraction(1, 10**6)
    return Range(Fraction(min(one, other)) * (1 - room), Fraction(max(one, other)) * (1 + room))


def interval_factor(level: Printed, n: int, kind: str, freedom: int | None = None) -> float:
    """Give the quantile of a two-sided interval: ``z``, or ``t`` of n - 1 degrees of freedom unless said otherwise."""
    from scipy.stats import norm, t

    upper = (1 + float(level.value)) / 2
    return float(norm.ppf(upper)) if kind == "z" else float(t.ppf(upper, freedom or n - 1))


def p_of_f(f: Range, df: tuple[int, int]) -> Range:
    """p-values of an F test."""
    from scipy.stats import f as distribution

    return _tails(*(float(distribution.sf(max(float(value), 0.0), *df)) for value in (f.lo, f.hi)))


def p_of_t(t: Range, freedom: int) -> Range:
    """Two-sided p-values of a t test."""
    from scipy.stats import t as distribution

    p = [2 * float(distribution.sf(abs(float(value)), freedom)) for value in (t.lo, t.hi)]
    tails = _tails(*p)
    return Range(tails.lo, Fraction(1)) if 0 in t else tails


def critical_f(df: tuple[int, int], alpha: Printed) -> float:
    """F above which a test at alpha rejects."""
    from scipy.stats import f as distribution

    return float(distribution.isf(float(alpha.value), *df))


def power_of_f(f: Range, df: tuple[int, int], alpha: Printed, samples: int) -> Range:
    """Observed power of an F test of N samples: noncentrality from F df1 up to F df1 N / df2 (both are in use)."""
    from scipy.stats import ncf

    critical = critical_f(df, alpha)
    ends = (max(float(f.lo), 0.0) * df[0], float(f.hi) * df[0] * max(samples / df[1], 1.0))
    return between(*(float(ncf.sf(critical, *df, end)) if end else float(alpha.value) for end in ends))


def power_of_t(d: float, n: int, alpha: Printed, *, paired: bool) -> float:
    """Power of a two-sided t test with n pairs, or n in each of two groups."""
    from scipy.stats import nct, t

    freedom = n - 1 if paired else 2 * n - 2
    away = abs(d) * sqrt(n if paired else n / 2)
    critical = float(t.isf(float(alpha.value) / 2, freedom))
    return float(nct.sf(critical, freedom, away) + nct.cdf(-critical, freedom, away))
