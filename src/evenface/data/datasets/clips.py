"""Any clips that a table describes: one line per clip, a video or a folder of pictures, whole or a range of frames."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evenface.data.datasets.csv import read_as
from evenface.data.datasets.layout import check_scale
from evenface.data.manifest import Manifest

LICENCE = "Terms of its owner, unknown to evenface."


def read(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    delimiter: str | None = None,
) -> Manifest:
    """Read a table of clips."""
    found = read_as("clips", root, table, columns, classes, delimiter)
    check_scale("clips", found.classes, classes, ordered)
    return replace(with_own_clips(found), content="clips", ordered=ordered)


def with_own_clips(found: Manifest) -> Manifest:
    """Make a sample that names no clip a clip of its own, and note where pieces of one file may be torn apart."""
    rows, notes = found.table, list(found.notes)
    shared = rows["path"].duplicated(keep=False) & rows["clip"].isna() & rows["subject"].isna()
    if shared.any():
        several = rows["path"][shared].nunique()
        notes.append(
            f"{several} files hold several clips and say neither subject nor clip: pieces of one may be trained on and "
            "tested on"
        )
    rows = rows.assign(clip=rows["clip"].fillna(rows["sample"]))
    return replace(found, table=rows, notes=tuple(notes))
