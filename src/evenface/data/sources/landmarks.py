"""Points of the face that were found elsewhere: a file per sequence, MediaPipe's 468 points or 68."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from evenface.data.manifest import Manifest
from evenface.data.sources.number_files import Listing, of_numbers, read_files

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
    """Read a folder of files of points, a sequence each.

    Parameters
    ----------
    root : Path
        Holds one folder per class, or one per side with one per class in it; or, with ``table``, what its paths start
        from; or the table itself.
    points : {"mesh-468", "dlib-68"}
        MediaPipe's face mesh, of whose 478 points with irises the first 468 are taken, or the 68 points of dlib and
        OpenFace. Arrays have the shape (T, points, 2 or 3), or flat (T, points * 2 or 3), with x and y of a point
        side by side; tables the columns ``x_0``, ``x_1`` ... ``y_0`` ....
    array : str, optional
        Name of the array in ``.npz`` files that hold several of two or more axes.
    table, columns, delimiter, subjects, classes, ordered
        As for :func:`evenface.data.sources.openface.read`.

    Returns
    -------
    Manifest
        Of sequences.

    Raises
    ------
    InputError
        If files or classes are not there, or an option is of no effect.
    """
    said = Listing(table, columns, delimiter, subjects, classes, ordered)
    return of_numbers(read_files("landmarks", root, ENDINGS, EXPECTED, said), points, array)
