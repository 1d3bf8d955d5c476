"""The data pipeline of a recipe: manifest, store and split; and predictions as a table of samples."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evenface.config import Recipe
from evenface.config.modality import check_content
from evenface.data.datasets import DATASETS, read_dataset
from evenface.data.datasets.layout import check_root
from evenface.data.manifest import Manifest
from evenface.data.splits import Split, split_manifest
from evenface.evaluation.predictions import Predictions
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.utils.errors import InputError
from evenface.utils.files import cache_folder, user_path
from evenface.utils.registry import find

MADE = ("synthetic", "synthetic-clips")
"""Sources that make their data."""


class TrainingData:
    """Data of a recipe: read, prepared and split when first needed; of a store where that is prepared already."""

    def __init__(self, recipe: Recipe, store: Store | None = None) -> None:
        self.recipe = recipe
        if store is not None:
            self.store = store

    def check(self) -> None:
        """Refuse data that do not suit the network or cannot be trained on; an InputError."""
        seen_frames(self.recipe, self.store)
        check_training(self.recipe, self.store, self.split)

    @cached_property
    def listed(self) -> Manifest:
        """Samples as the source lists them, before they are prepared."""
        return read_manifest(self.recipe)

    @cached_property
    def store(self) -> Store:
        """Prepared samples."""
        return prepare_store(self.recipe, self.listed)

    @property
    def manifest(self) -> Manifest:
        """A row per prepared sample."""
        return self.store.manifest

    @cached_property
    def split(self) -> Split:
        """Rows of the training, validation and test set."""
        return split_store(self.recipe, self.store)

    @property
    def frames(self) -> int:
        """Frames of each sample that the network sees."""
        return seen_frames(self.recipe, self.store)

    @property
    def validation(self) -> np.ndarray:
        """Rows that weights are selected on."""
        return selection_rows(self.recipe, self.split)

    @property
    def counts(self) -> np.ndarray:
        """Training samples of each class, (C,)."""
        return self.manifest.counts(self.split.train)


def read_manifest(recipe: Recipe) -> Manifest:
    """Read the samples of a recipe's source."""
    data = recipe.data
    if data.source in MADE:
        root = user_path(data.root) if data.root else cache_folder() / data.source
        return read_dataset(data.source, root, {"size": data.size, **data.options})
    return read_dataset(data.source, _root(recipe), data.options)


def check_data(recipe: Recipe) -> None:
    """Refuse a recipe whose source is unknown or whose data are not there, before anything heavy is imported.

    Raises
    ------
    InputError
        Naming the nearest folder that is there.
    """
    find("source", recipe.data.source, DATASETS)
    if recipe.data.source not in MADE and not (root := _root(recipe)).exists():
        check_root(root, recipe.data.source)


def _root(recipe: Recipe) -> Path:
    if recipe.data.root is None:
        hint = f"Say where {recipe.data.source} lies: data.root=FOLDER."
        raise InputError(f"recipe {recipe.name}: data.root is missing", hint)
    return user_path(recipe.data.root)


def prepare_store(recipe: Recipe, manifest: Manifest | None = None) -> Store:
    """Prepare the samples of a recipe, or open the store where they are prepared already."""
    manifest = manifest or read_manifest(recipe)
    return prepare(manifest, cache_folder() / "stores", **preparation(recipe))


def preparation(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of :func:`~evenface.preprocessing.prepare.prepare` in a recipe."""
    return {name: getattr(recipe.data, name) for name in ("size", "channels", "faces", "clips", "sequences")}


def split_store(recipe: Recipe, store: Store) -> Split:
    """Split the prepared samples by the recipe's protocol."""
    protocol = recipe.protocol
    store.verify()
    pairs = None
    if protocol.duplicates != "keep":
        from evenface.data.leakage import copies_across

        pairs = copies_across(stored_samples(store), store.manifest)
    return split_manifest(store.manifest, protocol, pairs)


def stored_samples(store: Store) -> Any:
    """Return the store's images or sequences, (N, ...)."""
    return store.images if store.sequences is None else store.sequences


def check_training(recipe: Recipe, store: Store, sides: Split) -> None:
    """Refuse a split that cannot be trained on."""
    from evenface.methods import METHODS

    counts = store.manifest.counts(sides.train)
    absent = find("method", recipe.method.name, METHODS).allows_absent_classes and (counts > 0).sum() > 1
    if (counts == 0).any() and not absent:
        name = store.manifest.classes[int(counts.argmin())]
        raise InputError(
            f"the class {name} has no sample to train on", "Leave the class out, or change the protocol or its seed."
        )
    if recipe.training.patience is not None and not len(selection_rows(recipe, sides)):
        raise InputError("training.patience needs validation data", "Set protocol.validation above 0.")


def planned_frames(recipe: Recipe, manifest: Manifest) -> int:
    """Return how many frames of each sample the network will see, before samples are prepared; 1 for stills."""
    check_content(recipe, sequences=manifest.content == "sequences" or recipe.data.sequences.source != "none")
    return recipe.data.clips.frames if manifest.content == "clips" else 1


def seen_frames(recipe: Recipe, store: Store) -> int:
    """Return how many frames of each sample the network sees; 1 for stills."""
    check_content(recipe, sequences=store.sequences is not None)
    held = int(stored_samples(store).shape[1])
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
    """Return predictions with the samples they are of."""
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


def selection_rows(recipe: Recipe, sides: Split) -> np.ndarray:
    """Return the rows that weights are selected on: validation, or the test set where the recipe says so."""
    return sides.test if recipe.training.checkpoint == "test" else sides.validation
