"""Folders ``class/...`` or ``split/class/...`` of images (``folder``) or clips (``clip-folder``), or of any images."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evenface.data.datasets.layout import (
    SourceFacts,
    check_root,
    class_notes,
    class_order,
    clips_below,
    files_below,
    folders,
    people_notes,
    side_of,
    task_of_scale,
)
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import ANIMATED_SUFFIXES, file_kind, listed, natural_order

EXPECTED_CLIPS = "Expected class/clip or split/class/clip; a clip is a video, or a folder of images."
EXPECTED = "Expected class/file, or split/class/file with splits such as train, validation, test."
OWN = "Terms of its owner, unknown to evenface"
FACTS = {
    "folder": SourceFacts("Your own images in one folder per class", "your classes or levels", EXPECTED, "you", OWN),
    "clip-folder": SourceFacts(
        "Your own clips in one folder per class", "your classes or levels", EXPECTED_CLIPS, "you", OWN
    ),
    "unlabelled": SourceFacts(
        "Your own images in folders of any names, for self-supervised pretraining",
        "none; names of folders are no labels",
        "Expected images at any depth.",
        "you",
        OWN,
    ),
}


def read(
    root: Path, *, subjects: str | None = None, classes: Sequence[str] | None = None, ordered: bool = False
) -> Manifest:
    """Read a folder of images with one folder per class."""
    rows, names, notes = rows_of_classes(root, "folder", EXPECTED, subjects, files_below)
    order = _in_order(rows, names, "folder", root, classes, ordered)
    animated = [
        row["path"]
        for row in rows
        if row["path"].lower().endswith(ANIMATED_SUFFIXES) and file_kind(str(root / row["path"])) == "animation"
    ]
    if animated:
        notes.append(
            f"animated images, of which only the first frame is read: {len(animated)}, such as {animated[0]}; "
            "the source clip-folder reads all frames"
        )
    task = task_of_scale("folder", order, classes, ordered)
    return Manifest(make_table(rows), order, "folder", root, tuple(notes), task=task)


def read_unlabelled(root: Path) -> Manifest:
    """Read all images below a folder without labels; folders at the top that are named like splits are splits."""
    check_root(root, "unlabelled")
    files = files_below(root)
    images = [name for name in files if file_kind(str(root / name)) in ("image", "animation")]
    if not images:
        raise InputError(
            f"unlabelled: no images in {root}, which has {listed(files, 4) if files else 'no files'}",
            "Name a folder of images; take frames out of videos first.",
        )
    rows = [{"sample": name, "path": name, "label": 0, "split": _side(name)} for name in images]
    return Manifest(make_table(rows), ("unlabelled",), "unlabelled", root)


def _side(path: str) -> str | None:
    top, below, _ = path.partition("/")
    return side_of(top) if below else None


def read_clips(
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
            root, "clip-folder", EXPECTED_CLIPS, subjects, classes, ordered, list_clips
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
    task = task_of_scale("clip-folder", order, classes, ordered)
    return Manifest(make_table(rows), order, "clip-folder", root, tuple(notes), "clips", task)


def rows_of_classes(
    root: Path, source: str, expected: str, subjects: str | None, list_samples: Callable[[Path], list[str]]
) -> tuple[list[dict[str, Any]], tuple[str, ...], list[str]]:
    """List the samples in folders ``class/...`` or ``split/class/...``, the classes and the notes."""
    check_root(root, source)
    pattern = _compile(source, subjects)
    rows: list[dict[str, Any]] = []
    empty = []
    for folder, side, name in _class_folders(root, source, expected):
        samples = list_samples(root / folder)
        if not samples:
            empty.append(folder)
        for sample in samples:
            path = f"{folder}/{sample}"
            row: dict[str, Any] = {"sample": path, "path": path, "split": side, "class": name}
            if pattern and (match := pattern.search(sample)):
                row["subject"] = match[1]
            rows.append(row)
    classes = natural_order(row["class"] for row in rows)
    if len(classes) < 2:
        raise InputError(f"{source}: expected at least two classes in {root}, found {listed(classes)}", expected)
    notes = [f"folders without files: {listed(empty)}"] if empty else []
    notes += [*class_notes(classes), *people_notes(classes)]
    if pattern:
        notes += _subject_notes(source, rows, str(subjects))
    index = {name: label for label, name in enumerate(classes)}
    for row in rows:
        row["label"] = index[row.pop("class")]
    return rows, tuple(classes), notes


def clips_of_classes(
    root: Path,
    source: str,
    expected: str,
    subjects: str | None,
    classes: Sequence[str] | None,
    ordered: bool,
    list_samples: Callable[[Path], list[str]],
) -> tuple[list[dict[str, Any]], tuple[str, ...], list[str]]:
    """List samples as :func:`rows_of_classes` does, each a clip of its own, with the classes in the given order."""
    rows, names, notes = rows_of_classes(root, source, expected, subjects, list_samples)
    order = _in_order(rows, names, source, root, classes, ordered)
    for row in rows:
        row["clip"] = row["sample"]
    return rows, order, notes


def _in_order(
    rows: list[dict[str, Any]],
    names: tuple[str, ...],
    source: str,
    root: Path,
    classes: Sequence[str] | None,
    ordered: bool,
) -> tuple[str, ...]:
    """Set the labels of rows by the given order of the classes, and return that order."""
    task_of_scale(source, names, classes, ordered)
    order = class_order(source, names, classes, f" in {root}")
    for row in rows:
        row["label"] = order.index(names[row["label"]])
    return order


def _class_folders(root: Path, source: str, expected: str) -> list[tuple[str, str | None, str]]:
    """List (path below root, split, class) of every class folder."""
    top = folders(root)
    if not top:
        raise InputError(f"{source}: no folders in {root}, only files: {listed(files_below(root), 4)}", expected)
    sides = {name: side_of(name) for name in top}
    if not any(sides.values()):
        return [(name, None, name) for name in top]
    others = [name for name, side in sides.items() if side is None]
    if others:
        raise InputError(
            f"{source}: {root} mixes folders of splits ({listed(n for n in top if sides[n])}) and other folders "
            f"({listed(others)})",
            f"{expected} Move the other folders away, or name the folder that contains the classes.",
        )
    found = [(f"{split}/{name}", side, name) for split, side in sides.items() for name in folders(root / split)]
    if not found:
        raise InputError(f"{source}: no class folders in {root}/{top[0]}, only files", expected)
    return found


def _compile(source: str, subjects: str | None) -> re.Pattern[str] | None:
    if subjects is None:
        return None
    try:
        pattern = re.compile(subjects)
    except re.error as error:
        raise InputError(
            f"{source}: the option subjects must be a regular expression, got {subjects!r}: {error}"
        ) from error
    if pattern.groups != 1:
        raise InputError(
            f"{source}: the option subjects must have one group in parentheses, {subjects!r} has {pattern.groups}",
            'For example "^(S[0-9]+)_" finds S12 in S12_happy.png.',
        )
    return pattern


def _subject_notes(source: str, rows: list[dict[str, Any]], subjects: str) -> list[str]:
    unknown = [row["path"] for row in rows if "subject" not in row]
    if len(unknown) == len(rows):
        raise InputError(
            f"{source}: the option subjects {subjects!r} matches none of {len(rows)} file names, such as {unknown[0]}",
            "Change the pattern, or leave the option out if subjects are unknown.",
        )
    if unknown:
        return [f"subject unknown for {len(unknown)} of {len(rows)} files, such as {unknown[0]}"]
    return []
