"""From a recipe to its method, checked before any data is touched; and from a run to its trained one."""

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from evenface.errors import InputError
from evenface.kinds import check_kind, of_sequences
from evenface.plugins import load_plugins
from evenface.recipes import Recipe
from evenface.recipes.schema import MethodSettings, Recurrent
from evenface.recipes.space import check_installed, ranges, with_settings
from evenface.runs import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from evenface.methods.base import Method
    from evenface.networks.recurrent import SequenceNetwork


def check_parts(recipe: Recipe) -> None:
    """Refuse a recipe whose network, loss or method cannot be, before any data is touched.

    Raises
    ------
    InputError
        Naming the part and the nearest right name or option.
    """
    load_plugins(recipe.plugins)
    check_kind(recipe)
    world = recipe.training.devices * recipe.training.nodes
    if recipe.training.batch_size % world:
        raise InputError(
            f"training.batch_size {recipe.training.batch_size} cannot be shared equally by {world} processes"
        )
    for logger in recipe.training.loggers:
        if importlib.util.find_spec(logger) is None:
            raise InputError(f"the logger {logger} is not installed", "Install it: pip install 'evenface[tracking]'.")
    if recipe.search.trials:
        _check_search(recipe)
    if recipe.training.features == "stored":
        _check_stored(recipe)
    alpha = recipe.loss.options.get("alpha")
    classes: tuple[str, ...] = ("0", "1")
    if not is_one_vs_rest(recipe) and isinstance(alpha, list | tuple | dict) and alpha:
        classes = tuple(map(str, alpha if isinstance(alpha, dict) else range(len(alpha))))
    if of_sequences(recipe):
        _check_sequences(recipe, classes)
        return
    _check_method(recipe, classes)


def _check_search(recipe: Recipe) -> None:
    """Refuse a search that cannot be, or that would try what cannot be."""
    check_installed()
    over = ranges(recipe)
    for ends in ({one.key: one.low for one in over}, {one.key: one.high for one in over}):
        check_parts(with_settings(recipe, ends))


def _check_sequences(recipe: Recipe, classes: tuple[str, ...]) -> None:
    """Refuse a method that is of pictures, and a loss that cannot be, for sequences."""
    from evenface.methods import METHODS
    from evenface.registry import check_options, find

    name = recipe.method.name
    if "sequences" not in find("method", name, METHODS).modalities:
        able = ", ".join(sorted(known for known, method in METHODS.items() if "sequences" in method.modalities))
        raise InputError(f"method {name!r} learns from pictures, not from sequences", f"Take {able}.")
    check_options("method", name, recipe.method.options, ())
    _loss(recipe, np.full(len(classes), 2), classes)


def _check_stored(recipe: Recipe) -> None:
    """Refuse stored features where training would need the pixels of each step, or other features at another."""
    from evenface.methods import METHODS
    from evenface.registry import find

    what, network = "training.features: stored", recipe.network
    if network.freeze != "backbone":
        raise InputError(f"{what} needs a backbone that stays as it is", "Set network.freeze: backbone.")
    changes = recipe.augment.model_dump(exclude={"frames", "erase_area", "mirror"})
    if named := [f"augment.{key}" for key, value in changes.items() if value]:
        raise InputError(f"{what} knows no pixels to change: {', '.join(named)}", f"Set {'=0 '.join(named)}=0.")
    if recipe.training.mirror:
        raise InputError(f"{what} knows no pixels to mirror: training.mirror", "Set training.mirror: false.")
    if network.temporal.kind != "mean" and network.temporal.over == "spatial":
        raise InputError(f"{what} keeps no maps, which network.temporal.over: spatial reads")
    if not find("method", recipe.method.name, METHODS).cached_features:
        raise InputError(
            f"{what}: method {recipe.method.name!r} changes pictures or looks at their maps",
            "Set training.features: computed, or take another method.",
        )


def _check_method(recipe: Recipe, classes: tuple[str, ...]) -> None:
    """Build a method on made-up counts of classes, as far as it does not ask what the data is like."""
    import inspect

    from evenface.methods import METHODS
    from evenface.registry import check_options, find

    parameters = inspect.signature(find("method", recipe.method.name, METHODS)).parameters
    check_options("method", recipe.method.name, recipe.method.options, set(parameters) - {"network", "loss", "task"})
    temporal = recipe.network.temporal
    frames = 2 if temporal.kind != "mean" and temporal.over == "frames" else 1
    _check_reading(recipe, frames)
    if "task" in parameters:
        recipe = recipe.model_copy(update={"method": MethodSettings()})
    build_method(recipe, np.full(len(classes), 2), classes, frames=frames)


def _check_reading(recipe: Recipe, frames: int) -> None:
    """Refuse a method that looks at the last maps of single pictures where there is more than those, or less."""
    from evenface.methods import METHODS
    from evenface.registry import find

    name = recipe.method.name
    if "clips" in find("method", name, METHODS).modalities:
        return
    if frames > 1:
        raise InputError(
            f"method {name!r} looks at the maps of single pictures and cannot learn from clips of {frames} frames",
            "Set data.clips.take: windows and data.clips.frames: 1 for single frames, or take another method.",
        )
    if recipe.network.temporal.kind != "mean":
        raise InputError(
            f"method {name!r} looks at the network's last maps and would pass over network.temporal",
            "Set network.temporal.kind: mean, or take another method.",
        )


def build_method(
    recipe: Recipe,
    counts: np.ndarray,
    names: tuple[str, ...] | None = None,
    votes: np.ndarray | None = None,
    *,
    ordered: bool = False,
    frames: int = 1,
) -> "Method":
    """Build network, loss and method.

    Parameters
    ----------
    recipe : Recipe
        Says which.
    counts : ndarray of shape (C,)
        Training samples per class.
    names : tuple of str, optional
        Class names, for messages and options that name classes.
    votes : ndarray of shape (N, C), optional
        Annotators' votes for each training sample.
    ordered : bool
        Whether the classes are steps of one scale, in their order.
    frames : int
        Pictures in a sample, as the network sees it.

    Raises
    ------
    InputError
        If the parts cannot be, or do not suit each other or the number of frames.
    """
    import torch

    from evenface.methods import Task
    from evenface.methods import build_method as build
    from evenface.networks import build_network

    _check_reading(recipe, frames)
    network = build_network(
        classes=len(counts),
        channels=recipe.data.channels,
        size=recipe.data.size,
        seed=recipe.seed,
        frames=frames,
        **{key: value for key, value in recipe.network if key != "recurrent"},
    )
    known = names or tuple(str(i) for i in range(len(counts)))
    task = Task(
        counts,
        known,
        recipe.training.batch_size,
        None if votes is None else torch.from_numpy(votes),
        ordered,
        random_start=recipe.network.weights == "random",
    )
    loss = _loss(recipe, counts, known)
    return build(recipe.method.name, network, loss, task=task, seed=recipe.seed, **recipe.method.options)


def is_one_vs_rest(recipe: Recipe) -> bool:
    """Whether the recipe's method judges each class by itself, against the rest."""
    from evenface.methods import METHODS
    from evenface.registry import find

    return find("method", recipe.method.name, METHODS).one_vs_rest


def _loss(recipe: Recipe, counts: np.ndarray, names: tuple[str, ...]) -> "nn.Module":
    from evenface.methods.building import loss_of

    return loss_of(recipe, counts, names)


def trained_method(run: Run) -> "Method":
    """Build the method of a run with the weights that were tested; an InputError where they are missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = run.weights
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: it cannot be read ({error})", "Train the run again.") from error
    if of_sequences(run.recipe):
        method = sequence_method(run.recipe, _networks(run), run.facts["counts"]["train"], tuple(run.facts["classes"]))
        method.load_inference_state(weights)
        return method
    # What training started from is not needed, nor what annotators said of the training samples; a method that asks
    # for ordered classes had them when it was trained.
    network = run.recipe.network.model_copy(update={"weights": "random"})
    counts = np.array(run.facts["counts"]["train"], dtype=np.int64)
    votes = np.ones((int(counts.sum()), len(counts)), dtype=np.float32)
    recipe = run.recipe.model_copy(update={"network": network})
    frames = run.facts.get("frames", 1)  # runs from before there were clips do not say
    method = build_method(recipe, counts, tuple(run.facts["classes"]), votes, ordered=True, frames=frames)
    method.load_inference_state(weights)
    return method


def sequence_method(
    recipe: Recipe, networks: "Sequence[SequenceNetwork]", counts: np.ndarray, names: tuple[str, ...]
) -> "Method":
    """Make the method of a recipe of sequences.

    Parameters
    ----------
    recipe : Recipe
        Says which.
    networks : sequence of SequenceNetwork
        One for each class where each is detected by itself, else one.
    counts : array of shape (C,)
        Training samples per class.
    names : tuple of str
        The classes.
    """
    from evenface.methods import METHODS
    from evenface.networks.recurrent import OneVsRestNetwork
    from evenface.registry import find

    network = OneVsRestNetwork(networks) if is_one_vs_rest(recipe) else networks[0]
    return find("method", recipe.method.name, METHODS)(network, _loss(recipe, np.asarray(counts), names))


def _networks(run: Run) -> "list[SequenceNetwork]":
    """Build the networks of a run of sequences, with new weights."""
    from evenface.networks.recurrent import SequenceNetwork

    steps, points, numbers = run.facts["sequences"]["shape"]
    outputs = 1 if is_one_vs_rest(run.recipe) else len(run.facts["classes"])
    return [
        SequenceNetwork(Recurrent.model_validate(one["network"]), points * numbers, steps, outputs)
        for one in run.facts["networks"].values()
    ]
