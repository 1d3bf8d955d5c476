"""Printed numbers, the exact range of values that each may represent, and findings on them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np

_NUMBER = re.compile(
    r"[+-]?(?P<body>(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.(?P<places>\d+))?)(?:[eE](?P<power>[+-]?\d{1,3}))?%?"
)
_BOUND = re.compile(r"(?:p\s*)?([<>≤≥])=?\s*")
# A count may be written 179.0, as in scikit-learn's reports.
_SIZES = re.compile(r"(\d[\d,]*)(?:\.0+)?(?:\s*(?:-|–|to)\s*(\d[\d,]*)(?:\.0+)?)?")

# A number with this many significant digits is an unrounded float, with an error of a few units in its last place.
_DOUBLE_DIGITS = 15
# Significant digits that identify a float32.
_SINGLE_DIGITS = range(7, 10)
_ULPS = 8
_DOUBLE, _SINGLE = Fraction(1, 2**52), Fraction(1, 2**23)


@dataclass(frozen=True)
class Range:
    """Closed interval from ``lo`` to ``hi``."""

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
        """Return the range of quotients; ``other`` must not contain zero."""
        return self * Range(1 / other.hi, 1 / other.lo)

    def __contains__(self, value: Fraction | int) -> bool:
        return self.lo <= value <= self.hi

    def meets(self, other: "Range") -> bool:
        """Return whether both ranges have a common value."""
        return self.lo <= other.hi and other.lo <= self.hi

    def integers(self) -> range:
        """Return the integers in the range."""
        return range(ceil(self.lo), floor(self.hi) + 1)


def exact_range(value: Fraction | int) -> Range:
    """Return the range of one value."""
    return Range(Fraction(value), Fraction(value))


def sum_range(ranges: Iterable[Range]) -> Range:
    """Return the range of the sum of values in ranges."""
    return sum(ranges, exact_range(0))


def mean_range(ranges: Sequence[Range]) -> Range:
    """Return the range of the mean of values in ranges."""
    return sum_range(ranges) * exact_range(Fraction(1, len(ranges)))


def have_common_value(ranges: Sequence[Range]) -> bool:
    """Return whether one value is in all ranges."""
    return max(values.lo for values in ranges) <= min(values.hi for values in ranges)


@dataclass(frozen=True)
class PrintedNumber:
    """A number with the digits that were printed."""

    text: str
    value: Fraction
    step: Fraction
    error: Fraction = Fraction(0)
    bound: str = ""

    def range(self, truncation: bool = False) -> Range:
        """Return the range of values that are printed like this."""
        if self.bound:
            return Range(Fraction(0), self.value) if self.bound == "<" else Range(self.value, Fraction(1))
        half = max(self.step / 2, self.error)
        lo, hi = self.value - half, self.value + half
        if truncation:
            negative = self.text.startswith("-")
            lo, hi = (min(self.value - self.step, lo), hi) if negative else (lo, max(self.value + self.step, hi))
        return Range(lo, hi)

    def percent(self) -> "PrintedNumber":
        """Return the number as a percentage, unless it already is one."""
        if self.text.endswith("%"):
            return self
        step = (self.step or Fraction(1)) / 100
        return replace(self, text=f"{self.text}%", value=self.value / 100, step=step, error=self.error / 100)

    @property
    def coarser(self) -> "PrintedNumber | None":
        """Return the number without trailing zeros; None if it has none."""
        body = self.text.rstrip("%")
        if "e" in body.lower():
            return None
        short = body.rstrip("0").rstrip(".") if "." in body else body
        if short == body:
            return None
        digits = len(body) - len(short) - ("." not in short)
        return replace(self, text=short + self.text[len(body) :], step=self.step * 10**digits)

    def __str__(self) -> str:
        return self.text


def read_number(source: Any) -> PrintedNumber:
    """Read a number as printed."""
    if isinstance(source, PrintedNumber):
        return source
    if isinstance(source, float):
        raise ValueError("must be text, so that the printed digits are kept")
    text = str(source).strip().replace("−", "-").replace("–", "-")
    match = _NUMBER.fullmatch(text)
    if not match or not any(letter.isdigit() for letter in match["body"]):
        raise ValueError("must be a number as printed, such as 0.40, 78.1%, 1,340 or 4.0e-18")
    value, places, power = Fraction(text.rstrip("%").replace(",", "")), match["places"] or "", match["power"]
    step = Fraction(10) ** (int(power or 0) - len(places)) if places or power else Fraction(0)
    error = _float_error(value, match["body"]) if places else Fraction(0)
    if "%" in text:
        return PrintedNumber(text, value / 100, (step or Fraction(1)) / 100, error / 100)
    return PrintedNumber(text, value, step, error)


def read_bound(source: Any) -> PrintedNumber:
    """Read a number as printed, or a bound such as ``"<0.001"`` or ``"p < 0.001"``."""
    match = _BOUND.match(source.strip()) if isinstance(source, str) else None
    if match is None:
        return read_number(source)
    sign = {"≤": "<", "≥": ">"}.get(match[1], match[1])
    number = read_number(source.strip()[match.end() :])
    if not 0 <= number.value <= 1:
        raise ValueError("must bound a probability, such as <0.001")
    return replace(number, text=f"{sign}{number.text}", bound=sign)


def read_row(text: str) -> list[str]:
    """Split a row of numbers at blanks, but not within ``p < 0.001``."""
    return _BOUND.sub(lambda match: match[1], text).split()


def _float_error(value: Fraction, body: str) -> Fraction:
    """Return the error bound of a number printed in the full precision of a float; 0 for all others."""
    digits = len(body.replace(",", "").replace(".", "").lstrip("0"))
    # At least that of a number near 1: 1 - 0.9999 has the absolute error of 0.9999.
    size = _ULPS * max(abs(value), Fraction(1))
    if digits in _SINGLE_DIGITS and not body.endswith("0"):
        return _ULPS * abs(value) * _SINGLE
    if digits >= _SINGLE_DIGITS.stop and _is_single(value):
        return size * _SINGLE
    return size * _DOUBLE if digits >= _DOUBLE_DIGITS else Fraction(0)


def _is_single(value: Fraction) -> bool:
    """Return whether a number, or its hundredth, is a float32 printed with the digits of a double."""
    as_single = np.float32(float(value)), np.float32(float(value / 100))
    return float(value) in (float(as_single[0]), float(as_single[1]) * 100)


@dataclass(frozen=True)
class Size:
    """A count, or a range of possible counts."""

    lo: int
    hi: int

    @property
    def known(self) -> bool:
        """Return whether it is a single count."""
        return self.lo == self.hi

    @property
    def all(self) -> range:
        """Return all possible counts."""
        return range(self.lo, self.hi + 1)

    def __str__(self) -> str:
        return f"{self.lo:,}" if self.known else f"{self.lo:,} to {self.hi:,}"


def read_size(source: Any) -> Size:
    """Read a count, ``"748"``, or a range of counts, ``"86-88"``."""
    if isinstance(source, Size):
        return source
    match = _SIZES.fullmatch(str(source).strip())
    if not match:
        raise ValueError("must be a count such as 748, or a range such as 86-88")
    ends = [int(end.replace(",", "")) for end in match.groups() if end]
    if ends[0] > ends[-1] or ends[0] < 1:
        raise ValueError("must be a count of at least 1, or a range from the smaller to the larger")
    return Size(ends[0], ends[-1])


def format_value(value: Fraction | float, like: PrintedNumber | None = None, more: int = 1) -> str:
    """Format a value with one digit more than the printed number it is compared with.

    Examples
    --------
    >>> format_value(Fraction(3, 7), like=read_number("0.43"))
    '0.429'
    >>> format_value(Fraction(3, 7), like=read_number("43%"))
    '42.9%'
    >>> format_value(Fraction(3, 7 * 10**18), like=read_number("4.0e-19"))
    '4.29e-19'
    """
    if like is None or like.bound:
        return f"{float(value):.4g}"
    body = like.text.rstrip("%").lower()
    mantissa, _, power = body.partition("e")
    digits = len(mantissa.partition(".")[2]) + more
    if power:
        return f"{float(value):.{digits}e}"
    return f"{float(value) * 100:.{digits}f}%" if like.text.endswith("%") else f"{float(value):.{digits}f}"


def format_range(values: Range, like: PrintedNumber | None = None) -> str:
    """Format a range with two digits more than a printed number; as one value if both ends are formatted alike."""
    ends = format_value(values.lo, like, 2), format_value(values.hi, like, 2)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


@dataclass(frozen=True)
class Finding:
    """One inconsistency among printed numbers, or a remark.

    Parameters
    ----------
    where : str
        Location in the paper, such as ``"Table 4, Anger"``.
    message : str
        The inconsistency with its arithmetic, in one line.
    details : tuple of str
        Further arithmetic, one line each.
    impossible : bool, default=True
        Whether the numbers are impossible; False for a remark.
    """

    where: str
    message: str
    details: tuple[str, ...] = ()
    impossible: bool = True

    def lines(self) -> list[str]:
        """Return the printed lines: the message and its details."""
        mark = "x" if self.impossible else "-"
        return [f"{mark} {self.where}: {self.message}", *(f"    {detail}" for detail in self.details)]


@dataclass(frozen=True)
class Audit:
    """Result of the audit of one claims file.

    Parameters
    ----------
    name : str
        Name given in the file.
    about : str
        Description of the paper.
    findings : list of Finding
        Impossible numbers.
    remarks : list of Finding
        Numbers that are possible only under an interpretation that readers should know.
    figures : int
        Number of printed numbers checked.
    """

    name: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    figures: int = 0

    def lines(self) -> list[str]:
        """Return the printed lines: the number of findings first."""
        count = len(self.findings)
        verdict = f"{count} finding{'s' * (count != 1)}" if count else "no inconsistencies"
        details = [line for finding in [*self.findings, *self.remarks] for line in finding.lines()]
        return [f"{self.name}  {verdict} in {self.figures:,} printed numbers · {self.about}", *details]


def join_limited(words: list[str], most: int = 6) -> str:
    """Join words with commas; state how many are left out of a long list."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
