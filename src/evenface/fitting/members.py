"""The networks of a run of sequences: one for all classes, or a detector for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface import assembly, learner
from evenface.data.protocol import Split
from evenface.faces.store import Store
from evenface.losses import build_loss, build_one_vs_rest, detectors
from evenface.recipes import Recipe
from evenface.training.randomness import key
from evenface.training.together import Member

ALL = "all"
"""Name of the one network of all classes."""


@dataclass(frozen=True)
class Planned:
    """A network that is to be trained.

    Parameters
    ----------
    name : str
        Its class, or ``all``.
    member : Member
        What it learns, from what, and how.
    facts : dict
        Seed, widths and loss, for ``run.json``.
    said : str
        Its ratio and loss, for the log; empty where there is no ratio.
    """

    name: str
    member: Member
    facts: dict[str, Any]
    said: str = ""


def planned(
    recipe: Recipe, store: Store, split: Split, settings: Mapping[str, Recipe] | None = None
) -> tuple[Planned, ...]:
    """Plan the networks of a run.

    Parameters
    ----------
    recipe : Recipe
        Of sequences.
    store : Store
        Its data.
    split : Split
        Who trains; losses follow from the training side alone.
    settings : mapping of str to Recipe, optional
        Name of a network to the recipe that takes the place of ``recipe`` for it, such as what a search has found.

    Returns
    -------
    tuple of Planned
        In the order of the classes where each is detected by itself; else one, of the name ``all``.
    """
    counts, classes = store.manifest.counts(split.train), store.manifest.classes
    own = settings or {}
    if not learner.detects(recipe):
        one = own.get(ALL, recipe)
        loss = build_loss(one.loss.name, counts, names=classes, **one.loss.options)
        facts = _facts(one, recipe.seed, {"loss": one.loss.name, **one.loss.options})
        return (Planned(ALL, _member(one, store, split, recipe.seed, loss, None, ALL), facts),)
    found = []
    for place, name in enumerate(classes):
        one, seed = own.get(name, recipe), key(recipe.seed, "one-vs-all", name)
        chosen = detectors(one.loss.name, counts, classes, **one.loss.options)[place]
        loss = build_one_vs_rest([chosen]).losses[0]
        member = _member(one, store, split, seed, loss, place, name)
        found.append(Planned(name, member, _facts(one, seed, chosen.facts), str(chosen)))
    return tuple(found)


def _facts(recipe: Recipe, seed: int, loss: dict[str, Any]) -> dict[str, Any]:
    return {"seed": seed, "network": recipe.network.recurrent.model_dump(mode="json"), **loss}


def _member(recipe: Recipe, store: Store, split: Split, seed: int, loss: Any, own: int | None, name: str) -> Member:
    """Make a member of a group; ``own`` is the class that it detects, or none."""
    labels = store.manifest.labels
    targets = labels if own is None else (labels == own).astype(np.int64)
    judges = assembly.judges(recipe, split)
    return Member(
        seed=seed,
        train=split.train,
        targets=targets[split.train],
        validation=judges,
        validation_targets=targets[judges],
        loss=loss,
        one_output=own is not None,
        network=recipe.network.recurrent,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        training=recipe.training,
        flip=recipe.augment.flip,
        added=recipe.augment.added,
        name=name,
    )
