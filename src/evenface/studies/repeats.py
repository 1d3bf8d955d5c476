"""What is repeated in a study, and what its spread says: means, intervals, and what they are over."""

import math
from typing import Any

import pandas as pd

from evenface.evaluation.intervals import LEVEL, Estimate
from evenface.recipes.data import Protocol
from evenface.statistics.t_tests import estimate, fold_overlap
from evenface.studies.plan import Plan

REPEAT = ("seed", "fold")
RUNS, FOLDS, COHORTS = "runs", "folds", "cohorts"
"""What may be repeated."""
OVERLAP = "(n_test / n_train)"
"""Column that holds how much the training sets of a run's protocol overlap, see :func:`train_overlap`."""
SHARED = (
    "Folds share most of their training data: intervals and p are those of the corrected resampled t-test (Nadeau and "
    "Bengio, n_test/n_train = {:.3g}). The plain paired t test, which takes folds as independent, stands beside."
)
LEFT_OUT = (
    "Each fold is one person left out: test sets share nobody, training sets all people but two. Intervals and p are "
    "those of the corrected resampled t-test (Nadeau and Bengio, n_test/n_train = {:.3g}). The plain paired t test, "
    "which takes the one set of training people as given and asks about other test people alone, stands beside."
)


def by_fold(runs: pd.DataFrame) -> bool:
    """Whether folds are the units of replication: they are where there are several, as each tests on other samples."""
    return runs["fold"].nunique() > 1


def train_overlap(protocol: Protocol, facts: dict[str, Any]) -> float:
    """Return n_test / n_train of a run whose fold is one of several; 0 where runs share no training data.

    Parameters
    ----------
    protocol : Protocol
        Of the run. k-fold: 1 / (k - 1). Leave-one-subject-out: one over the people trained on.
    facts : dict
        Of the run; NaN is returned where people are not counted there.
    """
    if protocol.cohorts > 1:
        return 0.0
    if protocol.kind == "kfold":
        return fold_overlap(protocol.folds)
    if protocol.kind == "leave-one-out":
        people = facts.get("people") or {}
        trained = (people.get("train") or 0) + (people.get("validation") or 0)
        return (people.get("test") or 1) / trained if trained else math.nan
    return 0.0


def overlap(runs: pd.DataFrame) -> float:
    """Return n_test / n_train of the folds that are the units of replication; 0 where they are runs or cohorts."""
    if not by_fold(runs):
        return 0.0
    return float(runs[OVERLAP].fillna(fold_overlap(runs["fold"].nunique())).max())


def estimate_over(
    runs: pd.DataFrame, metric: str, within: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[Estimate, float, int]:
    """Return the mean of a cell's units of replication with its interval, their standard deviation and number."""
    return estimate(replicates(runs, metric), within=within, overlap=overlap(runs))


def shared_note(plan: Plan, runs: pd.DataFrame) -> str:
    """State how tests allow for the training data that folds share; empty where they share none."""
    share = overlap(runs)
    alone = all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    return (LEFT_OUT if alone else SHARED).format(share) if share else ""


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
    if share := overlap(runs):
        said += f" It allows for the training data that folds share (n_test/n_train = {share:.3g})."
    return f"{said} The unit of replication is the {unit[:-1]}{', which is one person left out' if alone else ''}."
