"""What a run says of itself beside its predictions: what it rests on, who stood on which side, what it took."""

import resource
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evenface.balance import implied_prior
from evenface.data.attributes import attributes_of
from evenface.data.protocol import Split
from evenface.faces.store import Store
from evenface.faces.targets import content_of
from evenface.levels import describe_levels
from evenface.methods import METHODS
from evenface.recipes import Recipe
from evenface.runs import environment

if TYPE_CHECKING:
    from evenface.methods.base import Method

SELECTED_ON_TEST = (
    "the weights were selected on the test data, as some papers do: the figures flatter, and curves named validation "
    "are of the test data"
)


def facts_of(
    recipe: Recipe,
    store: Store,
    split: Split,
    device: str,
    frames: int,
    precision: str = "32-true",
    method: "Method | None" = None,
) -> dict[str, Any]:
    """Say what a run rests on; all of it known before training."""
    manifest = store.manifest
    implied = implied_prior(recipe, manifest.counts(split.train), names=manifest.classes, method=method)
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "device": device,
        "precision": precision,
        "implied_prior": {"shares": implied.prior.tolist(), "said": implied.said, "exact": implied.exact},
        "environment": environment(),
        "manifest": manifest.hash,
        "store": str(store.path),
        "prepared": store.summary(),
        "frames": frames,
        **content_of(manifest),
        "classes": list(manifest.classes),
        "counts": {side: manifest.counts(rows).tolist() for side, rows in sides.items()},
        "people": {side: _people(store, rows) for side, rows in sides.items()},
        "notes": [
            *manifest.notes,
            *split.notes,
            *([SELECTED_ON_TEST] if recipe.training.select == "test" else []),
            *([describe_levels(manifest.classes)] if METHODS[recipe.method.name].needs_ordered_classes else []),
        ],
    }


def _people(store: Store, rows: np.ndarray) -> int | None:
    return store.manifest.table["subject"].iloc[rows].nunique() if store.manifest.has_subjects else None


def sides_of(store: Store, split: Split) -> pd.DataFrame:
    """Give the split as a table: row of the store, sample, label, subject, attributes of people, side."""
    parts = []
    kept = ["sample", "label", "subject", *attributes_of(store.manifest.table)]
    for side in ("train", "validation", "test"):
        rows = getattr(split, side)
        part = store.manifest.table.iloc[rows][kept]
        parts.append(part.assign(row=rows, side=side))
    together: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return together


def peak_memory() -> int:
    """Largest resident size of this process so far, in megabytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used // 2**20 if sys.platform == "darwin" else used // 2**10)
