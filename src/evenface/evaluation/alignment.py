"""Runs brought into one order of samples, or refused where they did not see the same."""

from collections.abc import Mapping

import numpy as np

from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions


def align(groups: Mapping[str, tuple[Predictions, ...]]) -> dict[str, tuple[Predictions, ...]]:
    """Bring every run into the order of the first.

    Raises
    ------
    InputError
        If a method has no run, or a run saw other samples, or knows other classes, labels, subjects or clips.
    """
    for name, group in groups.items():
        if not group:
            raise InputError(f"{name} has no run")
    first_name, first = next((name, group[0]) for name, group in groups.items())
    place = {sample: row for row, sample in enumerate(first.sample)}
    return {
        name: tuple(_in_order(run, name, first, first_name, place) for run in group) for name, group in groups.items()
    }


def _in_order(run: Predictions, name: str, first: Predictions, first_name: str, place: dict[str, int]) -> Predictions:
    if run.classes != first.classes:
        raise InputError(
            f"{name} knows the classes {', '.join(run.classes)}; {first_name} knows {', '.join(first.classes)}",
            "Compare runs of one data set with the classes in one order.",
        )
    strange = [sample for sample in run.sample if sample not in place]
    lacking = set(place) - set(run.sample)
    if strange or lacking:
        example = f"{strange[0]!r} is not in {first_name}" if strange else f"{min(lacking)!r} is only in {first_name}"
        raise InputError(
            f"{name} and {first_name} were tested on other samples: {example} "
            f"({len(strange) + len(lacking)} such samples)",
            "Compare runs with the same protocol and the same fold.",
        )
    rows = np.empty(len(run), dtype=np.int64)
    rows[[place[sample] for sample in run.sample]] = np.arange(len(run))
    run = run.take(rows)
    differ = np.flatnonzero(run.labels != first.labels)
    if len(differ):
        row = int(differ[0])
        raise InputError(
            f"{name} and {first_name} disagree on the true class of {len(differ)} samples; {run.sample[row]!r} is "
            f"{run.classes[run.labels[row]]} and {first.classes[first.labels[row]]}"
        )
    if _names(run.subject) != _names(first.subject):
        raise InputError(f"{name} and {first_name} disagree on whom the samples show")
    if run.clip is not None and first.clip is not None and _names(run.clip) != _names(first.clip):
        raise InputError(f"{name} and {first_name} disagree on the clips that samples were taken from")
    return run


def _names(names: np.ndarray | None) -> list[str] | None:
    return None if names is None else [str(name) for name in names]
