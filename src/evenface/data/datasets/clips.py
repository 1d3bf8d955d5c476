"""Clips, each a video or a folder of images: listed in a table (``clips``), or in class folders (``clip-folder``)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evenface.data.datasets.csv import read_as
from evenface.data.datasets.folder import clips_of_classes
from evenface.data.datasets.layout import check_scale, clips_below, folders, listed
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError

LICENCE = "Terms of its owner, unknown to evenface."

EXPECTED_FOLDERS = "Expected class/clip or split/class/clip; a clip is a video, or a folder of images."


def read(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    delimiter: str | None = None,
) -> Manifest:
    """Read a table with one line per clip: a whole file or folder, or a range of its frames."""
    manifest = read_as("clips", root, table, columns, classes, delimiter)
    check_scale("clips", manifest.classes, classes, ordered)
    return replace(with_own_clips(manifest), content="clips", ordered=ordered)


def with_own_clips(manifest: Manifest) -> Manifest:
    """Make each sample without a clip its own clip, and note samples of one file that a split may separate."""
    table, notes = manifest.table, list(manifest.notes)
    shared = table["path"].duplicated(keep=False) & table["clip"].isna() & table["subject"].isna()
    if shared.any():
        notes.append(
            f"{table['path'][shared].nunique()} files contain several samples without subject or clip: samples of one "
            "file may be in both training and test set"
        )
    table = table.assign(clip=table["clip"].fillna(table["sample"]))
    return replace(manifest, table=table, notes=tuple(notes))


def read_folder(
    root: Path, *, subjects: str | None = None, classes: Sequence[str] | None = None, ordered: bool = False
) -> Manifest:
    """Read ``class/clip`` or ``split/class/clip``."""
    single_images: list[str] = []
    empty: list[str] = []

    def list_clips(folder: Path) -> list[str]:
        clips, images = clips_below(folder)
        parent = folder.relative_to(root).as_posix()
        single_images.extend(f"{parent}/{name}" for name in images)
        filled = {name.partition("/")[0] for name in clips}
        empty.extend(f"{parent}/{name}" for name in folders(folder) if name not in filled)
        return clips

    try:
        rows, order, notes = clips_of_classes(
            root, "clip-folder", EXPECTED_FOLDERS, subjects, classes, ordered, list_clips
        )
    except InputError as error:
        if single_images:
            raise InputError(
                error.message,
                f"{len(single_images)} images are directly in class folders, such as {single_images[0]}: for single "
                "images use the source folder.",
            ) from error
        raise
    if empty:
        notes.append(f"folders without a clip: {listed(empty)}")
    if single_images:
        notes.append(
            f"images directly in class folders are ignored, as they are no clips: {len(single_images)}, such as "
            f"{single_images[0]}"
        )
    return Manifest(make_table(rows), order, "clip-folder", root, tuple(notes), "clips", ordered)
