"""Figures of a study; each function draws one and returns it. See :mod:`evenface.reporting.style`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.metric_registry import label, limits, lower_is_better
from evenface.reporting.figures import recalls, training_curves
from evenface.reporting.style import MARKERS, MUTED, colour, panels, styled
from evenface.reporting.tables import Cell, Table
from evenface.studies.definition import CONFUSION
from evenface.studies.plan import OWN, StudyPlan
from evenface.studies.tables import AS, CLASSWISE, BaselineDifference, estimate_over, here, row_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_SERIES = 7
SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision")


def series_factor(plan: StudyPlan) -> str | None:
    """Choose the factor whose levels are colours: the first with a baseline and few levels; none where there is one."""
    several = [name for name, levels in plan.factors.items() if len(levels) > 1]
    chosen = [name for name in plan.study.baseline if name in several] or several[-1:]
    fits = [name for name in chosen if len(plan.factors[name]) <= MOST_SERIES]
    return fits[0] if fits and len(several) > 1 else None


def scale(metric: str) -> str:
    """Name a metric beside its axis; of an error or a false alarm, which way is better."""
    return label(metric) + (" (lower is better)" if lower_is_better(metric) else "")


def settings(plan: StudyPlan, series: str | None) -> list[dict[str, str]]:
    """List the combinations of the factors that are no colours, those that are run."""
    others = [name for name in plan.factors if name != series]
    combined = itertools.product(*(plan.factors[name] for name in others))
    run = {tuple(dict(zip(plan.factors, cell, strict=True))[name] for name in others) for cell in plan.cells}
    return [dict(zip(others, levels, strict=True)) for levels in combined if levels in run]


def said(plan: StudyPlan, setting: dict[str, str]) -> str:
    """Name a setting, leaving out factors of one level, and the factor's name where it is the only one."""
    named = {factor: level for factor, level in setting.items() if len(plan.factors[factor]) > 1}
    if len(named) == 1:
        return next(iter(named.values()))
    return ", ".join(f"{factor} {level}" if level[:1].isdigit() else level for factor, level in named.items()) or "all"


def named(plan: StudyPlan, setting: dict[str, str]) -> str:
    """Name a setting with its factors, for the end of a sentence."""
    words = [f"{factor} {level}" for factor, level in setting.items() if len(plan.factors[factor]) > 1]
    return f": {', '.join(words)}" if words else ""


def chosen(runs: pd.DataFrame, levels: dict[str, str], test: str = OWN) -> pd.DataFrame:
    """Give the runs of these levels."""
    keep = runs["test"] == test
    for factor, level in levels.items():
        keep &= runs[factor] == level
    return runs[keep]


@styled
def cells(plan: StudyPlan, runs: pd.DataFrame, metric: str, test: str = OWN) -> "Figure":
    """Draw each cell's mean and interval; each run as a small ring; a cross for a figure in print."""
    series = series_factor(plan)
    rows = settings(plan, series)[::-1]
    names = plan.factors[series] if series else ("",)
    step = 0.72 / len(names)
    figure, (axis,) = panels(height=0.9 + len(rows) * max(0.28, 0.17 * len(names) + 0.1))
    crosses = []
    for place, name in enumerate(names):
        shade, marker = colour(place), MARKERS[place % len(MARKERS)]
        axis.plot([], [], marker, color=shade, label=name)
        for row, setting in enumerate(rows):
            levels = {**setting, **({series: name} if series else {})}
            mine = chosen(runs, levels, test)
            values = mine[metric].dropna()
            height = row + (len(names) - 1) * step / 2 - place * step
            found, _, _ = estimate_over(mine, metric, limits(metric))
            if len(values):
                axis.plot(
                    values,
                    [height - 0.28 * step] * len(values),
                    "o",
                    color=MUTED,
                    markersize=2.2,
                    fillstyle="none",
                    zorder=1,
                )
                axis.hlines(height, found.low, found.high, color=shade, linewidth=1.4)
                axis.plot(found.value, height, marker, color=shade, markersize=5, zorder=3)
            crosses += [(value, height) for value in in_print(plan, levels, metric, test)]
    if crosses:
        axis.plot(*zip(*crosses, strict=True), "x", color=MUTED, markersize=5, label="as printed", zorder=4)
    axis.set_yticks(range(len(rows)), [said(plan, setting) for setting in rows])
    if metric in SHARES:
        low, high = axis.get_xlim()
        axis.set_xlim(max(low, -0.01), min(high, 1.01))  # an interval over few runs may reach beyond
    axis.set(ylim=(-0.6, len(rows) - 0.4), xlabel=scale(metric))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _legend(figure, axis, bool(series) or bool(crosses), series or "")
    return figure


def all_levels(plan: StudyPlan) -> list[dict[str, str]]:
    """List the cells as factor to level."""
    return [dict(zip(plan.factors, cell, strict=True)) for cell in plan.cells]


def in_print(plan: StudyPlan, levels: dict[str, str], metric: str, test: str) -> list[float]:
    """Give the paper's own figures of a cell."""
    found = []
    for row in plan.study.printed:
        value = row.values.get(metric)
        mine = here(plan, row) and row.cell == levels and row.seed is None and not row.gain
        if mine and (row.test_set or OWN) == test and isinstance(value, int | float):
            found.append(float(value))
    return found


def _legend(figure: "Figure", axis: object, needed: bool, title: str) -> None:
    handles, names = axis.get_legend_handles_labels()  # type: ignore[attr-defined]
    kept = [(handle, name) for handle, name in zip(handles, names, strict=True) if name]
    if needed and kept:
        columns = max(1, min(len(kept), int(60 / (max(len(name) for _, name in kept) + 6))))
        figure.legend(*zip(*kept, strict=True), loc="outside lower center", ncols=columns, frameon=False, title=title)


@styled
def changes(found: Sequence[BaselineDifference]) -> "Figure":
    """Draw differences of one metric with intervals; filled marks: larger than noise; crosses: as printed."""
    rows = list(found)[::-1]
    factors = list(dict.fromkeys((change.factor, change.level) for change in found))
    figure, (axis,) = panels(height=0.9 + 0.26 * len(rows))
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for height, change in enumerate(rows):
        place = factors.index((change.factor, change.level))
        shade, d = colour(place), change.difference
        axis.hlines(height, d.low, d.high, color=shade, linewidth=1.4)
        fill = "full" if change.certain else "none"
        axis.plot(d.value, height, MARKERS[place % len(MARKERS)], color=shade, markersize=5, fillstyle=fill, zorder=3)
        axis.plot(change.printed, height, "x", color=MUTED, markersize=5, zorder=2)
    names = [f"{change.level}" + (f" ({change.where})" if change.where else "") for change in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.set(ylim=(-0.6, len(rows) - 0.4))
    # Long names leave a narrow axis: a label in its middle would run over the edge.
    axis.set_xlabel(f"change in {scale(rows[0].metric)}", loc="right")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    return figure


def class_recall(
    plan: StudyPlan,
    runs: pd.DataFrame,
    setting: dict[str, str],
    classes: Sequence[str],
    support: Sequence[int],
    rank: Sequence[int],
) -> "Figure | None":
    """Draw the recall of each class in one setting, a colour for each level; none where nothing has ended."""
    series = series_factor(plan)
    columns = [name for c in classes if (name := f"recall{CLASSWISE}{c}") in runs.columns]
    found: dict[str, list[Estimate]] = {}
    for name in plan.factors[series] if series else ("",):
        mine = chosen(runs, {**setting, **({series: name} if series else {})})
        if len(mine):
            found[f"{series} {name}" if series else said(plan, setting)] = [
                estimate_over(mine, c, limits("recall"))[0] for c in columns
            ]
    if not found or not columns:
        return None
    return recalls(found, list(classes), np.asarray(support).tolist(), np.asarray(rank).tolist())


def curves(plan: StudyPlan, runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> "list[tuple[str, Figure]]":
    """Draw what was logged per epoch, the mean over the runs of a cell: one figure, or one a setting of many cells."""
    series = series_factor(plan)
    groups = {"": {plan.said(cell): dict(zip(plan.factors, cell, strict=True)) for cell in plan.cells}}
    if len(plan.cells) > MOST_SERIES:
        levels = plan.factors[series] if series else ()
        groups = {
            named(plan, setting): {name: {**setting, str(series): name} for name in levels}
            for setting in settings(plan, series)
        }
    found = []
    for text, members in groups.items():
        means = {
            name: pd.concat(known).groupby("epoch").mean(numeric_only=True).reset_index()
            for name, levels in members.items()
            if (known := [histories[folder] for folder in chosen(runs, levels)["folder"] if folder in histories])
        }
        drawn = training_curves(means)
        if drawn is not None:
            found.append((text, drawn))
    return found


OURS, PRINTED, QUOTED = "ours", "as printed", "quoted"


def class_table(plan: StudyPlan, runs: pd.DataFrame, metric: str) -> Table | None:
    """Set out a metric of classes: a row for each cell, a column for each class; none where nothing has ended."""
    start = metric + CLASSWISE
    classes = [str(name).removeprefix(start) for name in runs.columns if str(name).startswith(start)]
    rows: list[tuple[Cell, ...]] = []
    for head, mine, given in _cells(plan, runs, metric):
        values: Sequence[Cell] = (
            [estimate_over(mine, start + name, limits(metric))[0] for name in classes]
            if given is None
            else [_cell_number(given.get(name)) for name in classes]
        )
        rows.append((*head, *values))
    title = f"{metric.replace('_', ' ').capitalize()} of each class".replace("Pf", "PF")
    return Table(f"classes-{metric}", title, (*_header(plan, metric), *classes), tuple(rows)) if classes else None


def confusion_table(plan: StudyPlan, runs: pd.DataFrame, metric: str = CONFUSION) -> Table | None:
    """Set out which class was taken for which: a row for each cell and true class; none where nothing has ended.

    Ours are counts of samples, the mean over the runs of a cell.
    """
    start = metric + CLASSWISE
    pairs = [str(name).removeprefix(start).split(AS) for name in runs.columns if str(name).startswith(start)]
    classes = list(dict.fromkeys(true for true, _ in pairs))
    rows: list[tuple[Cell, ...]] = []
    for head, mine, given in _cells(plan, runs, metric):
        for true in classes:
            if given is None:  # cells may have classes of their own, and then lack the others' columns
                means = (mine.get(f"{start}{true}{AS}{guess}", pd.Series(dtype=float)).mean() for guess in classes)
                values = [float(mean) for mean in means]
            else:
                values = [_cell_number(given.get(true, {}).get(guess)) for guess in classes]
            if any(value == value for value in values):
                rows.append((*head, true, *values))
    header = (*_header(plan, metric), "true", *(f"as {name}" for name in classes))
    note = "Counts of samples by true and by predicted class; ours are means over the runs of a cell."
    return Table(metric, "What was taken for what", header, tuple(rows), note) if classes else None


def _cells(
    plan: StudyPlan, runs: pd.DataFrame, metric: str
) -> Iterator[tuple[list[Cell], pd.DataFrame, dict[str, Any] | None]]:
    """Give the first columns of each row, with our runs or with the figures in print; one side after the other."""
    shown = _in_print(plan, metric)
    for test in plan.sides:
        where = [test or plan.choice.on or "own data"] if len(plan.sides) > 1 else []
        left = [entry for entry in shown if entry[0] == test]
        for cell in plan.cells:
            mine = chosen(runs, dict(zip(plan.factors, cell, strict=True)), test)
            if len(mine):
                yield [*where, *cell, *([OURS] if shown else [])], mine, None
            for entry in [entry for entry in left if entry[1] == list(cell)]:
                left.remove(entry)
                yield [*where, *cell, entry[2]], mine, entry[3]
        for _, labels, kind, value in left:
            yield [*where, *labels, kind], runs.iloc[:0], value


def _in_print(plan: StudyPlan, metric: str) -> list[tuple[str, list[str], str, dict[str, Any]]]:
    """List figures in print: what was judged, levels, kind, and a value for each class."""
    return [
        (row.test_set or OWN, row_labels(plan, row), kind, value)
        for kind, given in ((PRINTED, plan.study.printed), (QUOTED, plan.study.quoted))
        for row in given
        if here(plan, row) and row.seed is None and not row.gain and isinstance(value := row.values.get(metric), dict)
    ]


def _header(plan: StudyPlan, metric: str) -> list[str]:
    where = ["tested on"] if len(plan.sides) > 1 else []
    return [*where, *plan.factors, *(["figures"] if _in_print(plan, metric) else [])]


def _cell_number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
