"""Figures of several classes at once: one set of counts must give them all.

A class with n samples, t of them found, m samples called by its name has recall t/n, precision t/m and F1 2t/(n+m).
What binds the classes together: sizes add up to the test set, correct ones to the accuracy, called ones to all, errors
of one class must land in others, and averages are averages.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from evenface.audit.counts import Integers, harmonic_mean, possible_counts
from evenface.audit.printed import PrintedNumber, Range


class UndecidedError(Exception):
    """The search was given up: nothing can be said."""


def choose(options: Sequence[Integers], bounds: Integers, budget: int = 6_000) -> list[int] | None:
    """Choose one option for each class so that all sums lie within their bounds."""
    order = sorted(range(len(options)), key=lambda k: len(options[k]))
    if any(len(option) == 0 for option in options):
        return None
    least, most = (np.zeros((len(order) + 1, len(bounds)), np.int64) for _ in range(2))
    for level in reversed(range(len(order))):
        least[level] = least[level + 1] + options[order[level]][:, :, 0].min(0)
        most[level] = most[level + 1] + options[order[level]][:, :, 1].max(0)
    middle, scale = bounds.sum(1) / 2, np.maximum(bounds[:, 1] - bounds[:, 0], 1).astype(float)
    left = budget

    def down(level: int, low: Integers, high: Integers) -> list[int] | None:
        nonlocal left
        if level == len(order):
            return []
        lows = options[order[level]][:, :, 0] + low
        highs = options[order[level]][:, :, 1] + high
        after = lows + least[level + 1], highs + most[level + 1]
        fits = np.flatnonzero(((after[0] <= bounds[:, 1]) & (after[1] >= bounds[:, 0])).all(1))
        off = np.abs((after[0][fits] + after[1][fits]) / 2 - middle) / scale
        for option in fits[np.argsort(off.max(1, initial=0), kind="stable")]:
            left -= 1
            if left < 0:
                raise UndecidedError
            rest = down(level + 1, lows[option], highs[option])
            if rest is not None:
                return [int(option), *rest]
        return None

    zero = np.zeros(len(bounds), np.int64)
    found = down(0, zero, zero)
    return None if found is None else [found[order.index(k)] for k in range(len(order))]


# Fractions are held between neighbours on this grid; far finer than any printed digit.
GRID = 10**9
MOST_OPTIONS = 200_000
Key = tuple[str, str]
Pick = Callable[[Integers], tuple[Integers, Integers]]


@dataclass(frozen=True)
class ClassFigures:
    """Printed figures of one classifier on one test set."""

    sizes: dict[str, Sequence[int]]
    total: range | None
    figures: dict[Key, PrintedNumber]
    average: str = "any"
    truncation: bool = False
    runs: int = 1

    def range(self, key: Key) -> Range | None:
        """Give the values that a printed number stands for; none where it is not printed."""
        return self.figures[key].range(self.truncation) if key in self.figures else None

    @property
    def calls(self) -> bool:
        """Whether numbers of called samples matter."""
        return self.runs == 1 and any(name in ("precision", "f1") for _, name in self.figures)


def class_counts(sheet: ClassFigures, name: str) -> Integers:
    """List (n, t, m) of one class, one a row, that give its own figures.

    m is 0 where nothing printed depends on it.
    """
    recall, precision, f1 = (sheet.range((name, figure)) for figure in ("recall", "precision", "f1"))
    others = sum(max(sizes) for other, sizes in sheet.sizes.items() if other != name)
    rows: list[tuple[int, int, int]] = []
    for n in sheet.sizes[name]:
        rest = min(others, sheet.total[-1] - n) if sheet.total else others
        for t in possible_counts(recall, n) if recall else range(n + 1):
            called = _possible_predictions(range(t, t + rest + 1), n, t, precision, f1) if sheet.calls else range(1)
            rows += [(n, t, m) for m in called]
            if len(rows) > MOST_OPTIONS:
                raise UndecidedError
    return np.array(rows, np.int64).reshape(-1, 3)


def _possible_predictions(among: range, n: int, t: int, precision: Range | None, f1: Range | None) -> Sequence[int]:
    lo, hi = among.start, among.stop - 1
    if t == 0:
        # F1 is 0; so is precision, which where nothing is called is not defined and printed as 0 or 1.
        if f1 is not None and 0 not in f1:
            return ()
        if precision is None or 0 in precision:
            return among
        return (0,) if 1 in precision else ()
    for share, taken in ((precision, 0), (f1, n)):
        if share is None:
            continue
        if share.hi <= 0:
            return ()
        top = t if taken == 0 else 2 * t
        lo = max(lo, ceil(top / share.hi) - taken)
        if share.lo > 0:
            hi = min(hi, floor(top / share.lo) - taken)
    return range(lo, hi + 1)


@dataclass(frozen=True)
class SumConstraint:
    """A sum over the classes that must lie in a range."""

    name: str
    part: Callable[[int, Integers], tuple[Integers, Integers]]
    lo: int
    hi: int


def _fraction(top: Integers, bottom: Integers) -> tuple[Integers, Integers]:
    """Put top / bottom between two points of the grid; 0 / 0 is 0."""
    safe = np.maximum(bottom, 1)
    low = top * GRID // safe
    return low, low + (top * GRID % safe != 0)


_FREE = 2**62


def _weighted(name: str, share: Range, pick: Pick) -> list[SumConstraint]:
    """Sum of n * share = N * printed, whatever N: two sums, held against both ends."""

    def above(_: int, rows: Integers) -> tuple[Integers, Integers]:
        low, high = pick(rows)
        return low - rows[:, 0] * ceil(share.lo * GRID), high - rows[:, 0] * floor(share.lo * GRID)

    def below(_: int, rows: Integers) -> tuple[Integers, Integers]:
        low, high = pick(rows)
        return low - rows[:, 0] * ceil(share.hi * GRID), high - rows[:, 0] * floor(share.hi * GRID)

    return [SumConstraint(name, above, 0, _FREE), SumConstraint(name, below, -_FREE, 0)]


def _macro(name: str, share: Range, classes: int, pick: Pick) -> list[SumConstraint]:
    return [
        SumConstraint(
            name, lambda _, rows: pick(rows), floor(share.lo * classes * GRID), ceil(share.hi * classes * GRID)
        )
    ]


def _exact(values: Integers) -> tuple[Integers, Integers]:
    return values, values


_PLAIN: dict[str, Pick] = {
    "recall": lambda rows: _fraction(rows[:, 1], rows[:, 0]),
    "precision": lambda rows: _fraction(rows[:, 1], rows[:, 2]),
    "f1": lambda rows: _fraction(2 * rows[:, 1], rows[:, 0] + rows[:, 2]),
}


def _times_size(figure: str) -> Pick:
    """Figure of a class times its samples; for recall that is a whole number."""

    def pick(rows: Integers) -> tuple[Integers, Integers]:
        if figure == "recall":
            return _exact(rows[:, 1] * GRID)
        low, high = _PLAIN[figure](rows)
        return low * rows[:, 0], high * rows[:, 0]

    return pick


def constraints(sheet: ClassFigures, average: str) -> list[SumConstraint]:
    """List what binds the classes together, with precision, recall and F1 of all averaged in one way.

    ``macro means`` and ``weighted means`` are F1 of averaged precision and recall: no sum over the classes.
    """
    classes, found = len(sheet.sizes), list[SumConstraint]()
    way, _, means = average.partition(" ")
    if sheet.total:
        found.append(SumConstraint("size", lambda _, rows: _exact(rows[:, 0]), sheet.total[0], sheet.total[-1]))
    if sheet.calls:
        found.append(SumConstraint("calls", lambda _, rows: _exact(rows[:, 2] - rows[:, 0]), 0, 0))
        found += [SumConstraint("errors", _errors_elsewhere(k), -_FREE, 0) for k in range(classes)]
    for name in ("accuracy", "mean", "precision", "recall", "f1"):
        share = sheet.range(("", name))
        if share is None or (name == "f1" and means) or (name in ("precision", "f1") and sheet.runs > 1):
            continue
        kind = {"accuracy": "micro", "mean": "macro"}.get(name, way)
        figure = "recall" if name in ("accuracy", "mean") or kind == "micro" else name
        if kind == "macro":
            found += _macro(name, share, classes, _PLAIN[figure])
        else:
            found += _weighted(name, share, _times_size(figure))
    return found


def _errors_elsewhere(k: int) -> Callable[[int, Integers], tuple[Integers, Integers]]:
    """Give the rule that samples wrongly called by one class come from the errors of the others."""

    def part(index: int, rows: Integers) -> tuple[Integers, Integers]:
        return _exact(rows[:, 2] - rows[:, 1] if index == k else rows[:, 1] - rows[:, 0])

    return part


def find_counts(bound: Iterable[SumConstraint], listed: Sequence[Integers]) -> list[tuple[int, int, int]] | None:
    """Find counts of each class that obey some rules."""
    chosen = list(bound)
    if any(len(rows) == 0 for rows in listed):
        return None
    if not chosen:
        return [tuple(rows[0].tolist()) for rows in listed]
    parts = []
    for k, rows in enumerate(listed):
        sums = [rule.part(k, rows) for rule in chosen]
        parts.append(np.stack([np.stack(one, axis=-1) for one in sums], axis=1))
    limits = np.array([[rule.lo, rule.hi] for rule in chosen], np.int64)
    found = choose(parts, limits)
    return None if found is None else [tuple(rows[i].tolist()) for rows, i in zip(listed, found, strict=True)]


def possible_averages(sheet: ClassFigures) -> tuple[str, ...]:
    """Ways in which figures of all classes may be averaged."""
    if not any(("", name) in sheet.figures for name in ("precision", "recall", "f1")):
        return ("macro",)
    ways: tuple[str, ...] = ("macro", "weighted", "micro") if sheet.average == "any" else (sheet.average,)
    p, r, f = (sheet.range(("", name)) for name in ("precision", "recall", "f1"))
    if f is not None and (p is None or r is None or f.meets(harmonic_mean(p, r))):
        ways += tuple(f"{way} means" for way in ways if way != "micro")
    return ways
