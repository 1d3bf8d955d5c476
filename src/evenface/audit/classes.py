"""Search for counts of several classes that are jointly consistent with all printed metrics.

A class with n samples, t true positives and m predictions has recall t/n, precision t/m and F1 2t/(n+m). Constraints
over classes: sizes sum to the test set, true positives to the accuracy, predictions to all samples, false positives of
a class are errors of others, and averages are those of the classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from evenface.audit.counts import Integers, harmonic_mean, possible_counts
from evenface.audit.printed import PrintedNumber, Range


class UndecidedError(Exception):
    """The search exceeded its budget without a result."""


def choose(options: Sequence[Integers], bounds: Integers, budget: int = 6_000) -> list[int] | None:
    """Choose one option per class so that all sums are within their bounds."""
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
    chosen = down(0, zero, zero)
    return None if chosen is None else [chosen[order.index(k)] for k in range(len(order))]


# Fractions are enclosed by neighbours on this grid, which is much finer than any printed digit.
GRID = 10**9
MOST_OPTIONS = 200_000
Key = tuple[str, str]
Pick = Callable[[Integers], tuple[Integers, Integers]]


@dataclass(frozen=True)
class ClassFigures:
    """Printed metrics of one classifier on one test set."""

    sizes: dict[str, Sequence[int]]
    total: range | None
    figures: dict[Key, PrintedNumber]
    average: str = "any"
    truncation: bool = False
    runs: int = 1

    def range(self, key: Key) -> Range | None:
        """Return the range of a printed number; None if it is not printed."""
        return self.figures[key].range(self.truncation) if key in self.figures else None

    @property
    def calls(self) -> bool:
        """Return whether numbers of predictions matter."""
        return self.runs == 1 and any(name in ("precision", "f1") for _, name in self.figures)


def class_counts(sheet: ClassFigures, name: str) -> Integers:
    """Return (n, t, m) of one class, one per row, that are consistent with its own metrics.

    m is 0 if no printed number depends on it.
    """
    recall, precision, f1 = (sheet.range((name, figure)) for figure in ("recall", "precision", "f1"))
    others = sum(max(sizes) for other, sizes in sheet.sizes.items() if other != name)
    rows: list[tuple[int, int, int]] = []
    for n in sheet.sizes[name]:
        rest = min(others, sheet.total[-1] - n) if sheet.total else others
        for t in possible_counts(recall, n) if recall else range(n + 1):
            predictions = (
                _possible_predictions(range(t, t + rest + 1), n, t, precision, f1) if sheet.calls else range(1)
            )
            rows += [(n, t, m) for m in predictions]
            if len(rows) > MOST_OPTIONS:
                raise UndecidedError
    return np.array(rows, np.int64).reshape(-1, 3)


def _possible_predictions(among: range, n: int, t: int, precision: Range | None, f1: Range | None) -> Sequence[int]:
    lo, hi = among.start, among.stop - 1
    if t == 0:
        # F1 is 0; so is precision, which without predictions is undefined and printed as 0 or 1.
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
    """A sum over classes that must be within a range."""

    name: str
    part: Callable[[int, Integers], tuple[Integers, Integers]]
    lo: int
    hi: int


def _fraction(top: Integers, bottom: Integers) -> tuple[Integers, Integers]:
    """Enclose top / bottom by two points of the grid; 0 / 0 is 0."""
    safe = np.maximum(bottom, 1)
    low = top * GRID // safe
    return low, low + (top * GRID % safe != 0)


_FREE = 2**62


def _weighted(name: str, share: Range, pick: Pick) -> list[SumConstraint]:
    """Return constraints for sum of n * share = N * printed for any N, one for each end of the range."""

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
    """Return the metric of a class times its samples; an integer for recall."""

    def pick(rows: Integers) -> tuple[Integers, Integers]:
        if figure == "recall":
            return _exact(rows[:, 1] * GRID)
        low, high = _PLAIN[figure](rows)
        return low * rows[:, 0], high * rows[:, 0]

    return pick


def constraints(sheet: ClassFigures, average: str) -> list[SumConstraint]:
    """Return the constraints over classes for one kind of average of precision, recall and F1.

    ``macro means`` and ``weighted means`` are F1 of averaged precision and recall: not sums over classes.
    """
    classes, result = len(sheet.sizes), list[SumConstraint]()
    base, _, means = average.partition(" ")
    if sheet.total:
        result.append(SumConstraint("size", lambda _, rows: _exact(rows[:, 0]), sheet.total[0], sheet.total[-1]))
    if sheet.calls:
        result.append(SumConstraint("calls", lambda _, rows: _exact(rows[:, 2] - rows[:, 0]), 0, 0))
        result += [SumConstraint("errors", _errors_elsewhere(k), -_FREE, 0) for k in range(classes)]
    for name in ("accuracy", "mean", "precision", "recall", "f1"):
        share = sheet.range(("", name))
        if share is None or (name == "f1" and means) or (name in ("precision", "f1") and sheet.runs > 1):
            continue
        kind = {"accuracy": "micro", "mean": "macro"}.get(name, base)
        figure = "recall" if name in ("accuracy", "mean") or kind == "micro" else name
        if kind == "macro":
            result += _macro(name, share, classes, _PLAIN[figure])
        else:
            result += _weighted(name, share, _times_size(figure))
    return result


def _errors_elsewhere(k: int) -> Callable[[int, Integers], tuple[Integers, Integers]]:
    """Return the sum by which false positives of a class are at most the errors of the others."""

    def part(index: int, rows: Integers) -> tuple[Integers, Integers]:
        return _exact(rows[:, 2] - rows[:, 1] if index == k else rows[:, 1] - rows[:, 0])

    return part


def find_counts(bound: Iterable[SumConstraint], listed: Sequence[Integers]) -> list[tuple[int, int, int]] | None:
    """Find counts of each class that satisfy all constraints."""
    chosen = list(bound)
    if any(len(rows) == 0 for rows in listed):
        return None
    if not chosen:
        return [tuple(rows[0].tolist()) for rows in listed]
    parts = []
    for k, rows in enumerate(listed):
        sums = [rule.part(k, rows) for rule in chosen]
        parts.append(np.stack([np.stack(bounds, axis=-1) for bounds in sums], axis=1))
    limits = np.array([[rule.lo, rule.hi] for rule in chosen], np.int64)
    options = choose(parts, limits)
    return None if options is None else [tuple(rows[i].tolist()) for rows, i in zip(listed, options, strict=True)]


def possible_averages(sheet: ClassFigures) -> tuple[str, ...]:
    """Return the possible kinds of averages over classes."""
    if not any(("", name) in sheet.figures for name in ("precision", "recall", "f1")):
        return ("macro",)
    averages: tuple[str, ...] = ("macro", "weighted", "micro") if sheet.average == "any" else (sheet.average,)
    p, r, f = (sheet.range(("", name)) for name in ("precision", "recall", "f1"))
    if f is not None and (p is None or r is None or f.meets(harmonic_mean(p, r))):
        averages += tuple(f"{name} means" for name in averages if name != "micro")
    return averages
