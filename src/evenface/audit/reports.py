"""Tables of several classes: recalls of each, per-class precision, recall and F1, and what is said of all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from evenface.audit.averages import averaged, bounded, one_class
from evenface.audit.classes import Key, Rule, Sheet, averages_of, options, rules, solve
from evenface.audit.counts import hits, nearby, nearest, sizes
from evenface.audit.findings import Finding, listed
from evenface.audit.matrices import matrix
from evenface.audit.numbers import Printed, Range, Size, exactly, span
from evenface.audit.schema import AVERAGED, Recalls, Report
from evenface.audit.search import Integers, UndecidedError


def reports(section: Report, truncation: bool) -> Iterator[Finding]:
    """Check one classifier's precision, recall and F1 of each class, with its confusion matrix where there is one."""
    overall = {name: cell for name in AVERAGED if (cell := getattr(section, name)) is not None}
    figures = {("", name): cell.percent() if section.unit else cell for name, cell in overall.items()}
    for name, row in section.cells().items():
        figures |= {(name, column): cell for column, cell in row.items()}
    if section.matrix is not None:
        yield from matrix(section, figures, truncation)
        return
    sheet = _sheet(section, {name: size.all for name, size in section.classes.items() if size}, figures, truncation)
    yield from _sizes(section)
    yield from _checked(section.where, sheet)


def recalls(section: Recalls, truncation: bool) -> Iterator[Finding]:
    """Check the recalls of each class and what is said of all, a classifier a row, all on one test set."""
    rows = section.cells()
    known: dict[str, Sequence[int]] = {}
    for name, size in section.classes.items():
        among = size.all if size else range(1, section.size.hi + 1) if section.size else None
        if among is None:
            continue
        known[name] = among
        column = {row: cells[name] for row, cells in rows.items() if name in cells}
        if len(among) > 1 and column:
            found = sizes([cell.range(truncation) for cell in column.values()], among)
            if not found:
                told = ", ".join(map(str, column.values()))
                yield Finding(f"{section.where}, {name}", f"no class of {among[0]:,} to {among[-1]:,} gives {told}")
            else:
                yield from _strange(f"{section.where}, {name}", column, found, among, truncation)
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
        figures: dict[Key, Printed] = {
            ("", name) if name in AVERAGED else (name, "recall"): cell for name, cell in cells.items()
        }
        yield from _checked(f"{section.where}, {row}", _sheet(section, known, figures, truncation))


def _strange(
    where: str, column: dict[str, Printed], found: list[int], among: range, truncation: bool
) -> Iterator[Finding]:
    """Remark on a figure without which a far smaller class would give all others."""
    for row in column:
        rest = [cell.range(truncation) for name, cell in column.items() if name != row]
        without = sizes(rest, range(among[0], found[0]))
        if without and 5 * without[0] <= found[0]:
            line = (
                f"all figures of this class together need at least {found[0]:,} samples; without {column[row]} ({row}) "
            )
            yield Finding(where, f"{line}{without[0]} are enough", cannot=False)


def _sheet(
    section: Recalls | Report, known: dict[str, Sequence[int]], figures: dict[Key, Printed], truncation: bool
) -> Sheet:
    total = section.size.all if section.size else None
    every = {name: known.get(name) or (range(1, total[-1] + 1) if total else range(0)) for name in section.classes}
    if all(len(sizes) for sizes in every.values()):
        least, most = (sum(sizes[end] for sizes in every.values()) for end in (0, -1))
        if total is None or least > total[-1] or most < total[0]:
            total = range(least, most + 1)
    return Sheet(every, total, figures, section.average, truncation)


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
        found += [*bounded(place, cells), *one_class(place, cells, sheet.truncation)]
    overall = {figure: cell for (of, figure), cell in sheet.figures.items() if not of}
    found += [*bounded(where, overall), *averaged(where, overall, sheet.average, sheet.truncation)]
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
        line = f"no count of {size} samples gives recall {cells[name]} of {name}"
    else:
        line = f"{len(missed)} recalls are no count of their class: "
        line += listed([f"{name} {cells[name]} of {size}" for name, size in missed.items()])
    details = []
    for name, size in missed.items():
        would = nearby([cells[name].range(sheet.truncation)], size.lo, 2)
        more = f"; sizes near it that would: {', '.join(map(str, would))}" if would else ""
        short = cells[name].coarser
        if short and hits(short.range(sheet.truncation), size.lo):
            more += f"; with fewer digits, {short}, it would fit"
        details.append(f"{name}: {nearest(cells[name], size.lo)}{more}")
    yield Finding(where, line, tuple(details))


def _accuracy(where: str, sheet: Sheet) -> Iterator[Finding]:
    cell, share = sheet.figures.get(("", "accuracy")), sheet.range(("", "accuracy"))
    if cell is None or share is None or sheet.total is None or any(hits(share, size) for size in sheet.total):
        return
    size = Size(sheet.total[0], sheet.total[-1])
    would = ", ".join(f"{one:,}" for one in nearby([share], size.lo, 3))
    yield Finding(
        where,
        f"no count of {size} samples gives accuracy {cell}",
        (nearest(cell, size.lo), f"The nearest sizes that would: {would}"),
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
        yield Finding(where, f"the mean of the {len(ranges)} printed recalls is {span(mean, cell)}, printed is {cell}")


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
        yield Finding(where, f"{line}, printed is {cell}", (f"({told}) / {total:,}",))
    else:
        low, high = min(one.lo for one in ranges.values()), max(one.hi for one in ranges.values())
        line = f"no class counts weight the recalls, {span(Range(low, high), cell)}, to an accuracy of {cell}"
        yield Finding(where, line)


def _together(where: str, sheet: Sheet) -> Iterator[Finding]:
    """Search for counts that give every printed figure at once."""
    try:
        listed_options = [options(sheet, name) for name in sheet.sizes]
        for name, rows in zip(sheet.sizes, listed_options, strict=True):
            if len(rows) == 0:
                yield _no_counts(where, sheet, name)
                return
        if not _impossible(sheet, listed_options):
            return
    except UndecidedError:
        return
    smallest = _smallest(rules(sheet, averages_of(sheet)[0]), lambda kept: _fails(kept, listed_options))
    told = listed([_RULES[name] for name in dict.fromkeys(rule.name for rule in smallest)])
    alone = [_told(key, cell) for key, cell in sheet.figures.items() if _possible_without(sheet, key)]
    details = [f"What cannot be met together: figures of each class, {told}."]
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
    return Finding(f"{where}, {name}", f"no whole counts with {size} samples of this class give {told} together")


def _told(key: Key, cell: Printed) -> str:
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
    try:
        given = [options(fewer, name) for name in fewer.sizes]
        return any(solve(rules(fewer, average), given) is not None for average in averages_of(fewer))
    except UndecidedError:
        return False
