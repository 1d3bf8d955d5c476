"""Sequences of any numbers in one file: arrays in an ``.npz``, or a table in long form as Parquet."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from evenface.data.manifest import Manifest, make_table
from evenface.data.sources.layout import check_root, check_scale, class_notes, listed, names_in, side_of
from evenface.data.sources.number_files import of_numbers
from evenface.data.sources.sequence_arrays import read_arrays
from evenface.data.sources.sequence_tables import read_rows
from evenface.errors import InputError
from evenface.ordering import natural_order

LICENCE = "Terms of its owner, unknown to evenface."

ENDINGS = (".npz", ".parquet")


class Found(NamedTuple):
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

    Parameters
    ----------
    root : Path
        The file, or the folder that holds it.
    file : str, optional
        Its name in ``root``; none takes the only ``.npz`` or ``.parquet``.
    points : {"features", "mesh-468", "dlib-68", "openface-aus"}
        What the numbers of a frame are. Points of the face can be normalised and mirrored, features cannot.
    numbers : str or sequence of str, optional
        ``.npz``: the array of numbers; none takes ``sequences`` or ``values``, or the only array of three or more axes.
        Parquet: the columns, with patterns such as ``AU*_r``; none takes all columns of numbers that mean nothing else.
    label : str, optional
        The array or column of labels; none is ``labels`` in an ``.npz``, ``label`` in Parquet. An array of shape (N, C)
        holds ratings of each class, of which the highest is the label.
    names : str, default="classes"
        ``.npz``: the array of names of classes; labels then count from 0 in its order. It need not be there.
    classes : sequence of str, optional
        Order of the classes.
    ordered : bool
        Whether the classes are steps of one scale, in that order.

    Returns
    -------
    Manifest
        Of sequences; ``start`` and ``end`` are a sequence's frames in the file, counted from its first one.

    Raises
    ------
    InputError
        If arrays or columns are missing, do not fit together, or labels cannot be read.

    Notes
    -----
    An ``.npz`` holds ``sequences`` of shape (N, T, P, D) (``openface-aus``: (N, T, P)), or, for sequences of unequal
    length, ``values`` of shape (frames, P, D) or (frames, P) with ``lengths`` (N,); ``labels`` (N,); and as you like
    ``classes`` (C,), ``subjects``, ``clips``, ``samples``, ``splits`` (N,). Parquet has a row per frame with
    ``sample``, ``frame``, ``label``, and as you like ``subject``, ``clip``, ``split``, sorted by sample and frame.
    """
    path = _find(root, file)
    if path.suffix.lower() == ".npz":
        found = Found(*read_arrays(path, points, numbers, label or "labels", names))
    else:
        found = Found(*read_rows(path, points, numbers, label or "label"))
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
