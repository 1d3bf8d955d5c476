"""Image folders: ``class/file``, or ``split/class/file``."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evenface.data.datasets.layout import check_root, class_notes, files_below, folders, listed, people_notes, side_of
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.file_types import ANIMATED_SUFFIXES, file_kind
from evenface.utils.natural_order import natural_order

LICENCE = "Terms of its owner, unknown to evenface."

EXPECTED = "Expected class/file, or split/class/file with splits such as train, validation, test."


def read(root: Path, *, subjects: str | None = None) -> Manifest:
    """Read a folder of pictures in a folder per class."""
    rows, classes, notes = rows_of_classes(root, "folder", EXPECTED, subjects, files_below)
    animated = [
        row["path"]
        for row in rows
        if row["path"].lower().endswith(ANIMATED_SUFFIXES) and file_kind(str(root / row["path"])) == "animation"
    ]
    if animated:
        notes.append(
            f"animated pictures, of which only the first frame is read: {len(animated)}, such as {animated[0]}; "
            "the source clip-folder reads all frames"
        )
    return Manifest(make_table(rows), classes, "folder", root, tuple(notes))


def rows_of_classes(
    root: Path, source: str, expected: str, subjects: str | None, look: Callable[[Path], list[str]]
) -> tuple[list[dict[str, Any]], tuple[str, ...], list[str]]:
    """List the samples of folders ``class/...`` or ``split/class/...``."""
    check_root(root, source)
    pattern = _compile(source, subjects)
    rows: list[dict[str, Any]] = []
    empty = []
    for prefix, side, name in _class_folders(root, source, expected):
        found = look(root / prefix)
        if not found:
            empty.append(prefix)
        for file in found:
            path = f"{prefix}/{file}"
            row: dict[str, Any] = {"sample": path, "path": path, "split": side, "class": name}
            if pattern and (match := pattern.search(file)):
                row["subject"] = match[1]
            rows.append(row)
    classes = natural_order(row["class"] for row in rows)
    if len(classes) < 2:
        raise InputError(
            f"{source}: at least two classes are needed, {root} has files of {listed(classes)} only", expected
        )
    notes = [f"folders without files: {listed(empty)}"] if empty else []
    notes += [*class_notes(classes), *people_notes(classes)]
    if pattern:
        notes += _check_subjects(source, rows, str(subjects))
    index = {name: label for label, name in enumerate(classes)}
    for row in rows:
        row["label"] = index[row.pop("class")]
    return rows, tuple(classes), notes


def _class_folders(root: Path, source: str, expected: str) -> list[tuple[str, str | None, str]]:
    """List (path below root, side, class) of every class folder."""
    top = folders(root)
    if not top:
        loose = files_below(root)
        raise InputError(f"{source}: no folders in {root}, found {listed(loose, 4)}", expected)
    sides = {name: side_of(name) for name in top}
    if not any(sides.values()):
        return [(name, None, name) for name in top]
    others = [name for name, side in sides.items() if side is None]
    if others:
        raise InputError(
            f"{source}: {root} mixes sides ({listed(n for n in top if sides[n])}) and other folders ({listed(others)})",
            f"{expected} Move the others away, or give the folder above the classes.",
        )
    found = [
        (f"{top_name}/{name}", side, name) for top_name, side in sides.items() for name in folders(root / top_name)
    ]
    if not found:
        raise InputError(f"{source}: no class folders in {root}/{top[0]}, only files", expected)
    return found


def _compile(source: str, subjects: str | None) -> re.Pattern[str] | None:
    if subjects is None:
        return None
    try:
        pattern = re.compile(subjects)
    except re.error as error:
        raise InputError(f"{source}: subjects is no regular expression: {error}") from error
    if pattern.groups != 1:
        raise InputError(
            f"{source}: subjects must have one group in parentheses, {subjects!r} has {pattern.groups}",
            'For example "^(S[0-9]+)_" finds S12 in S12_happy.png.',
        )
    return pattern


def _check_subjects(source: str, rows: list[dict[str, Any]], subjects: str) -> list[str]:
    unknown = [row["path"] for row in rows if "subject" not in row]
    if len(unknown) == len(rows):
        raise InputError(f"{source}: subjects {subjects!r} finds nobody in the file names, such as {unknown[0]}")
    if unknown:
        return [f"the subject is not found in {len(unknown)} of {len(rows)} file names, such as {unknown[0]}"]
    return []
