"""Fit a recipe: from its data to a run folder with weights and predictions."""

from typing import Any, Literal, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from evenface.config import Recipe
from evenface.config.modality import of_sequences
from evenface.config.recipe import Training
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.methods.base import Method
from evenface.models import Network
from evenface.runs import FACTS, PREDICTIONS, VALIDATION, WEIGHTS, Run
from evenface.training import build
from evenface.training import data as assembly
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.data import TrainingData
from evenface.training.features import stored_features
from evenface.training.fit_sequences import fit_sequences
from evenface.training.loggers import build_loggers
from evenface.training.precision import Precision, choose_precision
from evenface.training.run_metadata import peak_memory, run_metadata, split_table
from evenface.training.scoring import output_rows, predict_rows, validation_metrics
from evenface.training.trainer import CHECKPOINT, Trainer, keep_freed_memory
from evenface.utils.errors import InputError


def fit_images(run: Run, recipe: Recipe) -> None:
    """Train, and write weights, predictions and metadata."""
    keep_freed_memory()
    data = TrainingData(recipe)
    network = _build_network(recipe, data)  # before samples are prepared, which may take hours
    data.check()
    method = _build_method(recipe, data, network)
    fabric = _launch_fabric(recipe.training, run, uses_all_parameters=method.uses_all_parameters)
    metadata = run_metadata(recipe, data, str(fabric.device), fabric.strategy.precision.precision, method)
    if fabric.is_global_zero:
        _begin(run, recipe, data, metadata, network)
    bank = ImageBank(_images(recipe, data, fabric, network), fabric.device, data.frames)
    trainer = _build_trainer(fabric, method, bank, recipe, data, run)
    history = trainer.fit()
    notes = method.training_notes(len(history))
    method.load_inference_state(load_file(run.folder / WEIGHTS))
    predictions = _predict(fabric, method, bank, recipe.training, data)
    if fabric.is_global_zero:
        for note in notes:
            run.log(note)
        metadata |= {
            "notes": [*metadata["notes"], *notes],
            "epochs": len(history),
            "training_seconds": round(trainer.state.seconds, 1),
            "peak_memory_mb": peak_memory(),
        }
        run.end(metadata, predictions)
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
        run.log("ended")
    fabric.barrier()


def _build_network(recipe: Recipe, data: TrainingData) -> Network:
    frames = assembly.planned_frames(recipe, data.listed)
    return build.build_network(recipe, len(data.listed.classes), frames)


def _build_method(recipe: Recipe, data: TrainingData, network: Network) -> Method:
    manifest = data.manifest
    votes = manifest.votes(data.split.train)
    return build.build_method(
        recipe, data.counts, manifest.classes, votes, ordered=manifest.ordered, frames=data.frames, network=network
    )


def _launch_fabric(training: Training, run: Run, *, uses_all_parameters: bool) -> Fabric:
    """Choose devices, processes and precision, and start them.

    Several processes wait for the gradient of every parameter, unless they are told that some steps leave some out.
    """
    accelerator: Literal["cpu", "cuda"]
    if training.accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    else:
        accelerator = training.accelerator
    # A run that was interrupted goes on in the precision that it began with, on other hardware too.
    chosen = choose_precision(training.precision, accelerator)
    precision = cast(Precision, run.precision) if (run.folder / FACTS).is_file() else chosen
    if accelerator == "cpu" and precision == "16-mixed":
        raise InputError("training.precision 16-mixed needs a GPU", "Set training.precision to auto or 32-true.")
    if accelerator == "cuda" and torch.cuda.device_count() < training.devices:
        raise InputError(f"training.devices is {training.devices}, there are {torch.cuda.device_count()} GPUs")
    several = training.devices * training.nodes > 1
    fabric = Fabric(
        strategy="ddp_find_unused_parameters_true" if several and not uses_all_parameters else "auto",
        accelerator=accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        precision=precision,
    )
    fabric.launch()
    return fabric


def _begin(run: Run, recipe: Recipe, data: TrainingData, metadata: dict[str, Any], network: Network) -> None:
    """Write and log what is known before training."""
    device, precision = metadata["device"], metadata["precision"]
    run.begin(metadata, split_table(data))
    run.log(f"training {recipe.name} on {device} in {precision}: {data.store.summary()}")
    chosen = choose_precision(recipe.training.precision, "cuda" if device.startswith("cuda") else "cpu")
    if precision != chosen:
        run.log(f"resumed in {precision}, as the run began; training.precision=auto is {chosen} on this machine")
    if getattr(network, "load_report", None):
        run.log(f"weights from {recipe.network.weights}: {network.load_report}")


def _images(recipe: Recipe, data: TrainingData, fabric: Fabric, network: Network) -> np.ndarray:
    """Return the stored images, or the features of each that a frozen backbone computes."""
    if not recipe.training.cache_features:
        return np.asarray(data.store.images)
    kind = " ".join((recipe.network.name, recipe.network.stem, recipe.network.norm))
    return stored_features(fabric, network, kind, data.store)


def _build_trainer(
    fabric: Fabric, method: Method, bank: ImageBank, recipe: Recipe, data: TrainingData, run: Run
) -> Trainer:
    training, rows, main = recipe.training, data.validation, fabric.is_global_zero
    labels = data.manifest.labels[rows]

    def validate() -> dict[str, float]:
        probabilities = predict_rows(fabric, method, bank, rows, training.batch_size, mirror=training.tta_flip)
        return validation_metrics(labels, probabilities)

    return Trainer(
        fabric,
        method,
        TrainingBatches.of_recipe(recipe, bank, data.manifest, data.split.train, fabric.global_rank, fabric.world_size),
        recipe,
        run.folder,
        validate=validate if len(rows) else None,
        log=run.log if main else lambda _line: None,
        loggers=build_loggers(training.loggers, run.folder, recipe.name, {"seed": recipe.seed}) if main else (),
    )


def _predict(
    fabric: Fabric, method: Method, bank: ImageBank, training: Training, data: TrainingData
) -> dict[str, Predictions]:
    """Predict validation and test set, each under the name of its file."""
    predictions = {}
    for name, rows in ((VALIDATION, data.split.validation), (PREDICTIONS, data.split.test)):
        if len(rows):
            scores, output = output_rows(fabric, method, bank, rows, training.batch_size, mirror=training.tta_flip)
            own = scores if method.one_vs_rest else None
            predictions[name] = assembly.predictions(data.manifest, rows, shares(scores), scores=own, output=output)
    return predictions


__all__ = ["fit", "fit_sequences"]


def fit(run: Run, recipe: Recipe) -> None:
    """Train, and write weights, predictions and metadata."""
    if of_sequences(recipe):
        fit_sequences([(run, recipe)])
    else:
        fit_images(run, recipe)
