"""Sums, shares, gains, bests and repetitions that do not add up."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import sqrt

from evenface.audit.findings import Finding
from evenface.audit.printed import PrintedNumber, Range, exact_range, format_range, format_value
from evenface.audit.schema import Bests, Differences, Gains, Orders, Parameters, Products, Repeats, Sums


def check_sums(section: Sums, truncation: bool) -> Iterator[Finding]:
    """Check that parts make the total, and shares are theirs."""
    parts = {name: cell.range(truncation) for name, cell in section.parts.items()}
    made = exact_range(0)
    for part in parts.values():
        made += part
    total = section.total.range(truncation) if section.total else made
    if section.total and not made.meets(total):
        description = " + ".join(map(str, section.parts.values()))
        yield Finding(section.where, f"{description} = {format_range(made, section.total)}, printed is {section.total}")
    middle = section.total.value if section.total else (made.lo + made.hi) / 2
    for name, cell in section.shares.items():
        share = parts[name] / total
        if not share.meets(cell.range(truncation)):
            whole = str(section.total or f"{float(made.lo):,.0f}")
            line = f"{section.parts[name]} of {whole} is {format_range(share, cell)}, printed is {cell}"
            description = f"{section.parts[name]}/{whole} = {format_value(section.parts[name].value / middle, cell, 2)}"
            yield Finding(f"{section.where}, {name}", line, (description,))
    if section.shares.keys() == parts.keys():
        whole_of = exact_range(0)
        for cell in section.shares.values():
            whole_of += cell.range(truncation)
        if 1 not in whole_of:
            description, like = " + ".join(map(str, section.shares.values())), next(iter(section.shares.values()))
            made_up = format_value((whole_of.lo + whole_of.hi) / 2, like, 0)
            yield Finding(
                section.where,
                f"the shares {description} = {made_up}, with rounding {format_range(whole_of, like)}, not 100%",
            )


def check_gains(section: Gains, truncation: bool) -> Iterator[Finding]:
    """Hold gains against what they are of, as a difference in points, relative to where they came from, or either."""
    rows = section.cells()
    truths = {name: _gains(cells, section.reading, truncation) for name, cells in rows.items()}
    wrong = [name for name in rows if not any(_fits(rows[name]["gain"], truth) for truth in truths[name].values())]
    for name in wrong:
        cell, given = rows[name]["gain"], f"from {rows[name]['from']} to {rows[name]['to']}"
        description = " or ".join(f"{format_range(truth, cell)} {how}" for how, truth in truths[name].items())
        others = [
            other for other in wrong if other != name and any(_fits(cell, truth) for truth in truths[other].values())
        ]
        more = tuple(f"It is that of: {other}; the two seem to be exchanged." for other in others[:1])
        line = f"{given} is a gain of {description}, printed is {cell}"
        yield Finding(f"{section.where}, {name}", line, (*more, *_subtracted(rows[name], truths[name])))


def _gains(cells: dict[str, PrintedNumber], reading: str, truncation: bool) -> dict[str, Range]:
    start, end = cells["from"].range(truncation), cells["to"].range(truncation)
    found = {}
    if reading in ("points", "either"):
        found["in points"] = end - start
    if reading in ("relative", "either") and start.lo > 0:
        # (end - start) / start = end / start - 1, where each number stands once: the range is exact.
        found["relative"] = end / start - exact_range(1)
    return found


def _subtracted(cells: dict[str, PrintedNumber], truths: dict[str, Range]) -> Iterator[str]:
    start, end, cell = cells["from"], cells["to"], cells["gain"]
    if "in points" in truths:
        yield f"{end} - {start} = {format_value(end.value - start.value, cell)}"
    if "relative" in truths:
        yield f"({end} - {start}) / {start} = {format_value((end.value - start.value) / start.value, cell)}"


def _fits(cell: PrintedNumber, truth: Range) -> bool:
    return truth.meets(cell.range())


def check_bests(section: Bests, truncation: bool) -> Iterator[Finding]:
    """Hold the best, or the mean, of several runs against the runs."""
    runs_at = [k for k, column in enumerate(section.columns) if column == "run"]
    for name, row in section.rows.items():
        runs = [cell for k in runs_at if (cell := row[k])]
        ranges = [cell.range(truncation) for cell in runs]
        cells = section.cells()[name]
        most = Range(max(one.lo for one in ranges), max(one.hi for one in ranges))
        for figure, truth in (("best", most), ("mean", _mean(runs, truncation))):
            cell = cells.get(figure)
            if cell and section.unit:
                truth *= exact_range(Fraction(1, 100))
            if cell and not truth.meets(cell.range(truncation)):
                description = ", ".join(map(str, runs))
                line = f"the {figure} of {description} is {format_range(truth, cell)}, printed is {cell}"
                yield Finding(f"{section.where}, {name}", line)


def check_differences(section: Differences, truncation: bool) -> Iterator[Finding]:
    """Find which side is subtracted from which, and hold what the text calls higher against the signs."""
    first, second = section.sides
    open_ways = {f"{first} - {second}": 1, f"{second} - {first}": -1}
    proof: list[str] = []
    for name, cells in section.cells().items():
        if name not in section.means:
            continue
        cell, means = cells["difference"], section.means[name]
        values = {side: [one for one in means[side] if one] for side in section.sides}
        if section.unit:
            values = {side: [one.percent() for one in row] for side, row in values.items()}
        made = _mean(values[first], truncation) - _mean(values[second], truncation)
        printed = cell.range(truncation)
        ways = {way for way, sign in open_ways.items() if (made * exact_range(sign)).meets(printed)}
        description = f"{_averaged(values[first])} - {_averaged(values[second])} = {format_range(made, cell)}"
        if not ways:
            line = f"{first} less {second} is {format_range(made, cell)}" + (
                "" if len(open_ways) > 1 else ", as in other rows"
            )
            yield Finding(f"{section.where}, {name}", f"{line}, printed is {cell}", (description, *proof))
            continue
        if len(ways) < len(open_ways):
            proof.append(f"{name}: {description}, printed is {cell}: differences are {next(iter(ways))}.")
        open_ways = {way: sign for way, sign in open_ways.items() if way in ways}
    if len(open_ways) > 1:
        return
    way, sign = next(iter(open_ways.items()))
    for name, side in section.higher.items():
        cell = section.cells()[name]["difference"]
        gap = cell.range(truncation) * exact_range(sign if side == first else -sign)
        if gap.hi < 0:
            line = f"{way} is {cell}, so {side} is lower, but the text calls it higher"
            yield Finding(f"{section.where}, {name}", line, tuple(proof))


def _mean(values: Sequence[PrintedNumber], truncation: bool) -> Range:
    total = exact_range(0)
    for one in values:
        total += one.range(truncation)
    return total * exact_range(Fraction(1, len(values)))


def _averaged(values: Sequence[PrintedNumber]) -> str:
    description = " + ".join(map(str, values))
    return f"({description})/{len(values)}" if len(values) > 1 else description


def check_orders(section: Orders, truncation: bool) -> Iterator[Finding]:
    """Check what is said to be larger."""
    for name, cells in section.cells().items():
        if cells["larger"].range(truncation).hi < cells["smaller"].range(truncation).lo:
            yield Finding(f"{section.where}, {name}", f"{cells['larger']} is less than {cells['smaller']}")


def check_repeats(section: Repeats, truncation: bool) -> Iterator[Finding]:
    """Hold what is printed in several places against itself."""
    cells = {place: cell.percent() if section.unit else cell for place, cell in section.values.items()}
    ranges = [cell.range(truncation) for cell in cells.values()]
    if max(one.lo for one in ranges) > min(one.hi for one in ranges):
        description = ", ".join(f"{cell} ({place})" for place, cell in cells.items())
        yield Finding(section.where, f"printed differently: {description}")


def check_products(section: Products, truncation: bool) -> Iterator[Finding]:
    """Hold a number against its factors."""
    made = exact_range(1)
    for cell in section.factors.values():
        made *= cell.range(truncation)
    if not made.meets(section.product.range(truncation)):
        description = " x ".join(f"{cell} {name}" for name, cell in section.factors.items())
        over = section.product.value / made.lo if made.lo else Fraction(0)
        # A count that is a whole multiple of the others may have a factor that the paper does not name.
        counts = all(not cell.step for cell in (section.product, *section.factors.values()))
        yield Finding(
            section.where,
            f"{description} = {format_range(made, section.product)}, printed is {section.product}",
            (f"A further factor of {format_value(over)} would be needed.",),
            cannot=not (counts and over > 1 and over.denominator == 1),
        )


_GATES = {"gru": 3, "lstm": 4}


def check_parameters(section: Parameters, truncation: bool) -> Iterator[Finding]:
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
    description = f"Read as thousands, {section.count} lies within"
    if section.sd is None or section.n is None:
        return f"{description}."
    bound = sqrt((mean - least) * (most - mean) * Fraction(section.n, section.n - 1)) / 1000
    if section.sd.value <= bound:
        return f"{description}."
    largest = format_value(bound, section.sd)
    return f"{description}, but then an sd of {section.sd} is too large: at most {largest} with this mean."
