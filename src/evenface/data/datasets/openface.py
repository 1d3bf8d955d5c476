"""OpenFace tables: action units or 68 landmarks per frame, one file per video.

Baltrusaitis et al., *OpenFace 2.0: facial behavior analysis toolkit*, IEEE FG 2018.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from evenface.data.datasets.layout import listed
from evenface.data.datasets.sequence_files import Listing, as_sequences, read_sequence_files
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.tables import read_header

LICENCE = (
    "Videos: terms of their owner, unknown to evenface; OpenFace is licensed for "
    "non-commercial research only: https://github.com/TadasBaltrusaitis/OpenFace"
)

EXPECTED = "Expected class/file.csv or split/class/file.csv, or a table with the columns path and label."

Features = Literal["both", "intensities", "presences", "landmarks"]


class OpenFaceFeatures(NamedTuple):
    """One choice of features: kind of points, pattern of the columns to read, and a column that must be there."""

    points: str
    numbers: str | None
    column: str


OPENFACE: dict[str, OpenFaceFeatures] = {
    "both": OpenFaceFeatures("openface-aus", None, "AU01_r"),
    "intensities": OpenFaceFeatures("openface-aus", "AU*_r", "AU01_r"),
    "presences": OpenFaceFeatures("openface-aus", "AU*_c", "AU01_c"),
    "landmarks": OpenFaceFeatures("dlib-68", None, "x_67"),
}
"""Value of the option ``features`` to what it reads."""


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
    """Read a folder of OpenFace tables, one sequence each."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered)
    manifest = read_sequence_files("openface", root, (".csv",), EXPECTED, listing)
    return as_openface(manifest, manifest.root / manifest.table["path"].iloc[0], features)


def as_openface(manifest: Manifest, first: Path, features: Features) -> Manifest:
    """Declare a manifest's files as OpenFace tables, after checking that the header of the first has the features."""
    kind = OPENFACE[features]
    if first.is_file() and kind.column not in (names := read_header(first)):
        raise InputError(
            f"{manifest.source}: features: {features} needs columns such as {kind.column}, but {first} has "
            f"{listed(names)}",
            "Expected the output of OpenFace's FeatureExtraction: AU01_r, AU01_c ... (-aus), x_0 ... y_67 (-2Dfp).",
        )
    return as_sequences(manifest, kind.points, kind.numbers)
