"""Files of per-frame numbers, one per sequence, in class folders or a table; the source ``landmarks`` reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from evenface.data.datasets.clips import with_own_clips
from evenface.data.datasets.csv import read_as
from evenface.data.datasets.folder import clips_of_classes
from evenface.data.datasets.layout import check_scale, files_below
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError

LICENCE = "Terms of its owner, unknown to evenface."

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
EXPECTED = (
    "Expected class/file or split/class/file, or a table with the columns path and label; a file is .npy, .npz, .csv "
    "or .parquet with the landmarks of each frame."
)


class Listing(NamedTuple):
    """Options that state where the files are and what they show."""

    table: str | None
    columns: Mapping[str, str] | None
    delimiter: str | None
    subjects: str | None
    classes: Sequence[str] | None
    ordered: bool


def read_landmarks(
    root: Path,
    *,
    points: Literal["mesh-468", "dlib-68"] = "mesh-468",
    array: str | None = None,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
) -> Manifest:
    """Read files of MediaPipe's 468 or dlib's 68 face landmarks, detected by another tool."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered)
    return as_sequences(read_sequence_files("landmarks", root, SUFFIXES, EXPECTED, listing), points, array)


def as_sequences(manifest: Manifest, points: str, numbers: str | None = None) -> Manifest:
    """Declare a manifest's files as sequences, with the columns ``points`` and ``numbers`` equal in all rows."""
    table = manifest.table.assign(
        points=pd.array([points] * len(manifest), dtype="string"),
        numbers=pd.array([numbers] * len(manifest), dtype="string"),
    )
    return replace(manifest, table=table, content="sequences")


def read_sequence_files(
    source: str, root: Path, suffixes: tuple[str, ...], expected: str, listing: Listing
) -> Manifest:
    """List the files in class folders or in a table; a file, or a range of its frames, is a sample."""
    by_table = listing.table is not None or root.is_file()
    unused = ("subjects",) if by_table else ("columns", "delimiter")
    for option in unused:
        if getattr(listing, option) is not None:
            condition = "with a table" if by_table else "without a table"
            raise InputError(f"{source}: the option {option} has no effect {condition}", expected)
    if by_table:
        manifest = read_as(source, root, listing.table, listing.columns, listing.classes, listing.delimiter)
        check_scale(source, manifest.classes, listing.classes, listing.ordered)
        return replace(with_own_clips(manifest), ordered=listing.ordered)
    others: list[str] = []

    def list_sequences(folder: Path) -> list[str]:
        files = files_below(folder)
        sequences = [name for name in files if name.lower().endswith(suffixes)]
        others.extend((folder / name).relative_to(root).as_posix() for name in sorted(set(files) - set(sequences)))
        return sequences

    rows, order, notes = clips_of_classes(
        root, source, expected, listing.subjects, listing.classes, listing.ordered, list_sequences
    )
    if others:
        notes.append(f"files other than {', '.join(suffixes)} are ignored: {len(others)}, such as {others[0]}")
    return Manifest(make_table(rows), order, source, root, tuple(notes), ordered=listing.ordered)
