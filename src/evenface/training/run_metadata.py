"""Run metadata: provenance, split and cost."""

import resource
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evenface.config import Recipe
from evenface.data.attributes import attribute_columns
from evenface.data.labels import describe_levels
from evenface.data.manifest import Manifest
from evenface.methods import METHODS
from evenface.preprocessing.store import content_of
from evenface.runs import environment
from evenface.training.class_prior import implied_prior
from evenface.training.data import TrainingData

if TYPE_CHECKING:
    from evenface.methods.base import Method

SIDES = ("train", "validation", "test")
SELECTED_ON_TEST = (
    "the weights were selected on the test data, as some papers do: the figures flatter, and curves named validation "
    "are of the test data"
)


def run_metadata(
    recipe: Recipe, data: TrainingData, device: str, precision: str = "32-true", method: "Method | None" = None
) -> dict[str, Any]:
    """Return what ``run.json`` holds before training."""
    store, manifest, split = data.store, data.manifest, data.split
    implied = implied_prior(recipe, data.counts, names=manifest.classes, method=method)
    rows = {side: getattr(split, side) for side in SIDES}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "device": device,
        "precision": precision,
        "implied_prior": {"shares": implied.prior.tolist(), "reason": implied.reason, "exact": implied.exact},
        "environment": environment(),
        "manifest": manifest.hash,
        "store": str(store.path),
        "prepared": store.summary(),
        "frames": data.frames,
        **content_of(manifest),
        "classes": list(manifest.classes),
        "counts": {side: manifest.counts(some).tolist() for side, some in rows.items()},
        "people": {side: _subjects(manifest, some) for side, some in rows.items()},
        "notes": [
            *manifest.notes,
            *split.notes,
            *([SELECTED_ON_TEST] if recipe.training.checkpoint == "test" else []),
            *([describe_levels(manifest.classes)] if METHODS[recipe.method.name].needs_ordered_classes else []),
        ],
    }


def _subjects(manifest: Manifest, rows: np.ndarray) -> int | None:
    return manifest.table["subject"].iloc[rows].nunique() if manifest.has_subjects else None


def split_table(data: TrainingData) -> pd.DataFrame:
    """Return the split as a table: sample, label, subject, attributes of subjects, row of the store, side."""
    table = data.manifest.table
    columns = ["sample", "label", "subject", *attribute_columns(table)]
    sides = [(side, getattr(data.split, side)) for side in SIDES]
    parts = [table.iloc[rows][columns].assign(row=rows, side=side) for side, rows in sides]
    whole: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return whole


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in megabytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used // 2**20 if sys.platform == "darwin" else used // 2**10)
