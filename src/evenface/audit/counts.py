"""Shares that must be a count of a known number of samples (GRIM: Brown and Heathers, 2017)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, sqrt

import numpy as np
import numpy.typing as npt

from evenface.audit.numbers import Printed, Range, shown

Integers = npt.NDArray[np.int64]
Share = tuple[Range, int]
"""Values that a share may have, and of how many runs it is the mean."""


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


def sizes(shares: Iterable[Share], among: Iterable[int]) -> list[int]:
    """Return those of some sizes with which every share is a count."""
    left = list(among)
    for share, runs in shares:
        left = [size for size in left if hits(share, runs * size)]
    return left


@dataclass(frozen=True)
class SizeFit:
    """How many of some printed shares are counts of a size, and how many would be by chance."""

    size: int
    given: int
    chance: float

    @property
    def surprise(self) -> float:
        """Shares beyond chance, in standard deviations."""
        return (self.given - self.chance) / sqrt(self.chance + 1)

    def __str__(self) -> str:
        return f"{self.size:,} gives {self.given} ({self.chance:.0f} by chance)"


def best_sizes(shares: Sequence[Share], among: range, near: int | None = None, most: int = 3) -> list[SizeFit]:
    """Return the sizes with which most shares are a count, and the one that is furthest beyond chance.

    Parameters
    ----------
    shares : sequence of (Range, int)
        Shares, and of how many runs each is the mean.
    among : range
        Sizes to try.
    near : int, optional
        Size to which ties are nearest; the smallest first where there is none. It is part of the answer.
    most : int, default=3
        How many of those with the highest number of shares to return at most.
    """
    tried = np.arange(among.start, among.stop, among.step, dtype=np.int64)
    given, chance = np.zeros(len(tried), np.int64), np.zeros(len(tried))
    for share, runs in shares:
        grid = 2**61 // (runs * among[-1])
        # Ends on the grid, rounded outwards: no honest share is lost.
        lo, hi = max(floor(share.lo * grid), 0), min(ceil(share.hi * grid), grid)
        if lo <= hi:
            given += -(-lo * runs * tried // grid) <= hi * runs * tried // grid
            chance += np.minimum(float(share.hi - share.lo) * runs * tried, 1.0)
    fits = [SizeFit(*one) for one in zip(tried.tolist(), given.tolist(), chance.tolist(), strict=True)]
    highest = [one for one in fits if one.given == given.max()]
    named = sorted(highest, key=lambda one: abs(one.size - near) if near else one.size)[:most]
    others = [one for one in fits if one.size == near] if near else []
    return list(dict.fromkeys([*named, max(fits, key=lambda one: one.surprise), *others]))


def told_best(shares: Sequence[Share], among: range, near: int | None = None) -> str:
    """Write the sizes with which most shares are a count, such as ``5,000 gives 34 (2 by chance)``."""
    return f"of {len(shares)}, " + ", ".join(map(str, best_sizes(shares, among, near)))


def nearby(shares: Sequence[Share], size: int, most: int = 3) -> list[int]:
    """Return the sizes nearest to one that give every share, in rising order; none further off than the size itself."""
    found: list[int] = []
    for step in range(1, size):
        found += sizes(shares, (size - step, size + step))
        if len(found) >= most:
            break
    return sorted(found[:most])


def nearest(share: Printed, size: int) -> str:
    """Write the two counts that come nearest to a share, such as ``635/748 = 0.84893, 636/748 = 0.85027``."""
    below = max(min(int(share.value * size), size - 1), 0)
    return ", ".join(told(k, size, share) for k in (below, below + 1))


def told(top: int, bottom: int, like: Printed) -> str:
    """Write a quotient of counts with enough digits to tell it from the number that it is held against."""
    value = Fraction(top, bottom)
    more = next((more for more in (1, 2, 3) if abs(value - like.value) > like.step / 10**more), 3)
    return f"{top:,}/{bottom:,} = {shown(value, like, more)}"


def around(top: Integers, bottom: Integers, like: Printed) -> str:
    """Write the quotients of counts nearest to a printed number, below and above it."""
    off = top / bottom - float(like.value)
    sides = ((off <= 0, -off), (off > 0, off))
    picked = [int(np.flatnonzero(side)[np.argmin(away[side])]) for side, away in sides if side.any()]
    return ", ".join(told(int(top[k]), int(bottom[k]), like) for k in picked)


def enough_runs(shares: Sequence[tuple[Range, int]], most: int = 10) -> int | None:
    """Return the fewest runs of which all shares, each of its own size, could be means; None if there are none.

    Only numbers of runs are tried with which a share of these digits is still seldom a count.
    """
    for runs in range(2, most + 1):
        if any((share.hi - share.lo) * runs * size > Fraction(1, 2) for share, size in shares):
            return None
        if all(hits(share, runs * size) for share, size in shares):
            return runs
    return None


def told_runs(shares: Sequence[tuple[Range, int]]) -> tuple[str, ...]:
    """Write of how many runs shares, each of its own size, could be means; nothing where there is no such number."""
    runs = enough_runs(shares)
    if runs is None:
        return ()
    of = ", ".join(f"{runs} x {size:,}" for size in dict.fromkeys(size for _, size in shares))
    return (f"As means of {runs} runs, counts of {of}, they would fit: if they are, the file says runs: {runs}.",)


def harmonic(one: Range, other: Range) -> Range:
    """Give the harmonic means of two numbers that are not negative; 0 where both are 0."""

    def mean(a: Fraction, b: Fraction) -> Fraction:
        return 2 * a * b / (a + b) if a + b else Fraction(0)

    return Range(mean(max(one.lo, Fraction(0)), max(other.lo, Fraction(0))), mean(one.hi, other.hi))
