"""Check proportions of a number of samples (GRIM: Brown and Heathers, 2017), and F1 against precision and recall."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, sqrt

import numpy as np
import numpy.typing as npt

from evenface.audit.printed import (
    Finding,
    PrintedNumber,
    Range,
    Size,
    exact_range,
    format_range,
    format_value,
    have_common_value,
    join_limited,
)
from evenface.audit.schema import Accuracies, Averages, Ratios

Integers = npt.NDArray[np.int64]
Key = tuple[str, str]
"""A class, or an empty string for all classes, and a metric."""
Share = tuple[Range, int]
"""Possible values of a proportion, and the number of runs it is averaged over."""


def possible_counts(share: Range, size: int) -> range:
    """Return the counts k out of ``size`` samples with k / size in a range.

    Examples
    --------
    >>> from evenface.audit.printed import read_number
    >>> list(possible_counts(read_number("0.429").range(), 7))
    [3]
    >>> list(possible_counts(read_number("0.429").range(), 6))
    []
    """
    (a, b), (c, d) = share.lo.as_integer_ratio(), share.hi.as_integer_ratio()
    return range(max(-(-a * size // b), 0), min(c * size // d, size) + 1)


def sizes_giving(shares: Iterable[Share], among: Iterable[int]) -> list[int]:
    """Return the sizes for which every proportion is a count."""
    sizes = np.array(among, np.int64)
    for share, runs in shares:
        (a, b), (c, d) = share.lo.as_integer_ratio(), share.hi.as_integer_ratio()
        if max(abs(a), b, abs(c), d) * runs * int(sizes.max(initial=0)) < 2**62:
            total = runs * sizes
            sizes = sizes[np.maximum(-(-a * total // b), 0) <= np.minimum(c * total // d, total)]
        else:
            sizes = np.array([size for size in sizes.tolist() if possible_counts(share, runs * size)], np.int64)
    result: list[int] = sizes.tolist()
    return result


@dataclass(frozen=True)
class SizeFit:
    """Number of printed proportions that are counts out of a size, and the number expected by chance."""

    size: int
    consistent: int
    chance: float

    @property
    def surprise(self) -> float:
        """Consistent proportions beyond chance, in standard deviations."""
        return (self.consistent - self.chance) / sqrt(self.chance + 1)

    def __str__(self) -> str:
        return f"{self.size:,} gives {self.consistent} ({self.chance:.0f} by chance)"


def best_sizes(shares: Sequence[Share], among: range, near: int | None = None, most: int = 3) -> list[SizeFit]:
    """Return the sizes for which most proportions are counts, and the one furthest beyond chance."""
    tried = np.arange(among.start, among.stop, among.step, dtype=np.int64)
    consistent, chance = np.zeros(len(tried), np.int64), np.zeros(len(tried))
    for share, runs in shares:
        grid = 2**61 // (runs * among[-1])
        # Ends are rounded outwards to the grid, so that no possible count is lost.
        lo, hi = max(floor(share.lo * grid), 0), min(ceil(share.hi * grid), grid)
        if lo <= hi:
            consistent += -(-lo * runs * tried // grid) <= hi * runs * tried // grid
            chance += np.minimum(float(share.hi - share.lo) * runs * tried, 1.0)
    fits = [SizeFit(*values) for values in zip(tried.tolist(), consistent.tolist(), chance.tolist(), strict=True)]
    highest = [fit for fit in fits if fit.consistent == consistent.max()]
    named = sorted(highest, key=lambda fit: abs(fit.size - near) if near else fit.size)[:most]
    others = [fit for fit in fits if fit.size == near] if near else []
    return list(dict.fromkeys([*named, max(fits, key=lambda fit: fit.surprise), *others]))


def format_best_sizes(shares: Sequence[Share], among: range, near: int | None = None) -> str:
    """Format the sizes for which most proportions are counts, such as ``5,000 gives 34 (2 by chance)``."""
    return f"of {len(shares)}, " + ", ".join(map(str, best_sizes(shares, among, near)))


def nearest_sizes(shares: Sequence[Share], size: int, most: int = 3) -> list[int]:
    """Return the sizes nearest to ``size`` for which every proportion is a count, in rising order."""
    sizes: list[int] = []
    for step in range(1, size):
        sizes += sizes_giving(shares, (size - step, size + step))
        if len(sizes) >= most:
            break
    return sorted(sizes[:most])


def format_nearest_counts(share: PrintedNumber, size: int) -> str:
    """Format the two counts nearest to a proportion, such as ``635/748 = 0.84893, 636/748 = 0.85027``."""
    below = max(min(int(share.value * size), size - 1), 0)
    return ", ".join(format_quotient(k, size, share) for k in (below, below + 1))


def format_quotient(top: int, bottom: int, like: PrintedNumber) -> str:
    """Format a quotient of counts with enough digits to distinguish it from a printed number."""
    value = Fraction(top, bottom)
    more = next((more for more in (1, 2, 3) if abs(value - like.value) > like.step / 10**more), 3)
    return f"{top:,}/{bottom:,} = {format_value(value, like, more)}"


def format_nearest_quotients(top: Integers, bottom: Integers, like: PrintedNumber) -> str:
    """Format the quotients of counts nearest to a printed number, below and above it."""
    difference = top / bottom - float(like.value)
    sides = ((difference <= 0, -difference), (difference > 0, difference))
    picked = [int(np.flatnonzero(side)[np.argmin(distance[side])]) for side, distance in sides if side.any()]
    return ", ".join(format_quotient(int(top[k]), int(bottom[k]), like) for k in picked)


def fewest_runs(shares: Sequence[tuple[Range, int]], most: int = 10) -> int | None:
    """Return the fewest runs for which proportions, each of its own size, are all possible means, or None.

    Only numbers of runs are tried for which a proportion with these digits is still seldom possible by chance.
    """
    for runs in range(2, most + 1):
        if any((share.hi - share.lo) * runs * size > Fraction(1, 2) for share, size in shares):
            return None
        if all(possible_counts(share, runs * size) for share, size in shares):
            return runs
    return None


def runs_hint(shares: Sequence[tuple[Range, int]]) -> tuple[str, ...]:
    """Return a hint on the number of runs for which proportions, each of its own size, are possible means."""
    runs = fewest_runs(shares)
    if runs is None:
        return ()
    of = ", ".join(f"{runs} x {size:,}" for size in dict.fromkeys(size for _, size in shares))
    return (
        f"They are possible as means of {runs} runs, counts out of {of}; if they are such means, set runs: {runs}.",
    )


def harmonic_mean(first: Range, second: Range) -> Range:
    """Compute the range of harmonic means of two non-negative numbers; 0 if both are 0."""

    def mean(a: Fraction, b: Fraction) -> Fraction:
        return 2 * a * b / (a + b) if a + b else Fraction(0)

    return Range(mean(max(first.lo, Fraction(0)), max(second.lo, Fraction(0))), mean(first.hi, second.hi))


def check_averages(section: Averages, truncation: bool) -> Iterator[Finding]:
    """Check averaged precision, recall and F1 of each classifier."""
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        flaws = list(check_bounds(where, cells))
        yield from flaws or check_averaged_f1(where, cells, section.average, truncation)


def check_averaged_f1(where: str, cells: dict[str, PrintedNumber], average: str, truncation: bool) -> Iterator[Finding]:
    """Check an averaged F1 against averaged precision and recall.

    The harmonic mean H is concave, so by Jensen's inequality no mean of F1 over classes, weighted or not, nor over
    folds, exceeds H of the mean precision and the mean recall; F1 of those means and the micro average equal it. From
    below, F1 >= precision + recall - 1 holds for each class and hence for every mean.
    """
    if average == "micro":
        yield from _check_micro(where, cells, truncation)
    if not {"precision", "recall", "f1"} <= cells.keys():
        return
    p, r, f = (cells[name].range(truncation) for name in ("precision", "recall", "f1"))
    most = harmonic_mean(p, r).hi
    least = max(p.lo + r.lo - 1, Fraction(0))
    printed = f"precision {cells['precision']} and recall {cells['recall']}"
    if f.lo > most:
        mean = (cells["precision"].value + cells["recall"].value) / 2
        middle = f"their arithmetic mean, {format_value(mean, cells['f1'])}"
        above = f"above even {middle}" if f.lo > (p.hi + r.hi) / 2 else middle
        bound = f"at most {format_value(most, cells['f1'])} under any averaging"
        yield Finding(
            where,
            f"F1 {cells['f1']} is impossible with {printed}: {bound} ({above})",
            (
                format_harmonic_mean(cells),
                "A mean of F1 over classes or folds, weighted or not, never exceeds the harmonic mean of precision",
                "and recall averaged likewise; micro-F1 and F1 of the means equal it.",
            ),
        )
    elif f.hi < least:
        yield Finding(
            where,
            f"F1 {cells['f1']} is impossible with {printed}: "
            f"at least {format_value(least, cells['f1'])} under any averaging",
            (
                f"{cells['precision']} + {cells['recall']} - {'100%' if '%' in cells['f1'].text else 1} = "
                f"{format_value(cells['precision'].value + cells['recall'].value - 1, cells['f1'])}",
                "F1 >= precision + recall - 1 for each class, hence for every mean.",
            ),
        )


def _check_micro(where: str, cells: dict[str, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    names = [name for name in ("accuracy", "precision", "recall", "f1") if name in cells]
    ranges = [cells[name].range(truncation) for name in names]
    if ranges and not have_common_value(ranges):
        values = ", ".join(f"{name} {cells[name]}" for name in names)
        yield Finding(where, f"micro averages are all equal, but printed are {values}")


def check_class_f1(where: str, cells: dict[str, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    """Check F1 of one class against its precision and recall: it is their harmonic mean."""
    if not {"precision", "recall", "f1"} <= cells.keys():
        return
    p, r, f = (cells[name].range(truncation) for name in ("precision", "recall", "f1"))
    mean = harmonic_mean(p, r)
    if not f.meets(mean):
        yield Finding(
            where,
            f"F1 {cells['f1']} is inconsistent with precision {cells['precision']} and recall {cells['recall']}: "
            f"2pr/(p+r) is {format_range(mean, cells['f1'])}",
            (format_harmonic_mean(cells),),
        )


def format_harmonic_mean(cells: dict[str, PrintedNumber]) -> str:
    """Format the harmonic mean of printed precision and recall with its arithmetic."""
    p, r = cells["precision"], cells["recall"]
    mean = 2 * p.value * r.value / (p.value + r.value) if p.value + r.value else Fraction(0)
    return f"2 x {p} x {r} / ({p} + {r}) = {format_value(mean, cells['f1'], 2)}"


def check_bounds(where: str, cells: dict[str, PrintedNumber]) -> Iterator[Finding]:
    """Check that proportions are between 0 and 1."""
    for name, cell in cells.items():
        if not cell.range().meets(Range(Fraction(0), Fraction(1))):
            end = "100%" if "%" in cell.text else "1"
            yield Finding(
                where, f"{name} {cell} is not a proportion: it must be between 0 and {end}", percent_hint(cell)
            )


def percent_hint(cell: PrintedNumber) -> tuple[str, ...]:
    """Return a hint if a number without % looks like a percentage."""
    if "%" in cell.text or not 1 < cell.value <= 100:
        return ()
    return (f"If it is a percentage, write {cell}%, or set unit: '%' for the whole table.",)


def share_hint(cells: Iterable[PrintedNumber]) -> tuple[str, ...]:
    """Return a hint if all percentages look like proportions without %."""
    if all("%" in cell.text and cell.value <= Fraction(1, 100) for cell in cells):
        return ("All are at most 1%. If they are proportions between 0 and 1, write them without % and remove unit.",)
    return ()


_AT_MOST = 20_000


@dataclass(frozen=True)
class _Cell:
    """One printed proportion, and the number of runs it is averaged over."""

    name: str
    printed: PrintedNumber
    runs: int
    share: Share

    def fits(self, size: int) -> bool:
        return bool(possible_counts(self.share[0], self.runs * size))


def check_accuracies(section: Accuracies, truncation: bool) -> Iterator[Finding]:
    """Find proportions that are not counts out of the test set, and the sizes that explain all or most."""
    by_size: dict[Size | None, list[_Cell]] = {}
    for name, row in section.cells().items():
        own = section.count(name, "size")
        cells = by_size.setdefault(Size(own, own) if own else section.size, [])
        for column, cell in row.items():
            label, runs = f"{name}, {column}" if len(row) > 1 else name, section.runs_in(name, column)
            cells.append(_Cell(label, cell, runs, (cell.range(truncation), runs)))
    for size, cells in by_size.items():
        flaws = list(check_bounds(section.where, {cell.name: cell.printed for cell in cells}))
        yield from flaws
        if flaws or not cells:
            continue
        if size is None:
            yield from _check_unknown_size(section, cells)
        else:
            yield from _check_known_size(section, size, cells)


def _check_known_size(section: Accuracies, size: Size, cells: list[_Cell]) -> Iterator[Finding]:
    missing = {candidate: [cell for cell in cells if not cell.fits(candidate)] for candidate in size.all}
    best = min(missing, key=lambda candidate: len(missing[candidate]))
    missed = missing[best]
    if not missed:
        return
    figures = join_limited([f"{cell.printed} ({cell.name})" for cell in missed], 4)
    if len(missed) == 1:
        line = f"no count out of {_format_size(missed[0], size)} gives {figures}"
    else:
        line = f"{len(missed)} of {len(cells)} values are not counts out of {_format_size(missed[0], size)}: {figures}"
    details = dict.fromkeys(
        f"{cell.printed}: {format_nearest_counts(cell.printed, cell.runs * best)}" for cell in missed[:4]
    )
    hint = share_hint(cell.printed for cell in cells)
    yield Finding(section.where, line, (*details, *_suggest_sizes(section, cells, missed, best), *hint))


def _format_size(cell: _Cell, size: Size) -> str:
    return f"{size}" if cell.runs == 1 else f"{size} averaged over {cell.runs} runs"


def _suggest_sizes(section: Accuracies, cells: list[_Cell], missed: list[_Cell], size: int) -> Iterator[str]:
    most, shares = section.at_most or max(_AT_MOST, size), [cell.share for cell in cells]
    if len(cells) > 1:
        consistent = sizes_giving(shares, range(1, most + 1))
        named = ", ".join(f"{number:,}" for number in consistent[:3])
        if consistent:
            yield f"Sizes consistent with all {len(cells)}: {named}{' ...' if len(consistent) > 3 else ''}"
        else:
            best = format_best_sizes(shares, range(1, most + 1), size)
            yield f"No size up to {most:,} is consistent with all: {best}"
    else:
        named = ", ".join(f"{number:,}" for number in nearest_sizes(shares, size))
        yield f"The nearest consistent sizes: {named}" if named else "No size near it is consistent."
    if all(cell.runs == 1 for cell in missed):
        yield from runs_hint([(cell.share[0], size) for cell in missed])
    coarse = [
        str(short)
        for cell in missed
        if (short := cell.printed.coarser) and possible_counts(short.range(), cell.runs * size)
    ]
    if coarse:
        yield f"Possible with fewer digits: {join_limited(coarse)}"


def _check_unknown_size(section: Accuracies, cells: list[_Cell]) -> Iterator[Finding]:
    most, shares = section.at_most or _AT_MOST, [cell.share for cell in cells]
    consistent = sizes_giving(shares, range(1, most + 1))
    named = ", ".join(f"{number:,}" for number in consistent[:4])
    if consistent:
        line = f"all {len(cells)} values are counts out of {named}{' ...' if len(consistent) > 4 else ''}"
        yield Finding(section.where, line, impossible=False)
    else:
        # Without at_most, the test set may be larger.
        line = f"no test set of up to {most:,} samples is consistent with all {len(cells)} values"
        yield Finding(
            section.where,
            f"{line}: {format_best_sizes(shares, range(1, most + 1))}",
            impossible=section.at_most is not None,
        )


def check_ratios(section: Ratios, truncation: bool) -> Iterator[Finding]:
    """Check that class shares implied by negative-to-positive ratios sum to 1.

    With ratio r a class is 1 / (1 + r) of the samples; disjoint classes sum to 1, or to less if there are others.
    """
    total, parts = exact_range(0), []
    for name, cells in section.cells().items():
        share = exact_range(1) / (exact_range(1) + cells["ratio"].range(truncation))
        total += share
        parts.append(f"{name} 1/(1+{cells['ratio']}) = {float(1 / (1 + cells['ratio'].value)):.3f}")
    if total.lo > 1 or (section.every and total.hi < 1):
        middle = sum((1 / (1 + cells["ratio"].value) for cells in section.cells().values()), Fraction(0))
        yield Finding(
            section.where,
            f"negative-to-positive ratios make the classes {float(middle):.2f} of the samples, not "
            f"{'1' if section.every else 'at most 1'}",
            (", ".join(parts), f"With rounding: {float(total.lo):.3f} to {float(total.hi):.3f}."),
        )
