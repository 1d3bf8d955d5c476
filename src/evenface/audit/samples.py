"""Means, standard deviations, medians and intervals that n values cannot have."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import sqrt

from evenface.audit.counts import percent_hint
from evenface.audit.grid import Finding, join_limited
from evenface.audit.inferential import interval_factor, with_float_error
from evenface.audit.printed import PrintedNumber, Range, exact_range, format_range, format_value
from evenface.audit.schema import SampleValues

_SLACK = 1e-9


def check_samples(section: SampleValues, truncation: bool) -> Iterator[Finding]:
    """Check each row: intervals against mean and sd, sd against the range of values, all against printed values."""
    zs: dict[int, int] = {}
    for name, cells in section.cells().items():
        where, n = f"{section.where}, {name}", section.n_of(name)
        yield from _check_sd_bound(where, section, n, cells, truncation)
        if section.whole:
            yield from _check_grimmer(where, n, cells, truncation)
        if name in section.values:
            values = [cell.percent() if section.unit else cell for cell in section.values[name] if cell]
            yield from _check_printed_values(where, n, cells, values, truncation)
        if {"mean", "sd", "low", "high"} <= cells.keys():
            kind, flaw = _check_interval(where, section, n, cells, truncation)
            if flaw:
                yield flaw
            elif kind == "z" and n < 30:
                zs[n] = zs.get(n, 0) + 1
    for n, count in zs.items():
        t, z = interval_factor(section.level, n, "t"), interval_factor(section.level, n, "z")
        line = (
            f"{count} intervals fit the normal quantile {z:.3f} and not Student's t of {n - 1} degrees of "
            f"freedom, {t:.3f}: for n = {n} they are too narrow by {t / z:.2f}"
        )
        yield Finding(section.where, line, cannot=False)


def _check_sd_bound(
    where: str, section: SampleValues, n: int, cells: dict[str, PrintedNumber], truncation: bool
) -> Iterator[Finding]:
    """Values between two ends have var <= (mean - least)(most - mean), times n / (n - 1) for a sample's."""
    if section.least is None or section.most is None:
        return
    least, most = section.least.value, section.most.value
    for figure in ("mean", "median"):
        cell = cells.get(figure)
        if cell and not cell.range(truncation).meets(Range(least, most)):
            hint = percent_hint(cell) if most == 1 else ()
            yield Finding(where, f"{figure} {cell} lies outside of {section.least} to {section.most}", hint)
            return
    if not {"mean", "sd"} <= cells.keys():
        return
    mean, sd = cells["mean"].range(truncation), cells["sd"].range(truncation)
    at = [min(max(value, least), most) for value in (mean.lo, mean.hi, min(max((least + most) / 2, mean.lo), mean.hi))]
    bound = max((value - least) * (most - value) for value in at) * Fraction(n, n - 1)
    if sd.lo > 0 and sd.lo**2 > bound:
        line = f"sd {cells['sd']} cannot be with mean {cells['mean']} of {n} values from {section.least} to "
        yield Finding(
            where,
            f"{line}{section.most}: at most {format_value(sqrt(bound), cells['sd'])}",
            (
                "var <= (mean - least)(most - mean) n / (n - 1), when all values lie at the ends: "
                f"({cells['mean']} - {section.least})({section.most} - {cells['mean']}) x {n}/{n - 1}, "
                f"with rounding {float(bound):.6g}, of which the root is {format_value(sqrt(bound), cells['sd'], 2)}",
            ),
        )


def _check_grimmer(where: str, n: int, cells: dict[str, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    """Whole numbers: n times the mean is whole, and so is the sum of squares, odd or even as the sum is (GRIMMER)."""
    if "mean" not in cells:
        return
    mean = cells["mean"].range(truncation)
    totals = Range(mean.lo * n, mean.hi * n).wholes()
    if not totals:
        near = int(cells["mean"].value * n)
        description = ", ".join(f"{k}/{n} = {format_value(Fraction(k, n), cells['mean'])}" for k in (near, near + 1))
        yield Finding(where, f"no sum of {n} whole numbers gives mean {cells['mean']}", (description,))
    elif "sd" in cells:
        sd = cells["sd"].range(truncation)
        lo, hi = max(sd.lo, Fraction(0)) ** 2 * (n - 1), sd.hi**2 * (n - 1)
        squares = (
            (square, total)
            for total in totals
            for square in Range(lo + Fraction(total**2, n), hi + Fraction(total**2, n)).wholes()
        )
        if not any((square - total) % 2 == 0 for square, total in squares):
            total = totals[0]
            ends = [f"{float(end + Fraction(total**2, n)):.6g}" for end in (lo, hi)]
            parity = "even" if total % 2 == 0 else "odd"
            line = f"With the sum {total}, the sum of squares is (n - 1) sd^2 + {total}^2/{n}, {ends[0]} to {ends[1]}: "
            yield Finding(
                where,
                f"no {n} whole numbers have mean {cells['mean']} and sd {cells['sd']}",
                (f"{line}no {parity} whole number is, and it must be {parity} as the sum is.",),
            )


def _check_printed_values(
    where: str, n: int, cells: dict[str, PrintedNumber], values: Sequence[PrintedNumber], truncation: bool
) -> Iterator[Finding]:
    """Recompute from printed values, each of which is known to its last digit only."""
    ranges = [cell.range(truncation) for cell in values]
    if len(values) != n:
        yield Finding(where, f"{len(values)} values are printed for n = {n}")
        return
    total = exact_range(0)
    for one in ranges:
        total += one
    computed = {"mean": total * exact_range(Fraction(1, n)), "median": _median(ranges), "sd": _sd(ranges)}
    for figure, truth in computed.items():
        cell = cells.get(figure)
        if cell and not truth.meets(cell.range(truncation)):
            line = f"the {figure} of the {n} printed values is {format_range(truth, cell)}, printed is {cell}"
            description = join_limited([str(value) for value in values], 20)
            yield Finding(where, line, (f"{figure} of {description}",))


def _median(ranges: Sequence[Range]) -> Range:
    def middle(values: list[Fraction]) -> Fraction:
        values.sort()
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    return Range(middle([one.lo for one in ranges]), middle([one.hi for one in ranges]))


def _sd(ranges: Sequence[Range]) -> Range:
    """Bound the sd: it moves by no more than the length of the step over the root of n - 1."""
    middles = [(one.lo + one.hi) / 2 for one in ranges]
    mean = sum(middles, Fraction(0)) / len(middles)
    sd = sqrt(sum((value - mean) ** 2 for value in middles) / (len(middles) - 1))
    off = sqrt(sum(((one.hi - one.lo) / 2) ** 2 for one in ranges) / (len(middles) - 1)) + _SLACK
    return Range(Fraction(max(sd - off, 0.0)), Fraction(sd + off))


def _check_interval(
    where: str, section: SampleValues, n: int, cells: dict[str, PrintedNumber], truncation: bool
) -> tuple[str, Finding | None]:
    """Hold an interval against mean -+ q sd / sqrt(n), with Student's and with the normal quantile."""
    mean, sd, low, high = (cells[name].range(truncation) for name in ("mean", "sd", "low", "high"))
    description = []
    for kind in ("t", "z"):
        factor = interval_factor(section.level, n, kind)
        half = sd * with_float_error(factor / sqrt(n))
        below, above = mean - half, mean + half
        if below.meets(low) and above.meets(high):
            return kind, None
        name, width, like = {"t": "Student", "z": "normal"}[kind], (half.lo + half.hi) / 2, cells["low"]
        ends = f"{format_value(cells['mean'].value - width, like)} to {format_value(cells['mean'].value + width, like)}"
        description.append(f"{name}: {cells['mean']} -+ {factor:.3f} x {cells['sd']} / sqrt({n}) = {ends}")
    line = f"interval {cells['low']} to {cells['high']} does not fit mean {cells['mean']}, sd {cells['sd']}, n = {n}"
    return "", Finding(where, line, tuple(description))
