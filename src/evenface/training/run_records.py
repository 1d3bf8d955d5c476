"""Records of a run: metadata (provenance, split, cost), split table, history in TensorBoard and MLflow."""

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from evenface.config import Recipe
from evenface.data.labels import describe_levels
from evenface.data.manifest import Manifest, attribute_columns
from evenface.methods import METHODS
from evenface.preprocessing.store import content_of
from evenface.runs import environment
from evenface.training.build import loss_name
from evenface.training.class_prior import ImpliedPrior
from evenface.training.data import TrainingData
from evenface.training.drawn_faces import COLUMN, drawn_facts
from evenface.utils.errors import InputError

SETS = ("train", "validation", "test")
SELECTED_ON_TEST = (
    "the weights were selected on the test data, as in some papers: results are optimistic, and validation curves are "
    "those of the test data"
)


def run_metadata(data: TrainingData, implied: ImpliedPrior, device: str, precision: str = "32-true") -> dict[str, Any]:
    """Return the content of ``run.json`` before training."""
    recipe, store, manifest, split = data.recipe, data.store, data.manifest, data.split
    rows = {side: getattr(split, side) for side in SETS}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "device": device,
        "precision": precision,
        "implied_prior": {"shares": implied.prior.tolist(), "reason": implied.reason, "exact": implied.exact},
        "environment": environment(),
        "manifest": store.manifest.hash,
        "store": str(store.path),
        "prepared": store.summary(),
        "frames": data.frames,
        **content_of(manifest),
        "task": manifest.task,
        "loss": loss_name(recipe, manifest.task),
        "classes": list(manifest.classes),
        **({"targets": list(manifest.targets)} if manifest.targets else {}),
        "counts": {side: manifest.counts(own).tolist() for side, own in rows.items()} | {"train": data.counts.tolist()},
        **drawn_facts(data.drawn),
        **_target_counts(manifest, rows),
        "people": {side: _subjects(manifest, members) for side, members in rows.items()},
        "notes": [
            *data.notes,
            *([SELECTED_ON_TEST] if recipe.training.checkpoint == "test" else []),
            *([describe_levels(manifest.classes)] if METHODS[recipe.method.name].needs_ordered_classes else []),
        ],
    }


def _target_counts(manifest: Manifest, rows: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[int]]]:
    """Count the samples in which each target of a multi-label task is present; nothing for other tasks."""
    if manifest.task != "multilabel":
        return {}
    present = {side: (manifest.target_values(members) > 0).sum(axis=0).tolist() for side, members in rows.items()}
    return {"target_counts": present}


def _subjects(manifest: Manifest, rows: np.ndarray) -> int | None:
    return manifest.table["subject"].iloc[rows].nunique() if manifest.has_subjects else None


def start_lines(metadata: Mapping[str, Any], network: str) -> list[str]:
    """Return what is trained on which data, in the lines that a training shows before its epochs."""
    classes, counts, people = metadata["classes"], metadata["counts"], metadata["people"]
    sizes = [f"{side} {sum(counts[side]):,}" for side in SETS]  # before counts of targets take their place
    subjects = [f"{side} {people[side]:,}" for side in SETS if people[side] is not None]
    recipe = Recipe.model_validate(metadata["recipe"])
    what = {"multilabel": "targets", "regression": "strata"}.get(metadata["task"], "classes")
    if "target_counts" in metadata:
        classes, counts = metadata["targets"], metadata["target_counts"]
    drawn = metadata.get(COLUMN, {}).get("counts", [])
    named = [f"{name} {count:,}" for name, count in zip(metadata["classes"], drawn, strict=bool(drawn)) if count]
    return [
        f"samples   {', '.join(sizes)}",
        f"subjects  {', '.join(subjects) or 'unknown: the same people may be in training and test set'}",
        f"{what:<10}{', '.join(f'{name} {count:,}' for name, count in zip(classes, counts['train'], strict=True))}",
        *([f"drawn     {', '.join(named)}: faces of synthetic people among the training samples"] if named else []),
        f"network   {network}; method {recipe.method.name}, loss {metadata['loss']}",
        f"training  {recipe.training.epochs} epochs on {metadata['device']} in {metadata['precision']}"
        + (", compiled in the first step, which takes longer" if recipe.training.compile != "none" else ""),
    ]


def epoch_heading(
    *, validated: bool, unit: str = "images", metric: str = "balanced_accuracy", measures: Sequence[str] = ()
) -> str:
    """Return the heading of the table of epochs on the screen; ``unit`` is what a network is trained on."""
    return "  ".join(_epoch_columns(validated, unit, metric, measures))


def _epoch_columns(validated: bool, unit: str, metric: str, measures: Sequence[str]) -> list[str]:
    columns = ["validation loss", metric.replace("_", " ")] if validated else []
    return ["  epoch", "   loss", *columns, *(name.replace("_", " ") for name in measures), f"{unit}/s"]


def epoch_line(
    row: Mapping[str, float],
    epochs: int,
    *,
    unit: str = "images",
    metric: str = "balanced_accuracy",
    measures: Sequence[str] = (),
    best: str = "",
) -> str:
    """Return a row of the table of epochs on the screen, ended by a mark on the weights that are the best so far."""
    cells, validated = [f"{row['epoch']:.0f}/{epochs}", f"{row['train_loss']:.4f}"], "validation_loss" in row
    if validated:
        cells += [f"{row['validation_loss']:.4f}", f"{row['validation_' + metric]:.3f}"]
    cells += [f"{row[name]:.4f}" for name in measures]
    cells.append(f"{row[f'{unit}_per_second']:.0f}")
    columns = zip(cells, _epoch_columns(validated, unit, metric, measures), strict=True)
    return "  ".join([*(f"{cell:>{len(column)}}" for cell, column in columns), best]).rstrip()


def split_table(data: TrainingData) -> pd.DataFrame:
    """Return the split as a table: sample, label, subject, attributes of subjects, row of the store, side.

    Drawn faces of the training set are marked in a further column; their rows are those of their own store.
    """
    table = data.training_manifest.table
    columns = ["sample", "label", "subject", *attribute_columns(table), *([COLUMN] if COLUMN in table else [])]
    sides: dict[str, Any] = {side: getattr(data.split, side) for side in SETS} | {"train": data.training_rows}
    parts = [table.iloc[rows][columns].assign(row=rows, side=side) for side, rows in sides.items()]
    split: pd.DataFrame = pd.concat(parts, ignore_index=True)
    row = split["row"].to_numpy()
    return split.assign(row=np.where(row < len(data.manifest), row, row - len(data.manifest)))


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in megabytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used // 2**20 if sys.platform == "darwin" else used // 2**10)


class Logger(Protocol):
    """Writer of a run's history."""

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Write the values of one epoch."""

    def close(self) -> None:
        """Finish writing."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Write the values as scalars."""
        for name, value in row.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()


class MLflow:
    """An MLflow run in ``mlflow.db`` beside the run folder, shared by the runs there; telemetry is off."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        import mlflow

        self._client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(folder.parent / 'mlflow.db').resolve()}")
        existing = self._client.get_experiment_by_name(name)
        experiment = (
            existing.experiment_id
            if existing
            else self._client.create_experiment(name, str((folder / "mlflow").resolve()))
        )
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, value)

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Write the values as metrics."""
        for name, value in row.items():
            self._client.log_metric(self._run, name, value, step=epoch)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


def build_loggers(
    names: tuple[str, ...], folder: Path, recipe_name: str, settings: Mapping[str, Any]
) -> tuple[Logger, ...]:
    """Open the loggers that a recipe names."""
    loggers: list[Logger] = []
    for name in names:
        try:
            loggers.append(TensorBoard(folder) if name == "tensorboard" else MLflow(folder, recipe_name, settings))
        except ImportError as error:
            raise InputError(
                f"the logger {name} is not installed ({error})", "Install it: pip install 'evenface[tracking]'."
            ) from error
    return tuple(loggers)
