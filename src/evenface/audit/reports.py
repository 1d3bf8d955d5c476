"""Check multi-class tables: per-class recall, precision and F1, averages and accuracy, by a search for counts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

import numpy as np

from evenface.audit.confusion import check_matrix
from evenface.audit.counts import (
    Integers,
    Key,
    Share,
    best_sizes,
    check_averaged_f1,
    check_bounds,
    check_class_f1,
    format_best_sizes,
    format_nearest_counts,
    format_nearest_quotients,
    format_quotient,
    harmonic_mean,
    nearest_sizes,
    possible_counts,
    runs_hint,
    sizes_giving,
)
from evenface.audit.printed import (
    Finding,
    PrintedNumber,
    Range,
    Size,
    format_range,
    format_value,
    join_limited,
    mean_range,
)
from evenface.audit.schema import AVERAGED, Recalls, Report


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

    def part(end: Fraction, rows: Integers) -> tuple[Integers, Integers]:
        low, high = pick(rows)
        return low - rows[:, 0] * ceil(end * GRID), high - rows[:, 0] * floor(end * GRID)

    return [
        SumConstraint(name, lambda _, rows: part(share.lo, rows), 0, _FREE),
        SumConstraint(name, lambda _, rows: part(share.hi, rows), -_FREE, 0),
    ]


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


def check_reports(section: Report, truncation: bool) -> Iterator[Finding]:
    """Check one classifier's precision, recall and F1 of each class, with its confusion matrix if given."""
    overall = {name: cell for name in AVERAGED if (cell := getattr(section, name)) is not None}
    figures = {("", name): cell.percent() if section.unit else cell for name, cell in overall.items()}
    for name, row in section.cells().items():
        figures |= {(name, column): cell for column, cell in row.items()}
    flaws = [
        flaw for key, cell in figures.items() for flaw in check_bounds(section.where, {" ".join(key).strip(): cell})
    ]
    if flaws:
        yield from flaws
        return
    if section.matrix is not None:
        yield from check_matrix(section, figures, truncation)
        return
    known: dict[str, Sequence[int]] = {name: size.all for name, size in section.classes.items() if size}
    sheet = _class_figures(section, known, figures, truncation, section.runs_of(""))
    yield from _check_total(section)
    yield from _check_figures(section.where, sheet)


def check_recalls(section: Recalls, truncation: bool) -> Iterator[Finding]:
    """Check recalls of each class and their averages, one classifier per row, all on one test set."""
    rows = section.cells()
    flaws = [flaw for row, cells in rows.items() for flaw in check_bounds(f"{section.where}, {row}", cells)]
    if flaws:
        yield from flaws
        return
    known: dict[str, Sequence[int]] = {}
    for name, size in section.classes.items():
        among = size.all if size else range(1, section.size.hi + 1) if section.size else None
        if among is None:
            continue
        known[name] = among
        column = {row: cells[name] for row, cells in rows.items() if name in cells}
        if len(among) > 1 and column:
            shares = {row: (cell.range(truncation), section.runs_of(row)) for row, cell in column.items()}
            sizes = sizes_giving(shares.values(), among)
            if not sizes:
                recalls = ", ".join(map(str, column.values()))
                line = f"no class of {among[0]:,} to {among[-1]:,} samples has recalls {recalls}"
                yield Finding(f"{section.where}, {name}", line, tuple(_suggest_sizes(column, shares, among)))
            else:
                yield from _remark_outlier(f"{section.where}, {name}", column, shares, sizes, among)
                known[name] = sizes
    if section.size and sum(known[name][0] for name in known) > section.size.hi:
        terms = " + ".join(f"{known[name][0]:,} {name}" for name in known)
        yield Finding(
            section.where,
            f"the smallest classes consistent with their recalls have together more than {section.size} samples",
            (f"{terms} = {sum(known[name][0] for name in known):,}",),
        )
        known = {name: size.all for name, size in section.classes.items() if size}
    yield from _check_total(section)
    for row, cells in rows.items():
        figures: dict[Key, PrintedNumber] = {
            ("", name) if name in AVERAGED else (name, "recall"): cell for name, cell in cells.items()
        }
        sheet = _class_figures(section, known, figures, truncation, section.runs_of(row))
        yield from _check_figures(f"{section.where}, {row}", sheet)


def _suggest_sizes(column: dict[str, PrintedNumber], shares: Mapping[str, Share], among: range) -> Iterator[str]:
    """Describe the sizes consistent with most recalls of a class, and the nearest counts for another recall."""
    yield format_best_sizes(list(shares.values()), among).capitalize()
    size = best_sizes(list(shares.values()), among)[0].size
    row = next(row for row, (share, runs) in shares.items() if not possible_counts(share, runs * size))
    yield f"{column[row]} ({row}): {format_nearest_counts(column[row], shares[row][1] * size)}"


def _remark_outlier(
    where: str, column: dict[str, PrintedNumber], shares: Mapping[str, Share], sizes: list[int], among: range
) -> Iterator[Finding]:
    """Remark on a recall without which a much smaller class would be consistent with all others."""
    for row in column:
        rest = [share for name, share in shares.items() if name != row]
        without = sizes_giving(rest, range(among[0], sizes[0]))
        if without and 5 * without[0] <= sizes[0]:
            line = (
                f"all recalls of this class together need at least {sizes[0]:,} samples; without {column[row]} ({row}) "
            )
            yield Finding(where, f"{line}{without[0]} suffice", impossible=False)


def _class_figures(
    section: Recalls | Report,
    known: dict[str, Sequence[int]],
    figures: dict[Key, PrintedNumber],
    truncation: bool,
    runs: int,
) -> ClassFigures:
    total = section.size.all if section.size else None
    every = {name: known.get(name) or (range(1, total[-1] + 1) if total else range(0)) for name in section.classes}
    if all(len(sizes) for sizes in every.values()):
        least, most = (sum(sizes[end] for sizes in every.values()) for end in (0, -1))
        if total is None or least > total[-1] or most < total[0]:
            total = range(least, most + 1)
    if runs > 1:
        every = {name: [runs * size for size in sizes] for name, sizes in every.items()}
        total = total and range(runs * total[0], runs * total[-1] + 1, runs)
    return ClassFigures(every, total, figures, section.average, truncation, runs)


def _check_total(section: Recalls | Report) -> Iterator[Finding]:
    known = [size for size in section.classes.values() if size]
    if section.size and len(known) == len(section.classes):
        total = Size(sum(size.lo for size in known), sum(size.hi for size in known))
        if total.lo > section.size.hi or total.hi < section.size.lo:
            terms = " + ".join(map(str, known))
            yield Finding(section.where, f"class counts {terms} = {total}, printed are {section.size} samples")


def _check_figures(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Check numbers one by one, then in pairs; all jointly only if these are consistent."""
    findings: list[Finding] = []
    for name in sheet.sizes:
        cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
        class_where = f"{where}, {name}"
        # A mean of F1 over runs is bounded by mean precision and recall like an average over classes.
        several = sheet.runs > 1
        findings += (
            check_averaged_f1(class_where, cells, "any", sheet.truncation)
            if several
            else check_class_f1(class_where, cells, sheet.truncation)
        )
    overall = {figure: cell for (of, figure), cell in sheet.figures.items() if not of}
    findings += check_averaged_f1(where, overall, sheet.average, sheet.truncation)
    weighted = list(_check_weighted_recall(where, sheet))
    findings += [
        *_check_recall_counts(where, sheet),
        *_check_mean_recall(where, sheet),
        *(weighted or _check_accuracy(where, sheet)),
    ]
    if not findings and all(len(sizes) for sizes in sheet.sizes.values()):
        findings += _check_jointly(where, sheet)
    yield from findings


def _check_recall_counts(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Find recalls that are not counts out of their class, as one finding."""
    missed = {}
    for name, possible in sheet.sizes.items():
        share = sheet.range((name, "recall"))
        if share is not None and len(possible) and not any(possible_counts(share, size) for size in possible):
            missed[name] = Size(possible[0], possible[-1])
    if not missed:
        return
    cells = {name: sheet.figures[name, "recall"] for name in missed}
    if len(missed) == 1:
        name, size = next(iter(missed.items()))
        line = f"no count out of {size} samples{_in_runs(sheet)} gives recall {cells[name]} of {name}"
    else:
        line = f"{len(missed)} recalls are not counts out of their class{_in_runs(sheet)}: "
        line += join_limited([f"{name} {cells[name]} of {size}" for name, size in missed.items()])
    details = []
    for name, size in missed.items():
        share = cells[name].range(sheet.truncation)
        would = nearest_sizes([(share, 1)], size.lo, 2)
        more = f"; nearest consistent sizes: {', '.join(map(str, would))}" if would else ""
        short = cells[name].coarser
        if short and possible_counts(short.range(sheet.truncation), size.lo):
            more += f"; possible with fewer digits: {short}"
        details.append(f"{name}: {format_nearest_counts(cells[name], size.lo)}{more}")
    details += _as_runs(sheet, [(cells[name], size.lo) for name, size in missed.items()])
    yield Finding(where, line, tuple(details))


def _in_runs(sheet: ClassFigures) -> str:
    return f" over {sheet.runs} runs" if sheet.runs > 1 else ""


def _as_runs(sheet: ClassFigures, missed: Sequence[tuple[PrintedNumber, int]]) -> tuple[str, ...]:
    """Return a hint on the number of runs for which proportions are possible means."""
    return runs_hint([(cell.range(sheet.truncation), size) for cell, size in missed]) if sheet.runs == 1 else ()


def _check_accuracy(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    cell, share = sheet.figures.get(("", "accuracy")), sheet.range(("", "accuracy"))
    if (
        cell is None
        or share is None
        or sheet.total is None
        or any(possible_counts(share, size) for size in sheet.total)
    ):
        return
    size = Size(sheet.total[0], sheet.total[-1])
    would = ", ".join(f"{number:,}" for number in nearest_sizes([(share, 1)], size.lo, 3))
    yield Finding(
        where,
        f"no count out of {size} samples{_in_runs(sheet)} gives accuracy {cell}",
        (
            format_nearest_counts(cell, size.lo),
            f"The nearest consistent sizes: {would}",
            *_as_runs(sheet, [(cell, size.lo)]),
        ),
    )


def _recall_ranges(sheet: ClassFigures) -> dict[str, Range]:
    return {name: share for name in sheet.sizes if (share := sheet.range((name, "recall")))}


def _check_mean_recall(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    cell, ranges = sheet.figures.get(("", "mean")), _recall_ranges(sheet)
    if cell is None or len(ranges) < len(sheet.sizes):
        return
    mean = mean_range(list(ranges.values()))
    if not mean.meets(cell.range(sheet.truncation)):
        terms = " + ".join(str(sheet.figures[name, "recall"]) for name in ranges)
        yield Finding(
            where,
            f"the mean of the {len(ranges)} printed recalls is {format_range(mean, cell)}, printed is {cell}",
            (f"({terms}) / {len(ranges)} = {_middle(mean, cell)}",),
        )


def _middle(values: Range, like: PrintedNumber) -> str:
    return format_value((values.lo + values.hi) / 2, like)


def _check_weighted_recall(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Check the accuracy against the recalls, weighted by class sizes of which only ranges may be known.

    Weights w with sum w r = a sum w exist if and only if 0 is between the minimum and maximum of sum w (r - a).
    """
    cell, ranges = sheet.figures.get(("", "accuracy")), _recall_ranges(sheet)
    if cell is None or len(ranges) < len(sheet.sizes):
        return
    ends = {name: (sizes[0], sizes[-1]) if len(sizes) else (0, 1) for name, sizes in sheet.sizes.items()}
    share = cell.range(sheet.truncation)
    most = sum((max(n * (ranges[name].hi - share.lo) for n in ends[name]) for name in ends), Fraction(0))
    least = sum((min(n * (ranges[name].lo - share.hi) for n in ends[name]) for name in ends), Fraction(0))
    if least <= 0 <= most:
        return
    if all(lo == hi for lo, hi in ends.values()):
        total = sum(lo for lo, _ in ends.values())
        low = sum((ends[name][0] * ranges[name].lo for name in ends), Fraction(0)) / total
        high = sum((ends[name][0] * ranges[name].hi for name in ends), Fraction(0)) / total
        terms = " + ".join(f"{ends[name][0]:,} x {sheet.figures[name, 'recall']}" for name in ends)
        line = f"recalls weighted by the class counts give an accuracy of {format_range(Range(low, high), cell)}"
        yield Finding(
            where, f"{line}, printed is {cell}", (f"({terms}) / {total:,} = {_middle(Range(low, high), cell)}",)
        )
    else:
        low, high = min(share.lo for share in ranges.values()), max(share.hi for share in ranges.values())
        line = f"no class counts weight the recalls, {format_range(Range(low, high), cell)}, to an accuracy of {cell}"
        recalls = ", ".join(
            f"{sheet.figures[name, 'recall']} of {Size(*ends[name]) if ends[name][0] else 'any number'}"
            for name in ends
        )
        yield Finding(where, line, (f"Recalls and possible class sizes: {recalls}",))


def _check_jointly(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Search for counts that are consistent with all printed numbers at once."""
    listed_options: list[Integers] = []
    for name in sheet.sizes:
        try:
            listed_options.append(class_counts(sheet, name))
        except UndecidedError:
            continue
        if len(listed_options[-1]) == 0:
            yield _no_counts(where, sheet, name)
            return
    if len(listed_options) < len(sheet.sizes) or not _impossible(sheet, listed_options):
        return
    smallest = _smallest(constraints(sheet, possible_averages(sheet)[0]), lambda kept: _fails(kept, listed_options))
    rules = join_limited([_RULES[name] for name in dict.fromkeys(rule.name for rule in smallest)])
    alone = [_format_figure(key, cell) for key, cell in sheet.figures.items() if _possible_without(sheet, key)]
    details = [f"Inconsistent together: per-class values, {rules}."]
    details += _near_counts(sheet, [key for key in sheet.figures if _format_figure(key, sheet.figures[key]) in alone])
    if alone:
        details.append(f"Consistent without one of: {join_limited(alone)}")
    yield Finding(where, "each value is possible, but no set of counts gives all of them", tuple(details))


_RULES = {
    "size": "the number of samples",
    "calls": "as many predictions as samples",
    "errors": "false positives among errors of other classes",
    "accuracy": "the accuracy",
    "mean": "the mean recall",
    "precision": "the averaged precision",
    "recall": "the averaged recall",
    "f1": "the averaged F1",
}


def _no_counts(where: str, sheet: ClassFigures, name: str) -> Finding:
    cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
    values = ", ".join(f"{figure} {cell}" for figure, cell in cells.items())
    size = Size(sheet.sizes[name][0], sheet.sizes[name][-1])
    line = f"no integer counts with {size} samples of this class give {values} together"
    return Finding(f"{where}, {name}", line, tuple(_near_figures(sheet, name, cells)))


def _near_figures(sheet: ClassFigures, name: str, cells: dict[str, PrintedNumber]) -> Iterator[str]:
    """Describe for each metric of a class the nearest values that are consistent with the others."""
    for figure, cell in cells.items():
        fewer = replace(sheet, figures={key: value for key, value in sheet.figures.items() if key != (name, figure)})
        # Keeps numbers of predictions in the search.
        try:
            rows = class_counts(replace(fewer, figures=fewer.figures | {("", "f1"): cell}), name)
        except UndecidedError:
            continue
        n, t, m = rows[:, 0], rows[:, 1], rows[:, 2]
        top, bottom = {"recall": (t, n), "precision": (t, m), "f1": (2 * t, n + m)}[figure]
        if (bottom > 0).any():
            nearest = format_nearest_quotients(top[bottom > 0], bottom[bottom > 0], cell)
            yield f"{figure} {cell}: with the others it is {nearest}"


def _format_figure(key: Key, cell: PrintedNumber) -> str:
    name, figure = key
    return f"{name} {figure} {cell}".strip()


def _impossible(sheet: ClassFigures, counts: Sequence[Integers]) -> bool:
    return all(_fails(constraints(sheet, average), counts) for average in possible_averages(sheet))


def _fails(bound: Sequence[SumConstraint], counts: Sequence[Integers]) -> bool:
    try:
        return find_counts(bound, counts) is None
    except UndecidedError:
        return False


def _smallest(bound: list[SumConstraint], fails: Callable[[list[SumConstraint]], bool]) -> list[SumConstraint]:
    """Remove rules while the rest is still inconsistent."""
    for name in dict.fromkeys(rule.name for rule in bound):
        fewer = [rule for rule in bound if rule.name != name]
        if fails(fewer):
            bound = fewer
    return bound


def _possible_without(sheet: ClassFigures, key: Key) -> bool:
    fewer = replace(sheet, figures={other: cell for other, cell in sheet.figures.items() if other != key})
    return _counts_of(fewer) is not None


def _counts_of(sheet: ClassFigures) -> list[tuple[int, int, int]] | None:
    """Return counts of each class consistent with all numbers, or None."""
    try:
        options = [class_counts(sheet, name) for name in sheet.sizes]
        solved = (find_counts(constraints(sheet, average), options) for average in possible_averages(sheet))
        return next((counts for counts in solved if counts is not None), None)
    except UndecidedError:
        return None


def _near_counts(sheet: ClassFigures, alone: Sequence[Key]) -> Iterator[str]:
    """Describe counts consistent with all numbers but one, for which they give a value near the printed one."""
    for key in sorted(alone, key=lambda key: bool(key[0]))[:1]:
        cell = sheet.figures[key]
        counts = None
        for wider in range(1, 24):
            step = (cell.step or Fraction(1, 10**9)) * 2**wider
            counts = _counts_of(replace(sheet, figures=sheet.figures | {key: replace(cell, step=step)}))
            if counts is not None:
                break
        if counts is None:
            return
        listed = ", ".join(
            f"{name} {t:,} of {n:,}" + (f", {m:,} predicted" if sheet.calls else "")
            for name, (n, t, m) in zip(sheet.sizes, counts, strict=True)
        )
        yield f"Nearest counts: {listed}: {_format_figure(key, cell)} would be {_value(key, sheet, counts)}"


def _value(key: Key, sheet: ClassFigures, counts: Sequence[tuple[int, int, int]]) -> str:
    name, figure = key
    cell = sheet.figures[key]
    quotients = {
        "recall": [(t, n) for n, t, _ in counts],
        "precision": [(t, m) for _, t, m in counts],
        "f1": [(2 * t, n + m) for n, t, m in counts],
    }
    if name:
        return format_quotient(*quotients[figure][list(sheet.sizes).index(name)], cell)
    if figure == "accuracy":
        return format_quotient(sum(t for _, t, _ in counts), sum(n for n, _, _ in counts), cell)
    pairs = quotients["recall" if figure == "mean" else figure]
    parts = [Fraction(top, bottom) if bottom else Fraction(0) for top, bottom in pairs]
    weights = [n if sheet.average == "weighted" and figure != "mean" else 1 for n, _, _ in counts]
    mean = sum((part * weight for part, weight in zip(parts, weights, strict=True)), Fraction(0)) / sum(weights)
    return f"the mean of {', '.join(format_value(part, cell) for part in parts)}, that is {format_value(mean, cell, 2)}"
