"""What sources of numbers share: saying what their files hold, and finding them in class folders or by a table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from evenface.data.datasets.clips import with_own_clips
from evenface.data.datasets.csv import read_as
from evenface.data.datasets.folder import rows_of_classes
from evenface.data.datasets.layout import check_scale, files_below, listed
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.tables import read_header

Features = Literal["both", "intensities", "presences", "landmarks"]


class SequenceFileKind(NamedTuple):
    """What files hold: the points, which of the numbers (none: what is usual), and a column that shows it is there."""

    points: str
    numbers: str | None
    column: str


OPENFACE: dict[str, SequenceFileKind] = {
    "both": SequenceFileKind("openface-aus", None, "AU01_r"),
    "intensities": SequenceFileKind("openface-aus", "AU*_r", "AU01_r"),
    "presences": SequenceFileKind("openface-aus", "AU*_c", "AU01_c"),
    "landmarks": SequenceFileKind("dlib-68", None, "x_67"),
}
"""What may be taken from tables of OpenFace."""


class Listing(NamedTuple):
    """How a user says where files are and what they show; see :func:`evenface.data.datasets.openface.read`."""

    table: str | None
    columns: Mapping[str, str] | None
    delimiter: str | None
    subjects: str | None
    classes: Sequence[str] | None
    ordered: bool


def of_numbers(manifest: Manifest, points: str, numbers: str | None = None) -> Manifest:
    """Say of a manifest's files what numbers they hold: the same in all rows, in columns ``points`` and ``numbers``."""
    table = manifest.table.assign(
        points=pd.array([points] * len(manifest), dtype="string"),
        numbers=pd.array([numbers] * len(manifest), dtype="string"),
    )
    return replace(manifest, table=table, content="sequences")


def read_files(source: str, root: Path, endings: tuple[str, ...], expected: str, said: Listing) -> Manifest:
    """List the files of numbers that lie in class folders, or that a table names; a file or range of it is a sample."""
    by_table = said.table is not None or root.is_file()
    useless = ["subjects"] if by_table and said.subjects is not None else []
    if not by_table:
        useless = [name for name in ("columns", "delimiter") if getattr(said, name) is not None]
    if useless:
        way = "with a table" if by_table else "without a table"
        raise InputError(f"{source}: the option {useless[0]} is of no effect {way}", expected)
    if by_table:
        found = read_as(source, root, said.table, said.columns, said.classes, said.delimiter)
        check_scale(source, found.classes, said.classes, said.ordered)
        return replace(with_own_clips(found), ordered=said.ordered)
    others: list[str] = []

    def look(folder: Path) -> list[str]:
        files = files_below(folder)
        fitting = [name for name in files if name.lower().endswith(endings)]
        others.extend((folder / name).relative_to(root).as_posix() for name in sorted(set(files) - set(fitting)))
        return fitting

    rows, names, notes = rows_of_classes(root, source, expected, said.subjects, look)
    check_scale(source, names, said.classes, said.ordered)
    order = tuple(map(str, said.classes)) if said.classes else names
    if sorted(order) != sorted(names):
        raise InputError(f"{source}: the classes in {root} are {listed(names)}, classes says {listed(order)}")
    for row in rows:
        row["clip"] = row["sample"]
        row["label"] = order.index(names[row["label"]])
    if others:
        notes.append(f"files that are none of {', '.join(endings)} are left out: {len(others)}, such as {others[0]}")
    return Manifest(make_table(rows), order, source, root, tuple(notes), ordered=said.ordered)


def check_column(source: str, path: Path, column: str, features: str) -> None:
    """Refuse a table of OpenFace that lacks what is asked for, by its header."""
    if not path.is_file():
        return
    names = read_header(path)
    if column not in names:
        raise InputError(
            f"{source}: features: {features} needs columns such as {column}, {path} has {listed(names)}",
            "Expected what OpenFace's FeatureExtraction writes: AU01_r, AU01_c ... (-aus), x_0 ... y_67 (-2Dfp).",
        )
