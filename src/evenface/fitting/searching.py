"""Runs whose settings are searched before they are trained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from evenface.fitting.members import names_of, plan_one
from evenface.fitting.writing import Job
from evenface.recipes import Recipe
from evenface.search import Found, Trains, Wanted, found_settings
from evenface.training.stacked import MemberSpec

TRIALS = "search.sqlite"
"""Where the trials of a run are kept that shares them with no other."""


def searched(
    jobs: Sequence[Job],
    start: Callable[[Sequence[MemberSpec]], Trains],
    searches: Path | None = None,
    report: Callable[[float], None] | None = None,
) -> list[Job]:
    """Search settings for the runs that ask for it, all side by side, and plan their networks anew.

    Parameters
    ----------
    jobs : sequence of Job
        Runs that have begun, on the same sequences.
    start : callable
        Makes of members what trains them as one.
    searches : Path, optional
        File of the trials; by default each run's own.
    report : callable, optional
        Told the share of the trials that have ended, 0 to 1.

    Returns
    -------
    list of Job
        In the same order; what was found is written into the folders.
    """
    asking = [place for place, job in enumerate(jobs) if job.recipe.search.trials]
    if not asking:
        return list(jobs)
    found = found_settings([_wanted(jobs[place], searches) for place in asking], start, report)
    after = list(jobs)
    for place, own in zip(asking, found, strict=True):
        after[place] = _with(jobs[place], own)
        after[place].begin(len(jobs))
    return after


def _wanted(job: Job, searches: Path | None) -> Wanted:
    def member(name: str, recipe: Recipe) -> MemberSpec:
        return plan_one(name, recipe, job.store, job.split).member

    def basis(name: str, recipe: Recipe) -> str:
        facts = plan_one(name, recipe, job.store, job.split).facts
        loss = {key: value for key, value in facts.items() if key not in ("seed", "network")}
        return f"{job.store.path.name} {job.store.manifest.hash} {loss}"

    file = searches or job.run.folder / TRIALS
    return Wanted(job.recipe, names_of(job.recipe, job.store), basis, member, file)


def _with(job: Job, found: dict[str, Found]) -> Job:
    networks = tuple(plan_one(name, one.recipe, job.store, job.split) for name, one in found.items())
    return replace(job, networks=networks, found=found)
