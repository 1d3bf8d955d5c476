"""What sources share: looking into folders, and the names that data sets give to their sides."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from evenface.data.labels import canonical
from evenface.errors import InputError

SIDE_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}

PICTURES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


def side_of(name: str) -> str | None:
    """Side that a folder or a table's cell names, in any case; None where it names none."""
    return SIDE_NAMES.get(name.strip().lower())


def check_root(root: Path, source: str) -> None:
    """Refuse a folder that is missing or is none.

    Raises
    ------
    InputError
        Naming the nearest folder that does exist.
    """
    if root.is_dir():
        return
    if root.exists():
        raise InputError(f"{source}: {root} is a file, a folder was expected")
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    raise InputError(f"{source}: there is no folder {root}", f"{parent} exists; it holds {listed(folders(parent))}.")


def folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted, without hidden and resource-fork ones."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__")))


def files_below(folder: Path) -> list[str]:
    """Paths of all files below ``folder``, relative to it, with forward slashes, sorted; hidden ones are skipped.

    Raises
    ------
    InputError
        If a file's name is not valid UTF-8, so that no table could hold it.
    """
    found = []
    for where, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith((".", "__"))]
        below = Path(where).relative_to(folder)
        found += [(below / name).as_posix() for name in names if not name.startswith(".")]
    for name in found:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"the name of the file {name!r} in {folder} is not valid UTF-8", "Rename the file.")
    return sorted(found)


def clips_below(folder: Path) -> tuple[list[str], list[str]]:
    """Find the clips below ``folder``: files, and folders that hold pictures; and pictures that lie in it directly.

    Returns
    -------
    list of str, list of str
        Paths below ``folder``, sorted: of the clips, and of the pictures that belong to none. In a folder of pictures
        only videos are clips of their own; elsewhere every file that is no picture, so that what cannot be read is
        listed with its reason when faces are prepared.
    """
    files = files_below(folder)
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    filled = {name.rpartition("/")[0] for name in pictures}
    others = sorted(set(files) - set(pictures))
    clips = [name for name in others if name.lower().endswith(VIDEOS) or name.rpartition("/")[0] not in filled]
    return sorted({*clips, *filled} - {""}), [name for name in pictures if "/" not in name]


def names_in(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Names of the files in ``folder`` with one of the endings, in any case, sorted; hidden ones are skipped."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.lower().endswith(endings) and not e.name.startswith("."))


def absent_files(root: Path, paths: Collection[str], source: str, table: str, hint: str = "") -> list[str]:
    """Say which files that a table names are not there; preparing sets their samples aside.

    Raises
    ------
    InputError
        If none is there.
    """
    absent = [path for path in paths if not (root / path).exists()]
    if len(absent) == len(paths):
        raise InputError(
            f"{source}: none of the {len(paths)} files in {table} is there, such as {root / absent[0]}", hint
        )
    return [f"{len(absent)} of {len(paths)} files in {table} are not there, such as {absent[0]}"] if absent else []


def rows_of_sides(
    root: Path, source: str, classes: Sequence[str], needed: Sequence[tuple[str, ...]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """List the samples of folders ``side/class/file``, for the sources of data sets that are laid out so.

    Parameters
    ----------
    root : Path
        Holds the sides. Other folders in it are not looked at.
    source : str
        Name of the source, for messages.
    classes : sequence of str
        The classes; a folder may be called by another form of the word.
    needed : sequence of tuple of str
        Sides that must be there; of several in a tuple, one.

    Returns
    -------
    list of dict, list of str
        Rows of a manifest's table, and notes on classes without pictures.

    Raises
    ------
    InputError
        If a side is missing or without pictures, or a folder is no class.
    """
    check_root(root, source)
    found = {name: side for name in folders(root) if (side := side_of(name))}
    expected = f"Expected the sides {', '.join(' or '.join(sides) for sides in needed)}, each with a folder per class."
    rows: list[dict[str, Any]] = []
    empty = []
    for name, side in found.items():
        there = set()
        for folder in folders(root / name):
            if canonical(folder) not in classes:
                raise InputError(f"{source}: {name}/{folder} is no class", f"Known are {', '.join(classes)}.")
            label = classes.index(canonical(folder))
            paths = [f"{name}/{folder}/{file}" for file in files_below(root / name / folder)]
            rows += [{"sample": path, "path": path, "label": label, "split": side} for path in paths]
            there |= {label} if paths else set()
        empty += [f"{name}/{word}" for label, word in enumerate(classes) if label not in there]
    filled = {row["split"] for row in rows}
    for sides in needed:
        if not filled.intersection(sides):
            state = "no pictures in" if set(found.values()).intersection(sides) else "no folder"
            raise InputError(f"{source}: {state} {sides[0]} of {root}, which holds {listed(folders(root))}", expected)
    return rows, [f"classes without pictures: {listed(empty)}"] if empty else []


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names with commas, the first ``most`` only; ``nothing`` if there are none."""
    every = list(names)
    if not every:
        return "nothing"
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def natural(names: Iterable[str]) -> list[str]:
    """Sort class names: as numbers where all are numbers, else as words."""
    every = set(names)
    return sorted(every, key=int) if all(n.isdecimal() for n in every) else sorted(every)
