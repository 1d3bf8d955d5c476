"""Cross-dataset evaluation: predict another data set with a run or a model file, with its classes mapped."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from evenface.config import Recipe, dump_recipe, load_recipe
from evenface.config.onnx_spec import catalogue
from evenface.config.recipe import Baseline, Protocol
from evenface.data.dataset_guess import guess_dataset, is_cropped
from evenface.data.datasets import DATASETS
from evenface.data.labels import ClassMap, ClassMerge, match_classes, merge_classes
from evenface.data.leakage import find_contained
from evenface.data.manifest import TARGET_TASKS, Manifest, TaskKind, attribute_columns
from evenface.data.splits import split_manifest
from evenface.data.targets import is_unit, predicted_values, strata_of, target_columns
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_calibration import TargetCalibration
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.inference.model import Model
from evenface.inference.third_party import ThirdPartyModel
from evenface.preprocessing.baseline import Baselines, compute_baselines, describe_baseline, without
from evenface.preprocessing.landmarks import mirrored
from evenface.preprocessing.store import Store
from evenface.reporting.summaries import WARNING
from evenface.runs import FACTS, HISTORY, PREDICTIONS, RECIPE, UNRESTRICTED, Run, differing_keys, environment
from evenface.training import build, data
from evenface.utils.errors import InputError
from evenface.utils.files import (
    digest,
    is_vacant,
    lock_folder,
    natural_order,
    output_path,
    safe_file_name,
    user_path,
)
from evenface.utils.progress import progress
from evenface.utils.registry import nearest

PROGRESS_BATCHES = 16
"""Number of batches between updates of the progress bar."""
MODEL_BATCH = 64
"""Samples of a batch for a model file."""
IDENTITY = ("weights", "manifest", "on", "map", "everything", "merge")
"""Keys of run.json that identify an evaluation; of ``on``, everything but the path of the data."""
COPIED = ("recipe", "seed", "loss", "target_counts", "epochs", "training_seconds", "sequences", "networks", "notes")
"""Keys of run.json that are copied from the run."""
SEQUENCE_SETTINGS = ("frames", "depth", "blendshapes", "normalise")
"""Settings of sequences that must be as in training."""


@dataclass(frozen=True)
class ModelOutputs:
    """Outputs of a model for N samples."""

    scores: np.ndarray
    output: np.ndarray | None
    one_vs_rest: bool
    device: str
    precision: str = "float32"


@dataclass(frozen=True)
class DatasetPredictor:
    """What predicts a data set: a run, or a model file.

    Parameters
    ----------
    noun, name, trained : str
        Kind, name, and what it was trained on, for notes.
    folder : Path
        Folder in which evaluations are saved by default.
    classes : tuple of str
        Its classes, or targets.
    outputs : callable
        Computes its outputs for rows of a store, relative to the baselines of persons.
    identity, facts : dict
        Entries of run.json: those that identify it, and what is known of its training.
    settings, fixed : dict
        Settings of ``data`` for a source that is named alone; settings that the network determines, by dotted key.
    frames : int
        Frames of a sample that the network takes.
    run : Run or None
        The run; None for a model file.
    sources : tuple of str
        Sources that a model file was trained on.
    fits_crop : bool
        Whether faces are detected only where images are no crops of faces already.
    task : {"classification", "ordinal", "regression", "multilabel"}
        What it predicts.
    thresholds : tuple of float, or None
        Multi-label: uncalibrated probability from which each target is present.
    baseline : Baseline or None
        What inputs are relative to for each person.
    """

    noun: str
    name: str
    trained: str
    folder: Path
    classes: tuple[str, ...]
    outputs: Callable[[Store, np.ndarray, Baselines | None], ModelOutputs]
    identity: dict[str, Any]
    facts: dict[str, Any]
    settings: dict[str, Any]
    fixed: dict[str, Any]
    frames: int = 1
    run: Run | None = None
    sources: tuple[str, ...] = ()
    fits_crop: bool = False
    baseline: Baseline | None = None
    task: TaskKind = "classification"
    thresholds: tuple[float, ...] | None = None

    def baselines(self, target: Recipe, store: Store, rows: np.ndarray) -> tuple[Baselines | None, list[str]]:
        """Compute the baselines of the persons of a store, from their samples in it alone, and a note on them."""
        settings = target.data.baseline
        if settings.kind == "none":
            return None, []
        samples, manifest = data.stored_samples(store), store.manifest
        baselines = compute_baselines(samples, manifest, settings, tested=rows, seed=target.seed)
        return baselines, [describe_baseline(settings, manifest)]


def predict_on(
    folder: str | Path, on: str | Path | Mapping[str, Any], *, trust_plugins: bool = False, **options: Any
) -> Run:
    """Predict another data set with a trained run; options are those of :func:`predict_with`."""
    return predict_with(run_predictor(Run.open(folder, trust_plugins=trust_plugins)), on, **options)


def predict_with(
    predictor: DatasetPredictor,
    on: str | Path | Mapping[str, Any] | None = None,
    *,
    own_data: str | Path | None = None,
    classes: Mapping[str, str | None] | None = None,
    merge: Mapping[str, str | Sequence[str]] | None = None,
    everything: bool = False,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """Predict a data set, or own data in a folder or table; see :func:`evenface.api.evaluate`."""
    target, listed, wanted = _target(predictor, on, own_data, overrides or {})
    out_folder = output_path(out or predictor.folder / safe_file_name(f"on-{target.name}"), folder=True)
    if predictor.task in TARGET_TASKS:
        if classes or merge:
            raise InputError(f"the {predictor.noun} predicts targets, no classes", "Leave out the map of classes.")
        return _predict_targets(predictor, target, listed, wanted, out_folder, everything=everything)
    merged = merge_classes(predictor.classes, merge)
    match_classes(merged.classes, listed.classes, classes)  # before hours of preparation
    store, candidates, notes = _prepare_test_set(predictor, target, listed, everything)
    _check_input(predictor, target, store)
    class_map = match_classes(merged.classes, store.manifest.classes, classes)
    named, groups = class_map.named, merged.groups
    if predictor.run is None:
        merged, class_map = _in_order_of_data(merged, class_map)
    mapped = candidates[class_map.labels(store.manifest.labels[candidates]) >= 0]
    tested = _tested(predictor, target, store, mapped, f"of {', '.join(class_map.shared)}")
    rows = tested.rows
    facts = _identity(predictor, target, store, named, everything=everything) | ({"merge": groups} if groups else {})
    with lock_folder(out_folder):
        if _is_finished(out_folder, facts):
            return Run(out_folder)
        outputs = predictor.outputs(store, rows, tested.baselines)
        # A merged class has no one-vs-rest classifier of its own and no value on an ordinal scale.
        unmerged = not groups
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
        noun = predictor.noun
        own_notes = [
            *_class_notes(predictor, target, store, class_map, named, candidates, predictions),
            *(f"classes of the {noun} merged to {name}: {', '.join(parts)}" for name, parts in groups.items()),
        ]
        used = list(class_map.used)
        counts = {side: merged.sum(values)[used].tolist() for side, values in predictor.facts["counts"].items()}
        facts |= _provenance(predictor, store, predictions, outputs, [*own_notes, *tested.notes_of(target, notes)]) | {
            "classes": list(class_map.shared),
            "counts": counts | {"test": predictions.support[used].tolist()},
        }
        shared = restricted(predictions, class_map)
        written = {PREDICTIONS: shared, UNRESTRICTED: predictions}
        _write(predictor, out_folder, facts, store, rows, shared.labels, written)
    return Run(out_folder)


@dataclass(frozen=True)
class _Tested:
    """Rows that are tested, the baselines of their persons, and notes on samples that were trained on and on these."""

    rows: np.ndarray
    baselines: Baselines | None
    overlap_notes: list[str]
    baseline_notes: list[str]

    def notes_of(self, target: Recipe, notes: Sequence[str]) -> list[str]:
        """Return all notes on the data; ``notes`` are those of the data set and its split."""
        return [*self.overlap_notes, *(f"{target.name}: {note}" for note in (*notes, *self.baseline_notes))]


def _tested(predictor: DatasetPredictor, target: Recipe, store: Store, rows: np.ndarray, what: str) -> _Tested:
    """Drop samples that were trained on or that baselines are computed from; refuse a test set without samples."""
    rows, overlap_notes = _check_overlap(predictor, target, store, rows)
    baselines, baseline_notes = predictor.baselines(target, store, rows)
    if baselines is not None:
        rows = without(rows, baselines.reserved)
    if not len(rows):
        raise InputError(f"{target.name} has no test sample {what}")
    return _Tested(rows, baselines, overlap_notes, baseline_notes)


def _identity(
    predictor: DatasetPredictor, target: Recipe, store: Store, mapping: Mapping[str, str | None], *, everything: bool
) -> dict[str, Any]:
    """Return the entries of run.json that identify an evaluation."""
    return {
        **predictor.identity,
        "manifest": store.manifest.hash,
        "on": target.model_dump(mode="json"),
        "map": dict(mapping),
        "everything": everything,
    }


def _provenance(
    predictor: DatasetPredictor,
    store: Store,
    predictions: AnyPredictions,
    outputs: ModelOutputs,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Return the entries of run.json on what was predicted, on what, and how."""
    return predictor.facts | {
        "environment": environment(),
        "store": str(store.path),
        "prepared": store.summary(),
        "people": predictor.facts["people"] | {"test": predictions.people},
        "device": outputs.device,
        "precision": outputs.precision,
        "notes": [*notes, *(f"in training: {note}" for note in predictor.facts["notes"])],
    }


def _predict_targets(
    predictor: DatasetPredictor,
    target: Recipe,
    listed: Manifest,
    wanted: Sequence[str],
    out_folder: Path,
    *,
    everything: bool,
) -> Run:
    """Predict the targets that the data set has columns of the same names for; all others are reported.

    ``wanted`` are the targets that the recipe of the data names itself, none where it names none.
    """
    task = cast(Literal["regression", "multilabel"], predictor.task)
    columns, noun = target_columns(listed), predictor.noun
    names = [name for name in predictor.classes if name in columns and (not wanted or name in wanted)]
    if not names:
        raise InputError(
            f"{target.name} has no column of the targets of the {noun}: {', '.join(predictor.classes)}",
            f"Its columns of numbers are {', '.join(columns) or 'none'}: name them as the targets are named.",
        )
    target = load_recipe(target.model_dump(mode="json"), {"data.task": task, "data.targets": names})
    store, candidates, notes = _prepare_test_set(predictor, target, listed, everything)
    _check_input(predictor, target, store)
    truth = predicted_values(store.manifest, names, task, target.data.positive_from)
    known = candidates[~np.isnan(truth[candidates]).all(axis=1)]
    tested = _tested(predictor, target, store, known, f"whose {', '.join(names)} are known")
    rows = tested.rows
    facts = _identity(predictor, target, store, {name: name for name in names}, everything=everything)
    with lock_folder(out_folder):
        if _is_finished(out_folder, facts):
            return Run(out_folder)
        outputs = predictor.outputs(store, rows, tested.baselines)
        kept = [predictor.classes.index(name) for name in names]
        table = store.manifest.table.iloc[rows]
        sample, subject, clip = (table[name].to_numpy(dtype=object) for name in ("sample", "subject", "clip"))
        thresholds = tuple(predictor.thresholds[index] for index in kept) if predictor.thresholds else None
        values = outputs.scores[:, kept]
        predictions = TargetPredictions(
            sample, subject, truth[rows], values, tuple(names), task, clip=clip, thresholds=thresholds
        )
        strata = strata_of(truth[rows], names, task)
        order = natural_order(set(strata))
        labels = np.array([order.index(name) for name in strata])
        annotated = wanted or [name for name in columns if name in listed.targets or is_unit(name)]
        own_notes = _target_notes(predictor, target, names, annotated)
        facts |= _provenance(predictor, store, predictions, outputs, [*own_notes, *tested.notes_of(target, notes)]) | {
            "task": task,
            "targets": names,
            "classes": order,
            "counts": {"test": np.bincount(labels, minlength=len(order)).tolist()},
            **_target_counts(predictor, predictions, kept),
        }
        _write(predictor, out_folder, facts, store, rows, labels, {PREDICTIONS: predictions})
    return Run(out_folder)


def _target_counts(
    predictor: DatasetPredictor, predictions: TargetPredictions, kept: Sequence[int]
) -> dict[str, dict[str, list[int]]]:
    """Count the samples in which each target of a multi-label task is present, in training and in the test set."""
    if predictor.task != "multilabel":
        return {}
    trained = predictor.facts.get("target_counts", {})
    counts = {side: [values[index] for index in kept] for side, values in trained.items() if side != "test"}
    return {"target_counts": counts | {"test": predictions.support.tolist()}}


def _target_notes(
    predictor: DatasetPredictor, target: Recipe, names: Sequence[str], annotated: Sequence[str]
) -> Iterator[str]:
    """Yield notes on which targets were matched by their names, and which were not."""
    yield f"{predictor.trained}, tested on {target.name}"
    yield f"targets matched by name: {', '.join(names)}"
    if lacking := [name for name in predictor.classes if name not in names]:
        yield f"not evaluated on {target.name}: {', '.join(lacking)}"
    if other := [name for name in annotated if name not in predictor.classes]:
        yield f"the {predictor.noun} does not predict {', '.join(other)} of {target.name}"


def run_predictor(run: Run) -> DatasetPredictor:
    """Return a run as what predicts another data set."""
    facts, own = run.facts, run.recipe.data
    if "on" in facts:
        raise InputError(f"{run.folder} is itself a cross-dataset evaluation", f"Specify its run: {facts['run']}.")
    fixed: dict[str, Any] = {"data.size": own.size, "data.channels": own.channels}
    if run.recipe.modality == "sequences":
        fixed = {f"data.sequences.{key}": getattr(own.sequences, key) for key in SEQUENCE_SETTINGS}
    elif frames_of(run) > 1:
        fixed["data.clips.frames"] = own.clips.frames
    known = {key: facts[key] for key in COPIED if key in facts}
    results = run.results
    for key in ("counts", "people"):
        known[key] = {side: value for side, value in facts[key].items() if side != "test"}
    return DatasetPredictor(
        "run",
        run.folder.name,
        f"trained on {own.source}",
        run.folder,
        tuple(facts.get("targets", facts["classes"])),
        lambda store, rows, baselines: compute_outputs(run, store, rows, baselines),
        {"run": str(run.folder), "weights": digest(run.weights.read_bytes())},
        known,
        own.model_dump(mode="json", include=set(type(own).model_fields) - {"synthetic"}),
        fixed,
        frames_of(run),
        run,
        baseline=None if own.baseline.kind == "none" else own.baseline,
        task=facts.get("task", "classification"),
        thresholds=results.thresholds if isinstance(results, TargetPredictions) else None,
    )


def model_predictor(model: Model, path: str | Path, spec: str | Path | None = None) -> DatasetPredictor:
    """Return a model file as what predicts a data set: one of another project, or one that evenface exported."""
    form, other = model.input_spec, model if isinstance(model, ThirdPartyModel) else None
    if form.kind != "stills":
        raise InputError(f"{path} takes {form.kind}; --model is for models of images", "Evaluate its run.")
    entry = other.entry if other else catalogue().get(model.name)
    about = {
        "name": model.name,
        "options": f" --spec {spec}" if spec else "",
        **{key: getattr(entry, key, "unknown to evenface") for key in ("licence", "training_data", "terms")},
        **({"spec": other.spec.model_dump(mode="json")} if other else {}),
    }
    return DatasetPredictor(
        "model",
        model.name,
        f"training data of {model.name}: {about['training_data']}",
        Path("runs") / safe_file_name(model.name),
        model.classes,
        lambda store, rows, baselines: _model_outputs(model, store, rows, baselines),
        {"run": str(path), "weights": model.key},
        {"model": about, "epochs": 0, "training_seconds": 0.0, "counts": {}, "people": {}, "notes": []},
        {"size": form.size, "channels": form.channels, "faces": form.faces.model_dump(mode="json")},
        {"data.size": form.size, "data.channels": form.channels},
        sources=other.spec.trained_on if other else (),
        fits_crop=other is not None and form.crop is not None,
        baseline=form.baseline,
        task=model.task,
        thresholds=_uncalibrated_thresholds(model),
    )


def _uncalibrated_thresholds(model: Model) -> tuple[float, ...] | None:
    """Return the thresholds of a model for the uncalibrated probabilities that evaluations use."""
    if model.thresholds is None or not isinstance(model.calibration, TargetCalibration):
        return model.thresholds
    return tuple(map(float, model.calibration.inverse(np.array(model.thresholds))))


def _model_outputs(model: Model, store: Store, rows: np.ndarray, baselines: Baselines | None) -> ModelOutputs:
    parts = []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), MODEL_BATCH):
            batch = rows[start : start + MODEL_BATCH]
            images = np.asarray(store.images[batch]) if baselines is None else baselines.relative(store.images, batch)
            parts.append(model.scores(images))
            advance(len(batch))
    return ModelOutputs(np.concatenate(parts), None, model.one_vs_rest, "cpu, ONNX Runtime")


def compute_outputs(run: Run, store: Store, rows: np.ndarray, baselines: Baselines | None = None) -> ModelOutputs:
    """Compute the outputs of a run's method as for its own test set."""
    import torch

    from evenface.inference.run_model import inference_fabric
    from evenface.training.batches import ImageBank
    from evenface.training.prediction import ImageScorer, score_sequences

    options = run.recipe.training
    fabric, method = inference_fabric(run), build.trained_method(run)
    device = str(fabric.device)
    if store.sequences is not None:
        middle = store.middle if baselines is None else 0.0  # of differences
        mirror = functools.partial(mirrored, points=store.points, kind=run.recipe.augment.flip_landmarks, middle=middle)
        method.to(device)
        sequences, places = store.sequences, rows
        if baselines is not None:
            sequences, places = baselines.relative(sequences, rows), np.arange(len(rows))
        scores = score_sequences(method, sequences, places, device=device, mirror=mirror if options.tta_flip else None)
        return ModelOutputs(scores, None, method.one_vs_rest, device, run.precision)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(fabric.device)
    first, index = (None, None) if baselines is None else (baselines.mean, baselines.index)
    bank = ImageBank(store.images, fabric.device, frames_of(run), first, index)
    scorer = ImageScorer(fabric, method, bank, options.batch_size, options.tta_flip)
    length = PROGRESS_BATCHES * options.batch_size
    parts, outputs = [], []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), length):
            batch = rows[start : start + length]
            scores, output = scorer.score(batch)
            parts.append(scores[:, : len(run.facts.get("targets", run.facts["classes"]))])  # not auxiliary ones
            outputs += [] if output is None else [output]
            advance(len(batch))
    joined = np.concatenate(outputs) if outputs else None
    return ModelOutputs(np.concatenate(parts), joined, method.one_vs_rest, device, run.precision)


def frames_of(run: Run) -> int:
    """Return the number of frames that the run's network takes."""
    return int(run.facts.get("frames", 1))


def _target(
    predictor: DatasetPredictor,
    on: str | Path | Mapping[str, Any] | None,
    own_data: str | Path | None,
    given: Mapping[str, Any],
) -> tuple[Recipe, Manifest, tuple[str, ...]]:
    """Return the recipe of the data, with preparation as in training, its samples, and the targets that it names.

    Only its test set is used.
    """
    content: Any = on
    overrides = dict(given)
    if own_data is not None:
        guess = guess_dataset(own_data, overrides)
        overrides = {key: value for key, value in overrides.items() if key not in ("data.source", "data.root")}
        source = {key: value for key, value in guess.data.items() if key not in predictor.settings or key == "source"}
        name = user_path(own_data).resolve().stem
        content = {"name": name, "data": {**predictor.settings, **source}, "protocol": guess.protocol}
    elif isinstance(on, str) and on in DATASETS:
        settings = {**predictor.settings, "source": on, "root": None}
        content = {"name": on, "data": settings, "protocol": {"kind": "official"}}
    fits_crop = predictor.fits_crop and content is not on and "data.faces.crop" not in overrides
    for key, value in predictor.fixed.items():
        if overrides.get(key, value) != value:
            noun = predictor.noun
            raise InputError(f"{key} cannot be {overrides[key]}: the {noun}'s network takes {value}", f"Remove {key}.")
    target = load_recipe(content, {**overrides, **predictor.fixed, "protocol.validation": 0})
    imbalance = target.protocol.imbalance
    if imbalance is not None and imbalance.on == "train":
        target = load_recipe(target.model_dump(mode="json"), {"protocol.imbalance": None})
    target = _with_baseline(predictor, target)
    named = content is on or "data.targets" in given
    wanted = target.data.targets if named and predictor.task in TARGET_TASKS else ()
    target, listed = _listed(target, lenient=not named)
    columns = target_columns(listed)
    if unknown := [name for name in wanted if name not in columns]:
        raise InputError(f"{target.name} has no column of numbers {unknown[0]!r}", nearest(unknown[0], columns))
    if fits_crop and is_cropped(listed):
        target = load_recipe(target.model_dump(mode="json"), {"data.faces.crop": "none"})
    return target, listed, wanted


def _with_baseline(predictor: DatasetPredictor, target: Recipe) -> Recipe:
    """Set the person baseline of the data to the one of training; refuse another."""
    own, given = predictor.baseline or Baseline(), target.data.baseline
    if given.kind not in ("none", own.kind):
        raise InputError(
            f"data.baseline cannot be {given.kind}: the {predictor.noun} takes {own.kind}", "Remove data.baseline."
        )
    fixed = own if given.kind == "none" else given.replace(scale=own.scale, frames=own.frames)
    return load_recipe(target.model_dump(mode="json"), {"data.baseline": fixed.model_dump(mode="json")})


def _listed(target: Recipe, *, lenient: bool) -> tuple[Recipe, Manifest]:
    """Read the samples of the data; if lenient, without the model's own targets where some are not there."""
    try:
        return target, data.read_manifest(target)
    except InputError:
        if not (lenient and target.data.targets):
            raise
    target = load_recipe(target.model_dump(mode="json"), {"data.targets": [], "data.task": "auto"})
    return target, data.read_manifest(target)


def _check_input(predictor: DatasetPredictor, target: Recipe, store: Store) -> None:
    """Raise InputError if the samples are not of the kind and shape that the network takes."""
    expected, noun = predictor.run.facts.get("sequences") if predictor.run else None, predictor.noun
    if expected is not None or store.sequences is not None:
        _check_sequences(target, store, expected, noun)
        return
    given, taken = data.TrainingData(target, store).frames, predictor.frames
    if given == taken:
        return
    if taken == 1:
        raise InputError(
            f"the {noun}'s network takes single images; {target.name} has clips of {given} frames",
            "Use single frames: data.clips.sampling=windows data.clips.frames=1.",
        )
    raise InputError(f"the {noun}'s network takes clips of {taken} frames; {target.name} has single images")


def _check_sequences(target: Recipe, store: Store, expected: Mapping[str, Any] | None, noun: str) -> None:
    if expected is None or store.sequences is None:
        taken, given = ("images", "sequences") if expected is None else ("sequences", "images")
        raise InputError(f"the {noun}'s network takes {taken}; {target.name} has {given}")
    actual: dict[str, Any] = {"points": store.points, "shape": [int(size) for size in store.sequences.shape[1:]]}
    for key, value in actual.items():
        if value != expected[key]:
            raise InputError(
                f"the {noun}'s network takes sequences with {key} {expected[key]}; {target.name} has {key} {value}"
            )
    if store.middle != expected["middle"]:
        raise InputError(
            f"landmarks of {target.name} have another centre than those that the run was trained on",
            "Train on normalised landmarks: data.sequences.normalise=scale.",
        )


def _prepare_test_set(
    predictor: DatasetPredictor, target: Recipe, listed: Manifest, everything: bool
) -> tuple[Store, np.ndarray, list[str]]:
    """Prepare the test set, or all samples; return the store, their rows in the order of names, and notes.

    Only samples of an official test set are prepared. Other splits depend on which samples are usable.
    """
    if everything:
        store = data.prepare_store(target, listed)
        if predictor.run:
            _check_not_trained_on(predictor.run, target, store)
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


def _check_overlap(
    predictor: DatasetPredictor, target: Recipe, store: Store, rows: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Count samples that are identical to training or validation samples; drop them where the protocol asks for it."""
    run, name, source = predictor.run, predictor.name, target.data.source
    if run is None and source in predictor.sources:
        return rows, [f"{WARNING} {name} was trained on {source}: its training data may include these samples"]
    if run is None:
        return rows, [f"overlap with the training data of {name} was not checked: evenface does not have them"]
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


def _in_order_of_data(merged: ClassMerge, class_map: ClassMap) -> tuple[ClassMerge, ClassMap]:
    """Name and order the classes of a model file as the data do, so that it can be compared with runs on them."""
    order = list(dict.fromkeys([*(i for i in class_map.indices if i is not None), *range(len(class_map.model))]))
    partners = [
        [name for name, i in zip(class_map.target, class_map.indices, strict=True) if i == old] for old in order
    ]
    pairs = zip(order, partners, strict=True)
    classes = tuple(names[0] if len(names) == 1 else class_map.model[old] for old, names in pairs)
    if len(set(classes)) < len(classes):  # a class of the data has the name of another class of the model
        classes = tuple(class_map.model[old] for old in order)
    indices = tuple(None if i is None else order.index(i) for i in class_map.indices)
    merge = ClassMerge(merged.model, classes, tuple(order.index(i) for i in merged.indices))
    return merge, ClassMap(classes, class_map.target, indices)


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
    predictor: DatasetPredictor,
    target: Recipe,
    store: Store,
    class_map: ClassMap,
    named: Mapping[str, str | None],
    rows: np.ndarray,
    predictions: Predictions,
) -> list[str]:
    """Return notes on how classes were mapped and probabilities restricted."""
    notes = [f"{predictor.trained}, tested on {target.name}"]
    renamed = [f"{name} is {partner}" for name, partner in named.items() if partner not in (None, name)]
    if renamed:
        notes.append(f"classes of {target.name} mapped to those of the {predictor.noun}: {', '.join(renamed)}")
    counts = dict(zip(store.manifest.classes, store.manifest.counts(rows).tolist(), strict=True))
    if class_map.only_target:
        dropped = ", ".join(f"{name} ({counts[name]} samples)" for name in class_map.only_target)
        notes.append(f"dropped, as the {predictor.noun} has no such class or the map excludes it: {dropped}")
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


def _write(
    predictor: DatasetPredictor,
    folder: Path,
    facts: dict[str, Any],
    store: Store,
    rows: np.ndarray,
    labels: np.ndarray,
    predictions: Mapping[str, AnyPredictions],
) -> None:
    """Write the folder; the predictions last, as they mark it as finished."""
    recipe, history = _training_files(predictor, facts)
    columns = ["sample", "subject", *attribute_columns(store.manifest.table)]
    split = store.manifest.table.iloc[rows][columns].assign(label=labels, row=rows, side="test")
    Run(folder).record(facts, split, predictions, recipe=recipe, history=history)


def _training_files(predictor: DatasetPredictor, facts: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return recipe and history of a run; of a model file a recipe of data and protocol, and a history of no epoch."""
    if predictor.run:
        return predictor.run.file(RECIPE).read_bytes(), predictor.run.file(HISTORY).read_bytes()
    content = {key: facts["on"][key] for key in ("data", "protocol")}
    recipe = load_recipe({"name": predictor.name, "network": {"name": predictor.name}, **content})
    return dump_recipe(recipe).encode(), b"epoch\n"
