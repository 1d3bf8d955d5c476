"""Numbers as a paper prints them, and all the values that they may stand for, exactly."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?%?")
_SIZES = re.compile(r"(\d[\d,]*)(?:\s*(?:-|–|to)\s*(\d[\d,]*))?")


@dataclass(frozen=True)
class Range:
    """All values from ``lo`` to ``hi``, both included.

    Parameters
    ----------
    lo, hi : Fraction
        Ends; ``lo <= hi``.
    """

    lo: Fraction
    hi: Fraction

    def __add__(self, other: "Range") -> "Range":
        return Range(self.lo + other.lo, self.hi + other.hi)

    def __sub__(self, other: "Range") -> "Range":
        return Range(self.lo - other.hi, self.hi - other.lo)

    def __mul__(self, other: "Range") -> "Range":
        ends = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Range(min(ends), max(ends))

    def __truediv__(self, other: "Range") -> "Range":
        """Quotients; ``other`` must not hold zero."""
        return self * Range(1 / other.hi, 1 / other.lo)

    def __contains__(self, value: Fraction | int) -> bool:
        return self.lo <= value <= self.hi

    def meets(self, other: "Range") -> bool:
        """Whether some value lies in both."""
        return self.lo <= other.hi and other.lo <= self.hi

    def wholes(self) -> range:
        """Whole numbers in it."""
        return range(ceil(self.lo), floor(self.hi) + 1)


def exactly(value: Fraction | int) -> Range:
    """Range of one value."""
    return Range(Fraction(value), Fraction(value))


@dataclass(frozen=True)
class Printed:
    """A number with the digits that were printed.

    Parameters
    ----------
    text : str
        As printed, such as ``"0.40"``, ``"78.1%"``, ``"1,340"``.
    value : Fraction
        Its value; a percentage is divided by 100.
    step : Fraction
        One unit of its last digit; 0 for a whole number without %, which is a count and exact.
    """

    text: str
    value: Fraction
    step: Fraction

    def range(self, truncation: bool = False) -> Range:
        """Give every value that is printed like this.

        Parameters
        ----------
        truncation : bool, default=False
            Whether digits may also have been cut off instead of rounded.

        Returns
        -------
        Range
            Both ends are included: half up, half to even and what floating point makes of a tie are all honest.
        """
        lo, hi = self.value - self.step / 2, self.value + self.step / 2
        if truncation:
            negative = self.text.startswith("-")
            lo, hi = (self.value - self.step, hi) if negative else (lo, self.value + self.step)
        return Range(lo, hi)

    def percent(self) -> "Printed":
        """Read a number of a column of percentages; one that has its own % is left as it is."""
        if self.text.endswith("%"):
            return self
        return replace(self, text=f"{self.text}%", value=self.value / 100, step=(self.step or Fraction(1)) / 100)

    @property
    def coarser(self) -> "Printed | None":
        """The same number with its closing zeros left away, if it has such."""
        body = self.text.rstrip("%")
        short = body.rstrip("0").rstrip(".") if "." in body else body
        if short == body:
            return None
        digits = len(body) - len(short) - ("." not in short)
        return replace(self, text=short + self.text[len(body) :], step=self.step * 10**digits)

    def __str__(self) -> str:
        return self.text


def read_number(given: Any) -> Printed:
    """Read a number as printed.

    Parameters
    ----------
    given : str or int
        Text, or a whole number. A float has lost its printed digits and is refused.

    Raises
    ------
    ValueError
        If it is no number.
    """
    if isinstance(given, Printed):
        return given
    if isinstance(given, float):
        raise ValueError("must be text, so that the printed digits are kept")
    text = str(given).strip().replace("−", "-").replace("–", "-")
    bare = text.rstrip("%")
    if not _NUMBER.fullmatch(text) or not any(letter.isdigit() for letter in bare):
        raise ValueError("must be a number as printed, such as 0.40, 78.1% or 1,340")
    value, digits = Fraction(bare.replace(",", "")), len(bare.partition(".")[2])
    if text.endswith("%"):
        return Printed(text, value / 100, Fraction(1, 10**digits * 100))
    return Printed(text, value, Fraction(1, 10**digits) if digits else Fraction(0))


@dataclass(frozen=True)
class Size:
    """A count, or the counts that it may be.

    Parameters
    ----------
    lo, hi : int
        From and to, both included.
    """

    lo: int
    hi: int

    @property
    def known(self) -> bool:
        """Whether it is one number."""
        return self.lo == self.hi

    @property
    def all(self) -> range:
        """Every count that it may be."""
        return range(self.lo, self.hi + 1)

    def __str__(self) -> str:
        return f"{self.lo:,}" if self.known else f"{self.lo:,} to {self.hi:,}"


def read_size(given: Any) -> Size:
    """Read a count, ``"748"``, or a range of counts, ``"86-88"``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(given, Size):
        return given
    found = _SIZES.fullmatch(str(given).strip())
    if not found:
        raise ValueError("must be a count such as 748, or a range such as 86-88")
    ends = [int(end.replace(",", "")) for end in found.groups() if end]
    if ends[0] > ends[-1] or ends[0] < 1:
        raise ValueError("must be a count of at least 1, or a range from the smaller to the larger")
    return Size(ends[0], ends[-1])


def shown(value: Fraction | float, like: Printed | None = None, more: int = 1) -> str:
    """Write a value with a digit more than the number that it is held against.

    Examples
    --------
    >>> shown(Fraction(3, 7), like=read_number("0.43"))
    '0.429'
    >>> shown(Fraction(3, 7), like=read_number("43%"))
    '42.9%'
    """
    if like is None:
        return f"{float(value):.4g}"
    body = like.text.rstrip("%")
    digits = len(body.partition(".")[2]) + more
    return f"{float(value) * 100:.{digits}f}%" if like.text.endswith("%") else f"{float(value):.{digits}f}"


def span(values: Range, like: Printed | None = None) -> str:
    """Write a range, a digit more than the number that it is held against; one value where both ends read alike."""
    ends = shown(values.lo, like, 2), shown(values.hi, like, 2)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
