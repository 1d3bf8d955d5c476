"""Tests, intervals, effect sizes and powers that do not fit each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from evenface.audit.counts import percent_hint
from evenface.audit.findings import Finding, join_limited
from evenface.audit.printed import PrintedNumber, Range, exact_range, format_range, format_value
from evenface.audit.schema import Comparisons, Effects, Equivalences, Powers, SampleValues


def with_float_error(value: float) -> Range:
    """Give a computed value with room for the error of floating point, in the paper's favour."""
    slack = Fraction(abs(value)) / 10**9 + Fraction(1, 10**12)
    return Range(Fraction(value) - slack, Fraction(value) + slack)


def range_between(one: float, other: float) -> Range:
    """Give the values between two computed ones, whichever is larger."""
    return Range(with_float_error(min(one, other)).lo, with_float_error(max(one, other)).hi)


def _tails(one: float, other: float) -> Range:
    """Return the values between two tail probabilities, with room in proportion to them: they may be very small."""
    room = Fraction(1, 10**6)
    return Range(Fraction(min(one, other)) * (1 - room), Fraction(max(one, other)) * (1 + room))


def interval_factor(level: PrintedNumber, n: int, kind: str, freedom: int | None = None) -> float:
    """Give the quantile of a two-sided interval: ``z``, or ``t`` of n - 1 degrees of freedom unless said otherwise."""
    from scipy.stats import norm, t

    upper = (1 + float(level.value)) / 2
    return float(norm.ppf(upper)) if kind == "z" else float(t.ppf(upper, freedom or n - 1))


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
            kind, flaw = _check_sample_interval(where, section, n, cells, truncation)
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


def _check_sample_interval(
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


def p_of_f(f: Range, df: tuple[int, int]) -> Range:
    """p-values of an F test."""
    from scipy.stats import f as distribution

    return _tails(*(float(distribution.sf(max(float(value), 0.0), *df)) for value in (f.lo, f.hi)))


def p_of_t(t: Range, freedom: int) -> Range:
    """Two-sided p-values of a t test."""
    from scipy.stats import t as distribution

    p = [2 * float(distribution.sf(abs(float(value)), freedom)) for value in (t.lo, t.hi)]
    tails = _tails(*p)
    return Range(tails.lo, Fraction(1)) if 0 in t else tails


def critical_f(df: tuple[int, int], alpha: PrintedNumber) -> float:
    """F above which a test at alpha rejects."""
    from scipy.stats import f as distribution

    return float(distribution.isf(float(alpha.value), *df))


def power_of_f(f: Range, df: tuple[int, int], alpha: PrintedNumber, samples: int) -> Range:
    """Observed power of an F test of N samples: noncentrality from F df1 up to F df1 N / df2 (both are in use)."""
    from scipy.stats import ncf

    critical = critical_f(df, alpha)
    ends = (max(float(f.lo), 0.0) * df[0], float(f.hi) * df[0] * max(samples / df[1], 1.0))
    return range_between(*(float(ncf.sf(critical, *df, end)) if end else float(alpha.value) for end in ends))


def power_of_t(d: float, n: int, alpha: PrintedNumber, *, paired: bool) -> float:
    """Power of a two-sided t test with n pairs, or n in each of two groups."""
    from scipy.stats import nct, t

    freedom = n - 1 if paired else 2 * n - 2
    away = abs(d) * sqrt(n if paired else n / 2)
    critical = float(t.isf(float(alpha.value) / 2, freedom))
    return float(nct.sf(critical, freedom, away) + nct.cdf(-critical, freedom, away))


def check_effects(section: Effects, truncation: bool) -> Iterator[Finding]:
    """Hold p, partial eta squared and observed power of each F test against F and its degrees of freedom."""
    one, two = section.df
    weak = []
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        f = cells["f"].range(truncation)
        description = f"F({one}, {two}) = {cells['f']}"
        if f.hi < 0:
            yield Finding(where, f"{description}: F is never negative")
            continue
        f = Range(max(f.lo, Fraction(0)), f.hi)
        eta = Range(*(value * one / (value * one + two) for value in (f.lo, f.hi)))
        powers = power_of_f(f, section.df, section.alpha, one + two + 1)
        for figure, truth in (("p", p_of_f(f, section.df)), ("partial eta squared", eta), ("observed power", powers)):
            cell = cells.get({"partial eta squared": "eta2", "observed power": "power"}.get(figure, figure))
            if cell and not truth.meets(cell.range(truncation)):
                line = f"{description} has {figure} {format_range(truth, cell)}, printed is {cell}"
                if figure == "observed power":
                    weak.append(f"{name}: {line}")
                elif figure == "p":
                    yield Finding(where, line)
                else:
                    part = f"{cells['f']}" if one == 1 else f"{one} x {cells['f']}"
                    yield Finding(where, line, (f"{part} / ({part} + {two}), F from {format_range(f, cells['f'])}",))
    if weak:
        count = f"{len(weak)} of {len(section.rows)} observed powers do not fit their F"
        critical = critical_f(section.df, section.alpha)
        how = f"Power: F above {critical:.4g} with noncentrality from {one} F to {one} F x {one + two + 1}/{two}"
        yield Finding(section.where, count, (*weak, how))


def check_comparisons(section: Comparisons, truncation: bool) -> Iterator[Finding]:
    """Hold intervals and corrected p-values against Cohen's d, the difference and n."""
    normal: dict[int, int] = {}
    for family, rows in section.families.items():
        named = {name: _Comparison.of(section, row, truncation) for name, row in rows.items()}
        for name, one in named.items():
            where = f"{section.where}, {family}, {name}"
            yield from _check_signs(where, one)
            kind, flaw = _check_interval(where, section, one)
            if flaw:
                yield flaw
            elif kind == "z" and one.n < 30:
                normal[one.n] = normal.get(one.n, 0) + 1
        yield from _check_p_values(f"{section.where}, {family}", section, named)
    for n, count in normal.items():
        line = f"{count} intervals fit the normal quantile and not Student's t with n = {n}"
        yield Finding(section.where, f"{line}: a little too narrow", cannot=False)


@dataclass(frozen=True)
class _Comparison:
    """Printed figures of one comparison, the values that they stand for, and its n."""

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
            raise ValueError(f"{section.where}: a row without n")
        return cls(cells, {name: cell.range(truncation) for name, cell in cells.items()}, n, section.paired)

    @property
    def root(self) -> float:
        """Factor from Cohen's d to t."""
        return sqrt(self.n if self.paired else self.n / 2)

    @property
    def freedom(self) -> int:
        return self.n - 1 if self.paired else 2 * self.n - 2

    @property
    def root_text(self) -> str:
        return f"sqrt({self.n})" if self.paired else f"sqrt({self.n}/2)"


def _check_signs(where: str, one: _Comparison) -> Iterator[Finding]:
    if {"d", "difference"} <= one.cells.keys():
        d, difference = one.ranges["d"], one.ranges["difference"]
        if (d.lo > 0 and difference.hi < 0) or (d.hi < 0 and difference.lo > 0):
            description = f"d {one.cells['d']} and a difference of {one.cells['difference']} have opposite signs"
            yield Finding(where, description)


def _check_interval(where: str, section: Comparisons, one: _Comparison) -> tuple[str, Finding | None]:
    """Hold an interval against difference -+ q sd / sqrt(n), where sd = difference / d."""
    if not {"d", "difference", "low", "high"} <= one.cells.keys():
        return "t", None
    d, difference, low, high = (one.ranges[name] for name in ("d", "difference", "low", "high"))
    if 0 in d or 0 in difference:
        return "t", None
    sd, description = difference / d, []
    if sd.lo < 0:
        return "t", None
    for kind in ("t", "z"):
        factor = interval_factor(section.level, one.n, kind, one.freedom)
        half = sd * with_float_error(factor / one.root)
        if (difference - half).meets(low) and (difference + half).meets(high):
            return kind, None
        description.append(
            f"{'Student' if kind == 't' else 'normal'}: {one.cells['difference']} -+ {factor:.3f} x "
            f"{one.cells['difference']}/{one.cells['d']} / {one.root_text}, "
            f"that is -+{format_range(half, one.cells['low'])}"
        )
    line = f"interval {one.cells['low']} to {one.cells['high']} does not fit d {one.cells['d']}, difference "
    groups = "" if section.paired else " in each group"
    return "", Finding(where, f"{line}{one.cells['difference']}, n = {one.n}{groups}", tuple(description))


def _check_p_values(where: str, section: Comparisons, rows: dict[str, _Comparison]) -> Iterator[Finding]:
    """Hold p against t = d sqrt(n), corrected in the family; corrections rise with each p, so the ends suffice."""
    if not all("d" in one.cells for one in rows.values()):
        return
    raw = {name: p_of_t(one.ranges["d"] * with_float_error(one.root), one.freedom) for name, one in rows.items()}
    low = _corrected([p.lo for p in raw.values()], section.correction)
    high = _corrected([p.hi for p in raw.values()], section.correction)
    for (name, one), lo, hi in zip(rows.items(), low, high, strict=True):
        cell = one.cells.get("p")
        truth = Range(max(lo, Fraction(0)), min(hi, Fraction(1)))
        if cell and not truth.meets(one.ranges["p"]):
            how = {"none": "", "fdr": ", corrected for false discoveries", "bonferroni": ", corrected by Bonferroni"}
            line = f"d {one.cells['d']} with n = {one.n} has p {format_range(truth, cell)}{how[section.correction]}, "
            t = f"t = {one.cells['d']} x {one.root_text} = {float(one.cells['d'].value) * one.root:.4g}"
            uncorrected = f"with {one.freedom} degrees of freedom p {format_range(raw[name], cell)} before correction"
            yield Finding(f"{where}, {name}", f"{line}printed is {cell}", (f"{t}, {uncorrected}",))


def _corrected(p: Sequence[Fraction], how: str) -> list[Fraction]:
    if how == "bonferroni":
        return [min(Fraction(1), one * len(p)) for one in p]
    if how == "none":
        return list(p)
    # Benjamini and Hochberg: from the largest down, the least of p * count / rank.
    corrected, least = list(p), Fraction(1)
    for rank, index in reversed(list(enumerate(sorted(range(len(p)), key=lambda i: p[i]), start=1))):
        least = min(least, p[index] * len(p) / rank)
        corrected[index] = least
    return corrected


def check_powers(section: Powers, truncation: bool) -> Iterator[Finding]:
    """Hold each power against d and n; where ``smallest``, n must be the first that reaches it."""
    for name, cells in section.cells().items():
        where = f"{section.where}, {name}"
        n, cell = int(cells["n"].value), cells["power"]
        d, power = cells["d"].range(truncation), cell.range(truncation)
        # An effect to plan for is a convention, such as 0.5, and exact.
        ends = (float(cells["d"].value),) * 2 if section.smallest else (float(d.lo), float(d.hi))

        def reached(n: int, ends: tuple[float, float] = ends, within: bool = 0 in d) -> Range:
            found = range_between(*(power_of_t(one, n, section.alpha, paired=section.paired) for one in ends))
            return Range(min(found.lo, section.alpha.value), found.hi) if within else found

        what = f"{n} pairs" if section.paired else f"{n} in each group"
        if section.smallest:
            if reached(n).hi < cell.value or (n > 2 and reached(n - 1).lo >= cell.value):
                first = next(k for k in range(2, 10**6) if reached(k).hi >= cell.value)
                near = (f"n = {k}: power {float(reached(k).hi):.4f}" for k in sorted({max(first - 1, 2), first, n}))
                line = f"d {cells['d']} has power {cell} from n = {first} on, printed is {n}"
                yield Finding(where, line, (", ".join(near),))
        elif not reached(n).meets(power):
            root = f"sqrt({n})" if section.paired else f"sqrt({n}/2)"
            away = float(cells["d"].value) * sqrt(n if section.paired else n / 2)
            yield Finding(
                where,
                f"d {cells['d']} with {what} has power {format_range(reached(n), cell)}, printed is {cell}",
                (f"noncentrality {cells['d']} x {root} = {away:.4g}",),
            )


def check_equivalences(section: Equivalences, truncation: bool) -> Iterator[Finding]:
    """Hold verdicts of equivalence against intervals and margins.

    Two one-sided tests at 1 - level ask of the interval of level 2 level - 1 (of 90 % at 0.05) to lie within the
    margins; an interval of the full level is stricter.
    """
    changed = []
    for name, cells in section.cells().items():
        low, high, margin = cells["low"].range(truncation), cells["high"].range(truncation), cells["margin"].value
        says = name in section.equivalent
        outside, inside = low.hi < -margin or high.lo > margin, low.lo > -margin and high.hi < margin
        description = f"interval {cells['low']} to {cells['high']} against margins of -+{cells['margin']}"
        if (says and outside) or (not says and inside):
            verdict = "lies outside, but is called equivalent" if says else "lies within, but is not called equivalent"
            yield Finding(f"{section.where}, {name}", f"{description}: it {verdict}")
        elif not says and _narrower(section.level, section.n_of(name), low, high, margin):
            changed.append(name)
    if changed:
        alpha, wide = format_value(1 - section.level.value), format_value((2 * section.level.value - 1) * 100)
        line = f"one-sided tests at {alpha} need the interval of {wide} %; by it these would be equivalent too: "
        yield Finding(section.where, line + ", ".join(changed), cannot=False)


def _narrower(level: PrintedNumber, n: int, low: Range, high: Range, margin: Fraction) -> bool:
    """Whether the interval of level 2 level - 1, cut from that of level, surely lies within the margins."""
    inner = PrintedNumber("", 2 * level.value - 1, level.step)
    ratio = Fraction(interval_factor(inner, n, "t") / interval_factor(level, n, "t"))
    upper = (high.hi * (1 + ratio) + low.hi * (1 - ratio)) / 2
    lower = (low.lo * (1 + ratio) + high.lo * (1 - ratio)) / 2
    return -margin < lower and upper < margin
