"""From recipes of sequences to run folders: the networks of many runs are trained as one."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from evenface import assembly, learner
from evenface.data.protocol import Split
from evenface.errors import InputError
from evenface.faces.store import Store
from evenface.faces.symmetry import mirrored
from evenface.files import atomic_write, exclusive, write_json
from evenface.fitting.facts import facts_of, peak_memory, sides_of
from evenface.fitting.members import Planned, planned
from evenface.kinds import check_mirror
from evenface.recipes import Recipe
from evenface.runs import FACTS, HISTORY, PREDICTIONS, VALIDATION, WEIGHTS, Run
from evenface.training.allocator import keep_freed_memory
from evenface.training.checkpoint import save_weights
from evenface.training.inference import score_sequences, shares
from evenface.training.loggers import build_loggers
from evenface.training.together import Together
from evenface.training.trainer import LAST

Report = Callable[[float], None]


def fit_together(pairs: Sequence[tuple[Run, Recipe]], *, report: Report | None = None) -> None:
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
            groups.setdefault(job.group, []).append(job)
    total, done = sum(len(job.members) for group in groups.values() for job in group), 0
    for group in groups.values():
        count = sum(len(job.members) for job in group)

        def say(share: float, before: int = done, count: int = count) -> None:
            if report is not None:
                report((before + share * count) / total)

        _train(group, say)
        done += count


def _job(run: Run, recipe: Recipe, stores: dict[str, Store]) -> Job:
    """Make everything that a run needs before it is trained, and refuse what cannot be."""
    key = recipe.data.model_dump_json()
    if key not in stores:
        stores[key] = assembly.prepare_store(recipe)
    store = stores[key]
    assembly.seen_frames(recipe, store)
    check_mirror(recipe, store.points, store.middle)
    split = assembly.divide(recipe, store)
    assembly.check_training(recipe, store, split)
    return Job(run, recipe, store, split, planned(recipe, store, split))


def _train(group: Sequence[Job], say: Report) -> None:
    """Train a group of runs to the end, and write each one's folder."""
    first = group[0]
    with ExitStack() as stack:
        for job in group:
            _begin(job, len(group))
        sequences = np.asarray(first.store.sequences)
        together = Together(
            [planned.member for job in group for planned in job.members],
            sequences,
            mirrored=first.mirror(sequences) if any(job.mirrors for job in group) else None,
            folder=None,
            device=first.device,
        )
        together.fit()
    place = 0
    for job in group:
        own = range(place, place + len(job.members))
        _write(job, together, own)
        place += len(job.members)
