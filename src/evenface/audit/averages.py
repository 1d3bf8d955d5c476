"""What precision, recall and F1 bind each other to, whatever the counts."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from evenface.audit.counts import harmonic
from evenface.audit.findings import Finding
from evenface.audit.numbers import Printed, Range, shown, span
from evenface.audit.schema import Averages


def averages(section: Averages, truncation: bool) -> Iterator[Finding]:
    """Check averaged precision, recall and F1 of each classifier."""
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        flaws = list(bounded(where, cells))
        yield from flaws or averaged(where, cells, section.average, truncation)


def averaged(where: str, cells: dict[str, Printed], average: str, truncation: bool) -> Iterator[Finding]:
    """Hold an averaged F1 against averaged precision and recall.

    The harmonic mean H is concave, so by Jensen's inequality no mean of F1 over classes, weighted or not, nor over
    folds, exceeds H of the mean precision and the mean recall; F1 of those means and the micro average equal it. From
    below, F1 >= precision + recall - 1 holds for each class and hence for every mean.
    """
    if average == "micro":
        yield from _micro(where, cells, truncation)
    if not {"precision", "recall", "f1"} <= cells.keys():
        return
    p, r, f = (cells[name].range(truncation) for name in ("precision", "recall", "f1"))
    most = harmonic(p, r).hi
    least = max(p.lo + r.lo - 1, Fraction(0))
    given = f"precision {cells['precision']} and recall {cells['recall']}"
    if f.lo > most:
        mean = (cells["precision"].value + cells["recall"].value) / 2
        middle = f"their arithmetic mean, {shown(mean, cells['f1'])}"
        above = f"above even {middle}" if f.lo > (p.hi + r.hi) / 2 else middle
        bound = f"at most {shown(most, cells['f1'])} under any averaging"
        yield Finding(
            where,
            f"F1 {cells['f1']} cannot be with {given}: {bound} ({above})",
            (
                told_harmonic(cells),
                "A mean of F1 over classes or folds, weighted or not, never exceeds the harmonic mean of precision",
                "and recall so averaged; micro-F1 and F1 of the means equal it.",
            ),
        )
    elif f.hi < least:
        yield Finding(
            where,
            f"F1 {cells['f1']} cannot be with {given}: at least {shown(least, cells['f1'])} under any averaging",
            (
                f"{cells['precision']} + {cells['recall']} - {'100%' if '%' in cells['f1'].text else 1} = "
                f"{shown(cells['precision'].value + cells['recall'].value - 1, cells['f1'])}",
                "F1 >= precision + recall - 1 holds for each class, so for every mean.",
            ),
        )


def _micro(where: str, cells: dict[str, Printed], truncation: bool) -> Iterator[Finding]:
    names = [name for name in ("accuracy", "precision", "recall", "f1") if name in cells]
    ranges = [cells[name].range(truncation) for name in names]
    if ranges and max(one.lo for one in ranges) > min(one.hi for one in ranges):
        told = ", ".join(f"{name} {cells[name]}" for name in names)
        yield Finding(where, f"micro averages are all the same number, printed are {told}")


def one_class(where: str, cells: dict[str, Printed], truncation: bool) -> Iterator[Finding]:
    """Hold F1 of one class against its precision and recall: it is their harmonic mean."""
    if not {"precision", "recall", "f1"} <= cells.keys():
        return
    p, r, f = (cells[name].range(truncation) for name in ("precision", "recall", "f1"))
    mean = harmonic(p, r)
    if not f.meets(mean):
        yield Finding(
            where,
            f"F1 {cells['f1']} does not fit precision {cells['precision']} and recall {cells['recall']}: "
            f"2pr/(p+r) is {span(mean, cells['f1'])}",
            (told_harmonic(cells),),
        )


def told_harmonic(cells: dict[str, Printed]) -> str:
    """Write the harmonic mean of printed precision and recall, with its arithmetic."""
    p, r = cells["precision"], cells["recall"]
    mean = 2 * p.value * r.value / (p.value + r.value) if p.value + r.value else Fraction(0)
    return f"2 x {p} x {r} / ({p} + {r}) = {shown(mean, cells['f1'], 2)}"


def bounded(where: str, cells: dict[str, Printed]) -> Iterator[Finding]:
    """Find what is no share: shares lie between 0 and 1."""
    for name, cell in cells.items():
        if not cell.range().meets(Range(Fraction(0), Fraction(1))):
            end = "100%" if "%" in cell.text else "1"
            yield Finding(where, f"{name} {cell} is no share: it must lie between 0 and {end}", percent_hint(cell))


def percent_hint(cell: Printed) -> tuple[str, ...]:
    """Return what to write where a number without % looks like a percentage; nothing where it does not."""
    if "%" in cell.text or not 1 < cell.value <= 100:
        return ()
    return (f"If percent is meant, write {cell}%, or unit: '%' for the whole table.",)


def share_hint(cells: Iterable[Printed]) -> tuple[str, ...]:
    """Return what to write where all percentages look like shares; nothing where they do not."""
    if all("%" in cell.text and cell.value <= Fraction(1, 100) for cell in cells):
        return ("All of them are at most 1%. If shares of 1 are meant, write them without %, and leave out unit.",)
    return ()
