"""What a study says: the answer first, then which differences are larger than noise, then where to look."""

import math
from collections.abc import Sequence

from evenface.evaluation.tables import Cell, Table
from evenface.evaluation.wording import signed
from evenface.studies.compare import RUNS, Change
from evenface.studies.plan import Plan
from evenface.studies.table import scalar_metrics, words

ON_TEST = "weights selected on the test data, as the paper does: the figures flatter"


def change_table(plan: Plan, found: Sequence[Change]) -> Table:
    """Set out all differences."""
    inprint = any(not math.isnan(change.printed) for change in found)
    gains = any(not math.isnan(change.printed_gain) for change in found)
    rows = []
    for change in found:
        where: list[Cell] = [change.test or plan.choice.on or "own data"] if plan.tests else []
        rows.append(
            (
                *where,
                f"{change.factor}: {change.level} less {change.baseline}",
                change.where or "–",
                words(change.metric),
                change.count,
                change.unit,
                change.difference,
                change.relative,
                change.difference.p,
                change.difference.p_holm,
                "yes" if change.certain else "no",
                *([change.printed] if inprint else []),
                *([change.printed_gain] if gains else []),
            )
        )
    head = [*(["tested on"] if plan.tests else []), "compared", "setting", "metric", "pairs of runs", "unit"]
    tail = ["difference", "as a share", "p", "p (Holm)", "larger than noise"]
    tail += ["difference as printed"] * inprint + ["share as printed"] * gains
    return Table("differences", "Differences from the baseline", (*head, *tail), tuple(rows))


def heading(plan: Plan, ended: int) -> str:
    """Say what was run, and how much of it has ended."""
    on = f" on {plan.choice.on}" if plan.choice.on else ""
    size = f", {plan.choice.size}" if plan.study.sizes else ""
    runs = f"{ended} of {len(plan.runs)}" if ended < len(plan.runs) else f"{ended}"
    selected = f"; {ON_TEST}" if plan.choice.protocol == "paper" else ""
    return f"{plan.study.name}{on}{size}: {runs} runs in {len(plan.cells)} cells{selected}"


def judged(plan: Plan, found: Sequence[Change]) -> list[Change]:
    """Give the differences of the foremost metric, on which the study's answer rests."""
    names = scalar_metrics(plan)
    return [change for change in found if names and change.metric == names[0]]


def screen(plan: Plan, found: Sequence[Change]) -> list[str]:
    """Say which differences of the foremost metric are larger than noise, and which are not."""
    mine = judged(plan, found)
    if not mine:
        return ["nothing is compared: the study names no baseline, or its runs are missing"]
    certain = sorted((change for change in mine if change.certain), key=lambda c: -abs(c.difference.value))
    rest = [change for change in mine if not change.certain]
    shown = [change for change in rest if change.setting is None] or rest
    hidden = len(rest) - len(shown)
    lines = [f"{verdict(mine)} ({replication(mine)})"]
    lines += [f"  larger than noise      {sentence(change)}" for change in certain]
    lines += [f"  not larger than noise  {sentence(change)}" for change in shown]
    return lines + ([f"  nor are {hidden} in single settings: see the report"] if hidden else [])


def verdict(mine: Sequence[Change]) -> str:
    """Count the differences that are larger than noise."""
    certain = sum(change.certain for change in mine)
    are = f"{certain} of {len(mine)} differences" if certain else f"none of {len(mine)} differences"
    return f"{words(mine[0].metric)}: {are} {'is' if certain in (0, 1) else 'are'} larger than noise"


def sentence(change: Change) -> str:
    """Write a difference in one line."""
    d = change.difference
    interval = "" if math.isnan(d.low) else f" [{signed(d.low)}, {signed(d.high)}]"
    where = f" ({change.where})" if change.where else ""
    on = f", tested on {change.test}" if change.test else ""
    return f"{change.factor} {change.level} instead of {change.baseline}{where}{on}: {signed(d.value)}{interval}"


def replication(found: Sequence[Change]) -> str:
    """State the unit of replication."""
    units = {change.unit for change in found if not math.isnan(change.difference.p)}
    counts = sorted({change.count for change in found})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if units == {RUNS}:
        return f"the unit is the run, {pairs} pairs of the same seed and data"
    if not units:
        return f"noise is not known from {pairs} pairs of runs"
    singular = {"people": "the person", "samples": "the sample", RUNS: "the run"}
    return f"the unit is {' or '.join(singular[unit] for unit in sorted(units))}"
