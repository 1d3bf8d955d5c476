"""The tables that statistics of a study make: conditions, variance, comparisons, classes, equivalence, power."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from evenface.evaluation.formatting import p_value
from evenface.evaluation.metric_registry import label, limits
from evenface.reporting.tables import Cell, Table
from evenface.statistics import (
    Contrast,
    Equivalence,
    Factorial,
    MixedModel,
    Power,
    compare,
    correct,
    equivalence,
    factorial,
    mixed,
    pairs,
    power_of,
    smallest_effect,
    units_needed,
)
from evenface.statistics.assumptions import Check
from evenface.statistics.designs import counted, plural
from evenface.statistics.t_tests import estimate
from evenface.studies.definition import PrintedStatistic
from evenface.studies.plan import OWN, StudyPlan
from evenface.studies.tables import CLASSWISE, by_fold, overlap, shared_note
from evenface.utils.errors import InputError

CLASS = "class"
MEDIUM, SMALL = 0.5, 0.2
"""d_z that power is planned for."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A tidy table of values, and what in it counts as repeated."""

    name: Literal["repetitions", "classes"]
    unit: str
    table: pd.DataFrame
    said: str
    overlap: float = 0.0

    @property
    def title(self) -> str:
        """Name it with the unit and how many there are."""
        how = "repetitions" if self.name == "repetitions" else "the classes taken as repetitions"
        return f"{how}, n = {self.units}"

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.table[self.unit].nunique())


@dataclass(frozen=True)
class ReadingAnalysis:
    """All tests of one metric in one reading."""

    metric: str
    factorial: Factorial | None
    mixed: MixedModel | None
    contrasts: tuple[Contrast, ...]
    equivalences: tuple[Equivalence, ...]
    powers: tuple[tuple[Power, Power, Power, Power], ...]
    trouble: tuple[str, ...]


def factors_of(plan: StudyPlan) -> list[str]:
    """List the factors that vary."""
    return [name for name, levels in plan.factors.items() if len(levels) > 1]


def readings(plan: StudyPlan, runs: pd.DataFrame) -> list[Reading]:
    """Give both readings of a study: first its repetitions, then the classes."""
    own = runs[runs["test"] == OWN]
    names, factors = plan.study.tested, factors_of(plan)
    unit, said = _repeated(plan, own)
    column = "fold" if by_fold(own) else "seed"
    repeated = own.assign(**{unit: own[column].astype(str)})[[*factors, unit, *names]]
    found = [Reading("repetitions", unit, repeated, said, overlap(own))]
    means = own.groupby(factors, sort=False)[
        [name for name in own.columns if any(str(name).startswith(each + CLASSWISE) for each in names.values())]
    ].mean()
    parts = [
        means[[f"{each}{CLASSWISE}{label}" for each in names.values()]]
        .set_axis(list(names), axis=1)
        .reset_index()
        .assign(**{CLASS: label})
        for label in classes_of(own, next(iter(names.values())))
    ]
    if parts:
        count = counted(len(parts), CLASS)
        said = (
            f"Here {count} are taken as what was repeated, as papers do. They are no sample of anything, and values "
            "over the conditions are taken as independent, which they are not: how classes differ counts as noise."
        )
        found.append(Reading("classes", CLASS, pd.concat(parts, ignore_index=True), said))
    return found


def classes_of(runs: pd.DataFrame, each: str) -> list[str]:
    """List the classes of which there are values of a metric of classes."""
    start = each + CLASSWISE
    return [str(name).removeprefix(start) for name in runs.columns if str(name).startswith(start)]


def _repeated(plan: StudyPlan, runs: pd.DataFrame) -> tuple[str, str]:
    """Name what is repeated, and say what independence it has."""
    protocol = plan.runs[0].recipe.protocol
    if not by_fold(runs):
        return "run", "The unit is the run (its seed). All runs share their samples: nothing is said of other people."
    if protocol.cohorts > 1:
        return (
            "cohort",
            "The unit is the cohort: cohorts share nobody, in training or in testing, so they are independent.",
        )
    unit = "person" if protocol.kind == "leave-one-out" else "fold"
    return unit, f"The unit is the {unit}, each tested in turn. {shared_note(plan, runs)}"


def analyse(plan: StudyPlan, reading: Reading, metric: str) -> ReadingAnalysis:
    """Test one metric in one reading.

    Notes
    -----
    Repetitions: each unit stands in all cells, so factors are tested within units, and comparisons average the
    settings of the other factors first. Classes: as the paper does, every value counts as independent in the analysis
    of variance, and each setting of the other factors brings pairs of its own.
    """
    assert plan.study.statistics is not None
    factors, trouble = factors_of(plan), list[str]()
    table, name = reading.table.rename(columns={metric: label(metric)}), label(metric)
    whole = reading.name == "repetitions"
    variance: Factorial | None = None
    model: MixedModel | None = None
    try:
        variance = factorial(
            table, name, factors, reading.unit, kind="within" if whole else "between", overlap=reading.overlap
        )
    except InputError as error:
        trouble.append(str(error))
    if whole and plan.study.statistics.mixed_model:
        try:
            model = mixed(table, name, factors, reading.unit, overlap=reading.overlap)
        except InputError as error:
            trouble.append(str(error))
    contrasts, equal = list[Contrast](), list[Equivalence]()
    for factor, level, base in comparisons(plan):
        others = [other for other in factors if other != factor]
        try:
            given = pairs(
                *(table, name, factor, level, base, reading.unit),
                others="averaged" if whole else "each",
                among=others,
                overlap=reading.overlap,
            )
        except InputError as error:
            trouble.append(str(error))
            continue
        contrasts.append(compare(given))
        if metric in plan.study.statistics.margins:
            equal.append(equivalence(given, plan.study.statistics.margins[metric]))
    corrected = correct(contrasts).contrasts if contrasts else ()
    return ReadingAnalysis(name, variance, model, corrected, tuple(equal), _powers(corrected), tuple(trouble))


def comparisons(plan: StudyPlan) -> list[tuple[str, str, str]]:
    """List what is planned: each level of each factor against the factor's baseline, or its first level."""
    return [
        (factor, level, base)
        for factor in factors_of(plan)
        for base in [plan.study.baseline.get(factor, plan.factors[factor][0])]
        for level in plan.factors[factor]
        if level != base
    ]


def _powers(contrasts: Sequence[Contrast]) -> tuple[tuple[Power, Power, Power, Power], ...]:
    found = []
    for contrast in contrasts:
        seen, unit, shared = contrast.effect("d_z").value, contrast.unit, contrast.overlap
        parts = (smallest_effect(contrast.units, unit=unit, overlap=shared), units_needed(MEDIUM, unit=unit))
        power = power_of(0.0 if math.isnan(seen) else seen, contrast.units, unit=unit, overlap=shared)
        found.append((power, *parts, units_needed(SMALL, unit=unit)))
    return tuple(found)


NAMES = {
    "1-conditions": "conditions",
    "2-variance": "variance",
    "3-comparisons": "comparisons",
    "5-equivalence": "equivalence",
    "6-power": "power",
}
"""How the name of a table begins, and what figures in print call it."""


def beside_print(plan: StudyPlan, table: Table) -> Table:
    """Return a table of statistics with a column for each figure that stands in print; as it is where none does."""
    kind = next((kind for start, kind in NAMES.items() if table.name.startswith(start)), None)
    rows = [row for row in plan.study.printed_statistics if row.table == kind]
    if not rows:
        return table
    factors = factors_of(plan)
    figures = {_key(row, factors): row.figures for row in rows}
    titles = list(dict.fromkeys(title for row in rows for title in row.figures))
    count = len(factors) if kind == "conditions" else 1
    filled = []
    for row in table.rows:
        named = tuple(str(cell).partition(":")[0] for cell in row[: count + 1])
        filled.append((*row, *(_cell(figures.get(named, {}).get(title)) for title in titles)))
    own = next(iter(plan.study.datasets), None)
    other = f", on {own}: they do not compare with ours on {plan.choice.on}" if plan.choice.on != own else ""
    note = f"{table.note} Columns called as printed are the paper's{other}."
    return replace(
        table, header=(*table.header, *(f"{title} as printed" for title in titles)), rows=tuple(filled), note=note
    )


def _key(row: PrintedStatistic, factors: list[str]) -> tuple[str, ...]:
    named = [row.factor] if row.factor is not None else [row.cell[factor] for factor in factors]
    return (label(row.metric), *named)


def _cell(value: bool | float | str | None) -> Cell:
    if value is None:
        return "–"
    return ("yes" if value else "no") if isinstance(value, bool) else value


HOLDS = {True: "yes", False: "no", None: "cannot be seen"}


@dataclass(frozen=True)
class Statistics:
    """A reading with all that was computed in it."""

    reading: Reading
    analyses: tuple[ReadingAnalysis, ...]
    tables: tuple[Table, ...]
    assumptions: Table

    @property
    def sentences(self) -> list[str]:
        """What the analyses of variance say, in words, and what could not be computed."""
        said = [analysis.factorial.sentence for analysis in self.analyses if analysis.factorial]
        said += [f"Mixed model. {analysis.mixed.sentence}" for analysis in self.analyses if analysis.mixed]
        return said + list(dict.fromkeys(text for analysis in self.analyses for text in analysis.trouble))


def statistics_of(plan: StudyPlan, runs: pd.DataFrame) -> list[Statistics]:
    """Compute a study's statistics in both readings; nothing where it asks for none."""
    if plan.study.statistics is None or not factors_of(plan):
        return []
    found = []
    for reading in readings(plan, runs):
        each = tuple(analyse(plan, reading, metric) for metric in plan.study.tested)
        made = (
            descriptive(plan, reading),
            variance(reading, each),
            random_effects(reading, each),
            pairwise(reading, each),
            equivalent(reading, each),
            powers(reading, each),
        )
        tables = tuple(table for table in made if table)
        if reading.name == "classes":
            tables = tuple(beside_print(plan, table) for table in tables)
        found.append(Statistics(reading, each, tables, assumptions(reading, each)))
    return found


def _table(
    reading: Reading, name: str, title: str, header: Sequence[str], rows: Iterable[Any], note: str = ""
) -> Table | None:
    kept = tuple(tuple(row) for row in rows)
    said = f"{note} {reading.said}".strip()
    return Table(f"{name}-{reading.name}", f"{title} ({reading.title})", tuple(header), kept, said) if kept else None


def descriptive(plan: StudyPlan, reading: Reading) -> Table | None:
    """Set out each condition: mean with interval, standard deviation, median."""
    factors = factors_of(plan)
    rows: list[list[Cell]] = []
    for metric in plan.study.tested:
        for levels, part in reading.table.groupby(factors, sort=False):
            value, sd, n = estimate(
                part.groupby(reading.unit)[metric].mean(), within=limits(metric), overlap=reading.overlap
            )
            middle = float(part.groupby(reading.unit)[metric].mean().median())
            rows.append([label(metric), *map(str, levels), n, value, sd, middle])
    header = ("metric", *factors, "n", "mean [95 % interval]", "sd", "median")
    note = (
        f"Intervals are Student's, over {counted(reading.units, reading.unit)}."
        if reading.name == "repetitions"
        else ""
    )
    return _table(reading, "1-conditions", "Table 1. Conditions", header, rows, note)


def variance(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table | None:
    """Set out the analysis of variance: each main effect and interaction, type III."""
    rows = [
        (a.metric, e.name, e.df, e.df_error, e.f, p_value(e.p), e.eta, e.low, e.high, e.power, _beside(e))
        for a in analyses
        if a.factorial
        for e in a.factorial.effects
    ]
    header = ("metric", "effect", "df", "df of error", "F", "p", "partial η²", "η² low", "η² high", "power", "p beside")
    within = reading.name == "repetitions"
    note = "Type III. " + (
        f"Each {reading.unit} was measured in all cells, so effects are tested against how they differ between them."
        + (" F is corrected for the training data that folds share." if reading.overlap else "")
        if within
        else "Every value is taken as independent."
    )
    return _table(reading, "2-variance", "Table 2. Analysis of variance", header, map(_whole, rows), note)


def _beside(effect: Any) -> str:
    return f"{p_value(effect.robust_p)} ({effect.robust})"


def _whole(row: Sequence[Any]) -> list[Cell]:
    """Write degrees of freedom as whole numbers where they are."""
    return [
        int(cell) if isinstance(cell, float) and place in (2, 3) and cell.is_integer() else cell
        for place, cell in enumerate(row)
    ]


def random_effects(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table | None:
    """Set out the fixed effects of the mixed models."""
    rows = [
        (
            a.metric,
            t.name,
            t.df,
            t.df_error,
            t.f,
            p_value(t.p),
            a.mixed.share,
        )
        for a in analyses
        if a.mixed
        for t in a.mixed.terms
    ]
    share = f"share of variance between {plural(reading.unit)}"
    header = ("metric", "effect", "df", "df of error", "F", "p", share)
    note = f"A random intercept for each {reading.unit}."
    return _table(reading, "2b-mixed", "Table 2b. Mixed model", header, map(_whole, rows), note)


def pairwise(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table | None:
    """Set out planned comparisons: effect sizes, difference, p by Holm over the comparisons of a metric, verdict."""
    rows = []
    for a in analyses:
        for c in a.contrasts:
            drawn = c.resampled.estimate if c.resampled else None
            boot = f"[{drawn.low:+.3f}, {drawn.high:+.3f}]" if drawn is not None and drawn.low == drawn.low else "–"
            sizes = (c.effect("d_z").value, c.size.value, c.size.word)
            row = (a.metric, f"{c.factor}: {c.level} less {c.baseline}", c.count, *sizes)
            rows.append((*row, c.difference, boot, p_value(c.p), p_value(c.plain_p), p_value(c.holm), c.verdict))
    header = ("metric", "compared", "pairs", "d_z", "d_av", "size", "difference [95 % interval]", "bootstrap")
    first = next((a.contrasts[0] for a in analyses if a.contrasts), None)
    if first is None:
        return None
    note = (
        f"{first.test[0].upper()}{first.test[1:]}s. Holm: corrected over the {counted(first.family, 'comparison')} of "
        f"a metric; the {counted(len(analyses), 'metric')} are not corrected for. d_z is the mean in sds of the "
        "differences, d_av in sds of the values; small, medium and large are of d_av."
    )
    tests = ("p", "p (plain paired t)", "p (Holm)", "verdict")
    return _table(reading, "3-comparisons", "Table 3. Planned comparisons", (*header, *tests), rows, note)


def equivalent(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table | None:
    """Set out the two one-sided tests against the margins."""
    rows = [
        (
            *(a.metric, f"{e.factor}: {e.level} less {e.baseline}", e.interval, f"±{e.high:g}", p_value(e.p)),
            *("yes" if holds else "no" for holds in (e.equivalent, e.equivalent_wide, e.changes)),
        )
        for a in analyses
        for e in a.equivalences
    ]
    header = ("metric", "compared", "difference [90 % interval]", "margin", "p", "equivalent")
    note = "Two one-sided tests at 0.05, which is the 90 % interval inside the margins; the paper took the 95 % one."
    ends = ("by the 95 % interval", "changed verdict")
    return _table(reading, "5-equivalence", "Table 5. Practical equivalence", (*header, *ends), rows, note)


def powers(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table | None:
    """Set out what so many units can show, and how many are needed."""
    rows = [
        (
            *(a.metric, f"{c.factor}: {c.level} less {c.baseline}", c.units, c.effect("d_z").value),
            *(seen.power, least.effect, *(("–", "–") if reading.overlap else (medium.count, small.count))),
        )
        for a in analyses
        for c, (seen, least, medium, small) in zip(a.contrasts, a.powers, strict=True)
    ]
    needed = ("n for d_z = 0.5", "n for d_z = 0.2")
    header = ("metric", "compared", "n", "d_z seen", "power for it", "least d_z found", *needed)
    test = "Corrected resampled t test" if reading.overlap else "Paired t test"
    note = f"{test} at 0.05, 80 % power. Power for the effect that was seen says no more than p does."
    note += " More folds of the same data find no smaller effects." if reading.overlap else ""
    return _table(reading, "6-power", "Table 6. Power", header, rows, note)


def assumptions(reading: Reading, analyses: Sequence[ReadingAnalysis]) -> Table:
    """Set out every assumption that was looked at."""
    rows: list[tuple[Cell, ...]] = []
    for a in analyses:
        parts: list[tuple[str, Sequence[Check]]] = [("variance", a.factorial.checks)] if a.factorial else []
        parts += [("mixed model", a.mixed.checks)] if a.mixed else []
        parts += [(f"{c.factor}: {c.level} less {c.baseline}", c.checks) for c in a.contrasts]
        rows += [
            (a.metric, test, check.name, HOLDS[check.holds], check.sentence)
            for test, checks in parts
            for check in checks
        ]
    header = ("metric", "test", "assumption", "holds", "in words")
    return Table(f"assumptions-{reading.name}", f"Assumptions ({reading.title})", header, tuple(rows), reading.said)


def per_class(plan: StudyPlan, runs: pd.DataFrame) -> Table | None:
    """Set out every metric of each class in each condition: means over the runs of a cell."""
    own, factors = runs[runs["test"] == OWN], factors_of(plan)
    names = plan.study.tested
    if not names:
        return None
    rows: list[tuple[Cell, ...]] = [
        (*map(str, levels), label, *(float(part[f"{each}{CLASSWISE}{label}"].mean()) for each in names.values()))
        for levels, part in own.groupby(factors, sort=False)
        for label in classes_of(own, next(iter(names.values())))
    ]
    note = "Means over the runs of a cell; where a metric is not defined in a run, that run is left out."
    header = (*factors, "class", *map(label, names))
    return Table("4-classes", "Table 4. Each class", header, tuple(rows), note)


def told(plan: StudyPlan, runs: pd.DataFrame, found: Sequence[Statistics]) -> list[str]:
    """Write all tables for the screen, in their order, each in both readings."""
    classes = per_class(plan, runs) if found else None
    tables = [table for statistics in found for table in statistics.tables] + ([classes] if classes else [])
    lines = []
    for table in sorted(tables, key=lambda table: table.title.partition(" (")[0]):
        lines += [table.title, *table.text().splitlines(), *([table.note] if table.note else []), ""]
    return lines
