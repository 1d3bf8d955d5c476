"""Tables of several classes: recalls of each, per-class precision, recall and F1, and what is said of all."""

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
from evenface.audit.counts import format_quotient as quotient
from evenface.audit.findings import Finding, join_limited
from evenface.audit.printed import PrintedNumber, Range, Size, exact_range, format_range, format_value
from evenface.audit.schema import AVERAGED, Recalls, Report

Table = tuple[tuple[int, ...], ...]
_MOST_CLASSES = 6


def check_matrix(section: Report, figures: dict[Key, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    """Compute every figure from the matrix; where one differs, look for the exchange that would explain it."""
    table: Table = tuple(map(tuple, section.matrix or []))
    names = list(section.classes)
    total = section.total
    if section.size is not None and total not in section.size.all:
        yield Finding(section.where, f"the matrix holds {total:,} samples, printed are {section.size}")
    for name, row in zip(names, table, strict=True):
        size = section.classes[name]
        if size is not None and sum(row) not in size.all:
            yield Finding(
                f"{section.where}, {name}", f"the matrix holds {sum(row):,} samples of this class, printed are {size}"
            )
    ways = ("macro", "weighted", "micro", "means") if section.average == "any" else (section.average,)
    off = {way: _mismatches(table, names, figures, way, truncation) for way in ways}
    way = min(off, key=lambda one: len(off[one]))
    if off[way]:
        lines = [
            f"{key[0]} {key[1]}".strip()
            + f" {figures[key]}, not {format_matrix_figure(table, names, key, way, figures[key])}"
            for key in off[way]
        ]
        first = (
            f"{len(lines)} printed figures do not come from the matrix, such as {lines[0]}"
            if len(lines) > 1
            else (f"the matrix does not give {lines[0].replace(', not', ' but')}")
        )
        explained = _explain_by_exchange(table, names, figures, way, truncation)
        yield Finding(section.where, first, (*lines[1:], *explained))


def figures_of_matrix(table: Table, names: list[str], way: str) -> dict[Key, Fraction | None]:
    """Compute all figures of a matrix (true x found) exactly; None where one is not defined.

    ``mean`` is the mean recall of classes; ``way`` says how precision, recall and F1 of all are averaged.
    """
    n = [sum(row) for row in table]
    m = [sum(column) for column in zip(*table, strict=True)]
    t = [table[k][k] for k in range(len(table))]
    found: dict[Key, Fraction | None] = {}
    for k, name in enumerate(names):
        found[name, "recall"] = Fraction(t[k], n[k]) if n[k] else None
        found[name, "precision"] = Fraction(t[k], m[k]) if m[k] else None
        found[name, "f1"] = Fraction(2 * t[k], n[k] + m[k]) if n[k] + m[k] else None
    accuracy = Fraction(sum(t), sum(n))
    found["", "accuracy"] = accuracy
    there = [k for k in range(len(names)) if n[k]]
    found["", "mean"] = sum((Fraction(t[k], n[k]) for k in there), Fraction(0)) / len(there)
    for figure in ("precision", "recall", "f1"):
        values = [found[name, figure] or Fraction(0) for name in names]
        macro = sum(values, Fraction(0)) / len(names)
        weighted = sum((value * size for value, size in zip(values, n, strict=True)), Fraction(0)) / sum(n)
        found["", figure] = {"weighted": weighted, "micro": accuracy}.get(way, macro)
    if way == "means":
        p, r = found["", "precision"] or Fraction(0), found["", "recall"] or Fraction(0)
        found["", "f1"] = harmonic_mean(exact_range(p), exact_range(r)).lo
    return found


def format_matrix_figure(table: Table, names: list[str], key: Key, way: str, cell: PrintedNumber) -> str:
    """Write what a matrix gives for a figure, with its arithmetic, such as ``24/26 = 0.923``."""
    values = figures_of_matrix(table, names, way)
    value = values[key]
    if value is None:
        return "0/0, not defined"
    n, m = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    name, figure = key
    if name:
        k = names.index(name)
        top = table[k][k]
        tops = {"recall": (top, n[k]), "precision": (top, m[k]), "f1": (2 * top, n[k] + m[k])}
        return format_quotient(*tops[figure], cell)
    if figure == "accuracy" or way == "micro":
        return format_quotient(sum(table[k][k] for k in range(len(table))), sum(n), cell)
    if way == "means" and figure == "f1":
        return f"of averaged precision and recall {format_value(value, cell)}"
    each = [values[one, "recall" if figure == "mean" else figure] or Fraction(0) for one in names]
    if way == "weighted" and figure != "mean":
        parts = [f"{size} x {format_value(part, cell)}" for size, part in zip(n, each, strict=True)]
        return f"({' + '.join(parts)})/{sum(n)} = {format_value(value, cell)}"
    return f"({' + '.join(format_value(part, cell) for part in each)})/{len(each)} = {format_value(value, cell)}"


def _mismatches(
    table: Table, names: list[str], figures: dict[Key, PrintedNumber], way: str, truncation: bool
) -> list[Key]:
    values = figures_of_matrix(table, names, way)
    off = []
    for key, cell in figures.items():
        value = values[key]
        # What is 0 / 0 is printed as 0, as 1, or not at all.
        fits = {value} if value is not None else {Fraction(0), Fraction(1)}
        if not any(one in cell.range(truncation) for one in fits):
            off.append(key)
    return off


def _explain_by_exchange(
    table: Table, names: list[str], figures: dict[Key, PrintedNumber], way: str, truncation: bool
) -> Iterator[str]:
    """Say which exchange of rows, columns, names or both ways makes everything fit."""

    def fits(candidate: Table, read: dict[Key, PrintedNumber]) -> bool:
        return not _mismatches(candidate, names, read, way, truncation)

    if fits(tuple(zip(*table, strict=True)), figures):
        yield "Rows and columns exchanged (the matrix turned over), all fit."
        return
    swapped = {(name, _OTHER.get(figure, figure)): cell for (name, figure), cell in figures.items()}
    if fits(table, swapped):
        yield "Precision and recall exchanged, all fit."
        return
    if len(names) > _MOST_CLASSES:
        return
    orders = sorted(permutations(range(len(names))), key=lambda order: sum(i != k for i, k in enumerate(order)))
    for order in orders[1:]:
        moved = ", ".join(f"{names[i]} for {names[k]}" for i, k in enumerate(order) if i != k)
        if fits(tuple(table[k] for k in order), figures):
            yield f"Rows of the matrix exchanged ({moved}), all fit."
            return
        if fits(tuple(tuple(row[k] for k in order) for row in table), figures):
            yield f"Columns of the matrix exchanged ({moved}), all fit."
            return
        read = {
            (names[order[names.index(name)]] if name else "", figure): cell for (name, figure), cell in figures.items()
        }
        if fits(table, read):
            yield "Rows of the printed figures exchanged, all fit: " + "; ".join(
                f"what stands beside {names[i]} is {names[k]}" for i, k in enumerate(order) if i != k
            )
            return


_OTHER = {"precision": "recall", "recall": "precision"}


def check_reports(section: Report, truncation: bool) -> Iterator[Finding]:
    """Check one classifier's precision, recall and F1 of each class, with its confusion matrix where there is one."""
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
    """Check the recalls of each class and what is said of all, a classifier a row, all on one test set."""
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
            found = sizes_giving(shares.values(), among)
            if not found:
                description = ", ".join(map(str, column.values()))
                line = f"no class of {among[0]:,} to {among[-1]:,} gives {description}"
                yield Finding(f"{section.where}, {name}", line, tuple(_suggest_sizes(column, shares, among)))
            else:
                yield from _remark_outlier(f"{section.where}, {name}", column, shares, found, among)
                known[name] = found
    if section.size and sum(known[name][0] for name in known) > section.size.hi:
        description = " + ".join(f"{known[name][0]:,} {name}" for name in known)
        yield Finding(
            section.where,
            f"the smallest classes that give all their figures are together more than {section.size} samples",
            (f"{description} = {sum(known[name][0] for name in known):,}",),
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
    """Name the sizes that give most figures of a class, and what one of them makes of another figure."""
    yield format_best_sizes(list(shares.values()), among).capitalize()
    size = best_sizes(list(shares.values()), among)[0].size
    row = next(row for row, (share, runs) in shares.items() if not possible_counts(share, runs * size))
    yield f"{column[row]} ({row}): {format_nearest_counts(column[row], shares[row][1] * size)}"


def _remark_outlier(
    where: str, column: dict[str, PrintedNumber], shares: Mapping[str, Share], found: list[int], among: range
) -> Iterator[Finding]:
    """Remark on a figure without which a far smaller class would give all others."""
    for row in column:
        rest = [share for name, share in shares.items() if name != row]
        without = sizes_giving(rest, range(among[0], found[0]))
        if without and 5 * without[0] <= found[0]:
            line = (
                f"all figures of this class together need at least {found[0]:,} samples; without {column[row]} ({row}) "
            )
            yield Finding(where, f"{line}{without[0]} are enough", cannot=False)


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
            description = " + ".join(map(str, known))
            yield Finding(section.where, f"class counts {description} = {total}, printed are {section.size} samples")


def _check_figures(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Check figures one by one, then in pairs, then all together; stop where nothing more can be learnt."""
    found: list[Finding] = []
    for name in sheet.sizes:
        cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
        place = f"{where}, {name}"
        # The mean of several F1 is bound by mean precision and recall only as an average over classes is.
        several = sheet.runs > 1
        found += (
            check_averaged_f1(place, cells, "any", sheet.truncation)
            if several
            else check_class_f1(place, cells, sheet.truncation)
        )
    overall = {figure: cell for (of, figure), cell in sheet.figures.items() if not of}
    found += check_averaged_f1(where, overall, sheet.average, sheet.truncation)
    weighted = list(_check_weighted_recall(where, sheet))
    found += [
        *_check_recall_counts(where, sheet),
        *_check_mean_recall(where, sheet),
        *(weighted or _check_accuracy(where, sheet)),
    ]
    if not found and all(len(sizes) for sizes in sheet.sizes.values()):
        found += _check_jointly(where, sheet)
    yield from found


def _check_recall_counts(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Find the recalls that no count of their class gives, in one finding."""
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
        line = f"no count of {size} samples{_in_runs(sheet)} gives recall {cells[name]} of {name}"
    else:
        line = f"{len(missed)} recalls are no count of their class{_in_runs(sheet)}: "
        line += join_limited([f"{name} {cells[name]} of {size}" for name, size in missed.items()])
    details = []
    for name, size in missed.items():
        share = cells[name].range(sheet.truncation)
        would = nearest_sizes([(share, 1)], size.lo, 2)
        more = f"; sizes near it that would: {', '.join(map(str, would))}" if would else ""
        short = cells[name].coarser
        if short and possible_counts(short.range(sheet.truncation), size.lo):
            more += f"; with fewer digits, {short}, it would fit"
        details.append(f"{name}: {format_nearest_counts(cells[name], size.lo)}{more}")
    details += _as_runs(sheet, [(cells[name], size.lo) for name, size in missed.items()])
    yield Finding(where, line, tuple(details))


def _in_runs(sheet: ClassFigures) -> str:
    return f" in {sheet.runs} runs together" if sheet.runs > 1 else ""


def _as_runs(sheet: ClassFigures, missed: Sequence[tuple[PrintedNumber, int]]) -> tuple[str, ...]:
    """Name the number of runs of which figures could be means."""
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
    would = ", ".join(f"{one:,}" for one in nearest_sizes([(share, 1)], size.lo, 3))
    yield Finding(
        where,
        f"no count of {size} samples{_in_runs(sheet)} gives accuracy {cell}",
        (
            format_nearest_counts(cell, size.lo),
            f"The nearest sizes that would: {would}",
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
        description = " + ".join(str(sheet.figures[name, "recall"]) for name in ranges)
        yield Finding(
            where,
            f"the mean of the {len(ranges)} printed recalls is {format_range(mean, cell)}, printed is {cell}",
            (f"({description}) / {len(ranges)} = {_middle(mean, cell)}",),
        )


def _middle(values: Range, like: PrintedNumber) -> str:
    return format_value((values.lo + values.hi) / 2, like)


def _check_weighted_recall(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Hold the accuracy against the recalls, weighted by sizes of which only ranges may be known.

    Some weights w give sum w r = a sum w just if 0 lies between the least and the most of sum w (r - a).
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
        description = " + ".join(f"{ends[name][0]:,} x {sheet.figures[name, 'recall']}" for name in ends)
        line = f"recalls weighted by the class counts give an accuracy of {format_range(Range(low, high), cell)}"
        yield Finding(
            where, f"{line}, printed is {cell}", (f"({description}) / {total:,} = {_middle(Range(low, high), cell)}",)
        )
    else:
        low, high = min(one.lo for one in ranges.values()), max(one.hi for one in ranges.values())
        line = f"no class counts weight the recalls, {format_range(Range(low, high), cell)}, to an accuracy of {cell}"
        description = ", ".join(
            f"{sheet.figures[name, 'recall']} of {Size(*ends[name]) if ends[name][0] else 'any number'}"
            for name in ends
        )
        yield Finding(where, line, (f"Recalls, and samples that their classes may have: {description}",))


def _check_jointly(where: str, sheet: ClassFigures) -> Iterator[Finding]:
    """Search for counts that give every printed figure at once."""
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
    description = join_limited([_RULES[name] for name in dict.fromkeys(rule.name for rule in smallest)])
    alone = [_format_figure(key, cell) for key, cell in sheet.figures.items() if _possible_without(sheet, key)]
    details = [f"What cannot be met together: figures of each class, {description}."]
    details += _near_counts(sheet, [key for key in sheet.figures if _format_figure(key, sheet.figures[key]) in alone])
    if alone:
        details.append(f"Without one of these all others fit: {join_limited(alone)}")
    yield Finding(where, "each figure could be, but no one set of counts gives all of them", tuple(details))


_RULES = {
    "size": "the number of samples",
    "calls": "as many calls as samples",
    "errors": "errors of one class that land in others",
    "accuracy": "the accuracy",
    "mean": "the mean recall",
    "precision": "the averaged precision",
    "recall": "the averaged recall",
    "f1": "the averaged F1",
}


def _no_counts(where: str, sheet: ClassFigures, name: str) -> Finding:
    cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
    description = ", ".join(f"{figure} {cell}" for figure, cell in cells.items())
    size = Size(sheet.sizes[name][0], sheet.sizes[name][-1])
    line = f"no whole counts with {size} samples of this class give {description} together"
    return Finding(f"{where}, {name}", line, tuple(_near_figures(sheet, name, cells)))


def _near_figures(sheet: ClassFigures, name: str, cells: dict[str, PrintedNumber]) -> Iterator[str]:
    """Write for each figure of a class the values nearest to it that the others leave possible."""
    for figure, cell in cells.items():
        fewer = replace(sheet, figures={key: one for key, one in sheet.figures.items() if key != (name, figure)})
        # What others call by this name does not matter here.
        try:
            rows = class_counts(replace(fewer, figures=fewer.figures | {("", "f1"): cell}), name)
        except UndecidedError:
            continue
        n, t, m = rows[:, 0], rows[:, 1], rows[:, 2]
        top, bottom = {"recall": (t, n), "precision": (t, m), "f1": (2 * t, n + m)}[figure]
        if (bottom > 0).any():
            found = format_nearest_quotients(top[bottom > 0], bottom[bottom > 0], cell)
            yield f"{figure} {cell}: with the others it is {found}"


def _format_figure(key: Key, cell: PrintedNumber) -> str:
    name, figure = key
    return f"{name} {figure} {cell}".strip()


def _impossible(sheet: ClassFigures, given: Sequence[Integers]) -> bool:
    return all(_fails(constraints(sheet, average), given) for average in possible_averages(sheet))


def _fails(bound: Sequence[SumConstraint], given: Sequence[Integers]) -> bool:
    try:
        return find_counts(bound, given) is None
    except UndecidedError:
        return False


def _smallest(bound: list[SumConstraint], fails: Callable[[list[SumConstraint]], bool]) -> list[SumConstraint]:
    """Leave out rule after rule while the rest still cannot be met."""
    for name in dict.fromkeys(rule.name for rule in bound):
        fewer = [rule for rule in bound if rule.name != name]
        if fails(fewer):
            bound = fewer
    return bound


def _possible_without(sheet: ClassFigures, key: Key) -> bool:
    fewer = replace(sheet, figures={one: cell for one, cell in sheet.figures.items() if one != key})
    return _counts_of(fewer) is not None


def _counts_of(sheet: ClassFigures) -> list[tuple[int, int, int]] | None:
    """Return counts of each class that give all figures; None where none are found."""
    try:
        given = [class_counts(sheet, name) for name in sheet.sizes]
        solved = (find_counts(constraints(sheet, average), given) for average in possible_averages(sheet))
        return next((counts for counts in solved if counts is not None), None)
    except UndecidedError:
        return None


def _near_counts(sheet: ClassFigures, alone: Sequence[Key]) -> Iterator[str]:
    """Write counts that give all figures but one, of which they give a value near by."""
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
        description = ", ".join(
            f"{name} {t:,} of {n:,}" + (f", {m:,} called so" if sheet.calls else "")
            for name, (n, t, m) in zip(sheet.sizes, counts, strict=True)
        )
        yield f"Counts that come near: {description}: {_format_figure(key, cell)} would be {_value(key, sheet, counts)}"


def _value(key: Key, sheet: ClassFigures, counts: Sequence[tuple[int, int, int]]) -> str:
    name, figure = key
    cell = sheet.figures[key]
    quotients = {
        "recall": [(t, n) for n, t, _ in counts],
        "precision": [(t, m) for _, t, m in counts],
        "f1": [(2 * t, n + m) for n, t, m in counts],
    }
    if name:
        return quotient(*quotients[figure][list(sheet.sizes).index(name)], cell)
    if figure == "accuracy":
        return quotient(sum(t for _, t, _ in counts), sum(n for n, _, _ in counts), cell)
    pairs = quotients["recall" if figure == "mean" else figure]
    parts = [Fraction(top, bottom) if bottom else Fraction(0) for top, bottom in pairs]
    weights = [n if sheet.average == "weighted" and figure != "mean" else 1 for n, _, _ in counts]
    mean = sum((part * weight for part, weight in zip(parts, weights, strict=True)), Fraction(0)) / sum(weights)
    return f"the mean of {', '.join(format_value(part, cell) for part in parts)}, that is {format_value(mean, cell, 2)}"
