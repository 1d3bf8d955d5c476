"""Tables of several classes: recalls of each, per-class precision, recall and F1, and what is said of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

from evenface.audit.classes import Key, Rule, Sheet, UndecidedError, averages_of, options, rules, solve
from evenface.audit.counts import (
    Integers,
    Share,
    around,
    averaged,
    best_sizes,
    bounded,
    harmonic,
    hits,
    nearby,
    nearest,
    one_class,
    sizes,
    told,
    told_best,
    told_runs,
)
from evenface.audit.counts import told as quotient
from evenface.audit.grid import Finding, listed
from evenface.audit.printed import PrintedNumber, Range, Size, exactly, shown, span
from evenface.audit.schema import AVERAGED, Recalls, Report

Table = tuple[tuple[int, ...], ...]
_MOST_CLASSES = 6


def matrix(section: Report, figures: dict[Key, PrintedNumber], truncation: bool) -> Iterator[Finding]:
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
    off = {way: _off(table, names, figures, way, truncation) for way in ways}
    way = min(off, key=lambda one: len(off[one]))
    if off[way]:
        lines = [
            f"{key[0]} {key[1]}".strip() + f" {figures[key]}, not {told_figure(table, names, key, way, figures[key])}"
            for key in off[way]
        ]
        first = (
            f"{len(lines)} printed figures do not come from the matrix, such as {lines[0]}"
            if len(lines) > 1
            else (f"the matrix does not give {lines[0].replace(', not', ' but')}")
        )
        explained = _explained(table, names, figures, way, truncation)
        yield Finding(section.where, first, (*lines[1:], *explained))


def figures_of(table: Table, names: list[str], way: str) -> dict[Key, Fraction | None]:
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
        found["", "f1"] = harmonic(exactly(p), exactly(r)).lo
    return found


def told_figure(table: Table, names: list[str], key: Key, way: str, cell: PrintedNumber) -> str:
    """Write what a matrix gives for a figure, with its arithmetic, such as ``24/26 = 0.923``."""
    values = figures_of(table, names, way)
    value = values[key]
    if value is None:
        return "0/0, not defined"
    n, m = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    name, figure = key
    if name:
        k = names.index(name)
        top = table[k][k]
        tops = {"recall": (top, n[k]), "precision": (top, m[k]), "f1": (2 * top, n[k] + m[k])}
        return told(*tops[figure], cell)
    if figure == "accuracy" or way == "micro":
        return told(sum(table[k][k] for k in range(len(table))), sum(n), cell)
    if way == "means" and figure == "f1":
        return f"of averaged precision and recall {shown(value, cell)}"
    each = [values[one, "recall" if figure == "mean" else figure] or Fraction(0) for one in names]
    if way == "weighted" and figure != "mean":
        parts = [f"{size} x {shown(part, cell)}" for size, part in zip(n, each, strict=True)]
        return f"({' + '.join(parts)})/{sum(n)} = {shown(value, cell)}"
    return f"({' + '.join(shown(part, cell) for part in each)})/{len(each)} = {shown(value, cell)}"


def _off(table: Table, names: list[str], figures: dict[Key, PrintedNumber], way: str, truncation: bool) -> list[Key]:
    values = figures_of(table, names, way)
    off = []
    for key, cell in figures.items():
        value = values[key]
        # What is 0 / 0 is printed as 0, as 1, or not at all.
        fits = {value} if value is not None else {Fraction(0), Fraction(1)}
        if not any(one in cell.range(truncation) for one in fits):
            off.append(key)
    return off


def _explained(
    table: Table, names: list[str], figures: dict[Key, PrintedNumber], way: str, truncation: bool
) -> Iterator[str]:
    """Say which exchange of rows, columns, names or both ways makes everything fit."""

    def fits(candidate: Table, read: dict[Key, PrintedNumber]) -> bool:
        return not _off(candidate, names, read, way, truncation)

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


def reports(section: Report, truncation: bool) -> Iterator[Finding]:
    """Check one classifier's precision, recall and F1 of each class, with its confusion matrix where there is one."""
    overall = {name: cell for name in AVERAGED if (cell := getattr(section, name)) is not None}
    figures = {("", name): cell.percent() if section.unit else cell for name, cell in overall.items()}
    for name, row in section.cells().items():
        figures |= {(name, column): cell for column, cell in row.items()}
    flaws = [flaw for key, cell in figures.items() for flaw in bounded(section.where, {" ".join(key).strip(): cell})]
    if flaws:
        yield from flaws
        return
    if section.matrix is not None:
        yield from matrix(section, figures, truncation)
        return
    known: dict[str, Sequence[int]] = {name: size.all for name, size in section.classes.items() if size}
    sheet = _sheet(section, known, figures, truncation, section.runs_of(""))
    yield from _sizes(section)
    yield from _checked(section.where, sheet)


def recalls(section: Recalls, truncation: bool) -> Iterator[Finding]:
    """Check the recalls of each class and what is said of all, a classifier a row, all on one test set."""
    rows = section.cells()
    flaws = [flaw for row, cells in rows.items() for flaw in bounded(f"{section.where}, {row}", cells)]
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
            found = sizes(shares.values(), among)
            if not found:
                told = ", ".join(map(str, column.values()))
                line = f"no class of {among[0]:,} to {among[-1]:,} gives {told}"
                yield Finding(f"{section.where}, {name}", line, tuple(_most(column, shares, among)))
            else:
                yield from _strange(f"{section.where}, {name}", column, shares, found, among)
                known[name] = found
    if section.size and sum(known[name][0] for name in known) > section.size.hi:
        told = " + ".join(f"{known[name][0]:,} {name}" for name in known)
        yield Finding(
            section.where,
            f"the smallest classes that give all their figures are together more than {section.size} samples",
            (f"{told} = {sum(known[name][0] for name in known):,}",),
        )
        known = {name: size.all for name, size in section.classes.items() if size}
    yield from _sizes(section)
    for row, cells in rows.items():
        figures: dict[Key, PrintedNumber] = {
            ("", name) if name in AVERAGED else (name, "recall"): cell for name, cell in cells.items()
        }
        sheet = _sheet(section, known, figures, truncation, section.runs_of(row))
        yield from _checked(f"{section.where}, {row}", sheet)


def _most(column: dict[str, PrintedNumber], shares: Mapping[str, Share], among: range) -> Iterator[str]:
    """Name the sizes that give most figures of a class, and what one of them makes of another figure."""
    yield told_best(list(shares.values()), among).capitalize()
    size = best_sizes(list(shares.values()), among)[0].size
    row = next(row for row, (share, runs) in shares.items() if not hits(share, runs * size))
    yield f"{column[row]} ({row}): {nearest(column[row], shares[row][1] * size)}"


def _strange(
    where: str, column: dict[str, PrintedNumber], shares: Mapping[str, Share], found: list[int], among: range
) -> Iterator[Finding]:
    """Remark on a figure without which a far smaller class would give all others."""
    for row in column:
        rest = [share for name, share in shares.items() if name != row]
        without = sizes(rest, range(among[0], found[0]))
        if without and 5 * without[0] <= found[0]:
            line = (
                f"all figures of this class together need at least {found[0]:,} samples; without {column[row]} ({row}) "
            )
            yield Finding(where, f"{line}{without[0]} are enough", cannot=False)


def _sheet(
    section: Recalls | Report,
    known: dict[str, Sequence[int]],
    figures: dict[Key, PrintedNumber],
    truncation: bool,
    runs: int,
) -> Sheet:
    total = section.size.all if section.size else None
    every = {name: known.get(name) or (range(1, total[-1] + 1) if total else range(0)) for name in section.classes}
    if all(len(sizes) for sizes in every.values()):
        least, most = (sum(sizes[end] for sizes in every.values()) for end in (0, -1))
        if total is None or least > total[-1] or most < total[0]:
            total = range(least, most + 1)
    if runs > 1:
        every = {name: [runs * size for size in sizes] for name, sizes in every.items()}
        total = total and range(runs * total[0], runs * total[-1] + 1, runs)
    return Sheet(every, total, figures, section.average, truncation, runs)


def _sizes(section: Recalls | Report) -> Iterator[Finding]:
    known = [size for size in section.classes.values() if size]
    if section.size and len(known) == len(section.classes):
        total = Size(sum(size.lo for size in known), sum(size.hi for size in known))
        if total.lo > section.size.hi or total.hi < section.size.lo:
            told = " + ".join(map(str, known))
            yield Finding(section.where, f"class counts {told} = {total}, printed are {section.size} samples")


def _checked(where: str, sheet: Sheet) -> Iterator[Finding]:
    """Check figures one by one, then in pairs, then all together; stop where nothing more can be learnt."""
    found: list[Finding] = []
    for name in sheet.sizes:
        cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
        place = f"{where}, {name}"
        # The mean of several F1 is bound by mean precision and recall only as an average over classes is.
        several = sheet.runs > 1
        found += (
            averaged(place, cells, "any", sheet.truncation) if several else one_class(place, cells, sheet.truncation)
        )
    overall = {figure: cell for (of, figure), cell in sheet.figures.items() if not of}
    found += averaged(where, overall, sheet.average, sheet.truncation)
    weighted = list(_weighted(where, sheet))
    found += [*_recalls(where, sheet), *_mean(where, sheet), *(weighted or _accuracy(where, sheet))]
    if not found and all(len(sizes) for sizes in sheet.sizes.values()):
        found += _together(where, sheet)
    yield from found


def _recalls(where: str, sheet: Sheet) -> Iterator[Finding]:
    """Find the recalls that no count of their class gives, in one finding."""
    missed = {}
    for name, possible in sheet.sizes.items():
        share = sheet.range((name, "recall"))
        if share is not None and len(possible) and not any(hits(share, size) for size in possible):
            missed[name] = Size(possible[0], possible[-1])
    if not missed:
        return
    cells = {name: sheet.figures[name, "recall"] for name in missed}
    if len(missed) == 1:
        name, size = next(iter(missed.items()))
        line = f"no count of {size} samples{_in_runs(sheet)} gives recall {cells[name]} of {name}"
    else:
        line = f"{len(missed)} recalls are no count of their class{_in_runs(sheet)}: "
        line += listed([f"{name} {cells[name]} of {size}" for name, size in missed.items()])
    details = []
    for name, size in missed.items():
        share = cells[name].range(sheet.truncation)
        would = nearby([(share, 1)], size.lo, 2)
        more = f"; sizes near it that would: {', '.join(map(str, would))}" if would else ""
        short = cells[name].coarser
        if short and hits(short.range(sheet.truncation), size.lo):
            more += f"; with fewer digits, {short}, it would fit"
        details.append(f"{name}: {nearest(cells[name], size.lo)}{more}")
    details += _as_runs(sheet, [(cells[name], size.lo) for name, size in missed.items()])
    yield Finding(where, line, tuple(details))


def _in_runs(sheet: Sheet) -> str:
    return f" in {sheet.runs} runs together" if sheet.runs > 1 else ""


def _as_runs(sheet: Sheet, missed: Sequence[tuple[PrintedNumber, int]]) -> tuple[str, ...]:
    """Name the number of runs of which figures could be means."""
    return told_runs([(cell.range(sheet.truncation), size) for cell, size in missed]) if sheet.runs == 1 else ()


def _accuracy(where: str, sheet: Sheet) -> Iterator[Finding]:
    cell, share = sheet.figures.get(("", "accuracy")), sheet.range(("", "accuracy"))
    if cell is None or share is None or sheet.total is None or any(hits(share, size) for size in sheet.total):
        return
    size = Size(sheet.total[0], sheet.total[-1])
    would = ", ".join(f"{one:,}" for one in nearby([(share, 1)], size.lo, 3))
    yield Finding(
        where,
        f"no count of {size} samples{_in_runs(sheet)} gives accuracy {cell}",
        (nearest(cell, size.lo), f"The nearest sizes that would: {would}", *_as_runs(sheet, [(cell, size.lo)])),
    )


def _recall_ranges(sheet: Sheet) -> dict[str, Range]:
    return {name: share for name in sheet.sizes if (share := sheet.range((name, "recall")))}


def _mean(where: str, sheet: Sheet) -> Iterator[Finding]:
    cell, ranges = sheet.figures.get(("", "mean")), _recall_ranges(sheet)
    if cell is None or len(ranges) < len(sheet.sizes):
        return
    total = exactly(0)
    for share in ranges.values():
        total += share
    mean = total * exactly(Fraction(1, len(ranges)))
    if not mean.meets(cell.range(sheet.truncation)):
        told = " + ".join(str(sheet.figures[name, "recall"]) for name in ranges)
        yield Finding(
            where,
            f"the mean of the {len(ranges)} printed recalls is {span(mean, cell)}, printed is {cell}",
            (f"({told}) / {len(ranges)} = {_middle(mean, cell)}",),
        )


def _middle(values: Range, like: PrintedNumber) -> str:
    return shown((values.lo + values.hi) / 2, like)


def _weighted(where: str, sheet: Sheet) -> Iterator[Finding]:
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
        told = " + ".join(f"{ends[name][0]:,} x {sheet.figures[name, 'recall']}" for name in ends)
        line = f"recalls weighted by the class counts give an accuracy of {span(Range(low, high), cell)}"
        yield Finding(
            where, f"{line}, printed is {cell}", (f"({told}) / {total:,} = {_middle(Range(low, high), cell)}",)
        )
    else:
        low, high = min(one.lo for one in ranges.values()), max(one.hi for one in ranges.values())
        line = f"no class counts weight the recalls, {span(Range(low, high), cell)}, to an accuracy of {cell}"
        told = ", ".join(
            f"{sheet.figures[name, 'recall']} of {Size(*ends[name]) if ends[name][0] else 'any number'}"
            for name in ends
        )
        yield Finding(where, line, (f"Recalls, and samples that their classes may have: {told}",))


def _together(where: str, sheet: Sheet) -> Iterator[Finding]:
    """Search for counts that give every printed figure at once."""
    listed_options: list[Integers] = []
    for name in sheet.sizes:
        try:
            listed_options.append(options(sheet, name))
        except UndecidedError:
            continue
        if len(listed_options[-1]) == 0:
            yield _no_counts(where, sheet, name)
            return
    if len(listed_options) < len(sheet.sizes) or not _impossible(sheet, listed_options):
        return
    smallest = _smallest(rules(sheet, averages_of(sheet)[0]), lambda kept: _fails(kept, listed_options))
    told = listed([_RULES[name] for name in dict.fromkeys(rule.name for rule in smallest)])
    alone = [_told(key, cell) for key, cell in sheet.figures.items() if _possible_without(sheet, key)]
    details = [f"What cannot be met together: figures of each class, {told}."]
    details += _near_counts(sheet, [key for key in sheet.figures if _told(key, sheet.figures[key]) in alone])
    if alone:
        details.append(f"Without one of these all others fit: {listed(alone)}")
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


def _no_counts(where: str, sheet: Sheet, name: str) -> Finding:
    cells = {figure: cell for (of, figure), cell in sheet.figures.items() if of == name}
    told = ", ".join(f"{figure} {cell}" for figure, cell in cells.items())
    size = Size(sheet.sizes[name][0], sheet.sizes[name][-1])
    line = f"no whole counts with {size} samples of this class give {told} together"
    return Finding(f"{where}, {name}", line, tuple(_near_figures(sheet, name, cells)))


def _near_figures(sheet: Sheet, name: str, cells: dict[str, PrintedNumber]) -> Iterator[str]:
    """Write for each figure of a class the values nearest to it that the others leave possible."""
    for figure, cell in cells.items():
        fewer = replace(sheet, figures={key: one for key, one in sheet.figures.items() if key != (name, figure)})
        # What others call by this name does not matter here.
        try:
            rows = options(replace(fewer, figures=fewer.figures | {("", "f1"): cell}), name)
        except UndecidedError:
            continue
        n, t, m = rows[:, 0], rows[:, 1], rows[:, 2]
        top, bottom = {"recall": (t, n), "precision": (t, m), "f1": (2 * t, n + m)}[figure]
        if (bottom > 0).any():
            found = around(top[bottom > 0], bottom[bottom > 0], cell)
            yield f"{figure} {cell}: with the others it is {found}"


def _told(key: Key, cell: PrintedNumber) -> str:
    name, figure = key
    return f"{name} {figure} {cell}".strip()


def _impossible(sheet: Sheet, given: Sequence[Integers]) -> bool:
    return all(_fails(rules(sheet, average), given) for average in averages_of(sheet))


def _fails(bound: Sequence[Rule], given: Sequence[Integers]) -> bool:
    try:
        return solve(bound, given) is None
    except UndecidedError:
        return False


def _smallest(bound: list[Rule], fails: Callable[[list[Rule]], bool]) -> list[Rule]:
    """Leave out rule after rule while the rest still cannot be met."""
    for name in dict.fromkeys(rule.name for rule in bound):
        fewer = [rule for rule in bound if rule.name != name]
        if fails(fewer):
            bound = fewer
    return bound


def _possible_without(sheet: Sheet, key: Key) -> bool:
    fewer = replace(sheet, figures={one: cell for one, cell in sheet.figures.items() if one != key})
    return _counts_of(fewer) is not None


def _counts_of(sheet: Sheet) -> list[tuple[int, int, int]] | None:
    """Return counts of each class that give all figures; None where none are found."""
    try:
        given = [options(sheet, name) for name in sheet.sizes]
        solved = (solve(rules(sheet, average), given) for average in averages_of(sheet))
        return next((counts for counts in solved if counts is not None), None)
    except UndecidedError:
        return None


def _near_counts(sheet: Sheet, alone: Sequence[Key]) -> Iterator[str]:
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
        told = ", ".join(
            f"{name} {t:,} of {n:,}" + (f", {m:,} called so" if sheet.calls else "")
            for name, (n, t, m) in zip(sheet.sizes, counts, strict=True)
        )
        yield f"Counts that come near: {told}: {_told(key, cell)} would be {_value(key, sheet, counts)}"


def _value(key: Key, sheet: Sheet, counts: Sequence[tuple[int, int, int]]) -> str:
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
    return f"the mean of {', '.join(shown(part, cell) for part in parts)}, that is {shown(mean, cell, 2)}"
