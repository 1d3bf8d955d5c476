"""Format numbers, intervals, p-values and lists as text: one wording for tables, figures and messages."""

import math
from typing import TYPE_CHECKING

from evenface.evaluation.bootstrap import Estimate

if TYPE_CHECKING:
    from evenface.evaluation.comparison import Difference

UNITS = {"people": "person", "clips": "clip", "samples": "sample"}
FIXED = (-4, 6)
"""Powers of ten of numbers that are written without an exponent."""


def number(value: float) -> str:
    """Write a number, or a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(value: float, digits: int = 3) -> str:
    """Write a difference with its sign; what rounds to zero has none."""
    if math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def signed_interval(estimate: "Estimate | Difference", digits: int | None = None) -> str:
    """Write a difference with its interval, with fixed digits or as many as the largest of them needs.

    Examples
    --------
    >>> signed_interval(Estimate(0.0271, 0.0134, 0.0409)), signed_interval(Estimate(4.3e-10, -1e-11, 8.7e-10))
    ('+0.027 [+0.013, +0.041]', '+4.30e-10 [-0.10e-10, +8.70e-10]')
    >>> signed_interval(Estimate(0.0043)), signed_interval(Estimate(0.0043), digits=3)
    ('+0.0043', '+0.004')
    """
    parts = [estimate.value] if math.isnan(estimate.low) else [estimate.value, estimate.low, estimate.high]
    largest = max(map(abs, parts))
    power = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
    if digits is not None or FIXED[0] <= power <= FIXED[1]:
        first, *bounds = (signed(part, digits or max(3, 1 - power)) for part in parts)
    else:
        first, *bounds = (f"{signed(part / 10.0**power, 2)}e{power:+03d}" for part in parts)
    return f"{first} [{', '.join(bounds)}]" if bounds else first


def with_interval(estimate: Estimate) -> str:
    """Write ``0.512 [0.489, 0.534]``."""
    if math.isnan(estimate.low):
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def p_value(p: float) -> str:
    """Write a p to three digits, or ``< 0.001``."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(parts: list[str]) -> str:
    """Join by commas and a last *and*."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def count_units(units: int, unit: str) -> str:
    """Write the number of units of replication: ``40 people``, ``1 person``."""
    return f"{units:,} {UNITS[unit] if units == 1 else unit}"
