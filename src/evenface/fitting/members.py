"""The networks of a run of sequences: one for all classes, or a detector for each."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface import assembly, learner
from evenface.data.protocol import Split
from evenface.faces.store import Store
from evenface.losses import binary_loss_specs, build_loss, build_one_vs_rest
from evenface.recipes import Recipe
from evenface.training.randomness import key
from evenface.training.stacked import MemberSpec

ALL = "all"
"""Name of the one network of all classes."""


@dataclass(frozen=True)
class Planned:
    """A network that is to be trained.

    Parameters
    ----------
    name : str
        Its class, or ``all``.
    member : MemberSpec
        What it learns, from what, and how.
    facts : dict
        Seed, widths and loss, for ``run.json``.
    said : str
        Its ratio and loss, for the log; empty where there is no ratio.
    """

    name: str
    member: MemberSpec
    facts: dict[str, Any]
    said: str = ""


def names_of(recipe: Recipe, store: Store) -> tuple[str, ...]:
    """Give the names of a run's networks: its classes where each is detected by itself, else ``all``."""
    return store.manifest.classes if learner.is_one_vs_rest(recipe) else (ALL,)


def plan_one(name: str, recipe: Recipe, store: Store, split: Split) -> Planned:
    """Plan a network of a run.

    Parameters
    ----------
    name : str
        One of :func:`names_of`. The seed of a detector follows from the recipe's and its class.
    recipe : Recipe
        Of sequences.
    store : Store
        Its data.
    split : Split
        Who trains; losses follow from the training side alone.
    """
    counts, classes = store.manifest.counts(split.train), store.manifest.classes
    if not learner.is_one_vs_rest(recipe):
        loss = build_loss(recipe.loss.name, counts, names=classes, **recipe.loss.options)
        facts = _facts(recipe, recipe.seed, {"loss": recipe.loss.name, **recipe.loss.options})
        return Planned(ALL, _member(recipe, store, split, recipe.seed, loss, None, ALL), facts)
    place, seed = classes.index(name), key(recipe.seed, "one-vs-all", name)
    chosen = binary_loss_specs(recipe.loss.name, counts, classes, **recipe.loss.options)[place]
    loss = build_one_vs_rest([chosen]).losses[0]
    member = _member(recipe, store, split, seed, loss, place, name)
    return Planned(name, member, _facts(recipe, seed, chosen.facts), str(chosen))


def _facts(recipe: Recipe, seed: int, loss: dict[str, Any]) -> dict[str, Any]:
    return {"seed": seed, "network": recipe.network.recurrent.model_dump(mode="json"), **loss}


def _member(recipe: Recipe, store: Store, split: Split, seed: int, loss: Any, own: int | None, name: str) -> MemberSpec:
    """Make a member of a group; ``own`` is the class that it detects, or none."""
    labels = store.manifest.labels
    targets = labels if own is None else (labels == own).astype(np.int64)
    judges = assembly.judges(recipe, split)
    return MemberSpec(
        seed=seed,
        train=split.train,
        targets=targets[split.train],
        validation=judges,
        validation_targets=targets[judges],
        loss=loss,
        classes=len(store.manifest.classes) if own is None else 2,
        one_output=own is not None,
        network=recipe.network.recurrent,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        training=recipe.training,
        flip=recipe.augment.flip,
        added=recipe.augment.added,
        name=name,
    )
