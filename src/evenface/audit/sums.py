"""Check sums, proportions, gains, best runs, differences, orders, repetitions, products and parameter counts."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import sqrt

from evenface.audit.printed import (
    Finding,
    PrintedNumber,
    Range,
    exact_range,
    format_range,
    format_value,
    have_common_value,
    mean_range,
    sum_range,
)
from evenface.audit.schema import Bests, Differences, Gains, Orders, Parameters, Products, Repeats, Sums


def check_sums(section: Sums, truncation: bool) -> Iterator[Finding]:
    """Check that parts sum to the total, and proportions are those of the parts."""
    parts = {name: cell.range(truncation) for name, cell in section.parts.items()}
    computed = sum_range(parts.values())
    total = section.total.range(truncation) if section.total else computed
    if section.total and not computed.meets(total):
        terms = " + ".join(map(str, section.parts.values()))
        yield Finding(section.where, f"{terms} = {format_range(computed, section.total)}, printed is {section.total}")
    middle = section.total.value if section.total else (computed.lo + computed.hi) / 2
    for name, cell in section.shares.items():
        share = parts[name] / total
        if not share.meets(cell.range(truncation)):
            total_text = str(section.total or f"{float(computed.lo):,.0f}")
            line = f"{section.parts[name]} of {total_text} is {format_range(share, cell)}, printed is {cell}"
            quotient = (
                f"{section.parts[name]}/{total_text} = {format_value(section.parts[name].value / middle, cell, 2)}"
            )
            yield Finding(f"{section.where}, {name}", line, (quotient,))
    if section.shares.keys() == parts.keys():
        share_sum = sum_range(cell.range(truncation) for cell in section.shares.values())
        if 1 not in share_sum:
            terms, like = " + ".join(map(str, section.shares.values())), next(iter(section.shares.values()))
            total_share = format_value((share_sum.lo + share_sum.hi) / 2, like, 0)
            yield Finding(
                section.where,
                f"the shares {terms} = {total_share}, with rounding {format_range(share_sum, like)}, not 100%",
            )


def check_gains(section: Gains, truncation: bool) -> Iterator[Finding]:
    """Check gains as differences in points, relative to the start, or either."""
    rows = section.cells()
    truths = {name: _gains(cells, section.reading, truncation) for name, cells in rows.items()}
    wrong = [name for name in rows if not any(_fits(rows[name]["gain"], truth) for truth in truths[name].values())]
    for name in wrong:
        cell, change = rows[name]["gain"], f"from {rows[name]['from']} to {rows[name]['to']}"
        alternatives = " or ".join(f"{format_range(truth, cell)} {how}" for how, truth in truths[name].items())
        others = [
            other for other in wrong if other != name and any(_fits(cell, truth) for truth in truths[other].values())
        ]
        more = tuple(f"This is the gain of {other}; the two seem to be exchanged." for other in others[:1])
        line = f"{change} is a gain of {alternatives}, printed is {cell}"
        yield Finding(f"{section.where}, {name}", line, (*more, *_subtracted(rows[name], truths[name])))


def _gains(cells: dict[str, PrintedNumber], reading: str, truncation: bool) -> dict[str, Range]:
    start, end = cells["from"].range(truncation), cells["to"].range(truncation)
    gains = {}
    if reading in ("points", "either"):
        gains["in points"] = end - start
    if reading in ("relative", "either") and start.lo > 0:
        # (end - start) / start = end / start - 1, where each number occurs once, so that the range is exact.
        gains["relative"] = end / start - exact_range(1)
    return gains


def _subtracted(cells: dict[str, PrintedNumber], truths: dict[str, Range]) -> Iterator[str]:
    start, end, cell = cells["from"], cells["to"], cells["gain"]
    if "in points" in truths:
        yield f"{end} - {start} = {format_value(end.value - start.value, cell)}"
    if "relative" in truths:
        yield f"({end} - {start}) / {start} = {format_value((end.value - start.value) / start.value, cell)}"


def _fits(cell: PrintedNumber, truth: Range) -> bool:
    return truth.meets(cell.range())


def check_bests(section: Bests, truncation: bool) -> Iterator[Finding]:
    """Check the best, or the mean, of several runs."""
    runs_at = [k for k, column in enumerate(section.columns) if column == "run"]
    for name, row in section.rows.items():
        runs = [cell for k in runs_at if (cell := row[k])]
        ranges = [cell.range(truncation) for cell in runs]
        cells = section.cells()[name]
        most = Range(max(values.lo for values in ranges), max(values.hi for values in ranges))
        for figure, truth in (("best", most), ("mean", mean_range(ranges))):
            cell = cells.get(figure)
            if cell and section.unit:
                truth *= exact_range(Fraction(1, 100))
            if cell and not truth.meets(cell.range(truncation)):
                values = ", ".join(map(str, runs))
                line = f"the {figure} of {values} is {format_range(truth, cell)}, printed is {cell}"
                yield Finding(f"{section.where}, {name}", line)


def check_differences(section: Differences, truncation: bool) -> Iterator[Finding]:
    """Infer the direction of subtraction, and check which side the text calls higher against the signs."""
    first, second = section.sides
    directions = {f"{first} - {second}": 1, f"{second} - {first}": -1}
    proof: list[str] = []
    for name, cells in section.cells().items():
        if name not in section.means:
            continue
        cell, means = cells["difference"], section.means[name]
        values = {side: [number for number in means[side] if number] for side in section.sides}
        if section.unit:
            values = {side: [number.percent() for number in row] for side, row in values.items()}
        means_of = (mean_range([number.range(truncation) for number in values[side]]) for side in section.sides)
        computed = next(means_of) - next(means_of)
        printed = cell.range(truncation)
        consistent = {
            direction for direction, sign in directions.items() if (computed * exact_range(sign)).meets(printed)
        }
        arithmetic = f"{_averaged(values[first])} - {_averaged(values[second])} = {format_range(computed, cell)}"
        if not consistent:
            line = f"{first} less {second} is {format_range(computed, cell)}" + (
                "" if len(directions) > 1 else ", as in other rows"
            )
            yield Finding(f"{section.where}, {name}", f"{line}, printed is {cell}", (arithmetic, *proof))
            continue
        if len(consistent) < len(directions):
            proof.append(f"{name}: {arithmetic}, printed is {cell}: differences are {next(iter(consistent))}.")
        directions = {direction: sign for direction, sign in directions.items() if direction in consistent}
    if len(directions) > 1:
        return
    direction, sign = next(iter(directions.items()))
    for name, side in section.higher.items():
        cell = section.cells()[name]["difference"]
        gap = cell.range(truncation) * exact_range(sign if side == first else -sign)
        if gap.hi < 0:
            line = f"{direction} is {cell}, so {side} is lower, but the text calls it higher"
            yield Finding(f"{section.where}, {name}", line, tuple(proof))


def _averaged(values: Sequence[PrintedNumber]) -> str:
    terms = " + ".join(map(str, values))
    return f"({terms})/{len(values)}" if len(values) > 1 else terms


def check_orders(section: Orders, truncation: bool) -> Iterator[Finding]:
    """Check stated orders of two values."""
    for name, cells in section.cells().items():
        if cells["larger"].range(truncation).hi < cells["smaller"].range(truncation).lo:
            yield Finding(f"{section.where}, {name}", f"{cells['larger']} is less than {cells['smaller']}")


def check_repeats(section: Repeats, truncation: bool) -> Iterator[Finding]:
    """Check that repeated values agree."""
    cells = {location: cell.percent() if section.unit else cell for location, cell in section.values.items()}
    ranges = [cell.range(truncation) for cell in cells.values()]
    if not have_common_value(ranges):
        values = ", ".join(f"{cell} ({location})" for location, cell in cells.items())
        yield Finding(section.where, f"printed differently: {values}")


def check_products(section: Products, truncation: bool) -> Iterator[Finding]:
    """Check a number against its factors."""
    computed = exact_range(1)
    for cell in section.factors.values():
        computed *= cell.range(truncation)
    if not computed.meets(section.product.range(truncation)):
        factors = " x ".join(f"{cell} {name}" for name, cell in section.factors.items())
        over = section.product.value / computed.lo if computed.lo else Fraction(0)
        # A count that is an integer multiple may have a factor that the paper does not mention.
        counts = all(not cell.step for cell in (section.product, *section.factors.values()))
        yield Finding(
            section.where,
            f"{factors} = {format_range(computed, section.product)}, printed is {section.product}",
            (f"A further factor of {format_value(over)} would be needed.",),
            impossible=not (counts and over > 1 and over.denominator == 1),
        )


_GATES = {"gru": 3, "lstm": 4}


def check_parameters(section: Parameters, truncation: bool) -> Iterator[Finding]:
    """Check a mean number of parameters against the range for the stated widths."""
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
    line = f"{section.count} parameters are impossible with {section.inputs} inputs, {widths}: {least:,} to {most:,}"
    yield Finding(section.where, line, tuple(details))


def count(inputs: int, dense: int | None, cell: str, hidden: int, head: int | None, outputs: int) -> int:
    """Count the parameters of dense (on each step), recurrent, dense and output layers.

    Weights and one bias per gate and unit. A second bias and batch normalisation, which some libraries add, are not
    counted: they add less than 1 %.

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
    message = f"Interpreted as thousands, {section.count} is within the range"
    if section.sd is None or section.n is None:
        return f"{message}."
    bound = sqrt((mean - least) * (most - mean) * Fraction(section.n, section.n - 1)) / 1000
    if section.sd.value <= bound:
        return f"{message}."
    largest = format_value(bound, section.sd)
    return f"{message}, but then an sd of {section.sd} is too large: at most {largest} with this mean."
