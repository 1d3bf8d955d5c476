"""Tables of classes: a metric of each class, and which class was taken for which; ours, and in print."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from evenface.evaluation.metric_registry import limits
from evenface.evaluation.tables import Cell, Table
from evenface.studies.drawing import chosen
from evenface.studies.plan import OWN, Plan
from evenface.studies.repeats import estimate_over
from evenface.studies.schema import CONFUSION
from evenface.studies.table import AS, CLASSWISE, here, row_labels

OURS, PRINTED, QUOTED = "ours", "as printed", "quoted"


def class_table(plan: Plan, runs: pd.DataFrame, metric: str) -> Table | None:
    """Set out a metric of classes: a row for each cell, a column for each class; none where nothing has ended.

    Parameters
    ----------
    plan : Plan
        The study.
    runs : DataFrame
        What :func:`evenface.studies.table.measure` gave.
    metric : str
        A metric of classes.
    """
    start = metric + CLASSWISE
    classes = [str(name).removeprefix(start) for name in runs.columns if str(name).startswith(start)]
    rows: list[tuple[Cell, ...]] = []
    for head, mine, given in _cells(plan, runs, metric):
        values: Sequence[Cell] = (
            [estimate_over(mine, start + name, limits(metric))[0] for name in classes]
            if given is None
            else [_number(given.get(name)) for name in classes]
        )
        rows.append((*head, *values))
    title = f"{metric.replace('_', ' ').capitalize()} of each class".replace("Pf", "PF")
    return Table(f"classes-{metric}", title, (*_header(plan, metric), *classes), tuple(rows)) if classes else None


def confusion_table(plan: Plan, runs: pd.DataFrame, metric: str = CONFUSION) -> Table | None:
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
                values = [_number(given.get(true, {}).get(guess)) for guess in classes]
            if any(value == value for value in values):
                rows.append((*head, true, *values))
    header = (*_header(plan, metric), "true", *(f"as {name}" for name in classes))
    note = "Counts of samples by true and by predicted class; ours are means over the runs of a cell."
    return Table(metric, "What was taken for what", header, tuple(rows), note) if classes else None


def _cells(
    plan: Plan, runs: pd.DataFrame, metric: str
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


def _in_print(plan: Plan, metric: str) -> list[tuple[str, list[str], str, dict[str, Any]]]:
    """List figures in print: what was judged, levels, kind, and a value for each class."""
    return [
        (row.test_set or OWN, row_labels(plan, row), kind, value)
        for kind, given in ((PRINTED, plan.study.printed), (QUOTED, plan.study.quoted))
        for row in given
        if here(plan, row) and row.seed is None and not row.gain and isinstance(value := row.values.get(metric), dict)
    ]


def _header(plan: Plan, metric: str) -> list[str]:
    where = ["tested on"] if len(plan.sides) > 1 else []
    return [*where, *plan.factors, *(["figures"] if _in_print(plan, metric) else [])]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
