"""Build the network, loss and method of a recipe, checked before any data are read; load those of a run."""

import contextlib
import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from evenface.config import Recipe
from evenface.config.modality import check_kind, of_sequences
from evenface.config.recipe import MethodSettings, Recurrent, Training
from evenface.config.search_space import check_installed, ranges, with_settings
from evenface.runs import Run
from evenface.utils.errors import InputError
from evenface.utils.registry import check_options, find, load_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from evenface.methods.base import Method
    from evenface.models import Network
    from evenface.models.sequence import SequenceNetwork


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose network, loss or method cannot be built, before any data are read.

    What only the network itself can tell, such as whether it takes images of that size, is left to
    :func:`build_network`.
    """
    from evenface.methods import METHODS

    load_plugins(recipe.plugins)
    check_kind(recipe)
    _check_training(recipe.training)
    if recipe.search.trials:
        _check_search(recipe)
    method = find("method", recipe.method.name, METHODS)
    if recipe.training.cache_features:
        _check_stored(recipe, method)
    alpha = recipe.loss.options.get("alpha")
    classes: tuple[str, ...] = ("0", "1")
    if not method.one_vs_rest and isinstance(alpha, list | tuple | dict) and alpha:
        classes = tuple(map(str, alpha if isinstance(alpha, dict) else range(len(alpha))))
    if of_sequences(recipe):
        _check_sequences(recipe, method, classes)
    else:
        _check_images(recipe, method, classes)


def _check_training(training: Training) -> None:
    world = training.devices * training.nodes
    if training.batch_size % world:
        raise InputError(f"training.batch_size {training.batch_size} cannot be shared equally by {world} processes")
    for logger in training.loggers:
        if importlib.util.find_spec(logger) is None:
            raise InputError(f"the logger {logger} is not installed", "Install it: pip install 'evenface[tracking]'.")


def _check_search(recipe: Recipe) -> None:
    """Refuse a search that cannot be, or that would try what cannot be."""
    check_installed()
    over = ranges(recipe)
    for ends in ({one.key: one.low for one in over}, {one.key: one.high for one in over}):
        check_recipe(with_settings(recipe, ends))


def _check_sequences(recipe: Recipe, method: "type[Method]", classes: tuple[str, ...]) -> None:
    """Refuse a method that cannot learn from sequences, and a loss that cannot be built."""
    from evenface.methods import METHODS

    name = recipe.method.name
    if "sequences" not in method.modalities:
        able = ", ".join(sorted(known for known, other in METHODS.items() if "sequences" in other.modalities))
        raise InputError(f"method {name!r} learns from pictures, not from sequences", f"Take {able}.")
    check_options("method", name, recipe.method.options, ())
    _loss(recipe, np.full(len(classes), 2), classes)


def _check_stored(recipe: Recipe, method: "type[Method]") -> None:
    """Refuse stored features where training would need the pixels of each step, or other features at another."""
    what, network = "training.cache_features: true", recipe.network
    if network.freeze != "backbone":
        raise InputError(f"{what} needs a backbone that stays as it is", "Set network.freeze: backbone.")
    changes = recipe.augment.model_dump(exclude={"temporal_jitter", "erase_area", "flip_landmarks"})
    if named := [f"augment.{key}" for key, value in changes.items() if value]:
        raise InputError(f"{what} knows no pixels to change: {', '.join(named)}", f"Set {'=0 '.join(named)}=0.")
    if recipe.training.tta_flip:
        raise InputError(f"{what} knows no pixels to mirror: training.tta_flip", "Set training.tta_flip: false.")
    if network.temporal.kind != "mean" and network.temporal.over == "spatial":
        raise InputError(f"{what} keeps no maps, which network.temporal.over: spatial reads")
    if not method.cached_features:
        raise InputError(
            f"{what}: method {recipe.method.name!r} changes images, needs their maps or trains the backbone",
            "Set training.cache_features: false, or take another method.",
        )


def _check_images(recipe: Recipe, method: "type[Method]", classes: tuple[str, ...]) -> None:
    """Refuse names and options that are wrong, whatever the data are."""
    import inspect

    from evenface.methods.building import method_on_stand_in
    from evenface.models.build import check_settings, check_steps

    parameters = set(inspect.signature(method).parameters) - {"network", "loss"}
    check_options("method", recipe.method.name, recipe.method.options, parameters - {"task"})
    network, data = recipe.network, recipe.data
    numbers = {"dropout": network.dropout, "head_scale": network.head_scale}
    check_settings(network.name, classes=len(classes), channels=data.channels, size=data.size, **numbers)
    frames = 2 if network.temporal.kind != "mean" and network.temporal.over == "frames" else 1
    check_steps(network.temporal, frames)
    _check_reading(recipe, method, frames)
    if "task" in parameters:  # its options may be of the data
        recipe = recipe.model_copy(update={"method": MethodSettings()})
    with contextlib.suppress(AttributeError):  # a plugin's method may use what only the network has
        method_on_stand_in(recipe, np.full(len(classes), 2), classes)


def _check_reading(recipe: Recipe, method: "type[Method]", frames: int) -> None:
    """Refuse a method that uses the last feature maps of single images where there are other features."""
    name = recipe.method.name
    if "clips" in method.modalities:
        return
    if frames > 1:
        raise InputError(
            f"method {name!r} looks at the maps of single pictures and cannot learn from clips of {frames} frames",
            "Set data.clips.sampling: windows and data.clips.frames: 1 for single frames, or take another method.",
        )
    if recipe.network.temporal.kind != "mean":
        raise InputError(
            f"method {name!r} looks at the network's last maps and would pass over network.temporal",
            "Set network.temporal.kind: mean, or take another method.",
        )


def build_network(recipe: Recipe, classes: int, frames: int = 1) -> "Network":
    """Build the network of an image recipe for samples of so many frames; an InputError where it cannot be built."""
    from evenface.models import build_network as build

    settings = {key: value for key, value in recipe.network if key != "recurrent"}
    data = recipe.data
    return build(classes=classes, channels=data.channels, size=data.size, seed=recipe.seed, frames=frames, **settings)


def build_method(
    recipe: Recipe,
    counts: np.ndarray,
    names: tuple[str, ...] | None = None,
    votes: np.ndarray | None = None,
    *,
    ordered: bool = False,
    frames: int = 1,
    network: "Network | None" = None,
) -> "Method":
    """Build the method of an image recipe: network, loss and what trains them."""
    import torch

    from evenface.methods import METHODS, Task
    from evenface.methods import build_method as build

    _check_reading(recipe, find("method", recipe.method.name, METHODS), frames)
    names = names or tuple(str(i) for i in range(len(counts)))
    task = Task(
        counts,
        names,
        recipe.training.batch_size,
        None if votes is None else torch.from_numpy(votes),
        ordered,
        random_start=recipe.network.weights == "random",
    )
    network = network or build_network(recipe, len(counts), frames)
    loss = _loss(recipe, counts, names)
    return build(recipe.method.name, network, loss, task=task, seed=recipe.seed, **recipe.method.options)


def is_one_vs_rest(recipe: Recipe) -> bool:
    """Return whether the recipe's method classifies each class against the rest."""
    from evenface.methods import METHODS

    return find("method", recipe.method.name, METHODS).one_vs_rest


def _loss(recipe: Recipe, counts: np.ndarray, names: tuple[str, ...]) -> "nn.Module":
    from evenface.methods.building import loss_of

    return loss_of(recipe, counts, names)


def trained_method(run: Run) -> "Method":
    """Load the method of a run with the weights that were tested; an InputError where they are missing or damaged."""
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
    """Build the method of a sequence recipe."""
    from evenface.methods import METHODS
    from evenface.models.sequence import OneVsRestNetwork
    from evenface.utils.registry import find

    network = OneVsRestNetwork(networks) if is_one_vs_rest(recipe) else networks[0]
    return find("method", recipe.method.name, METHODS)(network, _loss(recipe, np.asarray(counts), names))


def _networks(run: Run) -> "list[SequenceNetwork]":
    """Build the sequence networks of a run, with new weights."""
    from evenface.models.sequence import SequenceNetwork

    steps, points, numbers = run.facts["sequences"]["shape"]
    outputs = 1 if is_one_vs_rest(run.recipe) else len(run.facts["classes"])
    return [
        SequenceNetwork(Recurrent.model_validate(one["network"]), points * numbers, steps, outputs)
        for one in run.facts["networks"].values()
    ]
