"""Data of a recipe: manifest, prepared store and split; predictions with the samples they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from evenface.config import Recipe
from evenface.config.recipe import RECURRENT
from evenface.data.datasets import DATASETS, read_dataset
from evenface.data.manifest import Manifest, attribute_columns, attribute_groups
from evenface.data.splits import Split, split_manifest
from evenface.data.targets import column_values, select_targets
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.evaluation.target_summary import best_thresholds
from evenface.preprocessing.baseline import Baselines, compute_baselines, describe_baseline, without
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.runs import IMAGE_DIGESTS, VALIDATION
from evenface.training.drawn_faces import draw_training_faces, drawn_expressions, drawn_note, with_drawn
from evenface.utils.errors import InputError
from evenface.utils.files import cache_folder, check_exists, user_path

if TYPE_CHECKING:
    from evenface.methods.base import TrainingPeople

RENDERED = ("synthetic", "synthetic-clips")
GENERATED = (*RENDERED, "synthetic-demo")
"""Sources that generate their data."""
ABSENT = ("the training set has no sample", "the training set has no sample that is not drawn")
"""Start of a note on a split without a class, and the same where drawn faces are added."""


class TrainingData:
    """Data of a recipe: read, prepared and split when first needed; of a store where that is prepared already."""

    def __init__(self, recipe: Recipe, store: Store | None = None) -> None:
        self.recipe = recipe
        if store is not None:
            self.store = store

    def check(self) -> None:
        """Refuse data of another modality than the network's, and a split that cannot be trained on."""
        from evenface.methods import METHODS

        _ = self.frames
        if len(self.manifest.classes) < 2 and not self.manifest.targets:
            raise InputError(
                f"the source {self.manifest.source} has no labels to train on",
                "Pretrain on it: evenface pretrain --data FOLDER --out FOLDER.",
            )
        counts, method = self.counts, METHODS[self.recipe.method.name]
        if self.manifest.targets:
            if self.recipe.data.auxiliary:
                raise InputError(
                    f"data.auxiliary is predicted beside classes, and {self.manifest.source} has none",
                    "List all targets in data.targets.",
                )
            check_values(self.manifest.targets, self.manifest.target_values(self.split.train), "data.targets")
        elif (counts == 0).any() and not (method.allows_absent_classes and (counts > 0).sum() > 1):
            raise InputError(
                f"the class {self.manifest.classes[int(counts.argmin())]} has no training sample",
                "Leave the class out, or change the protocol or its seed.",
            )
        check_values(self.recipe.data.auxiliary, self.auxiliary[self.split.train], "data.auxiliary")
        if self.recipe.training.patience is not None and not len(self.validation):
            raise InputError("training.patience needs validation data", "Set protocol.validation above 0.")

    @cached_property
    def listed(self) -> Manifest:
        """Samples as the source lists them, before they are prepared."""
        manifest = select(self.recipe, self._files)
        drawn_expressions(self.recipe.data.synthetic, manifest)  # refused before hours of preparation
        return manifest

    @cached_property
    def _files(self) -> Manifest:
        """Samples as the source lists them, which are prepared alike whatever is predicted of them."""
        return read_manifest(self.recipe)

    @cached_property
    def store(self) -> Store:
        """Prepared samples."""
        return prepare_store(self.recipe, self._files)

    @cached_property
    def manifest(self) -> Manifest:
        """A row per prepared sample."""
        return select(self.recipe, self.store.manifest)

    @cached_property
    def drawn(self) -> Store | None:
        """Prepared faces that are drawn for the training set; None without any."""
        return draw_training_faces(self.recipe.data, self.recipe.protocol.seed, self.store)

    @cached_property
    def training_manifest(self) -> Manifest:
        """A row per prepared sample, and after these a row per drawn face."""
        return with_drawn(self.manifest, self.drawn)

    @property
    def training_rows(self) -> np.ndarray:
        """Rows of the training set in :attr:`training_manifest`: those of the split, and all drawn faces."""
        own = np.arange(len(self.manifest), len(self.training_manifest), dtype=np.int64)
        return np.concatenate([self.split.train, own])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the samples and their split for readers of the results."""
        if self.drawn is None:
            return (*self.manifest.notes, *self.split.notes)
        real = [note.replace(*ABSENT) if note.startswith(ABSENT[0]) else note for note in self.split.notes]
        return (*self.manifest.notes, *real, drawn_note(self.drawn))

    @property
    def pretraining_notes(self) -> tuple[str, ...]:
        """Warn of test images that the network was pretrained on, where both were prepared alike."""
        weights, rows = user_path(self.recipe.network.weights), self.split.test
        path = (weights if weights.is_dir() else weights.parent) / IMAGE_DIGESTS
        if not len(rows) or not path.is_file():
            return ()
        try:
            pretrained = np.load(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is damaged", "Pretrain again, or delete the file: nothing is compared."
            ) from error
        known = int(np.isin(self.store.image_digests(rows), pretrained).any(axis=1).sum())
        if not known:
            return ()
        return (
            f"WARNING: {known:,} of {len(rows):,} test samples are among the images of the pretraining, which saw them "
            "without labels: results may be optimistic",
        )

    @cached_property
    def whole_split(self) -> Split:
        """Rows of the training, validation and test set by the protocol."""
        return split_store(self.recipe, self.store)

    @cached_property
    def split(self) -> Split:
        """Rows of each set, without test and validation samples whose labels a person baseline depends on."""
        split, baselines = self.whole_split, self.baselines
        if baselines is None:
            return split
        return replace(
            split,
            validation=without(split.validation, baselines.reserved),
            test=self._tested(split.test, baselines),
            notes=(*split.notes, describe_baseline(self.recipe.data.baseline, self.manifest)),
        )

    def _tested(self, rows: np.ndarray, baselines: Baselines) -> np.ndarray:
        kept = without(rows, baselines.reserved)
        if len(kept) < len(rows) and not len(kept):
            raise InputError(
                "data.baseline: neutral leaves no test sample: all are part of the baseline",
                "Set data.baseline.clips to a small number, or data.baseline: subject-mean.",
            )
        return kept

    @cached_property
    def baselines(self) -> Baselines | None:
        """Baselines of persons, from each person's own samples among those of the run; None without."""
        settings = self.recipe.data.baseline
        if settings.kind == "none":
            return None
        split = self.whole_split
        used = np.concatenate([split.train, split.validation, split.test])
        samples = stored_samples(self.store)
        return compute_baselines(samples, self.manifest, settings, used=used, tested=split.test, seed=self.recipe.seed)

    @property
    def sequences(self) -> np.ndarray:
        """All sequences (N, T, P, D) as networks take them: relative to the baselines of persons, if there are any."""
        assert self.store.sequences is not None
        if self.baselines is None:
            return np.asarray(self.store.sequences)
        return self.baselines.relative(self.store.sequences, np.arange(len(self.store)))

    @property
    def middle(self) -> float | None:
        """X of the axis that landmarks are mirrored about; 0 for differences from a baseline."""
        return self.store.middle if self.baselines is None else 0.0

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Return the samples at ``rows`` as networks take them."""
        samples = stored_samples(self.store)
        return np.asarray(samples[rows]) if self.baselines is None else self.baselines.relative(samples, rows)

    @property
    def planned_frames(self) -> int:
        """Frames of each sample that the network will take, before samples are prepared; 1 for stills."""
        data, content = self.recipe.data, self.listed.content
        check_content(self.recipe, sequences=content == "sequences" or data.sequences.source != "none")
        return data.clips.frames if content == "clips" else 1

    @property
    def frames(self) -> int:
        """Frames of each sample that the network takes; 1 for stills."""
        check_content(self.recipe, sequences=self.store.sequences is not None)
        stored, frames = int(stored_samples(self.store).shape[1]), self.recipe.data.clips.frames
        if self.store.sequences is not None or stored == 1:
            return stored
        if frames > stored:
            raise InputError(
                f"the store {self.store.path} has {stored} frames of each clip, data.clips.frames is {frames}"
            )
        return frames

    @property
    def validation(self) -> np.ndarray:
        """Rows that weights are selected on: validation, or the test set where the recipe selects on it."""
        return self.split.test if self.recipe.training.checkpoint == "test" else self.split.validation

    @cached_property
    def auxiliary(self) -> np.ndarray:
        """Auxiliary targets of :attr:`training_manifest`, (N, A), NaN where missing; A is 0 without any."""
        return column_values(self.training_manifest, self.recipe.data.auxiliary, "data.auxiliary")

    @property
    def counts(self) -> np.ndarray:
        """Training samples of each class (or stratum of targets), with drawn faces, (C,)."""
        return self.training_manifest.counts(self.training_rows)


def people_of(manifest: Manifest, rows: np.ndarray) -> "TrainingPeople":
    """Return whom the training ``rows`` of a manifest are of; ages are in groups."""
    from evenface.methods.base import TrainingPeople

    table = manifest.table.iloc[rows]
    values = {name: attribute_groups(table[name], name) for name in attribute_columns(table)}
    if manifest.has_subjects:
        values["subject"] = table["subject"]
    attributes = {name: own.astype("string").fillna("").tolist() for name, own in values.items()}
    return TrainingPeople(attributes, manifest.labels[rows].tolist(), manifest.classes)


def check_content(recipe: Recipe, *, sequences: bool) -> None:
    """Check that a network of sequences gets sequences, and a network of images gets images."""
    if (recipe.modality == "sequences") == sequences:
        return
    if sequences:
        raise InputError(
            f"the source {recipe.data.source} gives sequences of numbers, but the network {recipe.network.name} takes "
            "images",
            f"Set network.name: {RECURRENT}.",
        )
    raise InputError(
        f"the source {recipe.data.source} gives images, but the network {RECURRENT} takes sequences of numbers",
        "Set data.sequences.source: mesh to detect face landmarks in every frame, or use another network.",
    )


def read_manifest(recipe: Recipe) -> Manifest:
    """Read the samples of a recipe's source."""
    data = recipe.data
    if data.source in GENERATED:
        root = user_path(data.root) if data.root else cache_folder() / data.source
        size = {"size": data.size} if data.source in RENDERED else {}
        return read_dataset(data.source, root, {**size, **data.options})
    return read_dataset(data.source, _root(recipe), data.options, targets=data.targets)


def select(recipe: Recipe, manifest: Manifest) -> Manifest:
    """Return the manifest with the targets that a recipe predicts."""
    data = recipe.data
    return select_targets(manifest, None if data.task == "auto" else data.task, data.targets, data.positive_from)


def check_values(names: Sequence[str], targets: np.ndarray, key: str) -> None:
    """Refuse targets of a recipe's key of which the training samples, (N, T), have but one value."""
    for name, values in zip(names, targets.T, strict=True):
        known = values[~np.isnan(values)]
        if not len(known) or known.min() == known.max():
            what = f"only the value {known[0]:g}" if len(known) else "no value"
            raise InputError(
                f"the target {name} has {what} in the training samples",
                f"Leave it out of {key}, or change the protocol or its seed.",
            )


def check_data(recipe: Recipe) -> None:
    """Refuse a recipe whose source is unknown or whose data are not there, before anything heavy is imported.

    Raises
    ------
    InputError
        Naming the nearest folder that is there.
    """
    _ = DATASETS[recipe.data.source]  # an InputError with similar names
    if recipe.data.source not in GENERATED:
        check_exists(_root(recipe), recipe.data.source)


def _root(recipe: Recipe) -> str:
    if recipe.data.root is None:
        hint = f"Set the folder of {recipe.data.source}: data.root=FOLDER."
        raise InputError(f"recipe {recipe.name}: data.root is missing", hint)
    return recipe.data.root


def prepare_store(recipe: Recipe, manifest: Manifest | None = None) -> Store:
    """Prepare the samples of a recipe, or open the store where they are prepared already."""
    manifest = manifest or read_manifest(recipe)
    return prepare(manifest, cache_folder() / "stores", **preparation(recipe))


def prepare_training(recipe: Recipe, manifest: Manifest | None = None) -> Store:
    """Prepare the samples of a recipe, and draw the faces that are added to its training set; return the former."""
    manifest = manifest or read_manifest(recipe)
    drawn_expressions(recipe.data.synthetic, select(recipe, manifest))
    store = prepare_store(recipe, manifest)
    _ = TrainingData(recipe, store).drawn
    return store


def preparation(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of :func:`~evenface.preprocessing.prepare.prepare` in a recipe."""
    return {name: getattr(recipe.data, name) for name in ("size", "channels", "faces", "clips", "sequences")}


def split_store(recipe: Recipe, store: Store) -> Split:
    """Split the prepared samples by the recipe's protocol."""
    protocol, manifest = recipe.protocol, select(recipe, store.manifest)
    store.verify()
    pairs = None
    if protocol.duplicates != "keep":
        from evenface.data.leakage import copies_across

        pairs = copies_across(stored_samples(store), manifest)
    clusters = None
    if protocol.by == "pseudo-subject":
        from evenface.preprocessing.pseudo_subjects import find_pseudo_subjects

        clusters = find_pseudo_subjects(store)
    return split_manifest(manifest, protocol, pairs, clusters)


def stored_samples(store: Store) -> Any:
    """Return the store's images or sequences, (N, ...)."""
    return store.images if store.sequences is None else store.sequences


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


def target_predictions(manifest: Manifest, rows: np.ndarray, values: np.ndarray) -> TargetPredictions:
    """Return predictions of targets with the samples they are of."""
    table = manifest.table.iloc[rows]
    sample, subject, clip = (table[name].to_numpy(dtype=object) for name in ("sample", "subject", "clip"))
    task = cast(Literal["regression", "multilabel"], manifest.task)
    return TargetPredictions(sample, subject, manifest.target_values(rows), values, manifest.targets, task, clip)


def auxiliary_predictions(data: TrainingData, rows: np.ndarray, values: np.ndarray) -> TargetPredictions:
    """Return predictions of the auxiliary targets with the samples they are of."""
    table, names = data.manifest.table.iloc[rows], data.recipe.data.auxiliary
    sample, subject, clip = (table[name].to_numpy(dtype=object) for name in ("sample", "subject", "clip"))
    return TargetPredictions(sample, subject, data.auxiliary[rows], values, names, "regression", clip)


def with_thresholds(predicted: Mapping[str, AnyPredictions]) -> dict[str, AnyPredictions]:
    """Set the thresholds of all multi-label predictions to those of highest F1 on the validation set."""
    validation = predicted.get(VALIDATION)
    if not isinstance(validation, TargetPredictions) or validation.task != "multilabel":
        return dict(predicted)
    thresholds = best_thresholds(validation)
    return {
        name: replace(run, thresholds=thresholds) if isinstance(run, TargetPredictions) else run
        for name, run in predicted.items()
    }
