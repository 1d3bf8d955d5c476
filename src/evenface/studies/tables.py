"""Tables of a study: cells, runs, differences, classes, and the statistics over all factors."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from evenface.evaluation.formatting import p_value
from evenface.evaluation.metric_registry import label, limits, lower_note
from evenface.reporting.tables import Cell, Row, Table
from evenface.runs import Run
from evenface.statistics.assumptions import Check
from evenface.statistics.designs import counted, plural
from evenface.statistics.t_tests import estimate
from evenface.studies.definition import CONFUSION, PrintedStatistic, PrintedValue
from evenface.studies.plan import OWN, StudyPlan
from evenface.studies.results import (
    AS,
    CLASSWISE,
    LEAKS,
    REPEAT,
    BaselineDifference,
    MetricAnalysis,
    Replication,
    analyse,
    by_fold,
    classes_of,
    estimate_over,
    factors_of,
    fold_unit,
    is_own_data,
    replications,
    scalar_metrics,
    select_runs,
    unit_note,
)
from evenface.utils.files import atomic_write

LEAKY_NOTE = "LEAKY: people or clips are in both training and test set of these runs; their results are too high. "
OURS, PRINTED, QUOTED = "ours", "as printed", "quoted"


def write_table(table: Table, path: Path) -> None:
    """Write a table as CSV or Markdown, by the suffix."""
    with atomic_write(path) as temporary:
        temporary.write_text(table.csv() if path.suffix == ".csv" else f"{table.markdown()}\n", encoding="utf-8")


def _tested_on(plan: StudyPlan, test: str) -> list[str]:
    """Return the first column: what was tested on, where there is more than one test set."""
    return [test or plan.choice.on or "own data"] if len(plan.evaluation_sets) > 1 else []


# Cells, runs and differences


def cell_table(plan: StudyPlan, runs: pd.DataFrame, *, spread: bool = True) -> Table:
    """List each cell's mean, interval over runs, standard deviation, and printed values."""
    names = scalar_metrics(plan)
    printed = [row for row in plan.study.printed if is_own_data(plan, row) and row.seed is None and not row.gain]
    quoted = [row for row in plan.study.quoted if is_own_data(plan, row)]
    kinds = {PRINTED: printed, QUOTED: quoted}
    shown = {(name, kind): any(name in row.values for row in rows) for kind, rows in kinds.items() for name in names}
    sources = any(row.source for row in (*printed, *quoted))
    leaky, folded = bool(runs[LEAKS].any()), by_fold(runs)
    rows: list[Row] = []
    for test in plan.evaluation_sets:
        for labels, own, in_print in _cell_rows(plan, runs, test, printed, quoted):
            cells: list[Cell] = [
                *_tested_on(plan, test),
                *labels,
                *(["LEAKY" if own[LEAKS].any() else ""] if leaky else []),
                *([own["fold"].nunique() or "–"] if folded else []),
                len(own) or "–",
            ]
            for name in names:
                value, sd, _ = estimate_over(own, name, limits(name))
                cells += [value, *([sd] if spread else [])]
                for kind in kinds:
                    if shown[name, kind]:
                        row = in_print.get(kind)
                        cells.append(_number(row.values.get(name)) if row else float("nan"))
            rows.append((*cells, *([next((row.source for row in in_print.values()), "")] if sources else [])))
    header = [*(["tested on"] if len(plan.evaluation_sets) > 1 else []), *plan.factors]
    header += [*(["warning"] if leaky else []), *([fold_unit(plan)] if folded else []), "runs"]
    for name in names:
        header += [label(name), *([f"{label(name)} sd"] if spread else [])]
        header += [f"{label(name)} {kind}" for kind in kinds if shown[name, kind]]
    note = f"{LEAKY_NOTE if leaky else ''}{unit_note(plan, runs, spread=spread)} {lower_note(names)}".strip()
    return Table(
        "table" if spread else "cells",
        "Cells, with standard deviations" if spread else "Cells",
        (*header, *(["source"] if sources else [])),
        tuple(rows),
        note,
    )


def _cell_rows(
    plan: StudyPlan, runs: pd.DataFrame, test: str, printed: Sequence[PrintedValue], quoted: Sequence[PrintedValue]
) -> list[tuple[list[str], pd.DataFrame, dict[str, PrintedValue]]]:
    """Return each row's levels, its runs, and its printed values; rows that are only printed come last."""
    left = [row for row in printed if (row.test_set or OWN) == test]
    rows: list[tuple[list[str], pd.DataFrame, dict[str, PrintedValue]]] = []
    for cell in plan.cells:
        levels = dict(zip(plan.factors, cell, strict=True))
        row = next((row for row in left if row.cell == levels), None)
        if row is not None:
            left.remove(row)
        rows.append((list(cell), select_runs(runs, levels, test), {PRINTED: row} if row else {}))
    nothing = runs.iloc[:0]
    rows += [(printed_labels(plan, row), nothing, {PRINTED: row}) for row in left]
    return rows + [
        (printed_labels(plan, row), nothing, {QUOTED: row}) for row in quoted if (row.test_set or OWN) == test
    ]


def printed_labels(plan: StudyPlan, row: PrintedValue) -> list[str]:
    """Return the levels of a printed row; levels of other factors go into the first empty column."""
    labels = [row.cell.get(factor, "") for factor in plan.factors]
    others = ", ".join(level for factor, level in row.cell.items() if factor not in plan.factors)
    if others:
        labels[labels.index("") if "" in labels else 0] = others
    return labels


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def printed_elsewhere(plan: StudyPlan) -> Table | None:
    """List printed values of other data sets than the one of this study; None where there are none."""
    rows = [row for row in (*plan.study.printed, *plan.study.quoted) if not is_own_data(plan, row)]
    names = list(dict.fromkeys(name for row in rows for name, v in row.values.items() if not isinstance(v, dict)))
    if not rows or not names:
        return None
    first = next(iter(plan.study.datasets), "")
    body: list[Row] = [
        (
            (row.dataset or first) + (f", tested on {row.test_set}" if row.test_set else ""),
            ", ".join(f"{k} {v}" for k, v in row.cell.items())
            + ("" if row.seed is None else f", seed {row.seed}")
            + (", gain" if row.gain else ""),
            QUOTED if row in plan.study.quoted else PRINTED,
            *(_number(row.values.get(name)) for name in names),
            row.source,
        )
        for row in rows
    ]
    header = ("data", "cell", "kind", *map(label, names), "source")
    note = "These values are of other data and are not comparable with the table above."
    return Table("in-print", "Printed values on other data", header, tuple(body), note)


def run_table(plan: StudyPlan, runs: pd.DataFrame) -> Table:
    """List every run's values, and printed values of single runs."""
    names = scalar_metrics(plan)
    single = [row for row in plan.study.printed if is_own_data(plan, row) and row.seed is not None and not row.gain]
    extra = [name for name in names if any(name in row.values for row in single)]
    leaky = bool(runs[LEAKS].any())
    rows: list[Row] = []
    for record in runs.to_dict("records"):
        levels = {factor: record[factor] for factor in plan.factors}
        match = [
            r for r in single if r.cell == levels and r.seed == record["seed"] and (r.test_set or OWN) == record["test"]
        ]
        printed = [_number(match[0].values.get(name)) if match else float("nan") for name in extra]
        fold = "" if record["fold"] is None or pd.isna(record["fold"]) else str(int(record["fold"]))
        labels = [*_tested_on(plan, record["test"]), *levels.values()]
        labels += ["LEAKY" if record[LEAKS] else ""] if leaky else []
        fixed: list[Cell] = [*labels, str(record["seed"]), fold]
        rows.append((*fixed, *(float(record[name]) for name in names), *printed, str(record["folder"])))
    head = [*(["tested on"] if len(plan.evaluation_sets) > 1 else []), *plan.factors]
    head += [*(["warning"] if leaky else []), *REPEAT]
    header = (*head, *map(label, names), *(f"{label(name)} as printed" for name in extra), "folder")
    return Table("runs", "All runs", header, tuple(rows), LEAKY_NOTE.strip() if leaky else "")


def sample_table(plan: StudyPlan, runs: pd.DataFrame, opened: Mapping[str, Run]) -> Table:
    """List the training samples of each class, by cell; cells may have classes of their own."""
    own = runs[runs["test"] == OWN]
    classes = list(dict.fromkeys(name for folder in own["folder"] for name in opened[folder].facts["classes"]))
    rows: list[Row] = []
    for cell in plan.cells:
        folders = select_runs(own, dict(zip(plan.factors, cell, strict=True)))["folder"]
        if len(folders):
            facts = opened[folders.iloc[0]].facts
            counts = dict(zip(facts["classes"], facts["counts"]["train"], strict=True))
            rows.append((*cell, *(counts.get(name, "–") for name in classes)))
    title = "Training samples of each class (first run)"
    return Table("training-samples", title, (*plan.factors, *classes), tuple(rows))


def difference_table(plan: StudyPlan, differences: Sequence[BaselineDifference], *, complete: bool = True) -> Table:
    """List all differences; ``complete`` with pairs, units, relative differences and uncorrected p."""
    in_print = any(not math.isnan(d.printed) for d in differences)
    settings = any(d.where for d in differences)  # of one factor there is but one
    gains = complete and any(not math.isnan(d.printed_gain) for d in differences)
    paired_t = complete and any(d.p_paired_t != d.difference.p and not math.isnan(d.p_paired_t) for d in differences)
    rows: list[Row] = []
    for d in differences:
        row: list[Cell] = [d.test or plan.choice.on or "own data"] if plan.tests else []
        row += [f"{d.factor}: {d.level} less {d.baseline}", *([d.where or "–"] if settings else []), label(d.metric)]
        row += [d.count, d.unit, d.difference] if complete else [d.difference]
        row += [d.relative, d.difference.p, *([d.p_paired_t] if paired_t else [])] if complete else []
        row += [d.difference.p_holm, *([d.p_metrics] if complete else [])]
        row += [d.verdict, *([d.printed] if in_print else [])]
        rows.append((*row, *([d.printed_gain] if gains else [])))
    header = [*(["tested on"] if plan.tests else []), "compared", *(["setting"] if settings else []), "metric"]
    header += [*(["pairs", "unit"] if complete else []), "difference", *(["as a share", "p"] if complete else [])]
    header += ["p (plain paired t)"] if paired_t else []
    header += ["p (Holm)", *(["p (Holm, all metrics)"] if complete else []), "verdict"]
    header += ["difference as printed"] if in_print else []
    header += ["share as printed"] if gains else []
    title = "Differences from the baseline" + (", with pairs and relative differences" if complete else "")
    note = f"{correction_note(differences)} {lower_note(dict.fromkeys(d.metric for d in differences))}".strip()
    return Table("differences-whole" if complete else "differences", title, tuple(header), tuple(rows), note)


def correction_note(differences: Sequence[BaselineDifference]) -> str:
    """State the families of Holm's correction, and that it is not over metrics."""
    single, overall = (
        max((d.family for d in differences if (d.setting is None) is whole), default=0) for whole in (False, True)
    )
    if not single:
        return ""
    kinds = f" in single settings, and the {overall} over all settings," if overall else ""
    metrics = len({d.metric for d in differences})
    rest = f" Not over the {metrics} metrics, except in p (Holm, all metrics) of the CSV file." if metrics > 1 else ""
    return f"Holm: corrected over the {single}{kinds} of one metric and data set.{rest}"


# Classes


def class_table(plan: StudyPlan, runs: pd.DataFrame, metric: str) -> Table | None:
    """List a per-class metric: a row for each cell, a column for each class; None where no run has finished."""
    classes = classes_of(runs, metric)
    rows: list[Row] = []
    for head, own, printed in _class_rows(plan, runs, metric):
        values: Sequence[Cell] = (
            [estimate_over(own, f"{metric}{CLASSWISE}{name}", limits(metric))[0] for name in classes]
            if printed is None
            else [_number(printed.get(name)) for name in classes]
        )
        rows.append((*head, *values))
    title = f"{metric.replace('_', ' ').capitalize()} of each class".replace("Pf", "PF")
    return Table(f"classes-{metric}", title, (*_class_header(plan, metric), *classes), tuple(rows)) if classes else None


def confusion_table(plan: StudyPlan, runs: pd.DataFrame, metric: str = CONFUSION) -> Table | None:
    """List confusion matrices: a row for each cell and true class; None where no run has finished.

    Our counts of samples are means over the runs of a cell.
    """
    classes = list(dict.fromkeys(pair.split(AS)[0] for pair in classes_of(runs, metric)))
    rows: list[Row] = []
    for head, own, printed in _class_rows(plan, runs, metric):
        for true in classes:
            if printed is None:  # cells may have classes of their own, and then lack the others' columns
                columns = (f"{metric}{CLASSWISE}{true}{AS}{predicted}" for predicted in classes)
                values = [float(own.get(column, pd.Series(dtype=float)).mean()) for column in columns]
            else:
                values = [_number(printed.get(true, {}).get(predicted)) for predicted in classes]
            if any(value == value for value in values):
                rows.append((*head, true, *values))
    header = (*_class_header(plan, metric), "true", *(f"as {name}" for name in classes))
    note = "Counts of samples by true and by predicted class; ours are means over the runs of a cell."
    return Table(metric, "Confusion matrices", header, tuple(rows), note) if classes else None


def _class_rows(
    plan: StudyPlan, runs: pd.DataFrame, metric: str
) -> Iterator[tuple[list[Cell], pd.DataFrame, dict[str, Any] | None]]:
    """Yield the first columns of each row, with our runs or with the printed values; by test set."""
    printed = _printed_classes(plan, metric)
    for test in plan.evaluation_sets:
        tested_on = _tested_on(plan, test)
        left = [entry for entry in printed if entry[0] == test]
        for cell in plan.cells:
            own = select_runs(runs, dict(zip(plan.factors, cell, strict=True)), test)
            if len(own):
                yield [*tested_on, *cell, *([OURS] if printed else [])], own, None
            for entry in [entry for entry in left if entry[1] == list(cell)]:
                left.remove(entry)
                yield [*tested_on, *cell, entry[2]], own, entry[3]
        for _, labels, kind, value in left:
            yield [*tested_on, *labels, kind], runs.iloc[:0], value


def _printed_classes(plan: StudyPlan, metric: str) -> list[tuple[str, list[str], str, dict[str, Any]]]:
    """List printed per-class values: test set, levels, kind, and a value for each class."""
    return [
        (row.test_set or OWN, printed_labels(plan, row), kind, value)
        for kind, rows in ((PRINTED, plan.study.printed), (QUOTED, plan.study.quoted))
        for row in rows
        if is_own_data(plan, row)
        and row.seed is None
        and not row.gain
        and isinstance(value := row.values.get(metric), dict)
    ]


def _class_header(plan: StudyPlan, metric: str) -> list[str]:
    tested_on = ["tested on"] if len(plan.evaluation_sets) > 1 else []
    return [*tested_on, *plan.factors, *(["figures"] if _printed_classes(plan, metric) else [])]


# Statistics over all factors

PRINTED_TABLES = {
    "1-conditions": "conditions",
    "2-variance": "variance",
    "3-comparisons": "comparisons",
    "5-equivalence": "equivalence",
    "6-power": "power",
}
"""Prefix of a table's name to its name among the printed statistics."""
HOLDS = {True: "yes", False: "no", None: "untestable"}


@dataclass(frozen=True)
class StudyStatistics:
    """All analyses of a study with one unit of replication, and their tables."""

    replication: Replication
    analyses: tuple[MetricAnalysis, ...]
    tables: tuple[Table, ...]
    assumptions: Table

    @property
    def sentences(self) -> list[str]:
        """Results of the analyses of variance in words, and what could not be computed."""
        lines = [analysis.factorial.sentence for analysis in self.analyses if analysis.factorial]
        lines += [f"Mixed model. {analysis.mixed.sentence}" for analysis in self.analyses if analysis.mixed]
        return lines + list(dict.fromkeys(text for analysis in self.analyses for text in analysis.problems))


def statistics_of(plan: StudyPlan, runs: pd.DataFrame) -> list[StudyStatistics]:
    """Compute a study's statistics with each unit of replication; none where the study requests none."""
    if plan.study.statistics is None or not factors_of(plan):
        return []
    results = []
    for replication in replications(plan, runs):
        analyses = tuple(analyse(plan, replication, metric) for metric in plan.study.tested)
        candidates = (
            condition_table(plan, replication),
            variance_table(replication, analyses),
            mixed_model_table(replication, analyses),
            comparison_table(replication, analyses),
            equivalence_table(replication, analyses),
            power_table(replication, analyses),
        )
        tables = tuple(table for table in candidates if table)
        if replication.kind == "classes":
            tables = tuple(with_printed(plan, table) for table in tables)
        results.append(StudyStatistics(replication, analyses, tables, assumption_table(replication, analyses)))
    return results


def statistics_lines(plan: StudyPlan, runs: pd.DataFrame, statistics: Sequence[StudyStatistics]) -> list[str]:
    """Return all tables of statistics as text for the console, in their order."""
    classes = per_class_table(plan, runs) if statistics else None
    tables = [table for entry in statistics for table in entry.tables] + ([classes] if classes else [])
    lines = []
    for table in sorted(tables, key=lambda table: table.title.partition(" (")[0]):
        lines += [table.title, *table.text().splitlines(), *([table.note] if table.note else []), ""]
    return lines


def with_printed(plan: StudyPlan, table: Table) -> Table:
    """Return a table of statistics with a column for each printed value; unchanged where nothing is printed."""
    kind = next((kind for start, kind in PRINTED_TABLES.items() if table.name.startswith(start)), None)
    printed = [row for row in plan.study.printed_statistics if row.table == kind and _of_levels(row, plan)]
    if not printed:
        return table
    factors = factors_of(plan)
    figures = {_printed_key(row, factors): row.figures for row in printed}
    titles = list(dict.fromkeys(title for row in printed for title in row.figures))
    count = len(factors) if kind == "conditions" else 1
    rows = []
    for row in table.rows:
        key = tuple(str(cell).partition(":")[0] for cell in row[: count + 1])
        rows.append((*row, *(_printed_cell(figures.get(key, {}).get(title)) for title in titles)))
    own = next(iter(plan.study.datasets), None)
    other = f", on {own}: they are not comparable with ours on {plan.choice.on}" if plan.choice.on != own else ""
    note = f"{table.note} Columns called as printed are the paper's{other}."
    return replace(
        table, header=(*table.header, *(f"{title} as printed" for title in titles)), rows=tuple(rows), note=note
    )


def _of_levels(row: PrintedStatistic, plan: StudyPlan) -> bool:
    """Return whether a printed row is of the plan's levels; those over a factor are of all of them."""
    if row.factor is not None:
        return not plan.choice.only
    return all(level in plan.factors[factor] for factor, level in row.cell.items())


def _printed_key(row: PrintedStatistic, factors: list[str]) -> tuple[str, ...]:
    levels = [row.factor] if row.factor is not None else [row.cell[factor] for factor in factors]
    return (label(row.metric), *levels)


def _printed_cell(value: bool | float | str | None) -> Cell:
    if value is None:
        return "–"
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _statistics_table(
    replication: Replication, name: str, title: str, header: Sequence[str], rows: Iterable[Any], note: str = ""
) -> Table | None:
    body = tuple(tuple(row) for row in rows)
    if not body:
        return None
    return Table(
        f"{name}-{replication.kind}",
        f"{title} ({replication.title})",
        tuple(header),
        body,
        f"{note} {replication.note}".strip(),
    )


def condition_table(plan: StudyPlan, replication: Replication) -> Table | None:
    """List each condition: mean with interval, standard deviation, median."""
    factors = factors_of(plan)
    rows: list[list[Cell]] = []
    for metric in plan.study.tested:
        for levels, part in replication.table.groupby(factors, sort=False):
            means = part.groupby(replication.unit)[metric].mean()
            value, sd, n = estimate(means, within=limits(metric), overlap=replication.overlap)
            rows.append([label(metric), *map(str, levels), n, value, sd, float(means.median())])
    header = ("metric", *factors, "n", "mean [95 % interval]", "sd", "median")
    over = counted(replication.units, replication.unit)
    note = f"Intervals are Student's, over {over}." if replication.kind == "repetitions" else ""
    return _statistics_table(replication, "1-conditions", "Table 1. Conditions", header, rows, note)


def variance_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table | None:
    """List the analysis of variance: each main effect and interaction, type III."""
    rows = [
        (a.metric, e.name, e.df, e.df_error, e.f, p_value(e.p), e.eta, e.low, e.high, e.power, _robust_p(e))
        for a in analyses
        if a.factorial
        for e in a.factorial.effects
    ]
    header = ("metric", "effect", "df", "df of error", "F", "p", "partial η²", "η² low", "η² high", "power", "p beside")
    note = "Type III. " + (
        f"Each {replication.unit} was measured in all cells, so effects are tested within units."
        + (" F is corrected for the training data that folds share." if replication.overlap else "")
        if replication.kind == "repetitions"
        else "Every value is treated as independent."
    )
    title = "Table 2. Analysis of variance"
    return _statistics_table(replication, "2-variance", title, header, map(_whole_degrees, rows), note)


def _robust_p(effect: Any) -> str:
    return f"{p_value(effect.robust_p)} ({effect.robust})"


def _whole_degrees(row: Sequence[Any]) -> list[Cell]:
    """Write degrees of freedom as integers where they are."""
    return [
        int(cell) if isinstance(cell, float) and index in (2, 3) and cell.is_integer() else cell
        for index, cell in enumerate(row)
    ]


def mixed_model_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table | None:
    """List the fixed effects of the mixed models."""
    rows = [
        (a.metric, t.name, t.df, t.df_error, t.f, p_value(t.p), a.mixed.share)
        for a in analyses
        if a.mixed
        for t in a.mixed.terms
    ]
    share = f"share of variance between {plural(replication.unit)}"
    header = ("metric", "effect", "df", "df of error", "F", "p", share)
    note = f"A random intercept for each {replication.unit}."
    title = "Table 2b. Mixed model"
    return _statistics_table(replication, "2b-mixed", title, header, map(_whole_degrees, rows), note)


def comparison_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table | None:
    """List planned comparisons: effect sizes, difference, p by Holm over the comparisons of a metric, verdict."""
    rows = []
    for a in analyses:
        for c in a.contrasts:
            drawn = c.resampled.estimate if c.resampled else None
            bootstrap = (
                f"[{drawn.low:+.3f}, {drawn.high:+.3f}]" if drawn is not None and drawn.low == drawn.low else "–"
            )
            sizes = (c.effect("d_z").value, c.size.value, c.size.word)
            row = (a.metric, f"{c.factor}: {c.level} less {c.baseline}", c.count, *sizes)
            rows.append((*row, c.difference, bootstrap, p_value(c.p), p_value(c.plain_p), p_value(c.holm), c.verdict))
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
    title = "Table 3. Planned comparisons"
    return _statistics_table(replication, "3-comparisons", title, (*header, *tests), rows, note)


def equivalence_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table | None:
    """List the two one-sided tests against the margins."""
    rows = [
        (
            *(a.metric, f"{e.factor}: {e.level} less {e.baseline}", e.interval, f"±{e.high:g}", p_value(e.p)),
            *("yes" if holds else "no" for holds in (e.equivalent, e.equivalent_wide, e.changes)),
        )
        for a in analyses
        for e in a.equivalences
    ]
    header = ("metric", "compared", "difference [90 % interval]", "margin", "p", "equivalent")
    note = "Two one-sided tests at 0.05: the 90 % interval lies within the margins; the paper used the 95 % interval."
    ends = ("by the 95 % interval", "changed verdict")
    title = "Table 5. Practical equivalence"
    return _statistics_table(replication, "5-equivalence", title, (*header, *ends), rows, note)


def power_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table | None:
    """List the power of the number of units, and the numbers needed."""
    rows = [
        (
            *(a.metric, f"{c.factor}: {c.level} less {c.baseline}", c.units, c.effect("d_z").value),
            *(observed.power, least.effect, *(("–", "–") if replication.overlap else (medium.count, small.count))),
        )
        for a in analyses
        for c, (observed, least, medium, small) in zip(a.contrasts, a.powers, strict=True)
    ]
    needed = ("n for d_z = 0.5", "n for d_z = 0.2")
    header = ("metric", "compared", "n", "d_z seen", "power for it", "least d_z found", *needed)
    test = "Corrected resampled t test" if replication.overlap else "Paired t test"
    note = f"{test} at 0.05, 80 % power. Power for the observed effect adds no information to p."
    note += " More folds of the same data detect no smaller effects." if replication.overlap else ""
    return _statistics_table(replication, "6-power", "Table 6. Power", header, rows, note)


def assumption_table(replication: Replication, analyses: Sequence[MetricAnalysis]) -> Table:
    """List all checked assumptions."""
    rows: list[Row] = []
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
    title = f"Assumptions ({replication.title})"
    return Table(f"assumptions-{replication.kind}", title, header, tuple(rows), replication.note)


def per_class_table(plan: StudyPlan, runs: pd.DataFrame) -> Table | None:
    """List every tested metric of each class in each condition: means over the runs of a cell."""
    own, factors = runs[runs["test"] == OWN], factors_of(plan)
    names = plan.study.tested
    if not names:
        return None
    rows: list[Row] = [
        (*map(str, levels), name, *(float(part[f"{each}{CLASSWISE}{name}"].mean()) for each in names.values()))
        for levels, part in own.groupby(factors, sort=False)
        for name in classes_of(own, next(iter(names.values())))
    ]
    note = "Means over the runs of a cell; runs in which a metric is undefined are left out."
    header = (*factors, "class", *map(label, names))
    return Table("4-classes", "Table 4. Each class", header, tuple(rows), note)
