"""Any clips that a table describes: one line per clip, a video or a folder of pictures, whole or a range of frames."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evenface.data.manifest import Manifest
from evenface.data.sources.csv import read_as
from evenface.data.sources.layout import check_scale

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
    """Read a table of clips.

    Parameters
    ----------
    root : Path
        Folder that the paths in the table start from, or the table itself: then its folder.
    table : str, optional
        File name of the table, in ``root`` or absolute; none takes the only ``*.csv`` in ``root``.
    columns : mapping of str to str, optional
        What the columns are called in the file, for those with another name: ``{"label": "level"}``. Needed are
        ``path`` and ``label``; ``subject``, ``clip``, ``split``, ``sample``, ``start`` and ``end`` are read where they
        are there. ``start`` and ``end`` count frames from 0, ``end`` not included.
    classes : sequence of str, optional
        Order of the classes; none takes the labels in the table, numbers by value, words in natural order.
    ordered : bool
        Whether the classes are steps of one scale, in that order.
    delimiter : str, optional
        What stands between the cells; none finds a comma, semicolon or tab.

    Returns
    -------
    Manifest
        A line that names no clip is a clip of its own.

    Raises
    ------
    InputError
        If the table or a column is missing, or a cell cannot be understood; the line is named.
    """
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
