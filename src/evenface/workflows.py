"""One function per verb of the command line; also the Python interface."""

import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface import assembly
from evenface.data.leakage import Findings
from evenface.data.protocol import Split
from evenface.errors import InputError
from evenface.evaluation.predictions import Predictions
from evenface.faces.store import Store
from evenface.files import write_json
from evenface.recipes import Recipe, load_recipe
from evenface.runs import LOG, METRICS, PREDICTIONS, REPORT, VALIDATION, WEIGHTS, Run, differing_keys, environment


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes, where several train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")) == "0"


def prepare(recipe: str | Path | Mapping[str, Any], **overrides: Any) -> Store:
    """Prepare the faces of a recipe, or find them prepared."""
    return assembly.prepare_store(load_recipe(recipe, overrides))


def train(
    recipe: str | Path | Mapping[str, Any], *, out: str | Path | None = None, resume: bool = False, faces: bool = True, **overrides: Any
) -> Run:
    """Train by a recipe, predict the test side, and report.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, YAML file, run folder, or the content itself.
    out : str or Path, optional
        Run folder; by default ``runs/`` with the recipe's name and the overrides.
    resume : bool, default=False
        Go on with the run in that folder where it was interrupted; on a CPU the result is bit-identical to that of
        a run that was not. A run that has ended is given back as it is.
    faces : bool, default=True
        Whether the report shows sample faces.
    **overrides
        Settings by dotted key: ``**{"optimizer.lr": 1e-4}``.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If anything given cannot be used; the sentence says what, where and what to do.
    """
    settings = load_recipe(recipe, overrides)
    folder = Path(out) if out is not None else _default_folder(recipe, settings, overrides)
    run = Run.create(folder, settings, resume=resume or not is_first_process())
    if run.finished and is_first_process():
        return run
    assembly.check_parts(settings)
    _fit(run, settings)
    return evaluate(run.folder, faces=faces) if is_first_process() else run


def _default_folder(recipe: str | Path | Mapping[str, Any], settings: Recipe, overrides: Mapping[str, Any]) -> Path:
    if isinstance(recipe, str | Path) and (Path(recipe) / "recipe.yaml").is_file():
        return Path(recipe)
    words = [f"{key}={value}".replace("/", "_").replace(" ", "") for key, value in overrides.items() if key != "data.root"]
    return Path("runs") / "-".join([settings.name, *words])[:200]


def _fit(run: Run, recipe: Recipe) -> None:
    """Train, and write weights and predictions."""
    from lightning_fabric import Fabric
    from safetensors.torch import load_file

    from evenface.training.allocator import keep_freed_memory
    from evenface.training.batches import Faces
    from evenface.training.inference import predict_rows
    from evenface.training.loggers import build_loggers
    from evenface.training.trainer import Trainer

    keep_freed_memory()
    store = assembly.prepare_store(recipe)
    split = assembly.divide(recipe, store)
    options = recipe.training
    fabric = Fabric(accelerator=options.accelerator, devices=options.devices, num_nodes=options.nodes, precision=options.precision)
    fabric.launch()
    began = time.time()
    manifest = store.manifest
    facts = _facts(recipe, store, split, str(fabric.device))
    if fabric.is_global_zero:
        run.begin(facts, _sides(store, split))
        run.log(f"training {recipe.name} on {fabric.device}: {store.summary()}")
    method = assembly.build_method(recipe, manifest.counts(split.train), manifest.classes)
    images = Faces(store.images, fabric.device)
    trainer = Trainer(
        fabric,
        method,
        recipe,
        faces=images,
        labels=manifest.labels,
        names=manifest.table["sample"].to_numpy(),
        train=split.train,
        validation=split.validation,
        folder=run.folder,
        log=run.log if fabric.is_global_zero else lambda _text: None,
        loggers=build_loggers(options.loggers, run.folder, recipe.name, {"seed": recipe.seed}) if fabric.is_global_zero else (),
    )
    history = trainer.fit()
    method.load_inference_state(load_file(run.folder / WEIGHTS))
    found = {
        name: predict_rows(fabric, method, images, rows, options.batch_size)
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test))
        if len(rows)
    }
    if fabric.is_global_zero:
        facts |= {"epochs": len(history), "training_seconds": round(time.time() - began, 1), "peak_memory_mb": _peak_memory()}
        write_json(run.folder / "run.json", facts)
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test)):
            if name in found:
                _predictions(store, rows, found[name]).save(run.folder / name)
        run.log("ended")
    fabric.barrier()


def _facts(recipe: Recipe, store: Store, split: Split, device: str) -> dict[str, Any]:
    """Say what a run rests on; all of it known before training."""
    manifest = store.manifest
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "device": device,
        "environment": environment(),
        "manifest": manifest.hash,
        "store": str(store.path),
        "prepared": store.summary(),
        "classes": list(manifest.classes),
        "counts": {side: manifest.counts(rows).tolist() for side, rows in sides.items()},
        "people": {side: _people(store, rows) for side, rows in sides.items()},
        "notes": [*manifest.notes, *split.notes],
    }


def _people(store: Store, rows: np.ndarray) -> int | None:
    return store.manifest.table["subject"].iloc[rows].nunique() if store.manifest.has_subjects else None


def _sides(store: Store, split: Split) -> pd.DataFrame:
    """Give the split as a table: row of the store, sample, label, subject, side."""
    parts = []
    for side in ("train", "validation", "test"):
        rows = getattr(split, side)
        part = store.manifest.table.iloc[rows][["sample", "label", "subject"]]
        parts.append(part.assign(row=rows, side=side))
    return pd.concat(parts, ignore_index=True)


def _predictions(store: Store, rows: np.ndarray, probabilities: np.ndarray) -> Predictions:
    table = store.manifest.table.iloc[rows]
    return Predictions(
        table["sample"].to_numpy(dtype=object),
        table["subject"].to_numpy(dtype=object),
        table["label"].to_numpy(dtype=np.int64),
        probabilities,
        store.manifest.classes,
    )


def _peak_memory() -> int:
    """Largest resident size of this process so far, in megabytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used // 2**20 if sys.platform == "darwin" else used // 2**10)


def evaluate(run: str | Path, *, faces: bool = True) -> Run:
    """Compute metrics, tables and report of a run anew from its stored predictions.

    Parameters
    ----------
    run : str or Path
        Run folder.
    faces : bool, default=True
        Whether the report shows sample faces.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the folder is no run, or the run has not ended.
    """
    opened = Run.open(run)
    from evenface.evaluation.summary import metrics_of

    write_json(opened.folder / METRICS, metrics_of(opened.predictions))
    return Run(opened.folder)
