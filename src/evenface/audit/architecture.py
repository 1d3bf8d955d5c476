"""Parameter counts that a stated network cannot have."""

from collections.abc import Iterator
from fractions import Fraction
from math import sqrt

from evenface.audit.findings import Finding
from evenface.audit.numbers import Range, shown
from evenface.audit.schema import Parameters

_GATES = {"gru": 3, "lstm": 4}


def parameters(section: Parameters, truncation: bool) -> Iterator[Finding]:
    """Hold a mean number of parameters against the fewest and the most that the stated widths have."""
    least, most = (
        count(
            section.inputs,
            getattr(section.dense, end, None),
            section.cell,
            getattr(section.hidden, end),
            getattr(section.head, end, None),
            section.outputs,
        )
        for end in ("lo", "hi")
    )
    printed = section.count.range(truncation)
    if printed.meets(Range(Fraction(least), Fraction(most))):
        return
    widths = ", ".join(
        f"{name} {size}"
        for name, size in (("dense", section.dense), (section.cell.upper(), section.hidden), ("head", section.head))
        if size
    )
    details = [_arithmetic(section, end) for end in ("lo", "hi")]
    if least <= section.count.value * 1000 <= most:
        details.append(_thousands(section, least, most))
    line = f"{section.count} parameters cannot be with {section.inputs} inputs, {widths}: {least:,} to {most:,}"
    yield Finding(section.where, line, tuple(details))


def count(inputs: int, dense: int | None, cell: str, hidden: int, head: int | None, outputs: int) -> int:
    """Count the parameters of dense (on each step), recurrent, dense and output layers.

    Weights and one bias for each gate's unit; a second bias and batch normalisation, which some libraries add, are
    left out: they add less than 1 %, and the count is the fewest that the layers can have.

    Examples
    --------
    >>> count(936, 16, "gru", 32, 32, 1)
    20785
    """
    total, wide = 0, inputs
    if dense:
        total, wide = total + wide * dense + dense, dense
    total, wide = total + _GATES[cell] * hidden * (wide + hidden + 1), hidden
    if head:
        total, wide = total + wide * head + head, head
    return total + wide * outputs + outputs


def _arithmetic(section: Parameters, end: str) -> str:
    wide, parts = section.inputs, []
    for size, gates, square in ((section.dense, 1, 0), (section.hidden, _GATES[section.cell], 1), (section.head, 1, 0)):
        if size is None:
            continue
        units = getattr(size, end)
        parts.append(f"{gates} x {units} x ({wide} + {units} + 1)" if square else f"{units} x ({wide} + 1)")
        wide = units
    parts.append(f"{section.outputs} x ({wide} + 1)")
    return f"{'fewest' if end == 'lo' else 'most'}: {' + '.join(parts)}"


def _thousands(section: Parameters, least: int, most: int) -> str:
    mean = section.count.value * 1000
    told = f"Read as thousands, {section.count} lies within"
    if section.sd is None or section.n is None:
        return f"{told}."
    bound = sqrt((mean - least) * (most - mean) * Fraction(section.n, section.n - 1)) / 1000
    if section.sd.value <= bound:
        return f"{told}."
    return f"{told}, but then an sd of {section.sd} is too large: at most {shown(bound, section.sd)} with this mean."
