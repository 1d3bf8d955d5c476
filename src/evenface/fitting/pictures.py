"""From a recipe of pictures to a run folder with weights and predictions."""

from typing import Literal, cast

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from evenface import assembly, learner
from evenface.errors import InputError
from evenface.evaluation.scores import shares
from evenface.fitting.facts import facts_of, peak_memory, sides_of
from evenface.networks import Network
from evenface.recipes import Recipe
from evenface.recipes.schema import Training
from evenface.runs import FACTS, PREDICTIONS, VALIDATION, WEIGHTS, Run
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.features import stored_features
from evenface.training.inference import output_rows, predict_rows, validation_metrics
from evenface.training.loggers import build_loggers
from evenface.training.precision import Precision, choose_precision
from evenface.training.trainer import CHECKPOINT, Trainer, keep_freed_memory


def fit_pictures(run: Run, recipe: Recipe) -> None:
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
    accelerator = _accelerator(options)
    chosen = choose_precision(options.precision, accelerator)
    # A run that was interrupted goes on in the precision that it began with, on other hardware too.
    precision = cast(Precision, run.precision) if (run.folder / FACTS).is_file() else chosen
    fabric = _fabric(options, accelerator, precision, uses_all_parameters=method.uses_all_parameters)
    fabric.launch()
    facts = facts_of(recipe, store, split, str(fabric.device), frames, precision, method)
    if fabric.is_global_zero:
        run.begin(facts, sides_of(store, split))
        run.log(f"training {recipe.name} on {fabric.device} in {precision}: {store.summary()}")
        if precision != chosen:
            run.log(f"resumed in {precision}, as the run began; training.precision=auto is {chosen} on this machine")
    if fabric.is_global_zero and getattr(method.network, "loaded", None):
        run.log(f"weights from {recipe.network.weights}: {method.network.load_report}")
    pictures = store.images
    if options.features == "stored":
        kind = " ".join((recipe.network.name, recipe.network.stem, recipe.network.norm))
        pictures = stored_features(fabric, cast(Network, method.network), kind, store)
    bank = ImageBank(pictures, fabric.device, frames)
    batches = TrainingBatches.of_recipe(recipe, bank, manifest, split.train, fabric.global_rank, fabric.world_size)
    validated = assembly.judges(recipe, split)

    def validate() -> dict[str, float]:
        probabilities = predict_rows(fabric, method, bank, validated, options.batch_size, mirror=options.mirror)
        return validation_metrics(manifest.labels[validated], probabilities)

    trainer = Trainer(
        fabric,
        method,
        batches,
        recipe,
        run.folder,
        validate=validate if len(validated) else None,
        log=run.log if fabric.is_global_zero else lambda _text: None,
        loggers=build_loggers(options.loggers, run.folder, recipe.name, {"seed": recipe.seed})
        if fabric.is_global_zero
        else (),
    )
    history = trainer.fit()
    notes = method.training_notes(len(history))
    method.load_inference_state(load_file(run.folder / WEIGHTS))
    found = {
        name: output_rows(fabric, method, bank, rows, options.batch_size, mirror=options.mirror)
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test))
        if len(rows)
    }
    if fabric.is_global_zero:
        for note in notes:
            run.log(note)
        facts |= {
            "notes": [*facts["notes"], *notes],
            "epochs": len(history),
            "training_seconds": round(trainer.state.seconds, 1),
            "peak_memory_mb": peak_memory(),
        }
        whole = {}
        for name, rows in ((VALIDATION, split.validation), (PREDICTIONS, split.test)):
            if name in found:
                said, output = found[name]
                scores = said if method.one_vs_rest else None
                whole[name] = assembly.predictions(manifest, rows, shares(said), scores=scores, output=output)
        run.end(facts, whole)
        (run.folder / CHECKPOINT).unlink(missing_ok=True)
        run.log("ended")
    fabric.barrier()


def _accelerator(options: Training) -> Literal["cpu", "cuda"]:
    """Return the kind of device; ``auto`` takes a CUDA GPU where there is one."""
    if options.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return options.accelerator


def _fabric(options: Training, accelerator: str, precision: Precision, *, uses_all_parameters: bool) -> Fabric:
    """Choose devices and processes.

    Several processes wait for the gradient of every parameter, unless they are told that some steps leave some out.
    """
    if accelerator == "cpu" and precision == "16-mixed":
        raise InputError("training.precision 16-mixed needs a GPU", "Set training.precision to auto or 32-true.")
    if accelerator == "cuda" and torch.cuda.device_count() < options.devices:
        raise InputError(f"training.devices is {options.devices}, there are {torch.cuda.device_count()} GPUs")
    several = options.devices * options.nodes > 1
    return Fabric(
        strategy="ddp_find_unused_parameters_true" if several and not uses_all_parameters else "auto",
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=precision,
    )
