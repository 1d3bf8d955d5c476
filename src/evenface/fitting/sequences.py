"""From recipes of sequences to run folders: the networks of many runs are trained as one."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evenface import assembly
from evenface.faces.store import Store
from evenface.fitting.members import names_of, plan_one
from evenface.fitting.searching import searched
from evenface.fitting.writing import Job
from evenface.kinds import check_mirror
from evenface.recipes import Recipe
from evenface.runs import Run
from evenface.training.checkpoint import load_state, save_state
from evenface.training.stacked import MemberSpec, StackedTrainer
from evenface.training.trainer import CHECKPOINT, keep_freed_memory

Report = Callable[[float], None]


def fit_together(
    pairs: Sequence[tuple[Run, Recipe]], *, report: Report | None = None, searches: Path | None = None
) -> None:
    """Train runs of sequences, as many as possible as one, and write each one's weights and predictions.

    Runs on the same prepared data are trained as one; each has its own seed, order, loss, learning rate and end, and
    what becomes of it does not depend on the others, to float tolerance. Each keeps its own state in its folder, so
    runs that were interrupted may go on in other company.

    Parameters
    ----------
    pairs : sequence of (Run, Recipe)
        Claimed folders and recipes of sequences; runs that have ended are left out.
    report : callable, optional
        Told the share of the work that is done, 0 to 1.
    searches : Path, optional
        File in which searches keep their trials; by default ``search.sqlite`` in each run's folder.

    Raises
    ------
    InputError
        If anything given cannot be used, before any folder is written to; or a loss is not finite.
    KeyboardInterrupt
        After Ctrl-C, with the state of every run saved.
    """
    keep_freed_memory()
    stores: dict[str, Store] = {}
    groups: dict[tuple[str, ...], list[Job]] = {}
    for run, recipe in pairs:
        if not run.finished:
            job = _job(run, recipe, stores)
            groups.setdefault((str(job.store.path), job.device, recipe.augment.mirror), []).append(job)
    done, total = 0, sum(len(group) for group in groups.values())
    for group in groups.values():

        def say(share: float, before: int = done, count: int = len(group)) -> None:
            if report is not None:
                report((before + share * count) / total)

        Group(group, searches).train(say)
        done += len(group)


def _job(run: Run, recipe: Recipe, stores: dict[str, Store]) -> Job:
    """Make what a run needs before it is trained, and refuse what cannot be."""
    key = recipe.data.model_dump_json()
    if key not in stores:
        stores[key] = assembly.prepare_store(recipe)
    store = stores[key]
    assembly.seen_frames(recipe, store)
    check_mirror(recipe, store.points, store.middle)
    split = assembly.divide(recipe, store)
    assembly.check_training(recipe, store, split)
    networks = tuple(plan_one(name, recipe, store, split) for name in names_of(recipe, store))
    return Job(run, recipe, store, split, networks)


class Group:
    """Runs that are trained as one.

    Parameters
    ----------
    jobs : sequence of Job
        On the same sequences and device, with the same kind of mirror.
    searches : Path, optional
        File of the trials of their searches.
    """

    def __init__(self, jobs: Sequence[Job], searches: Path | None = None) -> None:
        self.jobs, self.searches = jobs, searches
        self.sequences = np.asarray(jobs[0].store.sequences)
        self.mirrored = jobs[0].mirror(self.sequences) if any(job.mirrors for job in jobs) else None
        self.places, first = [], 0
        for job in jobs:
            self.places.append(range(first, first + len(job.networks)))
            first += len(job.networks)

    def train(self, say: Report) -> None:
        """Train all runs to their ends, from their checkpoints where there are some, and write their folders."""
        self.seconds = [0.0] * len(self.jobs)
        for job in self.jobs:
            job.begin(len(self.jobs))
        trials = sum(job.recipe.search.trials for job in self.jobs)
        searching = trials / (trials + len(self.jobs))
        self.jobs = searched(self.jobs, self._trials, self.searches, lambda share: say(searching * share))
        minutes = min(job.recipe.training.checkpoint_minutes for job in self.jobs)
        self.together = StackedTrainer(
            [one.member for job in self.jobs for one in job.networks],
            self.sequences,
            mirrored=self.mirrored,
            minutes=minutes,
            device=self.jobs[0].device,
            log=lambda _line: say(searching + (1 - searching) * self.together.share),
            keep=self._keep,
        )
        for number, (job, places) in enumerate(zip(self.jobs, self.places, strict=True)):
            path = job.run.folder / CHECKPOINT
            if path.is_file():
                state = load_state(path)
                self.together.restore(state["networks"], places)
                self.seconds[number] = state["seconds"]
                job.run.log(f"resumed at epoch {1 + max(one['epoch'] for one in state['networks'])}")
        self.now = time.monotonic()
        self.together.fit()
        self._spend()
        for number, job in enumerate(self.jobs):
            self._end(number, job)
        say(1.0)

    def _trials(self, members: Sequence[MemberSpec]) -> StackedTrainer:
        """Make what trains the trials of a search."""
        device = self.jobs[0].device
        return StackedTrainer(
            members, self.sequences, mirrored=self.mirrored, device=device, quiet=True, diverged="end"
        )

    def _spend(self) -> None:
        """Share the time since the last call out over the runs."""
        now = time.monotonic()
        self.seconds = [spent + (now - self.now) / len(self.jobs) for spent in self.seconds]
        self.now = now

    def _keep(self) -> None:
        """Save the state of every run in its own folder."""
        self._spend()
        for job, places, seconds in zip(self.jobs, self.places, self.seconds, strict=True):
            state = {"networks": self.together.state(places), "seconds": seconds}
            save_state(job.run.folder / CHECKPOINT, state)

    def _end(self, number: int, job: Job) -> None:
        places = self.places[number]
        histories = [self.together.histories[place] for place in places]
        best = [self.together.standing(place).best + 1 for place in places]
        if job.recipe.training.select == "last" or not len(job.networks[0].member.validation):
            best = [len(history) for history in histories]
        job.end(
            [self.together.network(place) for place in places],
            [self.together.network(place, "last") for place in places],
            histories,
            best,
            self.seconds[number],
            len(self.jobs),
        )
