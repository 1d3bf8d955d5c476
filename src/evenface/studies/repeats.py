"""What is repeated in a study, and what its spread says: means, intervals, and what they are over."""

import pandas as pd

from evenface.evaluation.intervals import LEVEL
from evenface.studies.plan import Plan

REPEAT = ("seed", "fold")
RUNS, FOLDS, COHORTS = "runs", "folds", "cohorts"
"""What may be repeated."""


def by_fold(runs: pd.DataFrame) -> bool:
    """Whether folds are the units of replication: they are where there are several, as each tests on other samples."""
    return runs["fold"].nunique() > 1


def parts(plan: Plan) -> str:
    """Say what the folds of a study are: of one protocol, or cohorts that share nobody."""
    return COHORTS if any(run.recipe.protocol.cohorts > 1 for run in plan.runs) else FOLDS


def replicates(runs: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Give one value for each unit of replication.

    Units are the folds where there are several, else the runs. Seeds of one fold are tested on the same samples, so
    they are averaged, as are cells of one repetition.
    """
    unit = ["fold"] if by_fold(runs) else list(REPEAT)
    means: pd.Series[float] = runs.groupby(unit, dropna=False)[metric].mean()
    return means


def unit_note(plan: Plan, runs: pd.DataFrame, *, spread: bool = True) -> str:
    """Say what means, intervals and standard deviations are over."""
    unit = parts(plan) if by_fold(runs) else RUNS
    averaged = f"; seeds of a {unit[:-1]} are averaged first" if by_fold(runs) and runs["seed"].nunique() > 1 else ""
    alone = by_fold(runs) and all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    said = f"Mean over the {unit} of a cell with the {LEVEL:.0%} interval of that mean (t over {unit}){averaged}"
    said += f"; sd: standard deviation over {unit}." if spread else "."
    return f"{said} The unit of replication is the {unit[:-1]}{', which is one person left out' if alone else ''}."
