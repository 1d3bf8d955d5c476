"""Shares that must be a count of a known number of samples (GRIM: Brown and Heathers, 2017)."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from evenface.audit.numbers import Printed, Range, shown


def hits(share: Range, size: int) -> range:
    """Give the counts k of ``size`` samples with k / size in a range.

    Parameters
    ----------
    share : Range
        Share of the samples.
    size : int
        Number of samples, at least 1.

    Examples
    --------
    >>> from evenface.audit.numbers import read_number
    >>> list(hits(read_number("0.429").range(), 7))
    [3]
    >>> list(hits(read_number("0.429").range(), 6))
    []
    """
    (a, b), (c, d) = share.lo.as_integer_ratio(), share.hi.as_integer_ratio()
    return range(max(-(-a * size // b), 0), min(c * size // d, size) + 1)


def sizes(shares: Iterable[Range], among: Iterable[int]) -> list[int]:
    """Give those of some sizes with which every share is a count."""
    left = list(among)
    for share in shares:
        left = [size for size in left if hits(share, size)]
    return left


def nearby(shares: Sequence[Range], size: int, most: int = 3) -> list[int]:
    """Find the sizes nearest to one that give every share; none further off than the size itself.

    Returns
    -------
    list of int
        In rising order.
    """
    found: list[int] = []
    for step in range(1, size):
        found += sizes(shares, (size - step, size + step))
        if len(found) >= most:
            break
    return sorted(found[:most])


def nearest(share: Printed, size: int) -> str:
    """Write the two counts that come nearest to a share, such as ``635/748 = 0.84893, 636/748 = 0.85027``."""
    below = max(min(int(share.value * size), size - 1), 0)
    return ", ".join(f"{k:,}/{size:,} = {shown(Fraction(k, size), share)}" for k in (below, below + 1))


def harmonic(one: Range, other: Range) -> Range:
    """Give the harmonic means of two numbers that are not negative; 0 where both are 0."""

    def mean(a: Fraction, b: Fraction) -> Fraction:
        return 2 * a * b / (a + b) if a + b else Fraction(0)

    return Range(mean(max(one.lo, Fraction(0)), max(other.lo, Fraction(0))), mean(one.hi, other.hi))
