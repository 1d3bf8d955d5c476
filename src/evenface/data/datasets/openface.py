"""Tables of OpenFace: action units or 68 points of every frame, a file per video.

Baltrusaitis et al., *OpenFace 2.0: facial behavior analysis toolkit*, IEEE FG 2018.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evenface.data.datasets.sequence_files import OPENFACE, Features, Listing, check_column, of_numbers, read_files
from evenface.data.manifest import Manifest

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
    """Read a folder of OpenFace's tables, a sequence each."""
    said = Listing(table, columns, delimiter, subjects, classes, ordered)
    found = read_files("openface", root, (".csv",), EXPECTED, said)
    kind = OPENFACE[features]
    check_column("openface", found.root / found.table["path"].iloc[0], kind.column, features)
    return of_numbers(found, kind.points, kind.numbers)
