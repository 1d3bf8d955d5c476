"""What a study says: the answer first, then which differences are larger than noise, then where to look."""

import math
from collections.abc import Sequence

from evenface.evaluation.formatting import UNITS, signed
from evenface.evaluation.metric_registry import label, lower_is_better, lower_note
from evenface.evaluation.tables import Cell, Table
from evenface.studies.compare import Change
from evenface.studies.plan import Plan
from evenface.studies.repeats import COHORTS, FOLDS, RUNS
from evenface.studies.table import scalar_metrics

MOST_SHOWN = 8
"""Differences that are not larger than noise, on the screen."""


def change_table(plan: Plan, found: Sequence[Change], *, whole: bool = True) -> Table:
    """Set out all differences.

    Parameters
    ----------
    plan : Plan
        The study.
    found : sequence of Change
        What :func:`evenface.studies.compare.changes` gave.
    whole : bool, default=True
        Whether pairs, unit, share and the p of each alone are columns as well.
    """
    inprint = any(not math.isnan(change.printed) for change in found)
    gains = any(not math.isnan(change.printed_gain) for change in found)
    plain = any(change.plain_p != change.difference.p and not math.isnan(change.plain_p) for change in found)
    rows: list[tuple[Cell, ...]] = []
    for change in found:
        where: list[Cell] = [change.test or plan.choice.on or "own data"] if plan.tests else []
        row: list[Cell] = [
            *where,
            f"{change.factor}: {change.level} less {change.baseline}",
            change.where or "–",
            label(change.metric),
        ]
        row += [change.count, change.unit, change.difference] if whole else [change.difference]
        row += [change.relative, change.difference.p, *([change.plain_p] if plain else [])] if whole else []
        row += [change.difference.p_holm, *([change.p_metrics] if whole else [])]
        row += [change.verdict, *([change.printed] if inprint else [])]
        rows.append((*row, *([change.printed_gain] if gains and whole else [])))
    header = [*(["tested on"] if plan.tests else []), "compared", "setting", "metric"]
    header += [*(["pairs", "unit"] if whole else []), "difference", *(["as a share", "p"] if whole else [])]
    header += ["p (plain paired t)"] if plain and whole else []
    header += ["p (Holm)", *(["p (Holm, all metrics)"] if whole else []), "verdict"]
    header += ["difference as printed"] if inprint else []
    header += ["share as printed"] if gains and whole else []
    title = "Differences from the baseline" + (", with pairs and shares" if whole else "")
    note = f"{families(found)} {lower_note(dict.fromkeys(change.metric for change in found))}".strip()
    return Table("differences-whole" if whole else "differences", title, tuple(header), tuple(rows), note)


def families(found: Sequence[Change]) -> str:
    """State which comparisons Holm's correction runs over, and that metrics are not among them."""
    single, overall = (
        max((change.family for change in found if (change.setting is None) is whole), default=0)
        for whole in (False, True)
    )
    if not single:
        return ""
    kinds = f" in single settings, and the {overall} over all settings," if overall else ""
    metrics = len({change.metric for change in found})
    rest = f" The {metrics} metrics are not corrected for, but in p (Holm, all metrics)." if metrics > 1 else ""
    return f"Holm: corrected over the {single}{kinds} of one metric and data set.{rest}"


def flatters(plan: Plan) -> str:
    """Say in what the paper's protocol is not honest, empty where the study does not follow it."""
    if plan.choice.protocol != "paper":
        return ""
    recipes = [run.recipe for run in plan.runs]
    found = {
        "weights selected on the test data": any(recipe.training.checkpoint == "test" for recipe in recipes),
        "frames of one clip and person on both sides": any(
            recipe.protocol.by == "frame" and recipe.protocol.test_clips is None for recipe in recipes
        ),
        "people on both sides, and frames of one clip in training and validation": any(
            recipe.protocol.test_clips is not None for recipe in recipes
        ),
    }
    said = " and ".join(text for text, so in found.items() if so)
    return f"{said}, as the paper does: the figures flatter" if said else "the paper's own protocol"


def heading(plan: Plan, ended: int) -> str:
    """Say what was run, and how much of it has ended."""
    on = f" on {plan.choice.on}" if plan.choice.on else ""
    size = f", {plan.choice.size}" if plan.study.sizes else ""
    runs = f"{ended} of {len(plan.runs)}" if ended < len(plan.runs) else f"{ended}"
    selected = f"; {flatters(plan)}" if flatters(plan) else ""
    return f"{plan.study.name}{on}{size}: {runs} runs in {len(plan.cells)} cells{selected}"


def judged(plan: Plan, found: Sequence[Change]) -> list[Change]:
    """Give the differences of the foremost metric, on which the study's answer rests."""
    names = scalar_metrics(plan)
    return [change for change in found if names and change.metric == names[0]]


def screen(plan: Plan, found: Sequence[Change]) -> list[str]:
    """List the differences of the foremost metric with their verdicts."""
    mine = judged(plan, found)
    if not mine:
        return ["nothing is compared: the study names no baseline, or its runs are missing"]
    certain = sorted((change for change in mine if change.certain), key=lambda c: -abs(c.difference.value))
    rest = [change for change in mine if not change.certain]
    shown = rest if len(rest) <= MOST_SHOWN else [change for change in rest if change.setting is None]
    hidden = len(rest) - len(shown)
    lines = [f"{verdict(mine)} ({replication(mine)})"]
    width = max(len(change.verdict) for change in (*certain, *shown))
    lines += [f"  {change.verdict:<{width}}  {sentence(change)}" for change in (*certain, *shown)]
    return lines + ([f"  nor are {hidden} in single settings: see the report"] if hidden else [])


def verdict(mine: Sequence[Change]) -> str:
    """Count the differences that are larger than noise, or training noise."""
    certain = sum(change.certain for change in mine)
    are = f"{certain} of {len(mine)} differences" if certain else f"none of {len(mine)} differences"
    noise = mine[0].noise if len({change.noise for change in mine}) == 1 else "noise"
    return f"{label(mine[0].metric)}: {are} {'is' if certain in (0, 1) else 'are'} larger than {noise}"


def sentence(change: Change) -> str:
    """Write a difference in one line."""
    d = change.difference
    interval = "" if math.isnan(d.low) else f" [{signed(d.low)}, {signed(d.high)}]"
    where = f" ({change.where})" if change.where else ""
    on = f", tested on {change.test}" if change.test else ""
    over = f", over {change.unit}" if change.unit not in (RUNS, FOLDS, COHORTS) else ""
    way = f", {'better' if d.value < 0 else 'worse'}" if lower_is_better(change.metric) and change.certain else ""
    found = f"{signed(d.value)}{interval}{over}{way}"
    return f"{change.factor} {change.level} instead of {change.baseline}{where}{on}: {found}"


def replication(found: Sequence[Change]) -> str:
    """State the unit of replication."""
    units = {change.unit for change in found if not math.isnan(change.difference.p)}
    counts = sorted({change.count for change in found})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if units == {RUNS}:
        return f"the unit is the run, {pairs} pairs of the same seed and data"
    if units in ({FOLDS}, {COHORTS}):
        one = next(iter(units))[:-1]
        return f"the unit is the {one}, {pairs} pairs of the same number, seeds of a {one} averaged first"
    if not units:
        return f"noise is not known from {pairs} pairs of runs"
    singular = {**UNITS, RUNS: "run", FOLDS: "fold", COHORTS: "cohort"}
    return f"the unit is {' or '.join(f'the {singular[unit]}' for unit in sorted(units))}"
