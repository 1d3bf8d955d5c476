"""FERPlus: votes of ten annotators on every image of FER2013, in eight expressions.

Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced label
distribution*, ICMI 2016.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets import fer2013
from evenface.data.datasets.layout import listed
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.tables import read_delimited

LICENCE = f"Votes: MIT licence (https://github.com/microsoft/FERPlus). Images: {fer2013.LICENCE}"

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*CLASSES, "unknown", "NF")


def read(root: Path, *, votes: str = "fer2013new.csv", contempt: bool = True, test: fer2013.Test = "auto") -> Manifest:
    """Join the votes to FER2013 and label each image by majority.

    As in the authors' public code, a class with a single vote counts as zero; of the remaining votes, including
    unknown and not-a-face (NF), one class needs more than half. Images without such a majority, or with one for
    unknown or NF, are excluded.
    """
    faces = fer2013.read(root, test=test)
    if "row" not in faces.table.columns:
        raise InputError(
            f"ferplus: file names in {root} are not row numbers of fer2013.csv, such as {faces.table['path'].iloc[0]}",
            "Votes refer to rows: give fer2013.csv, or images named <row>.png.",
        )
    folder = faces.root
    path = folder / user_path(votes)
    table = _read_votes(path)
    rows = faces.table["row"].to_numpy(dtype=np.int64)
    if rows.max() >= len(table):
        raise InputError(
            f"ferplus: {path} has {len(table)} rows, but FER2013 in {folder} has row {rows.max()}",
            "Give the votes that belong to this fer2013.csv.",
        )
    # Training samples must be Training in both files; otherwise the votes are those of other images.
    same = (table["Usage"].to_numpy(dtype=object)[rows] == "Training") == (faces.table["split"] == "train").to_numpy()
    if not same.all():
        row = int(rows[(~same).argmax()])
        raise InputError(
            f"ferplus: the Usage of row {row} is {table['Usage'][row]} in {path.name}, but differs in {folder}",
            "Votes refer to the official fer2013.csv with its rows in the original order.",
        )
    counts = table[list(COLUMNS)].to_numpy(dtype=np.int64)[rows]
    label = majority(counts)
    labelled = faces.table.assign(label=label, **{f"votes_{name}": counts[:, i] for i, name in enumerate(COLUMNS)})
    classes = CLASSES if contempt else CLASSES[:-1]
    use = (label >= 0) & (label < len(classes))
    if not use.any():
        raise InputError(f"ferplus: no image in {folder} has a majority for an expression")
    notes = (*faces.notes, *_notes(label, contempt))
    return Manifest(labelled[use].reset_index(drop=True), classes, "ferplus", folder, notes)


def majority(votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the class with more than half of the votes, single votes not counted; -1 if there is none."""
    counted = np.where(votes > 1, votes, 0)
    most = counted.max(axis=1)
    return np.where(2 * most > counted.sum(axis=1), counted.argmax(axis=1), -1).astype(np.int64)


def _read_votes(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            f"ferplus: the file of votes {path} does not exist", "Give fer2013new.csv of FERPlus with the option votes."
        )
    try:
        table = read_delimited(path)
    except InputError as error:
        raise InputError(f"ferplus: {error.message}", error.hint) from None
    missing = [name for name in ("Usage", *COLUMNS) if name not in table.columns]
    if missing:
        raise InputError(
            f"ferplus: expected the columns Usage, {', '.join(COLUMNS)} in {path.name}; missing: {listed(missing)}",
            "Give fer2013new.csv of FERPlus with the option votes.",
        )
    numbers = table[list(COLUMNS)].apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() | (numbers < 0) | (numbers % 1 != 0)).any(axis=1).to_numpy()
    if wrong.any():
        line = table.index[int(wrong.argmax())]
        raise InputError(f"ferplus: votes in line {line} of {path.name} must be integers >= 0")
    table = table.assign(**{name: numbers[name].astype("int64") for name in COLUMNS})
    return table.reset_index(drop=True)


def _notes(label: NDArray[np.int64], contempt: bool) -> list[str]:
    excluded = {
        "without a majority": label == -1,
        "with a majority for unknown": label == COLUMNS.index("unknown"),
        "with a majority for not a face": label == COLUMNS.index("NF"),
    }
    if not contempt:
        excluded["with a majority for contempt"] = label == CLASSES.index("contempt")
    reasons = [f"{int(mask.sum())} {reason}" for reason, mask in excluded.items() if mask.any()]
    return [f"images excluded: {', '.join(reasons)}"] if reasons else []
