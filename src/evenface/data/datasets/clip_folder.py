"""Folders of clips: ``class/clip.mp4`` or ``split/class/clip.mp4``; a clip may be a folder of pictures."""

from collections.abc import Sequence
from pathlib import Path

from evenface.data.datasets.folder import rows_of_classes
from evenface.data.datasets.layout import check_scale, clips_below, folders, listed
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError

LICENCE = "Terms of its owner, unknown to evenface."

EXPECTED = "Expected class/clip or split/class/clip; a clip is a video, or a folder of pictures."


def read(
    root: Path, *, subjects: str | None = None, classes: Sequence[str] | None = None, ordered: bool = False
) -> Manifest:
    """Read a folder of clips in a folder per class."""
    loose: list[str] = []
    empty: list[str] = []

    def look(folder: Path) -> list[str]:
        clips, alone = clips_below(folder)
        where = folder.relative_to(root).as_posix()
        loose.extend(f"{where}/{name}" for name in alone)
        filled = {name.partition("/")[0] for name in clips}
        empty.extend(f"{where}/{name}" for name in folders(folder) if name not in filled)
        return clips

    try:
        rows, names, notes = rows_of_classes(root, "clip-folder", EXPECTED, subjects, look)
    except InputError as error:
        if loose:
            hint = (
                f"{len(loose)} pictures lie in class folders themselves, such as {loose[0]}: read stills with folder."
            )
            raise InputError(error.message, hint) from error
        raise
    if empty:
        notes.append(f"folders without a clip: {listed(empty)}")
    if loose:
        notes.append(f"pictures that lie in class folders themselves are no clips: {len(loose)}, such as {loose[0]}")
    check_scale("clip-folder", names, classes, ordered)
    order = tuple(map(str, classes)) if classes else names
    if sorted(order) != sorted(names):
        raise InputError(f"clip-folder: the classes in {root} are {listed(names)}, classes says {listed(order)}")
    for row in rows:
        row["clip"] = row["sample"]
        row["label"] = order.index(names[row["label"]])
    return Manifest(make_table(rows), order, "clip-folder", root, tuple(notes), "clips", ordered)
