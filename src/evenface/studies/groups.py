"""Runs of a study that train as one: many small networks in one batched network."""

from collections.abc import Collection, Sequence
from typing import Any

import yaml

from evenface.files import digest
from evenface.kinds import of_sequences
from evenface.studies.plan import Planned

MOST = 192
"""Networks of a group at most: more do not train faster, and less is lost when a group fails."""
CLASSES = 6
"""Networks that a run of one class against the rest is counted as; how many it has is known from its data alone."""
FREE: dict[str, Any] = {
    "name": True,
    "about": True,
    "paper": True,
    "deviations": True,
    "seed": True,
    "loss": True,
    "protocol": True,
    "search": True,
    "network": {"recurrent": {"dense", "hidden", "top"}},
}
"""Settings in which runs that train as one may differ."""


def grouped(trainings: Sequence[Planned], waiting: Collection[str], count: int) -> list[list[Planned]]:
    """Divide runs into those that train as one, in the order in which they are planned.

    Parameters
    ----------
    trainings : sequence of Planned
        All runs of the study. Groups are made of all of them, so that they are the same when a study goes on.
    waiting : collection of str
        Folders of the runs that have not ended.
    count : int
        How many groups are trained at a time; runs are shared out so that each worker has some.

    Returns
    -------
    list of list of Planned
        Only runs that wait; those of pictures each on their own.
    """
    alike: dict[str, list[Planned]] = {}
    for run in trainings:
        alike.setdefault(_key(run), []).append(run)
    groups = []
    for runs in alike.values():
        size = min(_most(runs[0]), -(-len(runs) // count))
        groups += [runs[start : start + size] for start in range(0, len(runs), size)]
    place = {run.folder: number for number, run in enumerate(trainings)}
    left = [[run for run in group if run.folder in waiting] for group in groups]
    return sorted((group for group in left if group), key=lambda group: place[group[0].folder])


def _key(run: Planned) -> str:
    """Name what runs must share to train as one; a run that trains alone shares it with none."""
    recipe = run.recipe
    if not of_sequences(recipe):
        return run.folder
    content = recipe.model_dump(mode="json", exclude=FREE)
    content["method"] = recipe.method.name
    return digest(yaml.safe_dump(content, sort_keys=True))


def _most(run: Planned) -> int:
    """Give how many runs like this one a group has at most."""
    from evenface.learner import is_one_vs_rest

    return max(1, MOST // (CLASSES if is_one_vs_rest(run.recipe) else 1))
