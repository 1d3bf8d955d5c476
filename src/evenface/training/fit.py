"""Fit a recipe: from its data to a run folder with weights and predictions."""

from typing import Any

import numpy as np
from lightning_fabric import Fabric

from evenface.config import Recipe
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_predictions import AnyPredictions
from evenface.models import Network
from evenface.runs import AUXILIARY, FACTS, PREDICTIONS, VALIDATION, Run
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.build import build_method, build_model, check_recipe
from evenface.training.class_prior import prior_of_method
from evenface.training.compilation import check_compiler
from evenface.training.data import (
    TrainingData,
    auxiliary_predictions,
    people_of,
    predictions,
    target_predictions,
    with_thresholds,
)
from evenface.training.fabric import choose_accelerator, choose_precision, launch_fabric
from evenface.training.prediction import (
    ImageScorer,
    cached_features,
    frame_features,
    monitor_of,
    shown_metric,
    target_validation_metrics,
    validation_metrics,
)
from evenface.training.run_records import build_loggers, peak_memory, run_metadata, split_table, start_lines
from evenface.training.stacked.runs import fit_sequences
from evenface.training.trainer import CHECKPOINT, Trainer, keep_freed_memory
from evenface.utils.progress import say


def fit(run: Run, recipe: Recipe) -> None:
    """Check a recipe, train by it, and write weights, predictions and metadata."""
    if recipe.modality == "images":
        fit_images(run, recipe)
    else:
        fit_sequences([(run, recipe)])


def fit_images(run: Run, recipe: Recipe) -> None:
    """Check a recipe of images or clips, train by it, and write weights, predictions and metadata."""
    check_recipe(recipe)
    # A run that was interrupted resumes in the precision that it began with, on other hardware too.
    resumed_precision = run.precision if (run.folder / FACTS).is_file() else None
    accelerator = choose_accelerator(training := recipe.training, resumed_precision)  # before hours of preparation
    check_compiler(training.compile, accelerator)
    keep_freed_memory()
    data = TrainingData(recipe)
    network = build_model(recipe, len(data.listed.outputs), data.planned_frames)  # likewise
    data.check()
    manifest, counts = data.manifest, data.counts
    method = build_method(
        recipe,
        counts,
        manifest.outputs,
        data.training_manifest.votes(data.training_rows),
        kind=manifest.task,
        targets=manifest.target_values(data.split.train) if manifest.targets else None,
        people=people_of(data.training_manifest, data.training_rows),
        auxiliary=data.auxiliary[data.training_rows],
        frames=data.frames,
        network=network,
    )
    fabric = launch_fabric(training, accelerator, resumed_precision, uses_all_parameters=method.uses_all_parameters)
    implied = prior_of_method(method, training, counts)
    metadata = run_metadata(data, implied, str(fabric.device), fabric.strategy.precision.precision)
    if network.load_report is not None and network.load_report.pretraining is not None:
        metadata["pretraining"] = network.load_report.pretraining
        metadata["notes"] = [*metadata["notes"], *data.pretraining_notes]
    if fabric.is_global_zero:
        _begin(run, data, metadata, network)
        parameters = sum(weights.numel() for weights in network.parameters())
        for line in start_lines(metadata, f"{recipe.network.name}, {parameters:,} parameters"):
            say(line)
    bank = _image_bank(data, fabric, network)
    if fabric.is_global_zero and bank.placement:
        run.log(bank.placement)
    scorer = ImageScorer(fabric, method, bank, training.batch_size, training.tta_flip)
    trainer = _build_trainer(scorer, data, run)
    notes = trainer.fit()
    predicted = _predict(scorer, data)
    if fabric.is_global_zero:
        for note in notes:
            run.log(note)
        metadata |= {
            "notes": [*metadata["notes"], *notes],
            "epochs": len(trainer.state.history),
            "training_seconds": round(trainer.state.seconds, 1),
            "peak_memory_mb": peak_memory(),
        }
        run.end(metadata, predicted)
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
        run.log("ended")
    fabric.barrier()


def _begin(run: Run, data: TrainingData, metadata: dict[str, Any], network: Network) -> None:
    """Write and log what is known before training."""
    recipe, device, precision = data.recipe, metadata["device"], metadata["precision"]
    run.begin(metadata, split_table(data))
    run.log(f"training {recipe.name} on {device} in {precision}: {data.store.summary()}")
    chosen = choose_precision(recipe.training.precision, "cuda" if device.startswith("cuda") else "cpu")
    if precision != chosen:
        run.log(f"resumed in {precision}, as the run began; training.precision=auto is {chosen} on this machine")
    if getattr(network, "load_report", None):
        run.log(f"weights from {recipe.network.weights}: {network.load_report}")


def _image_bank(data: TrainingData, fabric: Fabric, network: Network) -> ImageBank:
    """Return the stored images and baselines, or the features of each that a frozen backbone computes."""
    settings, images, baselines = data.recipe.network, np.asarray(data.store.images), data.baselines
    drawn = None if data.drawn is None else data.drawn.images
    first, index = (None, None) if baselines is None else (baselines.mean, baselines.index)
    if data.recipe.training.cache_features:
        kind = " ".join((settings.name, settings.stem, settings.norm))
        images = cached_features(fabric, network, kind, data.store)
        drawn = None if data.drawn is None else cached_features(fabric, network, kind, data.drawn)
        first = None if first is None else frame_features(fabric, network, first)
    return ImageBank(images, fabric.device, data.frames, first, index, drawn)


def _build_trainer(scorer: ImageScorer, data: TrainingData, run: Run) -> Trainer:
    fabric, recipe, rows = scorer.fabric, data.recipe, data.validation
    training, manifest, main = recipe.training, data.manifest, fabric.is_global_zero

    def validate() -> dict[str, float]:
        scores, _ = scorer.score(rows)
        if manifest.targets:
            return target_validation_metrics(target_predictions(manifest, rows, scores))
        return validation_metrics(manifest.labels[rows], shares(scores[:, : len(manifest.classes)]))

    return Trainer(
        fabric,
        scorer.method,
        TrainingBatches.of_recipe(
            recipe, scorer.bank, data.training_manifest, data.training_rows, fabric.global_rank, fabric.world_size
        ),
        recipe,
        run.folder,
        validate=validate if len(rows) else None,
        monitor=monitor_of(training.monitor, manifest.task),
        shown=shown_metric(manifest.task),
        log=run.log if main else lambda _line: None,
        loggers=build_loggers(training.loggers, run.folder, recipe.name, {"seed": recipe.seed}) if main else (),
    )


def _predict(scorer: ImageScorer, data: TrainingData) -> dict[str, AnyPredictions]:
    """Predict validation and test set, each under the name of its file."""
    predicted: dict[str, AnyPredictions] = {}
    for name, rows in ((VALIDATION, data.split.validation), (PREDICTIONS, data.split.test)):
        if len(rows):
            scores, output = scorer.score(rows)
            if data.manifest.targets:
                predicted[name] = target_predictions(data.manifest, rows, scores)
                continue
            if name == PREDICTIONS and scorer.method.auxiliary is not None:
                values = scores[:, len(data.manifest.classes) :]
                predicted[AUXILIARY] = auxiliary_predictions(data, rows, values)
            scores = scores[:, : len(data.manifest.classes)]
            own = scores if scorer.method.one_vs_rest else None
            predicted[name] = predictions(data.manifest, rows, shares(scores), scores=own, output=output)
    return with_thresholds(predicted) if data.recipe.training.thresholds == "validation" else predicted
