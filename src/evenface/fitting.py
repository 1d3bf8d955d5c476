"""From a recipe to a run folder with weights and predictions."""

import resource
import sys
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from evenface import assembly, learner
from evenface.data.protocol import Split
from evenface.errors import InputError
from evenface.faces.store import Store
from evenface.files import write_json
from evenface.networks import Network
from evenface.recipes import Recipe
from evenface.recipes.schema import Training
from evenface.runs import FACTS, PREDICTIONS, VALIDATION, WEIGHTS, Run, environment
from evenface.training.allocator import keep_freed_memory
from evenface.training.batches import Faces
from evenface.training.features import stored_features
from evenface.training.inference import predict_rows
from evenface.training.loggers import build_loggers
from evenface.training.trainer import CHECKPOINT, Trainer

SELECTED_ON_TEST = (
    "the weights were selected on the test data, as some papers do: the figures flatter, and curves named validation "
    "are of the test data"
)


def fit(run: Run, recipe: Recipe) -> None:
    """Train, and write weights and predictions."""
    keep_freed_memory()
    store = assembly.prepare_store(recipe)
    split = assembly.divide(recipe, store)
    assembly.check_training(recipe, store, split)
    options = recipe.training
    manifest = store.manifest
    counts, votes = manifest.counts(split.train), manifest.votes(split.train)
    frames = assembly.seen_frames(recipe, store)
    method = learner.build_method(recipe, counts, manifest.classes, votes, ordered=manifest.ordered, frames=frames)
    fabric = _fabric(options, moves_all=method.moves_all)
    fabric.launch()
    facts = _facts(recipe, store, split, str(fabric.device), frames)
    if fabric.is_global_zero:
        run.begin(facts, _sides(store, split))
        run.log(f"training {recipe.name} on {fabric.device}: {store.summary()}")
    if fabric.is_global_zero and getattr(method.network, "loaded", None):
        run.log(f"weights from {recipe.network.weights}: {method.network.loaded}")
    pictures = store.images
    if options.features == "stored":
        kind = " ".join((recipe.network.name, recipe.network.stem, recipe.network.norm))
        pictures = stored_features(fabric, cast(Network, method.network), kind, store)
    images = Faces(pictures, fabric.device, frames)
    trainer = Trainer(
        fabric,
        method,
        recipe,
        faces=images,
        labels=manifest.labels,
        names=manifest.table["sample"].to_numpy(),
        train=split.train,
        validation=assembly.judges(recipe, split),
        folder=run.folder,
        log=run.log if fabric.is_global_zero else lambda _text: None,
        loggers=build_loggers(options.loggers, run.folder, recipe.name, {"seed": recipe.seed})
        if fabric.is_global_zero
        else (),
    )
    history = trainer.fit()
    method.load_inference_state(load_file(run.folder / WEIGHTS))
    found = {
        name: predict_rows(fabric, method, images, rows, options.batch_size, mirror=options.mirror)
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test))
        if len(rows)
    }
    if fabric.is_global_zero:
        facts |= {
            "epochs": len(history),
            "training_seconds": round(trainer.position.seconds, 1),
            "peak_memory_mb": _peak_memory(),
        }
        write_json(run.folder / FACTS, facts)
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test)):
            if name in found:
                assembly.predictions(manifest, rows, found[name]).save(run.folder / name)
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
        run.log("ended")
    fabric.barrier()


def _fabric(options: Training, *, moves_all: bool) -> Fabric:
    """Choose devices and processes; ``auto`` takes a CUDA GPU where there is one.

    Several processes wait for the gradient of every parameter, unless they are told that some steps leave some out.
    """
    accelerator = options.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cpu" and options.precision == "16-mixed":
        raise InputError("training.precision 16-mixed needs a GPU", "Take bf16-mixed or 32-true.")
    if accelerator == "cuda" and torch.cuda.device_count() < options.devices:
        raise InputError(f"training.devices is {options.devices}, there are {torch.cuda.device_count()} GPUs")
    several = options.devices * options.nodes > 1
    return Fabric(
        strategy="ddp_find_unused_parameters_true" if several and not moves_all else "auto",
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=options.precision,
    )


def _facts(recipe: Recipe, store: Store, split: Split, device: str, frames: int) -> dict[str, Any]:
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
        "frames": frames,
        "classes": list(manifest.classes),
        "counts": {side: manifest.counts(rows).tolist() for side, rows in sides.items()},
        "people": {side: _people(store, rows) for side, rows in sides.items()},
        "notes": [*manifest.notes, *split.notes, *([SELECTED_ON_TEST] if recipe.training.select == "test" else [])],
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
    together: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return together


def _peak_memory() -> int:
    """Largest resident size of this process so far, in megabytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used // 2**20 if sys.platform == "darwin" else used // 2**10)
