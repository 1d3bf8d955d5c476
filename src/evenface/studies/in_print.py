"""Statistics that a paper prints, as columns of the tables that hold ours."""

from dataclasses import replace

from evenface.evaluation.metric_registry import label
from evenface.evaluation.tables import Cell, Table
from evenface.studies.plan import Plan
from evenface.studies.readings import factors_of
from evenface.studies.schema import PrintedStatistic

NAMES = {
    "1-conditions": "conditions",
    "2-variance": "variance",
    "3-comparisons": "comparisons",
    "5-equivalence": "equivalence",
    "6-power": "power",
}
"""How the name of a table begins, and what figures in print call it."""


def beside_print(plan: Plan, table: Table) -> Table:
    """Return a table of statistics with a column for each figure that stands in print; as it is where none does.

    Parameters
    ----------
    plan : Plan
        The study; its ``printed_statistics`` are matched by metric and by factor, or by the cell's levels.
    table : Table
        Its first column is the metric; the next are the factors' levels (conditions), the effect, or what is compared.
    """
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
