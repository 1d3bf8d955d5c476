"""Points of the face that were found elsewhere: a file per sequence, MediaPipe's 468 points or 68."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from evenface.data.datasets.sequence_files import Listing, of_numbers, read_files
from evenface.data.manifest import Manifest

LICENCE = "Terms of its owner, unknown to evenface."

ENDINGS = (".npy", ".npz", ".csv", ".parquet")
EXPECTED = (
    "Expected class/file or split/class/file, or a table with the columns path and label; a file is .npy, .npz, .csv "
    "or .parquet with the points of each frame."
)


def read(
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
    """Read a folder of files of points, a sequence each."""
    said = Listing(table, columns, delimiter, subjects, classes, ordered)
    return of_numbers(read_files("landmarks", root, ENDINGS, EXPECTED, said), points, array)
