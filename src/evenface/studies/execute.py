"""The runs of a study side by side, on this machine or on a cluster."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenface import assembly
from evenface.errors import InputError
from evenface.files import digest
from evenface.progress import Bar, progress
from evenface.runs import Run
from evenface.studies.crew import Answer, Crew, Executor
from evenface.studies.groups import grouped
from evenface.studies.plan import Plan, Planned
from evenface.studies.underway import under_way

LOG, SHARES, SEARCHES = "log.txt", ".under-way", "search.sqlite"


@dataclass
class Outcome:
    """What came of training: runs that failed, each with the sentence that says why."""

    failed: dict[str, str] = field(default_factory=dict)


def execute(plan: Plan, out: Path, jobs: int | None = None, executor: Executor = "local") -> Outcome:
    """Train what has not ended yet; a run that fails does not keep the others from going on.

    Parameters
    ----------
    plan : Plan
        What to train.
    out : Path
        The study's folder.
    jobs : int, optional
        Runs, or groups of runs that train as one, at a time; by default one per GPU, or one per processor core where
        there is none.
    executor : {"local", "ray"}, default="local"
        Processes of this machine, or a Ray cluster.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        If what runs start from cannot be trained, or there is no cluster.
    KeyboardInterrupt
        After all workers have put their runs away.
    """
    waiting = [run for run in plan.trainings if not ended(run, out, plan)]
    outcome = Outcome()
    if not waiting:
        return outcome
    _train_starts(plan, waiting, out, jobs, executor)
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be 1 or more, got {jobs}")
    with _crew(executor, waiting, jobs, out / LOG) as crew:
        groups = grouped(plan.trainings, {run.folder for run in waiting}, crew.count)
        clock = _Clock(plan, waiting, crew.count, out)
        sizes = [len(group) for group in groups]
        with (
            progress(f"training {plan.study.name}", len(plan.trainings), len(plan.trainings) - len(waiting)) as bar,
            under_way(out / SHARES, sizes, bar) as shares,
        ):
            requests = [
                [_request(run, plan, out, shares.file(place)) for run in group] for place, group in enumerate(groups)
            ]
            for place, answer in crew.work(requests, shares.look, bar.say):
                shares.ended(place)
                _note(plan, groups[place], answer, outcome, clock, bar)
    return outcome


def _note(plan: Plan, group: Sequence[Planned], answer: Answer, outcome: Outcome, clock: "_Clock", bar: Bar) -> None:
    """Keep what came of runs that were trained as one, and say it."""
    named = {run.folder: f"{plan.said(run.cell)}, seed {run.seed}" for run in group}
    named |= {run.folder: f"{named[run.folder]}, fold {run.fold}" for run in group if run.fold is not None}
    seconds = 0.0
    ended = []
    for run, found in zip(group, answer, strict=True):
        if "failed" in found:
            outcome.failed[run.folder] = found["failed"]
            bar.say(f"failed: {named[run.folder]}: {found['failed']}")
            clock.gone(run, None)
        else:
            ended.append(named[run.folder])
            seconds += found["seconds"]
            clock.gone(run, found["seconds"])
    if ended:
        what = ended[0] if len(ended) == 1 else f"{len(ended)} runs as one, {ended[0]} to {ended[-1]}"
        bar.say(f"{clock.place}  {what}  ({duration(seconds)}){clock.left}")


def _crew(executor: Executor, waiting: Sequence[Planned], jobs: int | None, log: Path) -> Crew:
    """Choose who trains."""
    if executor == "ray":
        from evenface.studies.cluster import Cluster

        gpu = any(run.recipe.training.accelerator != "cpu" for run in waiting)
        return Cluster(jobs, len(waiting), cores=cores(), gpu=gpu, log=log)
    from evenface.studies.processes import Processes

    gpus = _gpus(waiting)
    return Processes(min(jobs or len(gpus) or cores(), len(waiting)), cores(), gpus, log)


def _train_starts(plan: Plan, waiting: Sequence[Planned], out: Path, jobs: int | None, executor: Executor) -> None:
    """Train first what runs that wait begin with."""
    starts = plan.starts
    if starts is None or all(run.start is None for run in waiting):
        return
    for where, why in execute(starts, out, jobs, executor).failed.items():
        raise InputError(f"{plan.study.name}: what networks start from could not be trained ({where}): {why}")


def ended(run: Planned, out: Path, plan: Plan) -> bool:
    """Whether a run has its predictions, of the further data sets too."""
    folder = out / run.folder
    return Run(folder).finished and all(Run(folder / f"on-{name}").finished for name in plan.tests)


def cores() -> int:
    """Give the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float) -> str:
    """Write a time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def prepare_data(plan: Plan, out: Path) -> None:
    """Prepare each data set that runs still ask for once, before several processes do.

    Raises
    ------
    InputError
        If the data are not there or not laid out as their source expects.
    """
    seen = set()
    waiting = [run for run in plan.trainings if not ended(run, out, plan)]
    starts = {run.start.folder: run.start for run in waiting if run.start is not None}
    for run in (*starts.values(), *waiting):
        key = digest(run.recipe.data.model_dump_json())
        if key not in seen:
            seen.add(key)
            try:
                assembly.prepare_store(run.recipe)
            except InputError as error:
                raise InputError(f"{plan.study.name}: {error.message}", error.hint) from error


def _gpus(runs: Sequence[Planned]) -> list[str]:
    """Name the GPUs that runs may have, none where they shall use the processor."""
    if all(run.recipe.training.accelerator == "cpu" for run in runs):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(place) for place in range(torch.cuda.device_count())]


def _request(run: Planned, plan: Plan, out: Path, share: Path) -> dict[str, Any]:
    tests = {name: {"set": test.set, "classes": test.classes, "merge": test.merge} for name, test in plan.tests.items()}
    return {
        "recipe": run.recipe_in(out).model_dump(mode="json"),
        "folder": str((out / run.folder).resolve()),
        "tests": tests,
        "share": str(share.resolve()),
        "searches": str((out / SEARCHES).resolve()),
    }


class _Clock:
    """How many runs have ended, and how long the rest may take, by what runs of their cells took."""

    def __init__(self, plan: Plan, waiting: Sequence[Planned], jobs: int, out: Path) -> None:
        self.total, self.waiting, self.jobs = len(plan.trainings), {run.folder: run for run in waiting}, jobs
        self.times: dict[tuple[str, ...], list[float]] = {}
        for run in plan.trainings:
            opened = Run(out / run.folder)
            if opened.finished and "training_seconds" in opened.facts:
                self.times.setdefault(run.cell, []).append(float(opened.facts["training_seconds"]))

    def gone(self, run: Planned, seconds: float | None) -> None:
        self.waiting.pop(run.folder)
        if seconds is not None:
            self.times.setdefault(run.cell, []).append(seconds)

    @property
    def place(self) -> str:
        return f"{self.total - len(self.waiting):>{len(str(self.total))}}/{self.total}"

    @property
    def left(self) -> str:
        if not self.waiting or not self.times:
            return ""
        typical = statistics.fmean(time for times in self.times.values() for time in times)
        rest = sum(statistics.fmean(self.times.get(run.cell, [typical])) for run in self.waiting.values())
        return f"; about {duration(rest / min(self.jobs, len(self.waiting)))} left"
