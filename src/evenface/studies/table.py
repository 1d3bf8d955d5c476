"""The table of a study: what the runs' stored predictions say of each cell, and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evenface.evaluation.metric_registry import find_metric, is_per_class, label, limits, lower_note
from evenface.evaluation.metrics import confusion_matrix
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured, measured_each
from evenface.evaluation.tables import Cell, Table
from evenface.files import atomic_write
from evenface.progress import progress
from evenface.reporting import leaks
from evenface.runs import VALIDATION as HELD_BACK
from evenface.runs import Run
from evenface.studies.plan import OWN, Plan
from evenface.studies.repeats import OVERLAP, REPEAT, by_fold, estimate_over, parts, train_overlap, unit_note
from evenface.studies.schema import CONFUSION, VALIDATION, Printed

CLASSWISE, AS = " of ", " as "
LEAKS = "(leaky)"
"""Column that says whether people or clips stand on both sides of a run's split."""
LEAKY_NOTE = "LEAKY: people or clips stand on both sides of the split of the runs so marked; their figures flatter. "


def measure(plan: Plan, out: Path) -> pd.DataFrame:
    """Compute every metric of every run that has ended, from its stored predictions.

    Returns
    -------
    DataFrame
        A row for each run and each of the plan's sides: a column for each factor, ``seed``, ``fold``, ``test`` (the
        side; empty for the data set's own test), ``folder``, and one for each metric; a metric of classes has one for
        each class, such as ``recall of happy``, the confusion one for each pair, such as ``confusion of sad as happy``.
        The column :data:`LEAKS` says whether the run's split tears people or clips apart,
        :data:`~evenface.studies.repeats.OVERLAP` how much the training sets of its folds overlap.
    """
    rows = []
    known: dict[tuple[str, str], dict[str, Any]] = {}
    with progress("reading predictions", len(plan.runs)) as bar:
        for run in plan.runs:
            bar(1)
            if not plan.ended(run, out):
                continue
            for test in plan.sides:
                folder = f"{run.folder}/on-{test}" if test in plan.tests else run.folder
                if test == VALIDATION and not (out / folder / HELD_BACK).is_file():
                    continue
                if (folder, test) not in known:
                    opened = Run(out / folder)
                    judged = opened.validation if test == VALIDATION else opened.predictions
                    assert judged is not None  # the file is there
                    names = dict.fromkeys((*plan.study.metrics, *plan.study.tested.values()))
                    values = values_of(opened, tuple(names), judged)
                    share = train_overlap(run.recipe.protocol, opened.facts)
                    known[folder, test] = {LEAKS: bool(leaks(opened)), OVERLAP: share, **values}
                levels = dict(zip(plan.factors, run.cell, strict=True))
                repeat = {"seed": run.seed, "fold": run.fold}
                rows.append({**levels, **repeat, "test": test, "folder": folder, **known[folder, test]})
    columns = [*plan.factors, *REPEAT, "test", "folder", LEAKS, OVERLAP]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, *plan.study.metrics])


def values_of(run: Run, names: Sequence[str], predictions: Predictions) -> dict[str, float]:
    """Give the metrics of what a run said; those of classes for each class."""
    matrix = confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    found: dict[str, float] = {}
    for name in names:
        if is_per_class(name):
            each = measured_each(name, predictions)
            found |= {f"{name}{CLASSWISE}{c}": float(v) for c, v in zip(predictions.classes, each, strict=True)}
        elif name == CONFUSION:
            for true, counts in zip(predictions.classes, matrix.tolist(), strict=True):
                found |= {
                    f"{name}{CLASSWISE}{true}{AS}{guess}": float(count)
                    for guess, count in zip(predictions.classes, counts, strict=True)
                }
        elif find_metric(name).needs == "run":
            found[name] = float(find_metric(name).function(run.facts))
        else:
            found[name] = measured(name, predictions)
    return found


def scalar_metrics(plan: Plan) -> list[str]:
    """List the metrics that give one value."""
    return [name for name in plan.study.metrics if not is_per_class(name) and name != CONFUSION]


def here(plan: Plan, row: Printed) -> bool:
    """Whether a figure in print is of the data set that the study is run on here."""
    return (row.dataset or next(iter(plan.study.datasets), None)) == plan.choice.on


def cell_table(plan: Plan, runs: pd.DataFrame, *, spread: bool = True) -> Table:
    """Set out each cell's mean, interval over runs, standard deviation, and what stands in print.

    Parameters
    ----------
    plan : Plan
        The study.
    runs : DataFrame
        What :func:`measure` gave.
    spread : bool, default=True
        Whether the standard deviations are columns as well.
    """
    names = scalar_metrics(plan)
    printed = [row for row in plan.study.printed if here(plan, row) and row.seed is None and not row.gain]
    quoted = [row for row in plan.study.quoted if here(plan, row)]
    sides = {"as printed": printed, "quoted": quoted}
    shown = {(name, side): any(name in row.values for row in given) for side, given in sides.items() for name in names}
    sources = any(row.source for row in (*printed, *quoted))
    leaky, folded = bool(runs[LEAKS].any()), by_fold(runs)
    rows: list[tuple[Cell, ...]] = []
    for test in plan.sides:
        for labels, mine, inprint in _rows(plan, runs, test, printed, quoted):
            cells: list[Cell] = [
                *([test or plan.choice.on or "own data"] if len(plan.sides) > 1 else []),
                *labels,
                *(["LEAKY" if mine[LEAKS].any() else ""] if leaky else []),
                *([mine["fold"].nunique() or "–"] if folded else []),
                len(mine) or "–",
            ]
            for name in names:
                value, sd, _ = estimate_over(mine, name, limits(name))
                cells += [value, *([sd] if spread else [])]
                for side in sides:
                    if shown[name, side]:
                        given = inprint.get(side)
                        cells.append(_number(given.values.get(name)) if given else float("nan"))
            rows.append((*cells, *([next((row.source for row in inprint.values()), "")] if sources else [])))
    header = [*(["tested on"] if len(plan.sides) > 1 else []), *plan.factors]
    header += [*(["warning"] if leaky else []), *([parts(plan)] if folded else []), "runs"]
    for name in names:
        header += [label(name), *([f"{label(name)} sd"] if spread else [])]
        header += [f"{label(name)} {side}" for side in sides if shown[name, side]]
    note = LEAKY_NOTE if leaky else ""
    note += unit_note(plan, runs, spread=spread)
    note = f"{note} {lower_note(names)}".strip()
    return Table(
        "table" if spread else "cells",
        "Cells, with standard deviations" if spread else "Cells",
        (*header, *(["source"] if sources else [])),
        tuple(rows),
        note,
    )


def _rows(
    plan: Plan, runs: pd.DataFrame, test: str, printed: Sequence[Printed], quoted: Sequence[Printed]
) -> list[tuple[list[str], pd.DataFrame, dict[str, Printed]]]:
    """Give each row's levels, its runs, and its figures in print; what is only in print comes last."""
    left = [row for row in printed if (row.test_set or OWN) == test]
    found: list[tuple[list[str], pd.DataFrame, dict[str, Printed]]] = []
    for cell in plan.cells:
        levels = dict(zip(plan.factors, cell, strict=True))
        row = next((row for row in left if row.cell == levels), None)
        if row is not None:
            left.remove(row)
        found.append((list(cell), _of(runs, levels, test), {"as printed": row} if row else {}))
    nothing = runs.iloc[:0]
    found += [(row_labels(plan, row), nothing, {"as printed": row}) for row in left]
    return found + [
        (row_labels(plan, row), nothing, {"quoted": row}) for row in quoted if (row.test_set or OWN) == test
    ]


def _of(runs: pd.DataFrame, levels: dict[str, str], test: str) -> pd.DataFrame:
    chosen = runs["test"] == test
    for factor, level in levels.items():
        chosen &= runs[factor] == level
    return runs[chosen]


def row_labels(plan: Plan, row: Printed) -> list[str]:
    """Name a row that is only in print: by its levels, and whatever else it is called in the first free column."""
    labels = [row.cell.get(factor, "") for factor in plan.factors]
    others = ", ".join(level for factor, level in row.cell.items() if factor not in plan.factors)
    if others:
        labels[labels.index("") if "" in labels else 0] = others
    return labels


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def printed_elsewhere(plan: Plan) -> Table | None:
    """Set out figures in print of other data sets than the one here; none where there are none."""
    rows = [row for row in (*plan.study.printed, *plan.study.quoted) if not here(plan, row)]
    names = list(dict.fromkeys(name for row in rows for name, v in row.values.items() if not isinstance(v, dict)))
    if not rows or not names:
        return None
    first = next(iter(plan.study.datasets), "")
    body: list[tuple[Cell, ...]] = [
        (
            (row.dataset or first) + (f", tested on {row.test_set}" if row.test_set else ""),
            ", ".join(f"{k} {v}" for k, v in row.cell.items())
            + ("" if row.seed is None else f", seed {row.seed}")
            + (", gain" if row.gain else ""),
            "quoted" if row in plan.study.quoted else "as printed",
            *(_number(row.values.get(name)) for name in names),
            row.source,
        )
        for row in rows
    ]
    header = ("data", "cell", "kind", *map(label, names), "source")
    note = "These figures are not of the data here: they do not compare with the table above."
    return Table("in-print", "Figures in print, of other data", header, tuple(body), note)


def run_table(plan: Plan, runs: pd.DataFrame) -> Table:
    """Set out every run's own values, and single runs' figures in print."""
    names = scalar_metrics(plan)
    single = [row for row in plan.study.printed if here(plan, row) and row.seed is not None and not row.gain]
    extra = [name for name in names if any(name in row.values for row in single)]
    leaky = bool(runs[LEAKS].any())
    rows: list[tuple[Cell, ...]] = []
    for record in runs.to_dict("records"):
        levels = {factor: record[factor] for factor in plan.factors}
        match = [
            r for r in single if r.cell == levels and r.seed == record["seed"] and (r.test_set or OWN) == record["test"]
        ]
        printed = [_number(match[0].values.get(name)) if match else float("nan") for name in extra]
        fold = "" if record["fold"] is None or pd.isna(record["fold"]) else str(int(record["fold"]))
        where = [record["test"] or plan.choice.on or "own data"] if len(plan.sides) > 1 else []
        where += [*levels.values(), *(["LEAKY" if record[LEAKS] else ""] if leaky else [])]
        fixed: list[Cell] = [*where, str(record["seed"]), fold]
        rows.append((*fixed, *(float(record[name]) for name in names), *printed, str(record["folder"])))
    head = [*(["tested on"] if len(plan.sides) > 1 else []), *plan.factors, *(["warning"] if leaky else []), *REPEAT]
    header = (*head, *map(label, names), *(f"{label(name)} as printed" for name in extra), "folder")
    return Table("runs", "Every run", header, tuple(rows), LEAKY_NOTE.strip() if leaky else "")


def markdown(table: Table) -> str:
    """Write a table as Markdown."""
    lines = [table.header, tuple("---" if word else "---:" for word in table.words), *table.shown]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def write_table(table: Table, path: Path) -> None:
    """Write a table as CSV or Markdown, by the suffix."""
    with atomic_write(path) as temporary:
        temporary.write_text(table.csv() if path.suffix == ".csv" else markdown(table), encoding="utf-8")
