"""Tables of OpenFace: action units or 68 points of every frame, a file per video.

Baltrusaitis et al., *OpenFace 2.0: facial behavior analysis toolkit*, IEEE FG 2018.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evenface.data.manifest import Manifest
from evenface.data.sources.number_files import OPENFACE, Features, Listing, check_column, of_numbers, read_files

LICENCE = (
    "Videos: terms of their owner, unknown to evenface; OpenFace is licensed for "
    "non-commercial research only: https://github.com/TadasBaltrusaitis/OpenFace"
)

EXPECTED = "Expected class/file.csv or split/class/file.csv, or a table with the columns path and label."


def read(
    root: Path,
    *,
    features: Features = "both",
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
) -> Manifest:
    """Read a folder of OpenFace's tables, a sequence each.

    Parameters
    ----------
    root : Path
        Holds one folder per class, or one per side with one per class in it; or, with ``table``, what its paths start
        from; or the table itself.
    features : {"both", "intensities", "presences", "landmarks"}
        What is taken of a frame: intensities (``AU01_r`` and so on, 0 to 5), presences (``AU01_c``, 0 or 1), both, or
        the 68 points (``x_0`` to ``y_67``, pixels).
    table : str, optional
        File name of a table that says what each file shows; see :func:`evenface.data.sources.clips.read`. ``start``
        and ``end`` count its rows from 0, ``end`` not included.
    columns : mapping of str to str, optional
        What that table's columns are called.
    delimiter : str, optional
        What stands between that table's cells; none is a comma. That of OpenFace's tables is found by itself.
    subjects : str, optional
        Without a table: regular expression with one group that finds the subject in a file's path below its class.
    classes : sequence of str, optional
        Order of the classes; none sorts them.
    ordered : bool
        Whether the classes are steps of one scale, in that order.

    Returns
    -------
    Manifest
        Of sequences. Frames with ``success`` 0 count as frames without a face.

    Raises
    ------
    InputError
        If files or classes are not there, the first file lacks the columns, or an option is of no effect.
    """
    said = Listing(table, columns, delimiter, subjects, classes, ordered)
    found = read_files("openface", root, (".csv",), EXPECTED, said)
    kind = OPENFACE[features]
    check_column("openface", found.root / found.table["path"].iloc[0], kind.column, features)
    return of_numbers(found, kind.points, kind.numbers)
