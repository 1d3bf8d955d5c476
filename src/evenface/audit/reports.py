"""Check multi-class tables: per-class recall, precision and F1, averages, accuracy and confusion matrix."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

from evenface.audit.classes import (
    ClassFigures,
    Key,
    SumConstraint,
    UndecidedError,
    class_counts,
    constraints,
    find_counts,
    possible_averages,
)
from evenface.audit.counts import (
    Integers,
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
    exact_range,
    format_range,
    format_value,
    join_limited,
)
from evenface.audit.schema import AVERAGED, Recalls, Report

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
    total = exact_range(0)
    for share in ranges.values():
        total += share
    mean = total * exact_range(Fraction(1, len(ranges)))
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
