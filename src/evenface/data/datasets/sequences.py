"""Sequences of any numbers in one file: arrays in an ``.npz``, or a table in long form as Parquet."""

import fnmatch
import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import check_root, check_scale, class_notes, listed, names_in, side_of
from evenface.data.datasets.sequence_files import of_numbers
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.natural_order import natural_order

EXPECTED_ARRAYS = (
    "Expected arrays sequences (N, T, P, D), or values (frames, P, D) and lengths (N,); labels (N,); as you like "
    "classes, subjects, clips, samples, splits."
)
ARRAY_OPTIONS = {"subjects": "subject", "clips": "clip", "splits": "split"}
# Axes of an array of equal sequences, and of one with the frames of all in one line.
EQUAL = {"features": (4,), "openface-aus": (3,), "mesh-468": (3, 4), "dlib-68": (3, 4)}
IN_LINE = {"features": (2, 3), "openface-aus": (2,), "mesh-468": (2, 3), "dlib-68": (2, 3)}

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(
    path: Path, points: str, numbers: str | Sequence[str] | None, label: str, names: str
) -> tuple[pd.DataFrame, tuple[str, ...] | None, str, list[str]]:
    """Read what an ``.npz`` says of its sequences; see :func:`evenface.data.datasets.sequences.read`."""
    try:
        # Arrays of Python objects are never read: they could run anything.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, BadZipFile) as error:
        raise InputError(f"sequences: cannot read {path} as arrays: {error}", EXPECTED_ARRAYS) from error
    if not isinstance(numbers, str | None):
        raise InputError("sequences: numbers names one array of an .npz", f"There are {listed(arrays)}.")
    name = _name(path, arrays, numbers)
    starts, ends = _ranges(path, arrays, name, points)
    table = pd.DataFrame({"sample": _texts(path, arrays, "samples", len(ends)), "start": starts, "end": ends})
    for array, column in ARRAY_OPTIONS.items():
        if array in arrays:
            table[column] = _texts(path, arrays, array, len(ends))
    if label not in arrays:
        raise InputError(f"sequences: {path.name} has no array {label}, only {listed(arrays)}", EXPECTED_ARRAYS)
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
            raise InputError(f"sequences: {path.name} has no array {wanted}, only {listed(arrays)}", EXPECTED_ARRAYS)
        return wanted
    usual = [name for name in ("sequences", "values") if name in arrays]
    found = usual[:1] or [name for name, array in arrays.items() if array.ndim >= 3]
    if len(found) != 1:
        raise InputError(
            f"sequences: {path.name} has no array sequences or values, only {listed(arrays)}",
            f"{EXPECTED_ARRAYS} Or name it with the option numbers.",
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


EXPECTED_TABLE = "Expected the columns sample, frame, label, as you like subject, clip, split, and columns of numbers."
NEEDED, TABLE_OPTIONS = ("sample", "frame"), ("subject", "clip", "split")


def read_rows(
    path: Path, points: str, numbers: str | Sequence[str] | None, label: str
) -> tuple[pd.DataFrame, None, str | None, list[str]]:
    """Read what a Parquet table says of its sequences; see :func:`evenface.data.datasets.sequences.read`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        missing = [name for name in (*NEEDED, label) if name not in schema.names]
        if missing:
            raise InputError(
                f"sequences: expected the columns {', '.join((*NEEDED, label))} in {path.name}, found "
                f"{listed(schema.names)}",
                EXPECTED_TABLE,
            )
        said = [name for name in TABLE_OPTIONS if name in schema.names and name != label]
        rows = pq.read_table(path, columns=[*NEEDED, label, *said]).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"sequences: cannot read {path} as Parquet: {error}", EXPECTED_TABLE) from error
    if rows.empty:
        raise InputError(f"sequences: {path} has no rows", EXPECTED_TABLE)
    known = {*NEEDED, *TABLE_OPTIONS, label}
    counted = [
        field.name
        for field in schema
        if field.name not in known
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type))
    ]
    return _samples(path, rows, [label, *said], label), None, _numbers(path, counted, points, numbers), []


def _samples(path: Path, rows: pd.DataFrame, said: list[str], label: str) -> pd.DataFrame:
    """Make a row of each sequence from those of its frames."""
    if rows[[*NEEDED, label]].replace("", pd.NA).isna().to_numpy().any():
        raise InputError(f"sequences: {path.name} has rows without sample, frame or {label}")
    names = rows["sample"].astype(str).to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[starts[1:], len(rows)]
    falls = np.flatnonzero((np.diff(rows["frame"].to_numpy()) <= 0) & (names[1:] == names[:-1]))
    if len(set(names[starts])) < len(starts) or len(falls):
        where = names[falls[0]] if len(falls) else pd.Series(names[starts]).mode()[0]
        raise InputError(
            f"sequences: the rows of {where!r} in {path.name} are not in order", "Sort by sample and frame."
        )
    table = pd.DataFrame({"sample": names[starts], "start": starts, "end": ends})
    for column in said:
        values = rows[column].astype("string").fillna("").to_numpy()
        torn = np.flatnonzero(values != np.repeat(values[starts], ends - starts))
        if len(torn):
            raise InputError(f"sequences: {names[torn[0]]!r} in {path.name} has several values of {column}")
        table["class" if column == label else column] = [value or None for value in values[starts]]
    return table


def _numbers(path: Path, counted: list[str], points: str, numbers: str | Sequence[str] | None) -> str | None:
    """Name the columns of numbers."""
    if numbers is not None:
        patterns = [numbers] if isinstance(numbers, str) else list(numbers)
        absent = [one for pattern in patterns for one in pattern.split(",") if not fnmatch.filter(counted, one.strip())]
        if absent:
            raise InputError(f"sequences: {path.name} has no column of numbers {absent[0]}, only {listed(counted)}")
        return ",".join(patterns)
    if points != "features":
        return None
    if not counted:
        raise InputError(f"sequences: {path.name} has no columns of numbers", EXPECTED_TABLE)
    if odd := [name for name in counted if "," in name or name != name.strip()]:
        raise InputError(
            f"sequences: the name of the column {odd[0]!r} in {path.name} must have no comma or blank ends"
        )
    return ",".join(glob.escape(name) for name in counted)


LICENCE = "Terms of its owner, unknown to evenface."

ENDINGS = (".npz", ".parquet")


class SequenceColumns(NamedTuple):
    """What a file of sequences says: a row per sequence, the classes in order, which numbers, and notes."""

    table: pd.DataFrame
    classes: tuple[str, ...] | None
    numbers: str | None
    notes: list[str]


def read(
    root: Path,
    *,
    file: str | None = None,
    points: Literal["features", "mesh-468", "dlib-68", "openface-aus"] = "features",
    numbers: str | Sequence[str] | None = None,
    label: str | None = None,
    names: str = "classes",
    classes: Sequence[str] | None = None,
    ordered: bool = False,
) -> Manifest:
    """Read the sequences of one file.

    Notes
    -----
    An ``.npz`` holds ``sequences`` of shape (N, T, P, D) (``openface-aus``: (N, T, P)), or, for sequences of unequal
    length, ``values`` of shape (frames, P, D) or (frames, P) with ``lengths`` (N,); ``labels`` (N,); and as you like
    ``classes`` (C,), ``subjects``, ``clips``, ``samples``, ``splits`` (N,). Parquet has a row per frame with
    ``sample``, ``frame``, ``label``, and as you like ``subject``, ``clip``, ``split``, sorted by sample and frame.
    """
    path = _find(root, file)
    if path.suffix.lower() == ".npz":
        found = SequenceColumns(*read_arrays(path, points, numbers, label or "labels", names))
    else:
        found = SequenceColumns(*read_rows(path, points, numbers, label or "label"))
    table = found.table
    there = set(table["class"])
    order = list(map(str, classes)) if classes else [*(found.classes or natural_order(there))]
    check_scale("sequences", order, classes or found.classes, ordered)
    unknown = sorted(there - set(order))
    if unknown:
        raise InputError(f"sequences: {path.name} has the label {unknown[0]!r}, which is none of {listed(order)}")
    if len(order) < 2:
        raise InputError(f"sequences: at least two classes are needed, {path.name} has {listed(order)} only")
    table = table.assign(path=path.name, label=[order.index(name) for name in table["class"]])
    if "split" in table:
        sides = [None if pd.isna(name) else side_of(str(name)) for name in table["split"]]
        odd = [name for name, side in zip(table["split"], sides, strict=True) if side is None and not pd.isna(name)]
        if odd:
            raise InputError(f"sequences: split {odd[0]!r} is none of train, validation, test")
        table = table.assign(split=pd.array(sides, dtype="string"))
    rows = [{str(key): value for key, value in row.items()} for row in table.drop(columns="class").to_dict("records")]
    manifest = Manifest(make_table(rows), tuple(order), "sequences", path.parent, (*class_notes(order), *found.notes))
    own = manifest.table["clip"].fillna(manifest.table["sample"])
    manifest = replace(manifest, table=manifest.table.assign(clip=own), ordered=ordered)
    return of_numbers(manifest, points, found.numbers)


def _find(root: Path, file: str | None) -> Path:
    """Find the one file."""
    if root.is_file() and file is None:
        path = root
    else:
        check_root(root, "sequences")
        there = names_in(root, ENDINGS)
        if file is None and len(there) != 1:
            raise InputError(
                f"sequences: expected one .npz or .parquet in {root}, found {listed(there)}",
                "Name it with the option file.",
            )
        path = root / (file or there[0])
        if not path.is_file():
            raise InputError(f"sequences: there is no file {path}", f"{root} holds {listed(there)}.")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"sequences: {path} is no .npz or .parquet", "See the sources landmarks and openface.")
    return path
