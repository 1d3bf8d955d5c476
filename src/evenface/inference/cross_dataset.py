"""Cross-dataset evaluation: predict another data set with a run, with its classes mapped to the run's."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evenface.config import Recipe, load_recipe
from evenface.config.recipe import Protocol
from evenface.data.datasets import DATASETS
from evenface.data.labels import ClassMap, ClassMerge, match_classes, merge_classes
from evenface.data.leakage import find_contained
from evenface.data.manifest import attribute_columns
from evenface.data.splits import split_manifest
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.store import Store
from evenface.runs import FACTS, HISTORY, PREDICTIONS, RECIPE, SPLIT, UNRESTRICTED, Run, differing_keys, environment
from evenface.training import build, data
from evenface.utils.errors import InputError
from evenface.utils.files import (
    atomic_write,
    digest,
    is_vacant,
    lock_folder,
    output_path,
    safe_file_name,
    user_path,
    write_json_with_digest,
    write_parquet,
)
from evenface.utils.progress import progress

PROGRESS_BATCHES = 16
"""Number of batches between updates of the progress bar."""
IDENTITY = ("weights", "manifest", "on", "map", "everything", "merge")
"""Keys of run.json that identify an evaluation; of ``on``, everything but the path of the data."""
COPIED = ("recipe", "seed", "epochs", "training_seconds", "sequences", "networks")
"""Keys of run.json that are copied from the run."""
SEQUENCE_SETTINGS = ("frames", "depth", "blendshapes", "normalise")
"""Settings of sequences that must be as in training."""


def predict_on(
    folder: str | Path,
    on: str | Path | Mapping[str, Any],
    *,
    classes: Mapping[str, str | None] | None = None,
    merge: Mapping[str, str | Sequence[str]] | None = None,
    everything: bool = False,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust_plugins: bool = False,
) -> Run:
    """Predict another data set with a trained run; see :func:`evenface.api.evaluate`."""
    run = Run.open(folder, trust_plugins=trust_plugins)
    if "on" in run.facts:
        raise InputError(f"{folder} is itself a cross-dataset evaluation", f"Specify its run: {run.facts['run']}.")
    target = _target_recipe(run, on, overrides or {})
    out_folder = output_path(out or run.folder / safe_file_name(f"on-{target.name}"), folder=True)
    store, candidates, notes = _prepare_test_set(run, target, everything)
    _check_input(run, target, store)
    merged = merge_classes(run.facts["classes"], merge)
    class_map = match_classes(merged.classes, store.manifest.classes, classes)
    mapped = candidates[class_map.labels(store.manifest.labels[candidates]) >= 0]
    rows, overlap_notes = _check_overlap(run, target, store, mapped)
    if not len(rows):
        raise InputError(f"{target.name} has no test sample of {', '.join(class_map.shared)}")
    facts = {
        "run": str(run.folder),
        "weights": digest(run.weights.read_bytes()),
        "manifest": store.manifest.hash,
        "on": target.model_dump(mode="json"),
        "map": class_map.named,
        "everything": everything,
        **({"merge": merged.groups} if merged.groups else {}),
    }
    with lock_folder(out_folder):
        if _is_finished(out_folder, facts):
            return Run(out_folder)
        outputs = compute_outputs(run, store, rows)
        # A merged class has no one-vs-rest classifier of its own and no value on an ordinal scale.
        unmerged = not merged.groups
        predictions = data.predictions(
            store.manifest,
            rows,
            merged.sum(shares(outputs.scores)),
            labels=class_map.labels(store.manifest.labels[rows]),
            classes=class_map.model,
            scores=outputs.scores if outputs.one_vs_rest and unmerged else None,
            output=outputs.output if unmerged else None,
        )
        predictions = replace(predictions, ordered=predictions.ordered and merged.in_order)
        notes = [
            *_class_notes(run, target, store, class_map, candidates, predictions),
            *(f"classes of the run merged to {name}: {', '.join(parts)}" for name, parts in merged.groups.items()),
            *overlap_notes,
            *(f"{target.name}: {note}" for note in notes),
        ]
        facts |= _facts(run, store, class_map, merged, predictions) | {
            "device": outputs.device,
            "precision": run.precision,
            "notes": [*notes, *(f"in training: {note}" for note in run.facts["notes"])],
        }
        _write(run, out_folder, facts, store, rows, predictions, class_map)
    return Run(out_folder)


@dataclass(frozen=True)
class ModelOutputs:
    """Outputs of a run's method for N samples."""

    scores: np.ndarray
    output: np.ndarray | None
    one_vs_rest: bool
    device: str


def compute_outputs(run: Run, store: Store, rows: np.ndarray) -> ModelOutputs:
    """Compute the outputs of a run's method as for its own test set."""
    import torch

    from evenface.inference.run_model import inference_fabric
    from evenface.training.batches import ImageBank
    from evenface.training.prediction import output_rows, score_sequences

    options = run.recipe.training
    fabric, method = inference_fabric(run), build.trained_method(run)
    device = str(fabric.device)
    if store.sequences is not None:
        mirror = functools.partial(
            mirrored, points=store.points, kind=run.recipe.augment.flip_landmarks, middle=store.middle
        )
        method.to(device)
        scores = score_sequences(
            method, store.sequences, rows, device=device, mirror=mirror if options.tta_flip else None
        )
        return ModelOutputs(scores, None, method.one_vs_rest, device)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(fabric.device)
    images = ImageBank(store.images, fabric.device, frames_of(run))
    length = PROGRESS_BATCHES * options.batch_size
    parts, outputs = [], []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), length):
            batch = rows[start : start + length]
            scores, output = output_rows(fabric, method, images, batch, options.batch_size, mirror=options.tta_flip)
            parts.append(scores)
            outputs += [] if output is None else [output]
            advance(len(batch))
    joined = np.concatenate(outputs) if outputs else None
    return ModelOutputs(np.concatenate(parts), joined, method.one_vs_rest, device)


def frames_of(run: Run) -> int:
    """Return the number of frames that the run's network takes."""
    return int(run.facts.get("frames", 1))


def _target_recipe(run: Run, on: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the other data set, with preparation as in training; only its test set is used."""
    own = run.recipe.data
    content: Any = on
    if isinstance(on, str) and on in DATASETS:
        common = {key: value for key, value in own.model_dump(mode="json").items() if key in type(own).model_fields}
        content = {"name": on, "data": {**common, "source": on, "root": None}, "protocol": {"kind": "official"}}
    fixed: dict[str, Any] = {"data.size": own.size, "data.channels": own.channels}
    if run.recipe.modality == "sequences":
        settings = own.sequences
        fixed = {f"data.sequences.{key}": getattr(settings, key) for key in SEQUENCE_SETTINGS}
    elif frames_of(run) > 1:
        fixed["data.clips.frames"] = own.clips.frames
    for key, value in fixed.items():
        if overrides.get(key, value) != value:
            raise InputError(f"{key} cannot be {overrides[key]}: the run's network takes {value}", f"Remove {key}.")
    target = load_recipe(content, {**overrides, **fixed, "protocol.validation": 0})
    imbalance = target.protocol.imbalance
    if imbalance is not None and imbalance.on == "train":
        target = load_recipe(target.model_dump(mode="json"), {"protocol.imbalance": None})
    return target


def _check_input(run: Run, target: Recipe, store: Store) -> None:
    """Raise InputError if the samples are not of the kind and shape that the run's network takes."""
    expected = run.facts.get("sequences")
    if expected is not None or store.sequences is not None:
        _check_sequences(target, store, expected)
        return
    given, taken = data.TrainingData(target, store).frames, frames_of(run)
    if given == taken:
        return
    if taken == 1:
        raise InputError(
            f"the run's network takes single images; {target.name} has clips of {given} frames",
            "Use single frames: data.clips.sampling=windows data.clips.frames=1.",
        )
    raise InputError(f"the run's network takes clips of {taken} frames; {target.name} has single images")


def _check_sequences(target: Recipe, store: Store, expected: Mapping[str, Any] | None) -> None:
    if expected is None or store.sequences is None:
        taken, given = ("images", "sequences") if expected is None else ("sequences", "images")
        raise InputError(f"the run's network takes {taken}; {target.name} has {given}")
    actual: dict[str, Any] = {"points": store.points, "shape": [int(size) for size in store.sequences.shape[1:]]}
    for key, value in actual.items():
        if value != expected[key]:
            raise InputError(
                f"the run's network takes sequences with {key} {expected[key]}; {target.name} has {key} {value}"
            )
    if store.middle != expected["middle"]:
        raise InputError(
            f"landmarks of {target.name} have another centre than those that the run was trained on",
            "Train on normalised landmarks: data.sequences.normalise=scale.",
        )


def _prepare_test_set(run: Run, target: Recipe, everything: bool) -> tuple[Store, np.ndarray, list[str]]:
    """Prepare the test set, or all samples; return the store, their rows in the order of names, and notes.

    Only samples of an official test set are prepared. Other splits depend on which samples are usable.
    """
    listed = data.read_manifest(target)
    if everything:
        store = data.prepare_store(target, listed)
        _check_not_trained_on(run, target, store)
        return store, _in_order(store), [*store.manifest.notes, "evaluated on all samples, whatever their split"]
    try:
        if not _split_is_fixed(target.protocol):
            store = data.prepare_store(target, listed)
            split = data.split_store(target, store)
            return store, split.test, [*store.manifest.notes, *split.notes]
        split = split_manifest(listed, target.protocol.replace(duplicates="keep"))
    except InputError as error:
        hint = f"{error.hint} To evaluate on all samples: --all-samples (all_samples=True)."
        raise InputError(error.message, hint.strip()) from error
    store = data.prepare_store(target, listed.take(np.sort(split.test)))
    store.verify()
    return store, _in_order(store), [*store.manifest.notes, *split.notes]


def _split_is_fixed(protocol: Protocol) -> bool:
    """Return whether the test set is known before samples are prepared."""
    whole = protocol.cohorts == 1 and protocol.imbalance is None and protocol.duplicates != "drop-test"
    return protocol.kind == "official" and whole


def _in_order(store: Store) -> np.ndarray:
    """Return all rows of a store, in the order of their names."""
    return np.argsort(store.manifest.table["sample"].astype(str).to_numpy(), kind="stable").astype(np.int64)


def _check_not_trained_on(run: Run, target: Recipe, store: Store) -> None:
    """Raise InputError if the run was trained on the data, all samples of which are to be used."""
    own = run.recipe.data
    same_root = (
        own.root is not None
        and target.data.root is not None
        and user_path(own.root).resolve() == user_path(target.data.root).resolve()
    )
    if store.manifest.hash == run.facts["manifest"] or (own.source == target.data.source and same_root):
        raise InputError(
            f"the run was trained on {target.name}: it cannot be evaluated on all of its samples",
            "Remove --all-samples to evaluate on the test set.",
        )


def _check_overlap(run: Run, target: Recipe, store: Store, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Count samples that are identical to training or validation samples; drop them where the protocol asks for it."""
    try:
        own_store = run.store
    except InputError:
        return rows, ["overlap with the training data was not checked: the run's prepared samples were deleted"]
    split = run.split
    used = split.loc[split["side"].isin(["train", "validation"]), "row"].to_numpy(dtype=np.int64)
    overlap = find_contained(data.stored_samples(store), rows, data.stored_samples(own_store), np.sort(used))
    if not overlap.any():
        return rows, []
    kind = "images" if store.sequences is None else "sequences"
    if target.protocol.duplicates == "drop-test":
        return rows[~overlap], [f"{int(overlap.sum())} {kind} dropped: the run was trained on them"]
    return rows, [
        f"LEAK: the run was trained on {int(overlap.sum())} of {len(rows)} {kind}; "
        "protocol.duplicates: drop-test drops them"
    ]


def _is_finished(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether the folder holds this evaluation, finished; raise InputError if it holds something else."""
    if (folder / FACTS).is_file():
        stored = Run(folder).facts
        different = [key for key in IDENTITY if stored.get(key) != facts.get(key)]
        if "on" in different and "on" in stored:
            # Recipes of older versions may lack keys, and the data may have been moved.
            recipes = [load_recipe(stored["on"]), load_recipe(facts["on"])]
            keys = differing_keys(recipes, ignore=("data.root",))
            different += [key for key in keys if key.startswith(("data.", "protocol."))]
            different.remove("on")
        if different:
            raise InputError(
                f"{folder} holds another run or evaluation, with other {', '.join(different)}",
                "Choose another folder with --out.",
            )
        return Run(folder).finished
    if not is_vacant(folder):
        raise InputError(f"{folder} exists and is not a run folder", "Choose another folder with --out.")
    return False


def restricted(predictions: Predictions, class_map: ClassMap) -> Predictions:
    """Restrict predictions over all classes of the model to the shared classes, renormalised."""
    used = list(class_map.used)
    scores, levels = predictions.scores, predictions.levels
    return replace(
        predictions,
        labels=np.searchsorted(class_map.used, predictions.labels),
        probabilities=class_map.restrict(predictions.probabilities),
        classes=class_map.shared,
        scores=None if scores is None else scores[:, used],
        levels=None if levels is None else tuple(levels[index] for index in used),
    )


def _class_notes(
    run: Run, target: Recipe, store: Store, class_map: ClassMap, rows: np.ndarray, predictions: Predictions
) -> list[str]:
    """Return notes on how classes were mapped and probabilities restricted."""
    notes = [f"trained on {run.recipe.data.source}, tested on {target.name}"]
    renamed = [f"{name} is {partner}" for name, partner in class_map.named.items() if partner not in (None, name)]
    if renamed:
        notes.append(f"classes of {target.name} mapped to those of the run: {', '.join(renamed)}")
    counts = dict(zip(store.manifest.classes, store.manifest.counts(rows).tolist(), strict=True))
    if class_map.only_target:
        dropped = ", ".join(f"{name} ({counts[name]} samples)" for name in class_map.only_target)
        notes.append(f"dropped, as the run has no such class or the map excludes it: {dropped}")
    if class_map.only_model:
        outside = 1 - predictions.probabilities[:, list(class_map.used)].sum(axis=1)
        other_class = ~np.isin(predictions.predicted, class_map.used)
        notes.append(
            f"{target.name} has no {', '.join(class_map.only_model)}: probabilities are restricted to the "
            f"{len(class_map.used)} shared classes and renormalised; before, {outside.mean():.1%} of the probability "
            f"was on other classes, which were the most probable for {int(other_class.sum())} of "
            f"{len(predictions)} samples"
        )
    return notes


def _facts(run: Run, store: Store, class_map: ClassMap, merged: ClassMerge, predictions: Predictions) -> dict[str, Any]:
    """Return the content of run.json, for the shared classes."""
    used, counts = list(class_map.used), run.facts["counts"]
    people = {side: number for side, number in run.facts["people"].items() if side != "test"}
    return {
        **{key: run.facts[key] for key in COPIED if key in run.facts},
        "environment": environment(),
        "store": str(store.path),
        "prepared": store.summary(),
        "classes": list(class_map.shared),
        "counts": {
            **{side: merged.sum(counts[side])[used].tolist() for side in ("train", "validation")},
            "test": predictions.support[used].tolist(),
        },
        "people": {**people, "test": predictions.people},
    }


def _write(
    run: Run,
    folder: Path,
    facts: dict[str, Any],
    store: Store,
    rows: np.ndarray,
    predictions: Predictions,
    class_map: ClassMap,
) -> None:
    """Write the folder; the predictions last, as they mark it as finished."""
    write_json_with_digest(folder / FACTS, facts)  # first, so that the folder is this evaluation's if it is interrupted
    for name in (RECIPE, HISTORY):
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(run.file(name), temporary)
    shared = restricted(predictions, class_map)
    columns = ["sample", "subject", *attribute_columns(store.manifest.table)]
    split = store.manifest.table.iloc[rows][columns].assign(label=shared.labels, row=rows, side="test")
    write_parquet(split, folder / SPLIT)
    Run(folder).end(facts, {PREDICTIONS: shared, UNRESTRICTED: predictions})
