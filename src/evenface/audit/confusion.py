"""Check metrics against confusion matrices: of binary problems by search, of several classes as printed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations
from math import ceil, floor

import numpy as np

from evenface.audit.counts import (
    Integers,
    Key,
    check_averaged_f1,
    check_bounds,
    format_nearest_quotients,
    format_quotient,
    harmonic_mean,
    possible_counts,
)
from evenface.audit.printed import Finding, PrintedNumber, Range, exact_range, format_value, join_limited
from evenface.audit.schema import Binaries, Report

# Each metric is a quotient of two sums of (tp, fp, fn, tn), given by their weights.
_FIGURES = {
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "precision": ((1, 0, 0, 0), (1, 1, 0, 0)),
    "recall": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "sensitivity": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "specificity": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "f1": ((2, 0, 0, 0), (2, 1, 1, 0)),
}
_MOST_WORK = 60_000_000


def check_binaries(section: Binaries, truncation: bool) -> Iterator[Finding]:
    """Find problems without consistent counts, alone or all on one test set."""
    possible: dict[str, dict[int, Integers]] = {}
    inconsistent = False
    for name, cells in section.cells().items():
        where, runs = f"{section.where}, {name}", section.runs_of(name)
        flaws = list(check_bounds(where, {figure: cell for figure, cell in cells.items() if figure != "positives"}))
        if runs > 1:
            # Means over runs of quotients with varying denominators are only checked against bounds.
            flaws = flaws or list(check_averaged_f1(where, _with_recall(cells), "any", truncation))
            cells = {figure: cell for figure, cell in cells.items() if figure not in ("precision", "f1")}
        ranges = {figure: cell.range(truncation) for figure, cell in cells.items()}
        solved = {size: tables for size in section.size.all if len(tables := solutions(size, ranges, runs))}
        if not solved and not flaws:
            flaws = [_contradiction(where, section, _BinaryFigures(cells, ranges, runs))]
        yield from flaws
        inconsistent = inconsistent or bool(flaws)
        possible[name] = solved
    if inconsistent:
        return
    shared = [size for size in section.size.all if all(size in solved for solved in possible.values())]
    if section.exclusive:
        shared = [size for size in shared if _sums_to_size(size, [solved[size] for solved in possible.values()])]
    if not shared:
        what = (
            f"{', '.join(possible)}: each is possible, but no test set of {section.size} samples is consistent with all"
        )
        yield Finding(section.where, what, tuple(_check_shared_test_set(section, possible)))
    elif len(shared) == 1 and len(possible) > 1 and not (section.size.known and "positives" in section.columns):
        counts = {name: _positives(solved[shared[0]]) for name, solved in possible.items()}
        positives = ", ".join(f"{name} {'-'.join(map(str, sorted({p[0], p[-1]})))}" for name, p in counts.items())
        yield Finding(
            section.where,
            f"all rows are consistent with one test set of {shared[0]:,} samples; positives: {positives}",
            impossible=False,
        )


def _check_shared_test_set(section: Binaries, possible: dict[str, dict[int, Integers]]) -> Iterator[str]:
    """Describe the test set consistent with most rows, and positives that do not sum to it."""
    rows = {size: [name for name, solved in possible.items() if size in solved] for size in section.size.all}
    most = max(map(len, rows.values()))
    if most < len(possible):
        best = [size for size, names in rows.items() if len(names) == most]
        missing = ", ".join(name for name in possible if name not in rows[best[0]])
        sizes = join_limited([f"{size:,}" for size in best])
        yield f"{sizes} are consistent with {most} of {len(possible)} rows: {best[0]:,} with all but {missing}"
        return
    size = next(size for size, names in rows.items() if len(names) == most)
    ends = {name: _positives(solved[size]) for name, solved in possible.items()}
    terms = " + ".join(f"{p[0]}{f' to {p[-1]}' if p[-1] > p[0] else ''} ({name})" for name, p in ends.items())
    yield "For disjoint classes, positives must sum to the test set."
    yield f"{terms} = {sum(p[0] for p in ends.values())} to {sum(p[-1] for p in ends.values())}, not {size:,}"


def solutions(size: int, ranges: Mapping[str, Range], runs: int = 1) -> Integers:
    """Return the tables (tp, fp, fn, tn) of a number of samples that are consistent with all metrics."""
    return np.concatenate([np.empty((0, 4), np.int64), *_solutions(size, ranges, runs)])


def _solutions(size: int, ranges: Mapping[str, Range], runs: int = 1) -> Iterator[Integers]:
    """Yield the consistent tables for each number of positives that has any."""
    positives = ranges["positives"].integers() if "positives" in ranges else range(size + 1)
    recall, specificity = (ranges.get("recall") or ranges.get("sensitivity")), ranges.get("specificity")
    work = 0
    for p in range(max(positives.start, 0), min(positives.stop, size + 1)):
        true_positives, true_negatives = _counts(recall, runs * p), _counts(specificity, runs * (size - p))
        if "accuracy" in ranges and true_positives and true_negatives:
            # Skip counts that no counts of the other class complete to the accuracy.
            correct = possible_counts(ranges["accuracy"], runs * size)
            ends = true_positives[0], true_positives[-1], true_negatives[0], true_negatives[-1]
            true_positives = range(max(ends[0], correct.start - ends[3]), min(ends[1], correct.stop - 1 - ends[2]) + 1)
            true_negatives = range(max(ends[2], correct.start - ends[1]), min(ends[3], correct.stop - 1 - ends[0]) + 1)
        work += len(true_positives) * len(true_negatives)
        if work > _MOST_WORK:
            yield np.full((1, 4), -1, np.int64)
            return
        if not true_positives or not true_negatives:
            continue
        tp = np.repeat(np.array(true_positives), len(true_negatives))
        tn = np.tile(np.array(true_negatives), len(true_positives))
        table = np.stack([tp, runs * (size - p) - tn, runs * p - tp, tn], axis=1)
        for figure, share in ranges.items():
            if figure != "positives" and len(table):
                top, bottom = (table @ np.array(weights) for weights in _FIGURES[figure])
                table = table[_in_range(top, bottom, share, runs * size)]
        if len(table):
            yield table


def _solvable(sizes: Iterable[int], ranges: Mapping[str, Range], runs: int) -> bool:
    return any(next(_solutions(size, ranges, runs), None) is not None for size in sizes)


def _counts(share: Range | None, of: int) -> range:
    return range(of + 1) if share is None or of == 0 else possible_counts(share, of)


def _in_range(top: Integers, bottom: Integers, share: Range, size: int) -> np.ndarray:
    """Return whether top / bottom is in a range; 0 / 0 may be 0 or 1."""
    # Ends are rounded outwards to a grid on which every product fits 64-bit integers.
    grid = 2**61 // max(2 * size, 1)
    lo, hi = max(floor(share.lo * grid), 0), min(ceil(share.hi * grid), 2 * grid)
    inside = (top * grid >= bottom * lo) & (top * grid <= bottom * hi)
    return np.where(bottom == 0, 0 in share or 1 in share, inside)


def _positives(tables: Integers) -> list[int]:
    return sorted(set((tables[:, 0] + tables[:, 2]).tolist()))


def _sums_to_size(size: int, tables: Sequence[Integers]) -> bool:
    """Return whether positives of all classes can sum to the test set."""
    reached = {0}
    for rows in tables:
        if (rows < 0).any():
            return True
        reached = {before + p for before in reached for p in _positives(rows) if before + p <= size}
    return size in reached


@dataclass(frozen=True)
class _BinaryFigures:
    """Metrics of one problem, their ranges, and the number of runs they are averaged over."""

    cells: dict[str, PrintedNumber]
    ranges: dict[str, Range]
    runs: int

    def solvable(self, sizes: Iterable[int], figures: Iterable[str]) -> bool:
        return _solvable(sizes, {figure: self.ranges[figure] for figure in figures}, self.runs)


def _contradiction(where: str, section: Binaries, row: _BinaryFigures) -> Finding:
    """Describe which metrics are inconsistent, the nearest values, and sizes for which all are consistent."""
    smallest = _smallest_contradiction(section, row)
    values = ", ".join(f"{figure} {row.cells[figure]}" for figure in smallest)
    details = list(_nearest_values(section, row, smallest))
    near = _nearest_sizes(section.size.lo, section.size.hi, row)
    details.append(f"Consistent sizes nearby: {', '.join(map(str, near))}" if near else "No size nearby is consistent.")
    alone = [
        f"{figure} {row.cells[figure]}"
        for figure in row.ranges
        if row.solvable(section.size.all, [other for other in row.ranges if other != figure])
    ]
    if alone and len(row.ranges) > 1:
        details.append(f"Consistent without one of: {join_limited(alone)}")
    averaged = f" averaged over {row.runs} runs" if row.runs > 1 else ""
    return Finding(where, f"no counts of {section.size} samples{averaged} give {values}", tuple(details))


def _smallest_contradiction(section: Binaries, row: _BinaryFigures) -> tuple[str, ...]:
    for count in range(1, len(row.cells)):
        for kept in combinations(row.cells, count):
            if not row.solvable(section.size.all, kept):
                return kept
    return tuple(row.cells)


def _nearest_values(section: Binaries, row: _BinaryFigures, smallest: Sequence[str]) -> Iterator[str]:
    """Describe for each metric the nearest values that are consistent with the others."""
    for figure in smallest:
        rest = {other: row.ranges[other] for other in smallest if other != figure}
        if figure == "positives":
            continue
        tables = np.concatenate([solutions(size, rest, row.runs) for size in section.size.all])
        if (tables < 0).any():
            continue
        top, bottom = (tables @ np.array(weights) for weights in _FIGURES[figure])
        if (bottom > 0).any():
            nearest = format_nearest_quotients(top[bottom > 0], bottom[bottom > 0], row.cells[figure])
            yield f"{figure} {row.cells[figure]}: with the others it is {nearest}"


def _nearest_sizes(lo: int, hi: int, row: _BinaryFigures, most: int = 3) -> list[int]:
    sizes: list[int] = []
    for step in range(1, max(10, lo // 10)):
        sizes += [size for size in (lo - step, hi + step) if size > 0 and row.solvable([size], row.ranges)]
        if len(sizes) >= most:
            break
    return sorted(sizes[:most])


def _with_recall(cells: dict[str, PrintedNumber]) -> dict[str, PrintedNumber]:
    """Use sensitivity as recall if recall is not printed."""
    if "recall" in cells or "sensitivity" not in cells:
        return cells
    return cells | {"recall": cells["sensitivity"]}


Table = tuple[tuple[int, ...], ...]
_MOST_CLASSES = 6


def check_matrix(section: Report, figures: dict[Key, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    """Compute every metric from the matrix; search for an exchange that explains differences."""
    table: Table = tuple(map(tuple, section.matrix or []))
    names = list(section.classes)
    total = section.total
    if section.size is not None and total not in section.size.all:
        yield Finding(section.where, f"the matrix has {total:,} samples, printed are {section.size}")
    for name, row in zip(names, table, strict=True):
        size = section.classes[name]
        if size is not None and sum(row) not in size.all:
            yield Finding(
                f"{section.where}, {name}", f"the matrix has {sum(row):,} samples of this class, printed are {size}"
            )
    averages = ("macro", "weighted", "micro", "means") if section.average == "any" else (section.average,)
    mismatches = {average: _mismatches(table, names, figures, average, truncation) for average in averages}
    average = min(mismatches, key=lambda name: len(mismatches[name]))
    if mismatches[average]:
        lines = [
            f"{key[0]} {key[1]}".strip()
            + f" {figures[key]}, not {format_matrix_figure(table, names, key, average, figures[key])}"
            for key in mismatches[average]
        ]
        first = (
            f"{len(lines)} printed numbers are inconsistent with the matrix, such as {lines[0]}"
            if len(lines) > 1
            else (f"the matrix does not give {lines[0].replace(', not', ' but')}")
        )
        explained = _explain_by_exchange(table, names, figures, average, truncation)
        yield Finding(section.where, first, (*lines[1:], *explained))


def figures_of_matrix(table: Table, names: list[str], average: str) -> dict[Key, Fraction | None]:
    """Compute all metrics of a matrix (true x predicted) exactly; None where one is undefined.

    ``mean`` is the mean recall of classes; ``average`` determines how precision, recall and F1 are averaged.
    """
    n = [sum(row) for row in table]
    m = [sum(column) for column in zip(*table, strict=True)]
    t = [table[k][k] for k in range(len(table))]
    metrics: dict[Key, Fraction | None] = {}
    for k, name in enumerate(names):
        metrics[name, "recall"] = Fraction(t[k], n[k]) if n[k] else None
        metrics[name, "precision"] = Fraction(t[k], m[k]) if m[k] else None
        metrics[name, "f1"] = Fraction(2 * t[k], n[k] + m[k]) if n[k] + m[k] else None
    accuracy = Fraction(sum(t), sum(n))
    metrics["", "accuracy"] = accuracy
    present = [k for k in range(len(names)) if n[k]]
    metrics["", "mean"] = sum((Fraction(t[k], n[k]) for k in present), Fraction(0)) / len(present)
    for figure in ("precision", "recall", "f1"):
        values = [metrics[name, figure] or Fraction(0) for name in names]
        macro = sum(values, Fraction(0)) / len(names)
        weighted = sum((value * size for value, size in zip(values, n, strict=True)), Fraction(0)) / sum(n)
        metrics["", figure] = {"weighted": weighted, "micro": accuracy}.get(average, macro)
    if average == "means":
        p, r = metrics["", "precision"] or Fraction(0), metrics["", "recall"] or Fraction(0)
        metrics["", "f1"] = harmonic_mean(exact_range(p), exact_range(r)).lo
    return metrics


def format_matrix_figure(table: Table, names: list[str], key: Key, average: str, cell: PrintedNumber) -> str:
    """Format a metric of a matrix with its arithmetic, such as ``24/26 = 0.923``."""
    values = figures_of_matrix(table, names, average)
    value = values[key]
    if value is None:
        return "0/0, undefined"
    n, m = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    name, figure = key
    if name:
        k = names.index(name)
        top = table[k][k]
        tops = {"recall": (top, n[k]), "precision": (top, m[k]), "f1": (2 * top, n[k] + m[k])}
        return format_quotient(*tops[figure], cell)
    if figure == "accuracy" or average == "micro":
        return format_quotient(sum(table[k][k] for k in range(len(table))), sum(n), cell)
    if average == "means" and figure == "f1":
        return f"of averaged precision and recall {format_value(value, cell)}"
    each = [values[label, "recall" if figure == "mean" else figure] or Fraction(0) for label in names]
    if average == "weighted" and figure != "mean":
        parts = [f"{size} x {format_value(part, cell)}" for size, part in zip(n, each, strict=True)]
        return f"({' + '.join(parts)})/{sum(n)} = {format_value(value, cell)}"
    return f"({' + '.join(format_value(part, cell) for part in each)})/{len(each)} = {format_value(value, cell)}"


def _mismatches(
    table: Table, names: list[str], figures: dict[Key, PrintedNumber], average: str, truncation: bool
) -> list[Key]:
    values = figures_of_matrix(table, names, average)
    mismatches = []
    for key, cell in figures.items():
        value = values[key]
        # An undefined 0 / 0 is printed as 0, as 1, or not at all.
        possible = {value} if value is not None else {Fraction(0), Fraction(1)}
        if not any(number in cell.range(truncation) for number in possible):
            mismatches.append(key)
    return mismatches


def _explain_by_exchange(
    table: Table, names: list[str], figures: dict[Key, PrintedNumber], average: str, truncation: bool
) -> Iterator[str]:
    """Describe the exchange of rows, columns, names or metrics that makes everything consistent."""

    def fits(candidate: Table, read: dict[Key, PrintedNumber]) -> bool:
        return not _mismatches(candidate, names, read, average, truncation)

    if fits(tuple(zip(*table, strict=True)), figures):
        yield "Consistent if rows and columns are exchanged (transposed matrix)."
        return
    swapped = {(name, _OTHER.get(figure, figure)): cell for (name, figure), cell in figures.items()}
    if fits(table, swapped):
        yield "Consistent if precision and recall are exchanged."
        return
    if len(names) > _MOST_CLASSES:
        return
    orders = sorted(permutations(range(len(names))), key=lambda order: sum(i != k for i, k in enumerate(order)))
    for order in orders[1:]:
        moved = ", ".join(f"{names[i]} for {names[k]}" for i, k in enumerate(order) if i != k)
        if fits(tuple(table[k] for k in order), figures):
            yield f"Consistent if rows of the matrix are exchanged ({moved})."
            return
        if fits(tuple(tuple(row[k] for k in order) for row in table), figures):
            yield f"Consistent if columns of the matrix are exchanged ({moved})."
            return
        read = {
            (names[order[names.index(name)]] if name else "", figure): cell for (name, figure), cell in figures.items()
        }
        if fits(table, read):
            yield "Consistent if rows of the printed numbers are exchanged: " + "; ".join(
                f"the row {names[i]} is that of {names[k]}" for i, k in enumerate(order) if i != k
            )
            return


_OTHER = {"precision": "recall", "recall": "precision"}
