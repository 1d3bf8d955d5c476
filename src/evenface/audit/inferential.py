"""Check statistics of samples, intervals, effect sizes, p-values and powers against each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from evenface.audit.counts import percent_hint
from evenface.audit.printed import (
    Finding,
    PrintedNumber,
    Range,
    format_range,
    format_value,
    join_limited,
    mean_range,
)
from evenface.audit.schema import Comparisons, Effects, Equivalences, Powers, SampleValues


def with_float_error(value: float) -> Range:
    """Return the range of a computed value with a floating-point tolerance, in favour of the paper."""
    slack = Fraction(abs(value)) / 10**9 + Fraction(1, 10**12)
    return Range(Fraction(value) - slack, Fraction(value) + slack)


def range_between(first: float, second: float) -> Range:
    """Return the range between two computed values in any order."""
    return Range(with_float_error(min(first, second)).lo, with_float_error(max(first, second)).hi)


def _tails(first: float, second: float) -> Range:
    """Return the range between two tail probabilities, with a relative tolerance since they may be very small."""
    tolerance = Fraction(1, 10**6)
    return Range(Fraction(min(first, second)) * (1 - tolerance), Fraction(max(first, second)) * (1 + tolerance))


def interval_factor(level: PrintedNumber, n: int, kind: str, freedom: int | None = None) -> float:
    """Return the quantile of a two-sided interval: ``z``, or ``t`` with by default n - 1 degrees of freedom."""
    from scipy.stats import norm, t

    upper = (1 + float(level.value)) / 2
    return float(norm.ppf(upper)) if kind == "z" else float(t.ppf(upper, freedom or n - 1))


_SLACK = 1e-9


def check_samples(section: SampleValues, truncation: bool) -> Iterator[Finding]:
    """Check each row: intervals against mean and sd, sd against the range of values, all against printed values."""
    normal_intervals: dict[int, int] = {}
    for name, cells in section.cells().items():
        where, n = f"{section.where}, {name}", section.n_of(name)
        yield from _check_sd_bound(where, section, n, cells, truncation)
        if section.whole:
            yield from _check_grimmer(where, n, cells, truncation)
        if name in section.values:
            values = [cell.percent() if section.unit else cell for cell in section.values[name] if cell]
            yield from _check_printed_values(where, n, cells, values, truncation)
        if {"mean", "sd", "low", "high"} <= cells.keys():
            kind, flaw = _check_sample_interval(where, section, n, cells, truncation)
            if flaw:
                yield flaw
            elif kind == "z" and n < 30:
                normal_intervals[n] = normal_intervals.get(n, 0) + 1
    for n, count in normal_intervals.items():
        t, z = interval_factor(section.level, n, "t"), interval_factor(section.level, n, "z")
        line = (
            f"{count} intervals are consistent with the normal quantile {z:.3f}, not with Student's t of {n - 1} "
            f"degrees of freedom, {t:.3f}: for n = {n} they are too narrow by a factor of {t / z:.2f}"
        )
        yield Finding(section.where, line, impossible=False)


def _check_sd_bound(
    where: str, section: SampleValues, n: int, cells: dict[str, PrintedNumber], truncation: bool
) -> Iterator[Finding]:
    """Check sd by var <= (mean - least)(most - mean) n / (n - 1) for n values between least and most."""
    if section.least is None or section.most is None:
        return
    least, most = section.least.value, section.most.value
    for figure in ("mean", "median"):
        cell = cells.get(figure)
        if cell and not cell.range(truncation).meets(Range(least, most)):
            hint = percent_hint(cell) if most == 1 else ()
            yield Finding(where, f"{figure} {cell} is outside {section.least} to {section.most}", hint)
            return
    if not {"mean", "sd"} <= cells.keys():
        return
    mean, sd = cells["mean"].range(truncation), cells["sd"].range(truncation)
    at = [min(max(value, least), most) for value in (mean.lo, mean.hi, min(max((least + most) / 2, mean.lo), mean.hi))]
    bound = max((value - least) * (most - value) for value in at) * Fraction(n, n - 1)
    if sd.lo > 0 and sd.lo**2 > bound:
        line = f"sd {cells['sd']} is impossible with mean {cells['mean']} of {n} values from {section.least} to "
        yield Finding(
            where,
            f"{line}{section.most}: at most {format_value(sqrt(bound), cells['sd'])}",
            (
                "var <= (mean - least)(most - mean) n / (n - 1), reached when all values are at the ends: "
                f"({cells['mean']} - {section.least})({section.most} - {cells['mean']}) x {n}/{n - 1}, "
                f"with rounding {float(bound):.6g}, of which the root is {format_value(sqrt(bound), cells['sd'], 2)}",
            ),
        )


def _check_grimmer(where: str, n: int, cells: dict[str, PrintedNumber], truncation: bool) -> Iterator[Finding]:
    """Check integers: sum and sum of squares are integers of the same parity (GRIMMER)."""
    if "mean" not in cells:
        return
    mean = cells["mean"].range(truncation)
    totals = Range(mean.lo * n, mean.hi * n).integers()
    if not totals:
        near = int(cells["mean"].value * n)
        quotients = ", ".join(f"{k}/{n} = {format_value(Fraction(k, n), cells['mean'])}" for k in (near, near + 1))
        yield Finding(where, f"no sum of {n} integers gives mean {cells['mean']}", (quotients,))
    elif "sd" in cells:
        sd = cells["sd"].range(truncation)
        lo, hi = max(sd.lo, Fraction(0)) ** 2 * (n - 1), sd.hi**2 * (n - 1)
        squares = (
            (square, total)
            for total in totals
            for square in Range(lo + Fraction(total**2, n), hi + Fraction(total**2, n)).integers()
        )
        if not any((square - total) % 2 == 0 for square, total in squares):
            total = totals[0]
            ends = [f"{float(end + Fraction(total**2, n)):.6g}" for end in (lo, hi)]
            parity = "even" if total % 2 == 0 else "odd"
            line = f"With the sum {total}, the sum of squares is (n - 1) sd^2 + {total}^2/{n}, {ends[0]} to {ends[1]}: "
            yield Finding(
                where,
                f"no {n} integers have mean {cells['mean']} and sd {cells['sd']}",
                (f"{line}it contains no {parity} integer, but the parity must be that of the sum.",),
            )


def _check_printed_values(
    where: str, n: int, cells: dict[str, PrintedNumber], values: Sequence[PrintedNumber], truncation: bool
) -> Iterator[Finding]:
    """Check statistics against the printed values, each with its rounding range."""
    ranges = [cell.range(truncation) for cell in values]
    if len(values) != n:
        yield Finding(where, f"{len(values)} values are printed for n = {n}")
        return
    computed = {"mean": mean_range(ranges), "median": _median(ranges), "sd": _sd(ranges)}
    for figure, truth in computed.items():
        cell = cells.get(figure)
        if cell and not truth.meets(cell.range(truncation)):
            line = f"the {figure} of the {n} printed values is {format_range(truth, cell)}, printed is {cell}"
            listed = join_limited([str(value) for value in values], 20)
            yield Finding(where, line, (f"{figure} of {listed}",))


def _median(ranges: Sequence[Range]) -> Range:
    def middle(values: list[Fraction]) -> Fraction:
        values.sort()
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    return Range(middle([value.lo for value in ranges]), middle([value.hi for value in ranges]))


def _sd(ranges: Sequence[Range]) -> Range:
    """Bound the sd, which changes by at most the norm of the rounding errors over sqrt(n - 1)."""
    middles = [(value.lo + value.hi) / 2 for value in ranges]
    mean = sum(middles, Fraction(0)) / len(middles)
    sd = sqrt(sum((value - mean) ** 2 for value in middles) / (len(middles) - 1))
    error = sqrt(sum(((value.hi - value.lo) / 2) ** 2 for value in ranges) / (len(middles) - 1)) + _SLACK
    return Range(Fraction(max(sd - error, 0.0)), Fraction(sd + error))


def _check_sample_interval(
    where: str, section: SampleValues, n: int, cells: dict[str, PrintedNumber], truncation: bool
) -> tuple[str, Finding | None]:
    """Check an interval against mean -+ q sd / sqrt(n), with Student's t and the normal quantile."""
    mean, sd, low, high = (cells[name].range(truncation) for name in ("mean", "sd", "low", "high"))
    attempts = []
    for kind in ("t", "z"):
        factor = interval_factor(section.level, n, kind)
        half = sd * with_float_error(factor / sqrt(n))
        below, above = mean - half, mean + half
        if below.meets(low) and above.meets(high):
            return kind, None
        name, width, like = {"t": "Student", "z": "normal"}[kind], (half.lo + half.hi) / 2, cells["low"]
        ends = f"{format_value(cells['mean'].value - width, like)} to {format_value(cells['mean'].value + width, like)}"
        attempts.append(f"{name}: {cells['mean']} -+ {factor:.3f} x {cells['sd']} / sqrt({n}) = {ends}")
    line = f"interval {cells['low']} to {cells['high']} is inconsistent with mean {cells['mean']}, sd {cells['sd']}"
    return "", Finding(where, f"{line}, n = {n}", tuple(attempts))


def p_of_f(f: Range, df: tuple[int, int]) -> Range:
    """Return the range of p-values of an F test."""
    from scipy.stats import f as distribution

    return _tails(*(float(distribution.sf(max(float(value), 0.0), *df)) for value in (f.lo, f.hi)))


def p_of_t(t: Range, freedom: int) -> Range:
    """Return the range of two-sided p-values of a t test."""
    from scipy.stats import t as distribution

    p = [2 * float(distribution.sf(abs(float(value)), freedom)) for value in (t.lo, t.hi)]
    tails = _tails(*p)
    return Range(tails.lo, Fraction(1)) if 0 in t else tails


def critical_f(df: tuple[int, int], alpha: PrintedNumber) -> float:
    """Return the critical value of F at alpha."""
    from scipy.stats import f as distribution

    return float(distribution.isf(float(alpha.value), *df))


def power_of_f(f: Range, df: tuple[int, int], alpha: PrintedNumber, samples: int) -> Range:
    """Return the observed power of an F test of N samples: noncentrality from F df1 to F df1 N / df2, both in use."""
    from scipy.stats import ncf

    critical = critical_f(df, alpha)
    ends = (max(float(f.lo), 0.0) * df[0], float(f.hi) * df[0] * max(samples / df[1], 1.0))
    return range_between(*(float(ncf.sf(critical, *df, end)) if end else float(alpha.value) for end in ends))


def power_of_t(d: float, n: int, alpha: PrintedNumber, *, paired: bool) -> float:
    """Return the power of a two-sided t test with n pairs, or n in each of two groups."""
    from scipy.stats import nct, t

    freedom = n - 1 if paired else 2 * n - 2
    noncentrality = abs(d) * sqrt(n if paired else n / 2)
    critical = float(t.isf(float(alpha.value) / 2, freedom))
    return float(nct.sf(critical, freedom, noncentrality) + nct.cdf(-critical, freedom, noncentrality))


def check_effects(section: Effects, truncation: bool) -> Iterator[Finding]:
    """Check p, partial eta squared and observed power of each F test against F and its degrees of freedom."""
    df1, df2 = section.df
    power_findings = []
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        f = cells["f"].range(truncation)
        statistic = f"F({df1}, {df2}) = {cells['f']}"
        if f.hi < 0:
            yield Finding(where, f"{statistic}: F must not be negative")
            continue
        f = Range(max(f.lo, Fraction(0)), f.hi)
        eta = Range(*(value * df1 / (value * df1 + df2) for value in (f.lo, f.hi)))
        powers = power_of_f(f, section.df, section.alpha, df1 + df2 + 1)
        for figure, truth in (("p", p_of_f(f, section.df)), ("partial eta squared", eta), ("observed power", powers)):
            cell = cells.get({"partial eta squared": "eta2", "observed power": "power"}.get(figure, figure))
            if cell and not truth.meets(cell.range(truncation)):
                line = f"{statistic} has {figure} {format_range(truth, cell)}, printed is {cell}"
                if figure == "observed power":
                    power_findings.append(f"{name}: {line}")
                elif figure == "p":
                    yield Finding(where, line)
                else:
                    part = f"{cells['f']}" if df1 == 1 else f"{df1} x {cells['f']}"
                    yield Finding(where, line, (f"{part} / ({part} + {df2}), F from {format_range(f, cells['f'])}",))
    if power_findings:
        count = f"{len(power_findings)} of {len(section.rows)} observed powers are inconsistent with their F"
        critical = critical_f(section.df, section.alpha)
        how = f"Power: F above {critical:.4g} with noncentrality from {df1} F to {df1} F x {df1 + df2 + 1}/{df2}"
        yield Finding(section.where, count, (*power_findings, how))


def check_comparisons(section: Comparisons, truncation: bool) -> Iterator[Finding]:
    """Check intervals and corrected p-values against Cohen's d, the difference and n."""
    normal_intervals: dict[int, int] = {}
    for family, rows in section.families.items():
        comparisons = {name: _Comparison.of(section, row, truncation) for name, row in rows.items()}
        for name, comparison in comparisons.items():
            where = f"{section.where}, {family}, {name}"
            yield from _check_signs(where, comparison)
            kind, flaw = _check_interval(where, section, comparison)
            if flaw:
                yield flaw
            elif kind == "z" and comparison.n < 30:
                normal_intervals[comparison.n] = normal_intervals.get(comparison.n, 0) + 1
        yield from _check_p_values(f"{section.where}, {family}", section, comparisons)
    for n, count in normal_intervals.items():
        line = f"{count} intervals are consistent with the normal quantile, not with Student's t, for n = {n}"
        yield Finding(section.where, f"{line}: slightly too narrow", impossible=False)


@dataclass(frozen=True)
class _Comparison:
    """Printed numbers of comparison comparison, their ranges, and n."""

    cells: dict[str, PrintedNumber]
    ranges: dict[str, Range]
    n: int
    paired: bool

    @classmethod
    def of(cls, section: Comparisons, row: Sequence[PrintedNumber | None], truncation: bool) -> "_Comparison":
        cells: dict[str, PrintedNumber] = {
            column: cell for column, cell in zip(section.columns, row, strict=True) if cell is not None
        }
        own = cells.pop("n", None)
        n = int(own.value) if own else section.n
        if n is None:
            raise ValueError(f"{section.where}: a row has no n")
        return cls(cells, {name: cell.range(truncation) for name, cell in cells.items()}, n, section.paired)

    @property
    def root(self) -> float:
        """Return the factor from Cohen's d to t."""
        return sqrt(self.n if self.paired else self.n / 2)

    @property
    def freedom(self) -> int:
        return self.n - 1 if self.paired else 2 * self.n - 2

    @property
    def root_text(self) -> str:
        return f"sqrt({self.n})" if self.paired else f"sqrt({self.n}/2)"


def _check_signs(where: str, comparison: _Comparison) -> Iterator[Finding]:
    if {"d", "difference"} <= comparison.cells.keys():
        d, difference = comparison.ranges["d"], comparison.ranges["difference"]
        if (d.lo > 0 and difference.hi < 0) or (d.hi < 0 and difference.lo > 0):
            message = (
                f"d {comparison.cells['d']} and a difference of {comparison.cells['difference']} have opposite signs"
            )
            yield Finding(where, message)


def _check_interval(where: str, section: Comparisons, comparison: _Comparison) -> tuple[str, Finding | None]:
    """Check an interval against difference -+ q sd / sqrt(n), where sd = difference / d."""
    cells = comparison.cells
    if not {"d", "difference", "low", "high"} <= cells.keys():
        return "t", None
    d, difference, low, high = (comparison.ranges[name] for name in ("d", "difference", "low", "high"))
    if 0 in d or 0 in difference:
        return "t", None
    sd, attempts = difference / d, []
    if sd.lo < 0:
        return "t", None
    for kind in ("t", "z"):
        factor = interval_factor(section.level, comparison.n, kind, comparison.freedom)
        half = sd * with_float_error(factor / comparison.root)
        if (difference - half).meets(low) and (difference + half).meets(high):
            return kind, None
        attempts.append(
            f"{'Student' if kind == 't' else 'normal'}: {cells['difference']} -+ {factor:.3f} x "
            f"{cells['difference']}/{cells['d']} / {comparison.root_text}, "
            f"that is -+{format_range(half, cells['low'])}"
        )
    line = f"interval {cells['low']} to {cells['high']} is inconsistent with d {cells['d']}, difference "
    groups = "" if section.paired else " in each group"
    return "", Finding(where, f"{line}{cells['difference']}, n = {comparison.n}{groups}", tuple(attempts))


def _check_p_values(where: str, section: Comparisons, rows: dict[str, _Comparison]) -> Iterator[Finding]:
    """Check p against t = d sqrt(n), corrected in the family; corrections are monotonic, so the ends suffice."""
    if not all("d" in comparison.cells for comparison in rows.values()):
        return
    raw = {
        name: p_of_t(comparison.ranges["d"] * with_float_error(comparison.root), comparison.freedom)
        for name, comparison in rows.items()
    }
    low = _corrected([p.lo for p in raw.values()], section.correction)
    high = _corrected([p.hi for p in raw.values()], section.correction)
    for (name, comparison), lo, hi in zip(rows.items(), low, high, strict=True):
        d, cell = comparison.cells["d"], comparison.cells.get("p")
        truth = Range(max(lo, Fraction(0)), min(hi, Fraction(1)))
        if cell and not truth.meets(comparison.ranges["p"]):
            how = {"none": "", "fdr": ", corrected for false discoveries", "bonferroni": ", corrected by Bonferroni"}
            line = f"d {d} with n = {comparison.n} has p {format_range(truth, cell)}{how[section.correction]}, "
            t = f"t = {d} x {comparison.root_text} = {float(d.value) * comparison.root:.4g}"
            uncorrected = (
                f"with {comparison.freedom} degrees of freedom p {format_range(raw[name], cell)} before correction"
            )
            yield Finding(f"{where}, {name}", f"{line}printed is {cell}", (f"{t}, {uncorrected}",))


def _corrected(p: Sequence[Fraction], how: str) -> list[Fraction]:
    if how == "bonferroni":
        return [min(Fraction(1), value * len(p)) for value in p]
    if how == "none":
        return list(p)
    # Benjamini and Hochberg: cumulative minimum of p * count / rank, from the largest p down.
    corrected, least = list(p), Fraction(1)
    for rank, index in reversed(list(enumerate(sorted(range(len(p)), key=lambda i: p[i]), start=1))):
        least = min(least, p[index] * len(p) / rank)
        corrected[index] = least
    return corrected


def check_powers(section: Powers, truncation: bool) -> Iterator[Finding]:
    """Check each power against d and n; with ``smallest``, n must be the first that reaches it."""
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        n, cell = int(cells["n"].value), cells["power"]
        d, power = cells["d"].range(truncation), cell.range(truncation)
        # The effect of a power analysis is a convention, such as 0.5, hence exact.
        ends = (float(cells["d"].value),) * 2 if section.smallest else (float(d.lo), float(d.hi))

        def reached(n: int, ends: tuple[float, float] = ends, within: bool = 0 in d) -> Range:
            powers = range_between(*(power_of_t(end, n, section.alpha, paired=section.paired) for end in ends))
            return Range(min(powers.lo, section.alpha.value), powers.hi) if within else powers

        what = f"{n} pairs" if section.paired else f"{n} in each group"
        if section.smallest:
            if reached(n).hi < cell.value or (n > 2 and reached(n - 1).lo >= cell.value):
                first = next(k for k in range(2, 10**6) if reached(k).hi >= cell.value)
                near = (f"n = {k}: power {float(reached(k).hi):.4f}" for k in sorted({max(first - 1, 2), first, n}))
                line = f"d {cells['d']} reaches power {cell} from n = {first}, printed is {n}"
                yield Finding(where, line, (", ".join(near),))
        elif not reached(n).meets(power):
            root = f"sqrt({n})" if section.paired else f"sqrt({n}/2)"
            noncentrality = float(cells["d"].value) * sqrt(n if section.paired else n / 2)
            yield Finding(
                where,
                f"d {cells['d']} with {what} has power {format_range(reached(n), cell)}, printed is {cell}",
                (f"noncentrality {cells['d']} x {root} = {noncentrality:.4g}",),
            )


def check_equivalences(section: Equivalences, truncation: bool) -> Iterator[Finding]:
    """Check verdicts of equivalence against intervals and margins.

    Two one-sided tests at 1 - level require the interval of level 2 level - 1 (90 % at 0.05) to be within the margins;
    an interval of the full level is stricter.
    """
    changed = []
    for name, cells in section.cells().items():
        low, high, margin = cells["low"].range(truncation), cells["high"].range(truncation), cells["margin"].value
        claimed = name in section.equivalent
        outside, inside = low.hi < -margin or high.lo > margin, low.lo > -margin and high.hi < margin
        interval = f"interval {cells['low']} to {cells['high']} with margins of -+{cells['margin']}"
        if (claimed and outside) or (not claimed and inside):
            verdict = "is outside, but called equivalent" if claimed else "is inside, but not called equivalent"
            yield Finding(f"{section.where}, {name}", f"{interval} {verdict}")
        elif not claimed and _narrower(section.level, section.n_of(name), low, high, margin):
            changed.append(name)
    if changed:
        alpha, wide = format_value(1 - section.level.value), format_value((2 * section.level.value - 1) * 100)
        line = f"one-sided tests at {alpha} need the interval of {wide} %, by which these would also be equivalent: "
        yield Finding(section.where, line + ", ".join(changed), impossible=False)


def _narrower(level: PrintedNumber, n: int, low: Range, high: Range, margin: Fraction) -> bool:
    """Return whether the interval of level 2 level - 1, derived from that of level, is certainly within the margins."""
    inner = PrintedNumber("", 2 * level.value - 1, level.step)
    ratio = Fraction(interval_factor(inner, n, "t") / interval_factor(level, n, "t"))
    upper = (high.hi * (1 + ratio) + low.hi * (1 - ratio)) / 2
    lower = (low.lo * (1 + ratio) + high.lo * (1 - ratio)) / 2
    return -margin < lower and upper < margin
