"""Confusion matrices against the figures that are said to come from them."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations

from evenface.audit.classes import Key
from evenface.audit.counts import harmonic, told
from evenface.audit.findings import Finding
from evenface.audit.numbers import Printed, exactly, shown
from evenface.audit.schema import Report

Table = tuple[tuple[int, ...], ...]
_MOST_CLASSES = 6


def matrix(section: Report, figures: dict[Key, Printed], truncation: bool) -> Iterator[Finding]:
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


def told_figure(table: Table, names: list[str], key: Key, way: str, cell: Printed) -> str:
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


def _off(table: Table, names: list[str], figures: dict[Key, Printed], way: str, truncation: bool) -> list[Key]:
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
    table: Table, names: list[str], figures: dict[Key, Printed], way: str, truncation: bool
) -> Iterator[str]:
    """Say which exchange of rows, columns, names or both ways makes everything fit."""

    def fits(candidate: Table, read: dict[Key, Printed]) -> bool:
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
