"""Build the model, loss and method of a recipe, and check a recipe before any data are read."""

import contextlib
import importlib.util
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from evenface import losses, methods, models
from evenface.config import Recipe
from evenface.config.recipe import DEFAULT_LOSS, Recurrent, Training
from evenface.config.recipe_checks import check_modality, with_bounds
from evenface.data.manifest import TARGET_TASKS, TaskKind
from evenface.losses import LOSS_SELECTIONS, binary_loss_specs, build_one_vs_rest, loss_tasks
from evenface.methods import METHODS
from evenface.methods.base import Method, Task, TrainingPeople
from evenface.models.backbone import HeadOnly, Network
from evenface.models.build import check_settings
from evenface.models.sequence import OneVsRestNetwork, SequenceNetwork
from evenface.runs import Run
from evenface.training.compilation import check_compilable
from evenface.utils.errors import InputError
from evenface.utils.registry import check_options, load_plugins


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose model, loss or method cannot be built, also with settings that its search may choose.

    What depends on the network itself, such as whether it takes images of that size, is left to :func:`build_model`.
    """
    for searched in with_bounds(recipe):
        check_modality(searched)
        load_plugins(searched.plugins)
        _check_parts(searched, METHODS[searched.method.name])


def _check_parts(recipe: Recipe, method: type[Method]) -> None:
    """Refuse parts of a recipe that cannot be built or do not suit each other."""
    training = recipe.training
    if recipe.modality == "sequences" and "sequences" not in method.modalities:
        usable = ", ".join(sorted(known for known, other in METHODS.items() if "sequences" in other.modalities))
        raise InputError(f"method {recipe.method.name!r} is for images, not for sequences", f"Use {usable}.")
    _check_training(training)
    if training.start_size is not None:
        _check_start_size(recipe, training.start_size)
    check_compilable(recipe)
    if training.cache_features:
        _check_cached_features(recipe, method)
    _check_auxiliary(recipe, method)
    errors = []
    for kind in assumed_tasks(recipe):
        try:
            return _check_for_task(recipe, method, kind)
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _check_for_task(recipe: Recipe, method: type[Method], kind: TaskKind) -> None:
    on_images, classes = recipe.modality == "images", _class_names(recipe, method, kind)
    counts, options = np.full(len(classes), 2), set(inspect.signature(method).parameters) - {"network", "loss"}
    if on_images:
        network, frames = recipe.network, 2 if recipe.network.temporal.over == "frames" else 1
        _check_feature_maps(recipe, method, 1 if network.temporal.kind in ("mean", "difference") else frames)
        head = HeadOnly(network, len(classes))
        check_settings(
            network.name,
            classes=len(classes),
            channels=recipe.data.channels,
            size=recipe.data.size,
            dropout=network.dropout,
            head_scale=network.head_scale,
            temporal=network.temporal,
            frames=frames,
        )
    if on_images and "task" not in options:
        with contextlib.suppress(AttributeError):  # a plugin's method may use what only the network has
            build_on_head(recipe, head, counts, classes, kind)
    else:  # options of the method may depend on the data
        check_options("method", recipe.method.name, recipe.method.options, options - {"task"} if on_images else ())
        targets = _unknown_targets(classes) if kind in TARGET_TASKS else None
        loss = build_loss(recipe, Task(counts, classes, recipe.training.batch_size, kind=kind, targets=targets))
        if not on_images:
            _check_sequence_loss(recipe.loss.name, loss)


def _check_sequence_loss(name: str, loss: nn.Module) -> None:
    """Refuse a loss with weights or random numbers of its own, which networks trained as one do not have."""
    learns, draws = any(True for _ in loss.parameters()), getattr(loss, "draws", False)
    if learns or draws:
        what = "learns weights of its own" if learns else "draws random numbers"
        raise InputError(
            f"loss {name!r} {what}, which networks of sequences do not", "Choose other options, or another loss."
        )


def _check_training(training: Training) -> None:
    processes = training.devices * training.nodes
    if training.batch_size % processes:
        raise InputError(f"training.batch_size {training.batch_size} is not divisible by {processes} processes")
    for logger in training.loggers:
        if importlib.util.find_spec(logger) is None:
            raise InputError(f"the logger {logger} is not installed", "Install it: pip install 'evenface[tracking]'.")


def _check_start_size(recipe: Recipe, side: int) -> None:
    """Refuse progressive resizing where there are no images to resize, or a size that does not grow."""
    if recipe.modality == "sequences" or recipe.training.cache_features:
        raise InputError("training.start_size resizes images, and this recipe trains on numbers", "Leave it out.")
    if side >= recipe.data.size:
        raise InputError(
            f"training.start_size is {side}, the images have {recipe.data.size} pixels", "Set it below data.size."
        )


def _check_cached_features(recipe: Recipe, method: type[Method]) -> None:
    """Refuse cached features where training needs the pixels of each step, or features that change."""
    setting, network = "training.cache_features: true", recipe.network
    if network.freeze != "backbone":
        raise InputError(f"{setting} needs a frozen backbone", "Set network.freeze: backbone.")
    unused = {"temporal_jitter", "erase_area", "flip_landmarks", "operations", "magnitude"}
    changes = recipe.augment.model_dump(exclude=unused)
    if named := [f"augment.{key}" for key, value in changes.items() if value not in (0, "none")]:
        values = [f"{key}={'none' if key == 'augment.policy' else 0}" for key in named]
        raise InputError(f"{setting} has no pixels to augment: {', '.join(named)}", f"Set {' '.join(values)}.")
    if recipe.training.tta_flip:
        raise InputError(f"{setting} has no pixels to flip: training.tta_flip", "Set training.tta_flip: false.")
    if network.temporal.kind != "mean" and network.temporal.over == "spatial":
        raise InputError(f"{setting} keeps no feature maps, which network.temporal.over: spatial reads")
    if not method.cached_features:
        raise InputError(
            f"{setting}: method {recipe.method.name!r} changes images, needs feature maps or trains the backbone",
            "Set training.cache_features: false, or use another method.",
        )


def _check_auxiliary(recipe: Recipe, method: type[Method]) -> None:
    """Refuse auxiliary targets where there is no place for them, and their weight without any."""
    data, names = recipe.data, recipe.data.auxiliary
    if not names:
        if recipe.training.auxiliary_weight != Training().auxiliary_weight:
            raise InputError("training.auxiliary_weight has no effect without data.auxiliary", "Leave it out.")
        return
    if recipe.modality == "sequences":
        raise InputError("networks of sequences predict classes alone, not data.auxiliary", "Leave it out.")
    if data.targets or data.task in TARGET_TASKS:
        raise InputError(
            "data.auxiliary is predicted beside classes, and this recipe has none",
            "List all targets in data.targets, or leave data.targets and data.task out.",
        )
    if len(set(names)) < len(names):
        raise InputError(f"data.auxiliary names a column twice: {', '.join(names)}", "Name each column once.")
    if not method.takes_auxiliary:
        usable = ", ".join(sorted(known for known, other in METHODS.items() if other.takes_auxiliary))
        raise InputError(f"method {recipe.method.name!r} learns classes alone, not data.auxiliary", f"Use {usable}.")


def assumed_tasks(recipe: Recipe) -> list[TaskKind]:
    """Return the tasks that a recipe may have, before its data are known; refuse parts that have none in common."""
    data, method, loss = recipe.data, recipe.method.name, recipe.loss.name
    wanted: tuple[TaskKind, ...] = ("ordinal", "regression", "multilabel")
    if data.task != "auto":
        wanted = (data.task,)
    elif data.targets:
        wanted = ("regression", "multilabel")
    of_method = METHODS[method].tasks
    selects = loss in LOSS_SELECTIONS
    of_loss = wanted if loss == "cross-entropy" else ("classification", "ordinal") if selects else loss_tasks(loss)
    if shared := [kind for kind in wanted if kind in of_method and kind in of_loss]:
        return shared
    known = {f"method {method!r}": of_method, f"loss {loss!r}": of_loss}
    parts = [f"{name} is for {' and '.join(tasks)}" for name, tasks in known.items()]
    aim = f", and what is predicted is {' or '.join(wanted)}" if data.targets or data.task != "auto" else ""
    raise InputError(f"{', '.join(parts)}{aim}", "Change data.task, data.targets, the method or the loss.")


def _unknown_targets(names: Sequence[str]) -> np.ndarray:
    """Return targets of two samples that have every value of two, where the true ones do not matter."""
    return np.repeat([[0.0], [1.0]], len(names), axis=1)


def _class_names(recipe: Recipe, method: type[Method], kind: TaskKind) -> tuple[str, ...]:
    """Return the classes that a loss's weights name or number, or the targets; two where there are no such names."""
    loss = recipe.loss
    if kind in TARGET_TASKS:
        weights = loss.options.get("positive_weights")
        return recipe.data.targets or (tuple(map(str, weights)) if isinstance(weights, dict) else ("0", "1"))
    alpha = loss.options.get("alpha")
    if method.one_vs_rest or not isinstance(alpha, list | tuple | dict) or not alpha:
        return ("0", "1")
    return tuple(map(str, alpha if isinstance(alpha, dict) else range(len(alpha))))


def _check_feature_maps(recipe: Recipe, method: type[Method], frames: int) -> None:
    """Refuse a method that uses the last feature maps of single images where there are none."""
    name = recipe.method.name
    if "clips" in method.modalities:
        return
    if frames > 1:
        raise InputError(
            f"method {name!r} uses feature maps of single images and cannot be trained on clips of {frames} frames",
            "Set data.clips.sampling: windows and data.clips.frames: 1 for single frames, or use another method.",
        )
    if recipe.network.temporal.kind != "mean":
        raise InputError(
            f"method {name!r} uses the network's last feature maps and would ignore network.temporal",
            "Set network.temporal.kind: mean, or use another method.",
        )


def build_model(recipe: Recipe, classes: int, frames: int = 1) -> Network:
    """Build the network of an image recipe for samples of so many frames."""
    settings = {key: value for key, value in recipe.network if key != "recurrent"}
    return models.build_network(
        classes=classes,
        channels=recipe.data.channels,
        size=recipe.data.size,
        start_size=recipe.training.start_size,
        seed=recipe.seed,
        frames=frames,
        **settings,
    )


def build_loss(recipe: Recipe, task: Task) -> nn.Module:
    """Build the loss of a recipe; of a one-vs-rest method, one binary loss for each class."""
    loss, network, method = recipe.loss, recipe.network, METHODS[recipe.method.name]
    options, counts, names = _loss_options(recipe), task.counts, task.names
    if task.link is not None and task.targets is not None:
        encoded = task.link.encode(torch.as_tensor(task.targets, dtype=torch.float32)).numpy()
        name = loss_name(recipe, task.kind)
        return losses.build_target_loss(name, task.kind, targets=encoded, names=names, **options)
    if method.one_vs_rest:
        return build_one_vs_rest(binary_loss_specs(loss.name, counts, names, **options))
    if loss.name in LOSS_SELECTIONS:
        usable = [name for name, known in METHODS.items() if known.one_vs_rest]
        raise InputError(
            f"loss {loss.name!r} selects a binary loss for each class, method {recipe.method.name!r} has one loss for "
            "all classes",
            f"Set method.name={' or '.join(usable)}, or use another loss.",
        )
    scale, absent = network.head_scale if network.head == "cosine" else None, method.allows_absent_classes
    return losses.build_loss(loss.name, counts, names=names, head_scale=scale, absent=absent, **options)


def _loss_options(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a recipe's loss; refuse those that are given to every loss."""
    given = {*inspect.signature(losses.build_loss).parameters, *inspect.signature(losses.build_target_loss).parameters}
    for key in recipe.loss.options:
        if key in given - {"options"}:
            raise InputError(f"loss {recipe.loss.name!r} has no option {key!r}", "Leave it out: the data have it.")
    return recipe.loss.options


def _unknown_people(recipe: Recipe, counts: np.ndarray) -> TrainingPeople:
    """Return people for which every method can be built, where the true ones do not matter."""
    by = str(recipe.method.options.get("by", "subject"))
    samples = max(2, int(counts.sum()))
    pair = ["a", "b"] * (samples // 2 + 1)
    return TrainingPeople({"subject": pair[:samples], by: pair[:samples]}, [0] * samples, ("all",))


def loss_name(recipe: Recipe, kind: TaskKind) -> str:
    """Return the loss of a recipe, or that of the task where the recipe has none of its own."""
    return DEFAULT_LOSS.get(kind, "cross-entropy") if recipe.loss.name == "cross-entropy" else recipe.loss.name


def build_method(
    recipe: Recipe,
    counts: np.ndarray,
    names: tuple[str, ...] | None = None,
    votes: np.ndarray | None = None,
    *,
    kind: TaskKind = "classification",
    targets: np.ndarray | None = None,
    people: TrainingPeople | None = None,
    auxiliary: np.ndarray | None = None,
    frames: int = 1,
    network: nn.Module | None = None,
) -> Method:
    """Build the method of a recipe: network, loss and what trains them.

    Parameters
    ----------
    recipe : Recipe
        With a known method.
    counts : ndarray of shape (C,)
        Training samples of each class.
    names : tuple of str, optional
        The classes, or the targets.
    votes : ndarray of shape (N, C), optional
        Votes of the annotators for each training sample.
    kind : {"classification", "ordinal", "regression", "multilabel"}
        What is predicted.
    targets : ndarray of shape (N, T), optional
        Regression and multi-label: the training targets, NaN where missing.
    people : TrainingPeople, optional
        What is known of the people of the training samples; by default two of different groups.
    auxiliary : ndarray of shape (N, A), optional
        Auxiliary targets of the training samples, NaN where missing.
    frames : int
        Frames of each sample.
    network : nn.Module, optional
        By default that of :func:`build_model`.
    """
    _check_feature_maps(recipe, METHODS[recipe.method.name], frames)
    names = names or tuple(str(label) for label in range(len(counts)))
    task = Task(
        counts,
        names,
        recipe.training.batch_size,
        None if votes is None else torch.from_numpy(votes),
        kind == "ordinal",
        random_start=recipe.network.weights == "random",
        kind=kind,
        targets=targets,
        people=people or _unknown_people(recipe, counts),
        auxiliary=auxiliary,
        auxiliary_weight=recipe.training.auxiliary_weight,
    )
    network = network or build_model(recipe, len(names), frames)
    loss = build_loss(recipe, task)
    return methods.build_method(recipe.method.name, network, loss, task=task, seed=recipe.seed, **recipe.method.options)


def build_on_head(
    recipe: Recipe, head: HeadOnly, counts: np.ndarray, names: Sequence[str], kind: TaskKind = "ordinal"
) -> Method:
    """Build the method of a recipe on a classifier alone, for what the method declares."""
    votes = np.ones((int(counts.sum()), len(counts)), dtype=np.float32)
    targets = _unknown_targets(names) if kind in TARGET_TASKS else None
    return build_method(recipe, counts, tuple(names), votes, kind=kind, targets=targets, network=head)


def is_one_vs_rest(recipe: Recipe) -> bool:
    """Return whether the recipe's method classifies each class against the rest."""
    return METHODS[recipe.method.name].one_vs_rest


def sequence_network(networks: Sequence[SequenceNetwork], *, one_vs_rest: bool) -> nn.Module:
    """Return the network of a sequence run: its only one, or one classifier per class as one network."""
    return OneVsRestNetwork(networks) if one_vs_rest else networks[0]


def trained_method(run: Run) -> Method:
    """Load the method of a run with the weights that were tested.

    Parameters
    ----------
    run : Run
        A finished run.

    Returns
    -------
    Method
        In training mode, on the CPU.

    Raises
    ------
    InputError
        If the weights are missing or damaged.
    """
    path, recipe, facts = run.weights, run.recipe, run.facts
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: it cannot be read ({error})", "Train the run again.") from error
    counts, names, kind = np.array(facts["counts"]["train"], dtype=np.int64), tuple(facts["classes"]), facts["task"]
    targets = None
    if kind in TARGET_TASKS:  # their statistics are among the weights; the loss is not needed
        names = tuple(facts["targets"])
        targets = _unknown_targets(names)
    if recipe.modality == "sequences":
        one_vs_rest = is_one_vs_rest(recipe)
        steps, points, numbers = facts["sequences"]["shape"]
        networks = [
            SequenceNetwork(
                Recurrent.model_validate(entry["network"]), points * numbers, steps, 1 if one_vs_rest else len(names)
            )
            for entry in facts["networks"].values()
        ]
        network = sequence_network(networks, one_vs_rest=one_vs_rest)
        method = build_method(recipe, counts, names, kind=kind, targets=targets, network=network)
    else:
        # Initial weights and votes are not needed; classes were checked to be ordered in training.
        without_weights = recipe.network.model_copy(update={"weights": "random"})
        recipe = recipe.model_copy(update={"network": without_weights})
        votes = np.ones((int(counts.sum()), len(counts)), dtype=np.float32)
        auxiliary = _unknown_targets(recipe.data.auxiliary) if recipe.data.auxiliary else None
        method = build_method(
            recipe, counts, names, votes, kind=kind, targets=targets, auxiliary=auxiliary, frames=facts["frames"]
        )
    method.load_inference_state(weights)
    return method
