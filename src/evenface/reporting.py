"""What reports show of runs besides their predictions: names of methods, facts, sample faces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from evenface.errors import InputError
from evenface.faces.store import Store
from evenface.runs import SPLIT, Run, differing_keys

SHOWN = 8
"""Sample faces of each class."""


def groups(runs: Sequence[Run], names: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """Gather runs into methods: those of the same name, or whose recipes differ in the seed only.

    Parameters
    ----------
    runs : sequence of Run
        In the order given; the first is the baseline.
    names : sequence of str, optional
        One per run. By default, the settings in which a run differs from the others.

    Returns
    -------
    dict
        Method to its runs, in order.

    Raises
    ------
    InputError
        If there are not as many names as runs, or a run is given twice.
    """
    places = [run.folder.resolve() for run in runs]
    for place, run in zip(places, runs, strict=True):
        if places.count(place) > 1:
            raise InputError(f"the run {run.folder} is given twice")
    if names is not None and len(names) != len(runs):
        raise InputError(f"{len(runs)} runs need {len(runs)} names, got {len(names)}")
    found: dict[str, list[Run]] = {}
    for name, run in zip(names or _names(runs), runs, strict=True):
        found.setdefault(name, []).append(run)
    return found


def _names(runs: Sequence[Run]) -> list[str]:
    different = differing_keys([run.recipe for run in runs], ignore=("seed",))
    recipes = [run.recipe.name for run in runs]
    if not different:
        return recipes if len(set(recipes)) == 1 else [run.folder.name for run in runs]
    named = []
    for place, recipe in enumerate(recipes):
        said = [_said(key, values[place]) for key, values in different.items() if values[place] is not None]
        short = ", ".join(said)
        named.append(short if short and len(short) <= 60 else recipe)
    # Two methods under one name would be taken for two seeds of one.
    settings = [str([values[place] for values in different.values()]) for place in range(len(runs))]
    return named if len(set(named)) == len(set(settings)) else [run.folder.name for run in runs]


def _said(key: str, value: object) -> str:
    """Name a setting shortly: a loss, method or network by its own name."""
    section, _, last = key.rpartition(".")
    return str(value) if last == "name" else f"{last} {value}" if section else f"{key} {value}"


def counts(run: Run) -> dict[str, list[int]]:
    """Give samples per class of the sides that have any."""
    return {side: values for side, values in run.facts["counts"].items() if any(values)}


def facts(runs: Sequence[Run]) -> dict[str, str]:
    """Say how runs were made, for the foot of a report."""
    first = runs[0]
    recipe, known = first.recipe, first.facts
    return {
        "recipes": ", ".join(dict.fromkeys(run.recipe.name for run in runs)),
        "seeds": ", ".join(dict.fromkeys(str(run.recipe.seed) for run in runs)),
        "data": f"{recipe.data.source}, {recipe.data.size} px, {known['prepared']}",
        "protocol": recipe.protocol.kind,
        "network": ", ".join(
            dict.fromkeys(f"{run.recipe.network.name} ({run.recipe.network.weights})" for run in runs)
        ),
        "device": known["device"],
        "training": ", ".join(f"{run.facts['epochs']} epochs in {run.facts['training_seconds']:.0f} s" for run in runs),
        "manifest": known["manifest"],
        "versions": ", ".join(f"{name} {version}" for name, version in known["environment"].items()),
    }


def sample_faces(run: Run) -> dict[str, np.ndarray] | None:
    """Pick some test faces of each class from the store; none where the store is gone.

    Returns
    -------
    dict of str to uint8 array (K, H, W, C), or None
        Class to its faces, the same on every call.
    """
    folder = Path(run.facts["store"])
    if not folder.is_dir():
        run.log("the report shows no faces: the store is gone")
        return None
    images = Store.open(folder).images
    sides = pd.read_parquet(run.folder / SPLIT)
    tested = sides[sides["side"] == "test"]
    shown = {}
    for label, name in enumerate(run.facts["classes"]):
        rows = tested[tested["label"] == label].sort_values("sample")["row"].to_numpy()
        if len(rows):
            picked = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)]
            shown[name] = np.asarray(images[np.unique(picked), 0])
    return shown
