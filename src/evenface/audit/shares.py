"""Accuracies that must be a count of the test set."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from evenface.audit.averages import bounded, share_hint
from evenface.audit.counts import Share, hits, nearby, nearest, sizes, told_best, told_runs
from evenface.audit.findings import Finding, listed
from evenface.audit.numbers import Printed, Size, exactly
from evenface.audit.schema import Accuracies, Ratios

_AT_MOST = 20_000


@dataclass(frozen=True)
class _Cell:
    """One printed share, and of how many runs it is the mean."""

    name: str
    printed: Printed
    runs: int
    share: Share

    def fits(self, size: int) -> bool:
        return bool(hits(self.share[0], self.runs * size))


def accuracies(section: Accuracies, truncation: bool) -> Iterator[Finding]:
    """Find the shares that no count of the test set gives, and the sizes that give all, or most."""
    by_size: dict[Size | None, list[_Cell]] = {}
    for name, row in section.cells().items():
        own = section.count(name, "size")
        cells = by_size.setdefault(Size(own, own) if own else section.size, [])
        for column, cell in row.items():
            place, runs = f"{name}, {column}" if len(row) > 1 else name, section.runs_in(name, column)
            cells.append(_Cell(place, cell, runs, (cell.range(truncation), runs)))
    for size, cells in by_size.items():
        flaws = list(bounded(section.where, {cell.name: cell.printed for cell in cells}))
        yield from flaws
        if flaws or not cells:
            continue
        if size is None:
            yield from _any_size(section, cells)
        else:
            yield from _of_size(section, size, cells)


def _of_size(section: Accuracies, size: Size, cells: list[_Cell]) -> Iterator[Finding]:
    missing = {one: [cell for cell in cells if not cell.fits(one)] for one in size.all}
    best = min(missing, key=lambda one: len(missing[one]))
    missed = missing[best]
    if not missed:
        return
    figures = listed([f"{cell.printed} ({cell.name})" for cell in missed], 4)
    if len(missed) == 1:
        line = f"no count of {_counted(missed[0], size)} gives {figures}"
    else:
        line = f"{len(missed)} of {len(cells)} figures are no count of {_counted(missed[0], size)}: {figures}"
    details = dict.fromkeys(f"{cell.printed}: {nearest(cell.printed, cell.runs * best)}" for cell in missed[:4])
    hint = share_hint(cell.printed for cell in cells)
    yield Finding(section.where, line, (*details, *_would(section, cells, missed, best), *hint))


def _counted(cell: _Cell, size: Size) -> str:
    return f"{size}" if cell.runs == 1 else f"{size} in the mean of {cell.runs} runs"


def _would(section: Accuracies, cells: list[_Cell], missed: list[_Cell], size: int) -> Iterator[str]:
    most, shares = section.at_most or max(_AT_MOST, size), [cell.share for cell in cells]
    if len(cells) > 1:
        found = sizes(shares, range(1, most + 1))
        named = ", ".join(f"{one:,}" for one in found[:3])
        if found:
            yield f"Sizes that give all {len(cells)}: {named}{' ...' if len(found) > 3 else ''}"
        else:
            yield f"No size up to {most:,} gives all: {told_best(shares, range(1, most + 1), size)}"
    else:
        named = ", ".join(f"{one:,}" for one in nearby(shares, size))
        yield f"The nearest sizes that would: {named}" if named else "No size near it would."
    if all(cell.runs == 1 for cell in missed):
        yield from told_runs([(cell.share[0], size) for cell in missed])
    coarse = [
        str(short) for cell in missed if (short := cell.printed.coarser) and hits(short.range(), cell.runs * size)
    ]
    if coarse:
        yield f"With fewer digits it would fit: {listed(coarse)}"


def _any_size(section: Accuracies, cells: list[_Cell]) -> Iterator[Finding]:
    most, shares = section.at_most or _AT_MOST, [cell.share for cell in cells]
    found = sizes(shares, range(1, most + 1))
    named = ", ".join(f"{one:,}" for one in found[:4])
    if found:
        line = f"all {len(cells)} figures are counts of {named}{' ...' if len(found) > 4 else ''}"
        yield Finding(section.where, line, cannot=False)
    else:
        # Only who says at_most rules out that the test set is larger.
        line = f"no test set of up to {most:,} samples gives all {len(cells)} figures"
        yield Finding(
            section.where, f"{line}: {told_best(shares, range(1, most + 1))}", cannot=section.at_most is not None
        )


def ratios(section: Ratios, truncation: bool) -> Iterator[Finding]:
    """Check that classes with these ratios of negatives to positives make up a whole.

    With ratio r a class is 1 / (1 + r) of the samples; classes that exclude each other add up to 1, or to less where
    there are others.
    """
    total, parts = exactly(0), []
    for name, cells in section.cells().items():
        share = exactly(1) / (exactly(1) + cells["ratio"].range(truncation))
        total += share
        parts.append(f"{name} 1/(1+{cells['ratio']}) = {float(1 / (1 + cells['ratio'].value)):.3f}")
    if total.lo > 1 or (section.every and total.hi < 1):
        middle = sum((1 / (1 + cells["ratio"].value) for cells in section.cells().values()), Fraction(0))
        yield Finding(
            section.where,
            f"ratios of negatives to positives make the classes {float(middle):.2f} of the samples, not "
            f"{'1' if section.every else 'at most 1'}",
            (", ".join(parts), f"With rounding: {float(total.lo):.3f} to {float(total.hi):.3f}."),
        )
