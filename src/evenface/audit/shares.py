"""Accuracies that must be a count of the test set."""

from collections.abc import Iterator
from fractions import Fraction

from evenface.audit.averages import bounded
from evenface.audit.counts import hits, nearby, nearest, sizes
from evenface.audit.findings import Finding, listed
from evenface.audit.numbers import Printed, exactly
from evenface.audit.schema import Accuracies, Ratios


def accuracies(section: Accuracies, truncation: bool) -> Iterator[Finding]:
    """Find the shares that no count of the test set gives, and the sizes that give all."""
    cells = {
        f"{name}, {column}" if len(section.columns) > 1 else name: cell
        for name, row in section.cells().items()
        for column, cell in row.items()
    }
    yield from bounded(section.where, cells)
    if section.size is None:
        yield from _any_size(section, cells, truncation)
        return
    possible = [size for size in section.size.all if not _missed(cells, size, truncation)]
    if possible:
        return
    best = min(section.size.all, key=lambda size: len(_missed(cells, size, truncation)))
    missed = _missed(cells, best, truncation)
    told = listed([f"{cells[name]} ({name})" for name in missed], 4)
    if len(missed) == 1:
        line = f"no count of {section.size} gives {told}"
    else:
        line = f"{len(missed)} of {len(cells)} figures are no count of {section.size}: {told}"
    yield Finding(
        section.where,
        line,
        (
            *(f"{cells[name]}: {nearest(cells[name], best)}" for name in missed[:4]),
            *_would(cells, missed, best, section.at_most, truncation),
        ),
    )


def _missed(cells: dict[str, Printed], size: int, truncation: bool) -> list[str]:
    return [name for name, cell in cells.items() if not hits(cell.range(truncation), size)]


def _would(cells: dict[str, Printed], missed: list[str], size: int, most: int, truncation: bool) -> Iterator[str]:
    ranges = {name: cell.range(truncation) for name, cell in cells.items()}
    if len(cells) > 1:
        found = sizes(ranges.values(), range(1, most + 1))
        told = ", ".join(f"{one:,}" for one in found[:3])
        yield (
            f"Sizes that give all {len(cells)}: {told}{' ...' if len(found) > 3 else ''}"
            if found
            else (f"No size up to {most:,} gives all {len(cells)} of them.")
        )
    else:
        told = ", ".join(f"{one:,}" for one in nearby([ranges[missed[0]]], size))
        yield f"The nearest sizes that would: {told}" if told else "No size near it would."
    coarse = [str(short) for name in missed if (short := cells[name].coarser) and hits(short.range(truncation), size)]
    if coarse:
        yield f"With fewer digits it would fit: {listed(coarse)}"


def _any_size(section: Accuracies, cells: dict[str, Printed], truncation: bool) -> Iterator[Finding]:
    found = sizes([cell.range(truncation) for cell in cells.values()], range(1, section.at_most + 1))
    told = ", ".join(f"{one:,}" for one in found[:4])
    if found:
        line = f"all {len(cells)} figures are counts of {told}{' ...' if len(found) > 4 else ''}"
        yield Finding(section.where, line, cannot=False)
    else:
        yield Finding(section.where, f"no test set of up to {section.at_most:,} samples gives all {len(cells)} figures")


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
