"""From a recipe to its parts: manifest, store, split, method; and from a run to its trained method."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.data.manifest import Manifest
from evenface.data.protocol import Split, split
from evenface.data.sources import read
from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions
from evenface.faces.detector import Crop
from evenface.faces.prepare import prepare, target_of
from evenface.faces.store import Store
from evenface.faces.taking import Taking
from evenface.places import cache_folder
from evenface.plugins import load_plugins
from evenface.recipes import Recipe
from evenface.recipes.schema import MethodSettings
from evenface.runs import Run

if TYPE_CHECKING:
    from evenface.methods.base import Method


def read_manifest(recipe: Recipe) -> Manifest:
    """Ask the recipe's source what there is.

    Raises
    ------
    InputError
        If the folder is not said or not what the source expects.
    """
    data = recipe.data
    if data.source in ("synthetic", "synthetic-clips"):
        root = Path(data.root) if data.root else cache_folder() / data.source
        return read(data.source, root, {"size": data.size, **data.options})
    if data.root is None:
        raise InputError(
            f"recipe {recipe.name}: data.root is missing", f"Say where {data.source} lies: data.root=FOLDER."
        )
    return read(data.source, Path(data.root).expanduser(), data.options)


def prepare_store(recipe: Recipe, sheets: Path | None = None) -> Store:
    """Read and prepare the recipe's faces, or find them prepared.

    Parameters
    ----------
    recipe : Recipe
        Says which, and how.
    sheets : Path, optional
        Folder for contact sheets of clips, which are written first.

    Raises
    ------
    InputError
        If the face detector is unknown or not installed, or the data cannot be read.
    """
    data = recipe.data
    crop = None
    if data.faces.crop == "face":
        crop = Crop(**data.faces.model_dump(exclude={"crop"}))
    manifest = read_manifest(recipe)
    how: dict[str, Any] = {"size": data.size, "channels": data.channels, "crop": crop}
    how |= {"squeeze": data.faces.crop == "squeeze", "clips": taking_of(recipe)}
    if sheets is not None:
        from evenface.faces.sheets import write_sheets

        write_sheets(manifest, target_of(manifest, **how), sheets)
    return prepare(manifest, cache_folder() / "stores", **how)


def taking_of(recipe: Recipe) -> Taking:
    """Give how a recipe takes frames from clips: as many as are stored."""
    settings = recipe.data.clips
    return Taking(
        frames=settings.keep or settings.frames,
        take=settings.take,
        every=settings.every,
        lost=settings.lost,
        lost_share=settings.lost_share,
    )


def divide(recipe: Recipe, store: Store) -> Split:
    """Split the prepared faces by the recipe's protocol.

    Raises
    ------
    InputError
        If the data cannot be divided so, or a class has nobody to train on.
    """
    protocol = recipe.protocol
    pairs = None
    if protocol.copies != "keep":
        from evenface.data.leakage import copies_across

        pairs = copies_across(store.images, store.manifest)
    return split(store.manifest, protocol, pairs)


def check_training(recipe: Recipe, store: Store, sides: Split) -> None:
    """Refuse a split that cannot be trained on.

    Raises
    ------
    InputError
        If a class has nobody to train on, or patience is asked for where nothing is validated.
    """
    counts = store.manifest.counts(sides.train)
    if (counts == 0).any():
        name = store.manifest.classes[int(counts.argmin())]
        raise InputError(
            f"the class {name} has no sample to train on", "Leave the class out, or change the protocol or its seed."
        )
    if recipe.training.patience is not None and not len(judges(recipe, sides)):
        raise InputError("training.patience needs validation data", "Set protocol.validation above 0.")


def seen_frames(recipe: Recipe, store: Store) -> int:
    """Give how many pictures of each sample the network sees; 1 for stills.

    Raises
    ------
    InputError
        If the store holds fewer frames of each clip than the recipe wants to see.
    """
    stored = int(store.images.shape[1])
    frames = recipe.data.clips.frames if stored > 1 else 1
    if frames > stored:
        raise InputError(f"the store {store.path} holds {stored} frames of each clip, data.clips.frames is {frames}")
    return frames


def predictions(
    manifest: Manifest,
    rows: np.ndarray,
    probabilities: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    classes: tuple[str, ...] | None = None,
) -> Predictions:
    """Join what is known of samples and what was predicted of them.

    Parameters
    ----------
    manifest : Manifest
        Where they stand.
    rows : ndarray of shape (N,)
        Which ones.
    probabilities : ndarray of shape (N, C)
        What was predicted.
    labels, classes : ndarray of shape (N,) and tuple of str, optional
        Where they are not those of the manifest.
    """
    table = manifest.table.iloc[rows]
    sample, subject, clip = (table[name].to_numpy(dtype=object) for name in ("sample", "subject", "clip"))
    return Predictions(
        sample,
        subject,
        manifest.labels[rows] if labels is None else labels,
        probabilities,
        classes or manifest.classes,
        clip=clip,
        ordered=manifest.ordered,
    )


def judges(recipe: Recipe, sides: Split) -> np.ndarray:
    """Give the rows that weights are selected on: those of validation, unless the recipe follows a paper's habit."""
    return sides.test if recipe.training.select == "test" else sides.validation


def check_parts(recipe: Recipe) -> None:
    """Refuse a recipe whose network, loss or method cannot be, before any data is touched.

    Raises
    ------
    InputError
        Naming the part and the nearest right name or option.
    """
    load_plugins(recipe.plugins)
    world = recipe.training.devices * recipe.training.nodes
    if recipe.training.batch_size % world:
        raise InputError(
            f"training.batch_size {recipe.training.batch_size} cannot be shared equally by {world} processes"
        )
    for logger in recipe.training.loggers:
        if importlib.util.find_spec(logger) is None:
            raise InputError(f"the logger {logger} is not installed", "Install it: pip install 'evenface[tracking]'.")
    if recipe.training.features == "stored":
        _check_stored(recipe)
    alpha = recipe.loss.options.get("alpha")
    classes = len(alpha) if isinstance(alpha, list | tuple) else 2
    _check_method(recipe, np.full(classes, 2))


def _check_stored(recipe: Recipe) -> None:
    """Refuse stored features where training would need the pixels of each step, or other features at another."""
    from evenface.methods import METHODS
    from evenface.registry import find

    what, network = "training.features: stored", recipe.network
    if network.freeze != "backbone":
        raise InputError(f"{what} needs a backbone that stays as it is", "Set network.freeze: backbone.")
    changes = recipe.augment.model_dump(exclude={"frames", "erase_area"})
    if named := [f"augment.{key}" for key, value in changes.items() if value]:
        raise InputError(f"{what} knows no pixels to change: {', '.join(named)}", f"Set {'=0 '.join(named)}=0.")
    if recipe.training.mirror:
        raise InputError(f"{what} knows no pixels to mirror: training.mirror", "Set training.mirror: false.")
    if network.temporal.kind != "mean" and network.temporal.over == "spatial":
        raise InputError(f"{what} keeps no maps, which network.temporal.over: spatial reads")
    if not find("method", recipe.method.name, METHODS).stored:
        raise InputError(
            f"{what}: method {recipe.method.name!r} changes pictures or looks at their maps",
            "Set training.features: computed, or take another method.",
        )


def _check_method(recipe: Recipe, counts: np.ndarray) -> None:
    """Build a method on made-up counts, as far as it does not ask what the data is like."""
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
    build_method(recipe, counts, frames=frames)


def _check_reading(recipe: Recipe, frames: int) -> None:
    """Refuse a method that looks at the last maps of single pictures where there is more than those, or less."""
    from evenface.methods import METHODS
    from evenface.registry import find

    name = recipe.method.name
    if find("method", name, METHODS).clips:
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

    from evenface.losses import build_loss
    from evenface.methods import Task
    from evenface.methods import build_method as build
    from evenface.networks import build_network

    load_plugins(recipe.plugins)
    _check_reading(recipe, frames)
    network = build_network(
        classes=len(counts),
        channels=recipe.data.channels,
        size=recipe.data.size,
        seed=recipe.seed,
        frames=frames,
        **dict(recipe.network),
    )
    scale = recipe.network.head_scale if recipe.network.head == "cosine" else None
    loss = build_loss(recipe.loss.name, counts, names=names, head_scale=scale, **recipe.loss.options)
    task = Task(
        counts,
        names or tuple(str(i) for i in range(len(counts))),
        recipe.training.batch_size,
        None if votes is None else torch.from_numpy(votes),
        ordered,
    )
    return build(recipe.method.name, network, loss, task=task, seed=recipe.seed, **recipe.method.options)


def trained_method(run: Run) -> "Method":
    """Build the method of a run with the weights that were tested; an InputError where they are missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(run.weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{run.weights} cannot be read ({error})", "Train the run again.") from error
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
