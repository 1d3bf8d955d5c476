"""One class against the rest: tables of hits, false alarms, misses and rejections that give printed figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from evenface.audit.averages import bounded
from evenface.audit.counts import hits
from evenface.audit.findings import Finding, listed
from evenface.audit.numbers import Printed, Range
from evenface.audit.schema import Binaries
from evenface.audit.search import Integers

# Each figure is a share of two sums of (tp, fp, fn, tn), given by their weights.
_FIGURES = {
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "precision": ((1, 0, 0, 0), (1, 1, 0, 0)),
    "recall": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "sensitivity": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "specificity": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "f1": ((2, 0, 0, 0), (2, 1, 1, 0)),
}
_MOST_WORK = 60_000_000


def binaries(section: Binaries, truncation: bool) -> Iterator[Finding]:
    """Find the problems that no table of counts solves, with all on one test set."""
    possible: dict[str, dict[int, Integers]] = {}
    wrong = False
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        ranges = {figure: cell.range(truncation) for figure, cell in cells.items()}
        flaws = list(bounded(where, {figure: cell for figure, cell in cells.items() if figure != "positives"}))
        found = {size: tables for size in section.size.all if len(tables := solutions(size, ranges))}
        if not found and not flaws:
            flaws = [_flaw(where, section, cells, ranges)]
        yield from flaws
        wrong = wrong or bool(flaws)
        possible[name] = found
    if wrong:
        return
    shared = [size for size in section.size.all if all(size in found for found in possible.values())]
    if section.exclusive:
        shared = [size for size in shared if _adds_up(size, [found[size] for found in possible.values()])]
    if not shared:
        what = f"{', '.join(possible)}: each could be, but no one test set of {section.size} samples gives all"
        more = ("Classes that exclude each other: their positives must add up to the test set.",)
        yield Finding(section.where, what, more if section.exclusive else ())
    elif len(shared) == 1 and len(possible) > 1:
        counts = {name: _positives(found[shared[0]]) for name, found in possible.items()}
        told = ", ".join(f"{name} {'-'.join(map(str, sorted({p[0], p[-1]})))}" for name, p in counts.items())
        yield Finding(
            section.where, f"all rows fit one test set of {shared[0]:,} samples; positives: {told}", cannot=False
        )


def solutions(size: int, ranges: Mapping[str, Range]) -> Integers:
    """List the tables (tp, fp, fn, tn) of a number of samples that give all figures.

    Parameters
    ----------
    size : int
        Number of samples.
    ranges : mapping of str to Range
        ``accuracy``, ``precision``, ``recall``, ``sensitivity``, ``specificity``, ``f1``, ``positives``; those known.

    Returns
    -------
    ndarray of shape (tables, 4), int64
        A share of nothing is taken as 0, or as 1, whichever fits. Too many tables to try count as one that fits.
    """
    return np.concatenate([np.empty((0, 4), np.int64), *_solutions(size, ranges)])


def _solutions(size: int, ranges: Mapping[str, Range]) -> Iterator[Integers]:
    """Give the tables that fit for each number of positives that has some."""
    positives = ranges["positives"].wholes() if "positives" in ranges else range(size + 1)
    hit, kept = (ranges.get("recall") or ranges.get("sensitivity")), ranges.get("specificity")
    work = 0
    for p in range(max(positives.start, 0), min(positives.stop, size + 1)):
        found, rejections = _counts(hit, p), _counts(kept, size - p)
        work += len(found) * len(rejections)
        if work > _MOST_WORK:
            yield np.full((1, 4), -1, np.int64)
            return
        if not found or not rejections:
            continue
        tp, tn = np.repeat(np.array(found), len(rejections)), np.tile(np.array(rejections), len(found))
        table = np.stack([tp, size - p - tn, p - tp, tn], axis=1)
        for figure, share in ranges.items():
            if figure != "positives" and len(table):
                top, bottom = (table @ np.array(weights) for weights in _FIGURES[figure])
                table = table[_within(top, bottom, share)]
        if len(table):
            yield table


def _solvable(sizes: Iterable[int], ranges: Mapping[str, Range]) -> bool:
    return any(next(_solutions(size, ranges), None) is not None for size in sizes)


def _counts(share: Range | None, of: int) -> range:
    return range(of + 1) if share is None or of == 0 else hits(share, of)


def _within(top: Integers, bottom: Integers, share: Range) -> np.ndarray:
    """Whether top / bottom lies in a range, in whole numbers; nothing of nothing is 0 or 1."""
    inside = (top * share.lo.denominator >= bottom * share.lo.numerator) & (
        top * share.hi.denominator <= bottom * share.hi.numerator
    )
    return np.where(bottom == 0, 0 in share or 1 in share, inside)


def _positives(tables: Integers) -> list[int]:
    return sorted(set((tables[:, 0] + tables[:, 2]).tolist()))


def _adds_up(size: int, tables: Sequence[Integers]) -> bool:
    """Whether positives of all classes, one choice each, can make the test set."""
    reached = {0}
    for rows in tables:
        if (rows < 0).any():
            return True
        reached = {before + p for before in reached for p in _positives(rows) if before + p <= size}
    return size in reached


def _flaw(where: str, section: Binaries, cells: dict[str, Printed], ranges: dict[str, Range]) -> Finding:
    """Say which figures exclude each other, and which sizes would let them be."""
    told = ", ".join(f"{figure} {cell}" for figure, cell in _smallest(section, cells, ranges).items())
    details = []
    near = _near(section.size.lo, section.size.hi, ranges)
    details.append(f"Sizes nearby that would: {', '.join(map(str, near))}" if near else "No size nearby would.")
    alone = [
        f"{figure} {cells[figure]}"
        for figure in ranges
        if _solvable(section.size.all, {k: v for k, v in ranges.items() if k != figure})
    ]
    if alone and len(ranges) > 1:
        details.append(f"Without one of these all others fit: {listed(alone)}")
    return Finding(where, f"no counts of {section.size} samples give {told}", tuple(details))


def _smallest(section: Binaries, cells: dict[str, Printed], ranges: dict[str, Range]) -> dict[str, Printed]:
    for count in range(1, len(cells)):
        for kept in combinations(cells, count):
            some = {figure: ranges[figure] for figure in kept}
            if not _solvable(section.size.all, some):
                return {figure: cells[figure] for figure in kept}
    return cells


def _near(lo: int, hi: int, ranges: Mapping[str, Range], most: int = 3) -> list[int]:
    found: list[int] = []
    for step in range(1, max(10, lo // 10)):
        found += [size for size in (lo - step, hi + step) if size > 0 and _solvable([size], ranges)]
        if len(found) >= most:
            break
    return sorted(found[:most])
