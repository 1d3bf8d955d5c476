"""From a recipe to its data: manifest, store and split; and from probabilities to predictions."""

from pathlib import Path
from typing import Any

import numpy as np

from evenface.data.manifest import Manifest
from evenface.data.protocol import Split, split
from evenface.data.sources import SOURCES, read
from evenface.data.sources.layout import check_root
from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions
from evenface.faces.detector import Crop
from evenface.faces.prepare import prepare
from evenface.faces.sequences import Sequencing
from evenface.faces.store import Store
from evenface.faces.taking import Taking
from evenface.faces.targets import target_of
from evenface.kinds import check_content
from evenface.places import cache_folder, user_path
from evenface.recipes import Recipe
from evenface.registry import find

MADE = ("synthetic", "synthetic-clips")
"""Sources that make their data."""


def read_manifest(recipe: Recipe) -> Manifest:
    """Ask the recipe's source what there is.

    Raises
    ------
    InputError
        If the folder is not said or not what the source expects.
    """
    data = recipe.data
    if data.source in MADE:
        root = user_path(data.root) if data.root else cache_folder() / data.source
        return read(data.source, root, {"size": data.size, **data.options})
    return read(data.source, _root(recipe), data.options)


def check_data(recipe: Recipe) -> None:
    """Refuse a recipe whose source is unknown or whose data are not there, before anything heavy is imported.

    Raises
    ------
    InputError
        Naming the nearest folder that is there.
    """
    find("source", recipe.data.source, SOURCES)
    if recipe.data.source not in MADE and not (root := _root(recipe)).exists():
        check_root(root, recipe.data.source)


def _root(recipe: Recipe) -> Path:
    if recipe.data.root is None:
        hint = f"Say where {recipe.data.source} lies: data.root=FOLDER."
        raise InputError(f"recipe {recipe.name}: data.root is missing", hint)
    return user_path(recipe.data.root)


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
    manifest = read_manifest(recipe)
    numbers = data.sequences.of == "mesh" or manifest.content == "sequences"
    crop = None
    if data.faces.crop == "face" or data.sequences.of == "mesh":
        crop = Crop(**data.faces.model_dump(exclude={"crop"}))
    how: dict[str, Any] = {"size": data.size, "channels": data.channels, "crop": crop}
    how |= {"squeeze": data.faces.crop == "squeeze", "clips": taking_of(recipe)}
    how |= {"sequences": sequencing_of(recipe) if numbers else None}
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


def sequencing_of(recipe: Recipe) -> Sequencing:
    """Give how a recipe makes sequences of numbers."""
    settings = recipe.data.sequences.model_dump(exclude={"of"})
    return Sequencing(**settings, lost=recipe.data.clips.lost, lost_share=recipe.data.clips.lost_share)


def divide(recipe: Recipe, store: Store) -> Split:
    """Split the prepared faces by the recipe's protocol.

    Raises
    ------
    InputError
        If the data cannot be divided so, or a class has nobody to train on.
    """
    protocol = recipe.protocol
    store.verify()
    pairs = None
    if protocol.copies != "keep":
        from evenface.data.leakage import copies_across

        pairs = copies_across(stored(store), store.manifest)
    return split(store.manifest, protocol, pairs)


def stored(store: Store) -> Any:
    """Give what the store holds of its samples: pictures, or sequences of numbers; shape (N, ...)."""
    return store.images if store.sequences is None else store.sequences


def check_training(recipe: Recipe, store: Store, sides: Split) -> None:
    """Refuse a split that cannot be trained on.

    Raises
    ------
    InputError
        If a class has nobody to train on and the method needs all of them, there are fewer than two classes to train
        on, or patience is asked for where nothing is validated.
    """
    from evenface.methods import METHODS

    counts = store.manifest.counts(sides.train)
    absent = find("method", recipe.method.name, METHODS).allows_absent_classes and (counts > 0).sum() > 1
    if (counts == 0).any() and not absent:
        name = store.manifest.classes[int(counts.argmin())]
        raise InputError(
            f"the class {name} has no sample to train on", "Leave the class out, or change the protocol or its seed."
        )
    if recipe.training.patience is not None and not len(judges(recipe, sides)):
        raise InputError("training.patience needs validation data", "Set protocol.validation above 0.")


def seen_frames(recipe: Recipe, store: Store) -> int:
    """Give how many frames of each sample the network sees; 1 for stills.

    Raises
    ------
    InputError
        If the store holds fewer frames of each clip than the recipe wants to see, or pictures where the network takes
        sequences, or the other way round.
    """
    check_content(recipe, sequences=store.sequences is not None)
    held = int(stored(store).shape[1])
    if store.sequences is not None:
        return held
    frames = recipe.data.clips.frames if held > 1 else 1
    if frames > held:
        raise InputError(f"the store {store.path} holds {held} frames of each clip, data.clips.frames is {frames}")
    return frames


def predictions(
    manifest: Manifest,
    rows: np.ndarray,
    probabilities: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    classes: tuple[str, ...] | None = None,
    scores: np.ndarray | None = None,
    output: np.ndarray | None = None,
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
    scores : ndarray of shape (N, C), optional
        What each class's detector said by itself.
    output : ndarray of shape (N,), optional
        Predicted place on the scale of the manifest's classes.
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
        scores=scores,
        output=output,
    )


def judges(recipe: Recipe, sides: Split) -> np.ndarray:
    """Give the rows that weights are selected on: those of validation, unless the recipe follows a paper's habit."""
    return sides.test if recipe.training.select == "test" else sides.validation
