"""Sequences in the arrays of an ``.npz``, for the source ``sequences``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.sources.layout import listed
from evenface.errors import InputError

EXPECTED = (
    "Expected arrays sequences (N, T, P, D), or values (frames, P, D) and lengths (N,); labels (N,); as you like "
    "classes, subjects, clips, samples, splits."
)
FURTHER = {"subjects": "subject", "clips": "clip", "splits": "split"}
# Axes of an array of equal sequences, and of one with the frames of all in one line.
EQUAL = {"features": (4,), "openface-aus": (3,), "mesh-468": (3, 4), "dlib-68": (3, 4)}
IN_LINE = {"features": (2, 3), "openface-aus": (2,), "mesh-468": (2, 3), "dlib-68": (2, 3)}

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(
    path: Path, points: str, numbers: str | Sequence[str] | None, label: str, names: str
) -> tuple[pd.DataFrame, tuple[str, ...] | None, str, list[str]]:
    """Read what an ``.npz`` says of its sequences; see :func:`evenface.data.sources.sequences.read`.

    Returns
    -------
    table : DataFrame
        ``sample``, ``start``, ``end``, ``class`` (name), and ``subject``, ``clip``, ``split`` where they are there.
    classes : tuple of str or None
        The classes in order, where the file names them.
    numbers : str
        Name of the array of numbers.
    notes : list of str

    Raises
    ------
    InputError
        If an array is missing or does not fit.
    """
    try:
        # Arrays of Python objects are never read: they could run anything.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, BadZipFile) as error:
        raise InputError(f"sequences: cannot read {path} as arrays: {error}", EXPECTED) from error
    if not isinstance(numbers, str | None):
        raise InputError("sequences: numbers names one array of an .npz", f"There are {listed(arrays)}.")
    name = _name(path, arrays, numbers)
    starts, ends = _ranges(path, arrays, name, points)
    table = pd.DataFrame({"sample": _texts(path, arrays, "samples", len(ends)), "start": starts, "end": ends})
    for array, column in FURTHER.items():
        if array in arrays:
            table[column] = _texts(path, arrays, array, len(ends))
    if label not in arrays:
        raise InputError(f"sequences: {path.name} has no array {label}, only {listed(arrays)}", EXPECTED)
    classes = tuple(map(str, arrays[names].tolist())) if names in arrays else None
    given = arrays[label]
    if len(given) != len(ends) or given.ndim > 2:
        raise InputError(f"sequences: {label} of {path.name} has the shape {given.shape}, expected ({len(ends)},)")
    if given.ndim == 2:
        return _highest(path, table, given, label, classes, name)
    table["class"] = _named(path, given, label, classes)
    return table, classes, name, []


def _name(path: Path, arrays: Arrays, wanted: str | None) -> str:
    """Say which array holds the numbers."""
    if wanted is not None:
        if wanted not in arrays:
            raise InputError(f"sequences: {path.name} has no array {wanted}, only {listed(arrays)}", EXPECTED)
        return wanted
    usual = [name for name in ("sequences", "values") if name in arrays]
    found = usual[:1] or [name for name, array in arrays.items() if array.ndim >= 3]
    if len(found) != 1:
        raise InputError(
            f"sequences: {path.name} has no array sequences or values, only {listed(arrays)}",
            f"{EXPECTED} Or name it with the option numbers.",
        )
    return found[0]


def _ranges(path: Path, arrays: Arrays, name: str, points: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the first frame of each sequence, and the one after its last."""
    values, one_line = arrays[name], "lengths" in arrays
    axes = (IN_LINE if one_line else EQUAL)[points]
    if values.ndim not in axes or not values.size:
        hint = "An array (N, T, F) of features becomes one of four axes by array[..., None]." if not one_line else ""
        raise InputError(
            f"sequences: {name} of {path.name} has the shape {values.shape}, {points} "
            f"{'with lengths ' if one_line else ''}need {' or '.join(map(str, axes))} axes",
            hint,
        )
    if not one_line:
        lengths = np.full(len(values), values.shape[1], np.int64)
    else:
        lengths = arrays["lengths"]
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any() or lengths.sum() != len(values):
            raise InputError(
                f"sequences: lengths of {path.name} must be whole numbers >= 1 whose sum is {len(values)}, the frames "
                f"of {name}"
            )
    ends = np.cumsum(lengths, dtype=np.int64)
    return ends - lengths, ends


def _texts(path: Path, arrays: Arrays, name: str, count: int) -> list[str]:
    """Give an array's entries as text; without it, numbers from 0."""
    if name not in arrays:
        return [f"{i:05}" for i in range(count)]
    if arrays[name].shape != (count,):
        raise InputError(f"sequences: {name} of {path.name} has the shape {arrays[name].shape}, expected ({count},)")
    return [str(entry) for entry in arrays[name].tolist()]


def _named(path: Path, given: NDArray[Any], label: str, classes: tuple[str, ...] | None) -> list[str]:
    """Give the class of each label; numbers count the classes where they are named."""
    entries = given.tolist()
    if given.dtype.kind == "U":
        return [str(entry) for entry in entries]
    if given.dtype.kind not in "iub":
        raise InputError(f"sequences: {label} of {path.name} are neither whole numbers nor words, but {given.dtype}")
    if classes is None:
        return [str(int(entry)) for entry in entries]
    if given.min() < 0 or given.max() >= len(classes):
        raise InputError(
            f"sequences: {label} of {path.name} go from {given.min()} to {given.max()}, of {listed(classes)}"
        )
    return [classes[int(entry)] for entry in entries]


def _highest(
    path: Path, table: pd.DataFrame, ratings: NDArray[Any], label: str, classes: tuple[str, ...] | None, name: str
) -> tuple[pd.DataFrame, tuple[str, ...], str, list[str]]:
    """Take the class with the highest rating, where there is one."""
    classes = classes or tuple(map(str, range(ratings.shape[1])))
    if ratings.dtype.kind not in "fiu" or ratings.shape[1] != len(classes):
        raise InputError(
            f"sequences: {label} of {path.name} has the shape {ratings.shape} of {ratings.dtype}, expected a number "
            f"for each of {listed(classes)}"
        )
    clear = (ratings == ratings.max(axis=1, keepdims=True)).sum(axis=1) == 1
    if not clear.any():
        raise InputError(f"sequences: no row of {label} in {path.name} has one highest rating")
    chosen = table[clear].assign(**{"class": [classes[i] for i in ratings[clear].argmax(axis=1)]})
    notes = [f"a sequence's class is the highest of its {label}, which are ratings and no labels"]
    if not clear.all():
        notes.append(f"{int((~clear).sum())} sequences without one highest of {label} are left out")
    return chosen, classes, name, notes
