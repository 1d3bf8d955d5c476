"""A run tested on other data than it learnt from: which samples, what the classes answer to, what is written."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evenface.config import Recipe, load_recipe
from evenface.data.attributes import attribute_columns
from evenface.data.datasets import DATASETS
from evenface.data.duplicates import find_contained
from evenface.data.labels import ClassMap, ClassMerge, match_classes, merge_classes
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

BATCHES = 16
"""Batches between two moves of the progress bar."""


def frames_of(run: Run) -> int:
    """Give how many frames of a sample the run's network sees."""
    return int(run.facts.get("frames", 1))  # runs from before there were clips do not say


@dataclass(frozen=True)
class Answers:
    """Outputs of a run's method for N samples."""

    scores: np.ndarray
    output: np.ndarray | None
    one_vs_rest: bool
    device: str


def ask(run: Run, store: Store, rows: np.ndarray) -> Answers:
    """Compute the outputs of the run's method as when the run itself was tested."""
    import torch
    from lightning_fabric import Fabric

    from evenface.training.batches import ImageBank
    from evenface.training.fabric import inference_precision
    from evenface.training.prediction import output_rows, score_sequences

    options = run.recipe.training
    cuda = options.accelerator != "cpu" and torch.cuda.is_available()
    precision = inference_precision(run.precision, "cuda" if cuda else "cpu")
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
    method = build.trained_method(run)
    if store.sequences is not None:
        mirror = functools.partial(
            mirrored, points=store.points, kind=run.recipe.augment.flip_landmarks, middle=store.middle
        )
        method.to("cuda" if cuda else "cpu")
        found = score_sequences(
            method,
            store.sequences,
            rows,
            device="cuda" if cuda else "cpu",
            mirror=mirror if options.tta_flip else None,
        )
        return Answers(found, None, method.one_vs_rest, "cuda:0" if cuda else "cpu")
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(fabric.device)
    faces = ImageBank(store.images, fabric.device, frames_of(run))
    length = BATCHES * options.batch_size
    parts, outputs = [], []
    with progress("predicting", len(rows)) as advance:
        for start in range(0, len(rows), length):
            some = rows[start : start + length]
            found, output = output_rows(fabric, method, faces, some, options.batch_size, mirror=options.tta_flip)
            parts.append(found)
            outputs += [] if output is None else [output]
            advance(len(some))
    joined = np.concatenate(outputs) if outputs else None
    return Answers(np.concatenate(parts), joined, method.one_vs_rest, str(fabric.device))


SAME = ("weights", "manifest", "on", "map", "everything", "merge")
"""Facts in which two tests on other data must agree to be the same; of ``on``, all but where the data lies."""
KEPT = ("recipe", "seed", "epochs", "training_seconds", "sequences", "networks")
"""Facts of the run that are those of the test too."""
ALIKE = ("frames", "depth", "blendshapes", "normalise")
"""How sequences must be made as they were for training."""


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
    """Predict another data set with the weights of a run; see :func:`evenface.api.evaluate`."""
    run = Run.open(folder, trust_plugins=trust_plugins)
    if "on" in run.facts:
        raise InputError(f"{folder} is a test on other data itself", f"Give the run: {run.facts['run']}.")
    target = _target(run, on, overrides or {})
    place = output_path(out or run.folder / safe_file_name(f"on-{target.name}"), folder=True)
    store = data.prepare_store(target)
    _check_frames(run, target, store)
    merged = merge_classes(run.facts["classes"], merge)
    found = match_classes(merged.classes, store.manifest.classes, classes)
    rows, notes = _rows(run, target, store, everything)
    tested, said = _unseen(run, target, store, rows[found.labels(store.manifest.labels[rows]) >= 0])
    if not len(tested):
        raise InputError(f"{target.name} has no sample to test on of {', '.join(found.shared)}")
    facts = {
        "run": str(run.folder),
        "weights": digest(run.weights.read_bytes()),
        "manifest": store.manifest.hash,
        "on": target.model_dump(mode="json"),
        "map": found.named,
        "everything": everything,
        **({"merge": merged.groups} if merged.groups else {}),
    }
    with lock_folder(place):
        if _claim(place, facts):
            return Run(place)
        answers = ask(run, store, tested)
        labels = found.labels(store.manifest.labels[tested])
        # A joined class has no detector of its own, and its value on a scale is not known.
        alone = not merged.groups
        whole = data.predictions(
            store.manifest,
            tested,
            merged.sum(shares(answers.scores)),
            labels=labels,
            classes=found.model,
            scores=answers.scores if answers.one_vs_rest and alone else None,
            output=answers.output if alone else None,
        )
        whole = replace(whole, ordered=whole.ordered and merged.in_order)
        notes = [
            *_map_notes(run, target, store, found, rows, whole),
            *(f"classes of the run joined to {name}: {', '.join(own)}" for name, own in merged.groups.items()),
            *said,
            *(f"{target.name}: {one}" for one in notes),
        ]
        facts |= _facts(run, store, found, merged, whole) | {
            "device": answers.device,
            "precision": run.precision,
            "notes": [*notes, *(f"in training: {note}" for note in run.facts["notes"])],
        }
        _write(run, place, facts, store, tested, whole, found)
    return Run(place)


def _target(run: Run, on: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> Recipe:
    """Give the recipe of the other data, prepared as the run's network takes it; only its test side counts."""
    own = run.recipe.data
    content: Any = on
    if isinstance(on, str) and on in DATASETS:
        alike = {key: value for key, value in own.model_dump(mode="json").items() if key in type(own).model_fields}
        content = {"name": on, "data": {**alike, "source": on, "root": None}, "protocol": {"kind": "official"}}
    fixed: dict[str, Any] = {"data.size": own.size, "data.channels": own.channels}
    if run.recipe.modality == "sequences":
        settings = own.sequences
        fixed = {f"data.sequences.{key}": getattr(settings, key) for key in ALIKE}
    elif frames_of(run) > 1:
        fixed["data.clips.frames"] = own.clips.frames
    for key, value in fixed.items():
        if overrides.get(key, value) != value:
            raise InputError(f"{key} cannot be {overrides[key]}: the run's network takes {value}", "Leave it out.")
    target = load_recipe(content, {**overrides, **fixed, "protocol.validation": 0})
    uneven = target.protocol.imbalance
    if uneven is not None and uneven.on == "train":
        target = load_recipe(target.model_dump(mode="json"), {"protocol.imbalance": None})
    return target


def _check_frames(run: Run, target: Recipe, store: Store) -> None:
    """Refuse stills for a network of clips, clips for one of stills, and sequences of other points or numbers."""
    if (known := run.facts.get("sequences")) is not None or store.sequences is not None:
        _check_sequences(target, store, known)
        return
    given, taken = data.TrainingData(target, store).frames, frames_of(run)
    if given == taken:
        return
    if taken == 1:
        raise InputError(
            f"the run's network takes single pictures, {target.name} gives {given} frames of each clip",
            "Take its frames one by one: data.clips.sampling=windows data.clips.frames=1.",
        )
    raise InputError(f"the run's network takes clips of {taken} frames, {target.name} gives single pictures")


def _check_sequences(target: Recipe, store: Store, known: Mapping[str, Any] | None) -> None:
    if known is None or store.sequences is None:
        taken, given = ("pictures", "sequences") if known is None else ("sequences", "pictures")
        raise InputError(f"the run's network takes {taken}, {target.name} gives {given}")
    now: dict[str, Any] = {"points": store.points, "shape": [int(size) for size in store.sequences.shape[1:]]}
    if different := [what for what, value in now.items() if value != known[what]]:
        what = different[0]
        raise InputError(f"the run's network takes sequences of {what} {known[what]}, {target.name} gives {now[what]}")
    if store.middle != known["middle"]:
        raise InputError(
            f"points of {target.name} are not about the same middle as those that the run learnt from",
            "Train on normalised points: data.sequences.normalise=scale.",
        )


def _rows(run: Run, target: Recipe, store: Store, everything: bool) -> tuple[np.ndarray, list[str]]:
    """Choose the samples to test on, and say how; in the order of their names."""
    manifest = store.manifest
    if not everything:
        try:
            sides = data.split_store(target, store)
        except InputError as error:
            hint = f"{error.hint} To evaluate on all samples: --all-samples (all_samples=True)."
            raise InputError(error.message, hint.strip()) from error
        return sides.test, [*manifest.notes, *sides.notes]
    own = run.recipe.data
    same_place = own.root is not None and target.data.root is not None and _same(own.root, target.data.root)
    if manifest.hash == run.facts["manifest"] or (own.source == target.data.source and same_place):
        raise InputError(f"the run learnt from {target.name} itself: it cannot be tested on all of it")
    order = np.argsort(manifest.table["sample"].astype(str).to_numpy(), kind="stable").astype(np.int64)
    return order, [*manifest.notes, "all samples are tested on, whatever their side"]


def _same(first: str, second: str) -> bool:
    return user_path(first).resolve() == user_path(second).resolve()


def _unseen(run: Run, target: Recipe, store: Store, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Note how many of the pictures the run learnt from, or leave them out where the protocol says so."""
    try:
        learnt = run.store
    except InputError:
        return rows, ["not checked whether the run learnt from some of these pictures: its prepared faces are gone"]
    sides = run.split
    used = sides.loc[sides["side"].isin(["train", "validation"]), "row"].to_numpy(dtype=np.int64)
    seen = find_contained(data.stored_samples(store), rows, data.stored_samples(learnt), np.sort(used))
    if not seen.any():
        return rows, []
    what = "pictures" if store.sequences is None else "sequences"
    if target.protocol.duplicates == "drop-test":
        return rows[~seen], [f"{int(seen.sum())} {what} left out: the run learnt from them"]
    return rows, [
        f"LEAK: {int(seen.sum())} of {len(rows)} {what} are among those that the run learnt from; "
        "protocol.duplicates: drop-test leaves them out"
    ]


def _claim(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the folder holds this very test, ended."""
    if (folder / FACTS).is_file():
        known = Run(folder).facts
        different = [key for key in SAME if known.get(key) != facts.get(key)]
        if "on" in different and "on" in known:
            # Recipes of before may lack keys that there are now, and data may have moved.
            recipes = [load_recipe(known["on"]), load_recipe(facts["on"])]
            counting = differing_keys(recipes, ignore=("data.root",))
            different += [key for key in counting if key.startswith(("data.", "protocol."))]
            different.remove("on")
        if different:
            raise InputError(
                f"{folder} holds another run or test: other {', '.join(different)}", "Give another folder: --out."
            )
        return Run(folder).finished
    if not is_vacant(folder):
        raise InputError(f"{folder} exists and holds something else", "Give another folder: --out.")
    return False


def restricted(whole: Predictions, found: ClassMap) -> Predictions:
    """Keep the shared classes of predictions over all classes of the model."""
    labels = np.searchsorted(found.used, whole.labels)
    probabilities = found.restrict(whole.probabilities)
    scores = None if whole.scores is None else whole.scores[:, list(found.used)]
    levels = None if whole.levels is None else tuple(whole.levels[place] for place in found.used)
    return replace(
        whole, labels=labels, probabilities=probabilities, classes=found.shared, scores=scores, levels=levels
    )


def _map_notes(
    run: Run, target: Recipe, store: Store, found: ClassMap, rows: np.ndarray, whole: Predictions
) -> list[str]:
    """Say what a reader of the numbers must know of the classes."""
    notes = [f"trained on {run.recipe.data.source}, tested on {target.name}"]
    other = [f"{name} is {partner}" for name, partner in found.named.items() if partner not in (None, name)]
    if other:
        notes.append(f"classes of {target.name} by those of the run: {', '.join(other)}")
    counts = dict(zip(store.manifest.classes, store.manifest.counts(rows).tolist(), strict=True))
    if found.only_target:
        lost = ", ".join(f"{name} ({counts[name]} samples)" for name in found.only_target)
        notes.append(f"left out, as the run has no such class or the map says so: {lost}")
    if found.only_model:
        elsewhere = 1 - whole.probabilities[:, list(found.used)].sum(axis=1)
        likeliest = ~np.isin(whole.predicted, found.used)
        notes.append(
            f"{target.name} has no {', '.join(found.only_model)}: probabilities are restricted to the "
            f"{len(found.used)} shared classes and renormalised; before, {elsewhere.mean():.1%} lay elsewhere, and "
            f"{int(likeliest.sum())} of {len(whole)} samples were most probably something else"
        )
    return notes


def _facts(run: Run, store: Store, found: ClassMap, merged: ClassMerge, whole: Predictions) -> dict[str, Any]:
    """Say what a run folder says, with the classes that are shared."""
    used, counts = list(found.used), run.facts["counts"]
    people = {side: number for side, number in run.facts["people"].items() if side != "test"}
    return {
        **{key: run.facts[key] for key in KEPT if key in run.facts},
        "environment": environment(),
        "store": str(store.path),
        "prepared": store.summary(),
        "classes": list(found.shared),
        "counts": {
            **{side: merged.sum(counts[side])[used].tolist() for side in ("train", "validation")},
            "test": whole.support[used].tolist(),
        },
        "people": {**people, "test": whole.people},
    }


def _write(
    run: Run,
    folder: Path,
    facts: dict[str, Any],
    store: Store,
    rows: np.ndarray,
    whole: Predictions,
    found: ClassMap,
) -> None:
    """Write all there is; the predictions last, as they make the test count as ended."""
    write_json_with_digest(folder / FACTS, facts)  # it makes the folder this test's, whatever comes
    for name in (RECIPE, HISTORY):
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(run.file(name), temporary)
    kept = restricted(whole, found)
    columns = ["sample", "subject", *attribute_columns(store.manifest.table)]
    sides = store.manifest.table.iloc[rows][columns].assign(label=kept.labels, row=rows, side="test")
    write_parquet(sides, folder / SPLIT)
    Run(folder).end(facts, {PREDICTIONS: kept, UNRESTRICTED: whole})


__all__ = ["predict_on"]
